"""litgpt's own pretraining, called as its users call it, with a decoder of the shape. It always compiles; `compiled`
being false turns that off in torch.
"""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from job import Done, Job, gated_flop_per_token
from litgpt.args import EvalArgs, TrainArgs
from litgpt.config import Config
from litgpt.data import DataModule
from litgpt.model import GPT
from litgpt.pretrain import setup
from torch.utils.data import DataLoader, IterableDataset


class Batches(IterableDataset[torch.Tensor]):
    """The steps of the job; before each but the first one the job is told that another is done."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def __iter__(self) -> Iterator[torch.Tensor]:
        while True:
            inputs, targets = self._job.batch(self._job.steps)
            yield torch.cat([inputs, targets[:, -1:]], dim=1)
            self._job.step()


class Data(DataModule):  # type: ignore[misc]
    """What litgpt asks for its batches."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        self._job = job

    def connect(self, **_: object) -> None:
        """Take note of nothing."""

    def train_dataloader(self) -> DataLoader[torch.Tensor]:
        """The steps."""
        return DataLoader(Batches(self._job), batch_size=None)

    def val_dataloader(self) -> DataLoader[torch.Tensor]:
        """One step, which litgpt tries before it begins."""
        inputs, targets = self._job.batch(0)
        return DataLoader([torch.cat([inputs, targets[:, -1:]], dim=1)], batch_size=None)


def main() -> None:
    job = Job()
    if not job.compiled:
        torch.compiler.set_stance("force_eager")
    shape = job.shape
    config = Config(
        name="peer",
        block_size=shape["context"],
        vocab_size=shape["vocabulary"],
        padded_vocab_size=shape["vocabulary"],
        n_layer=shape["layers"],
        n_head=shape["heads"],
        n_embd=shape["width"],
        head_size=shape["head"],
        n_query_groups=shape["heads"],
        intermediate_size=shape["feed_forward"],
        rotary_percentage=1.0,
        parallel_residual=False,
        bias=False,
        norm_class_name="RMSNorm",
        norm_qk=True,
        mlp_class_name="LLaMAMLP",
    )
    with torch.device("meta"):
        parameters = sum(each.numel() for each in GPT(config).parameters())
    job.begin(gated_flop_per_token(shape), parameters)
    with tempfile.TemporaryDirectory() as folder:
        train = TrainArgs(
            save_interval=None,
            log_interval=1_000_000,
            global_batch_size=job.rows,
            micro_batch_size=job.rows,
            max_tokens=1 << 50,
            max_norm=1.0,
            min_lr=4e-5,
            lr_warmup_steps=100,
            tie_embeddings=False,
        )
        with contextlib.suppress(Done):
            setup(
                "peer",
                model_config=config,
                out_dir=Path(folder),
                precision="bf16-true" if job.precision == "bf16" else "32-true",
                data=Data(job),
                train=train,
                eval=EvalArgs(interval=1 << 40, initial_validation=False, final_validation=False),
                devices=1,
                logger_name="csv",
                seed=job.seed,
            )


if __name__ == "__main__":
    main()
