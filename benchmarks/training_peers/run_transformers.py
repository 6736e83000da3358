"""Hugging Face's `Trainer` with a Qwen3 of the shape and AdamW.

`settings`, for quality: `rate`, `decay` (weight decay), `warmup` and `falling` (shares of the time; the rate falls to
nothing in a line).
"""

import contextlib
import tempfile
from collections.abc import Iterator
from typing import Any

import torch
from job import Done, Job, gated_flop_per_token
from torch.nn import functional as F
from torch.utils.data import IterableDataset
from transformers import Qwen3Config, Qwen3ForCausalLM, Trainer, TrainerCallback, TrainingArguments


class Rows(IterableDataset[dict[str, torch.Tensor]]):
    """The rows of the job in their order."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        step = 0
        while True:
            for inputs, targets in zip(*self._job.batch(step), strict=True):
                yield {"input_ids": inputs, "labels": targets, "shift_labels": targets}
            step += 1


class Steps(TrainerCallback):  # type: ignore[misc]
    """Tells the job of every step."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Called by the trainer."""
        self._job.step()


def main() -> None:
    job = Job()
    shape = job.shape
    config = Qwen3Config(
        vocab_size=shape["vocabulary"],
        hidden_size=shape["width"],
        intermediate_size=shape["feed_forward"],
        num_hidden_layers=shape["layers"],
        num_attention_heads=shape["heads"],
        num_key_value_heads=shape.get("key_value_heads", shape["heads"]),
        head_dim=shape["head"],
        max_position_embeddings=shape["context"],
        tie_word_embeddings=False,
        use_cache=False,
    )
    model = Qwen3ForCausalLM(config)
    job.begin(gated_flop_per_token(shape), sum(each.numel() for each in model.parameters()))
    with tempfile.TemporaryDirectory() as folder:
        told = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=job.rows,
            max_steps=1_000_000,
            torch_compile=job.compiled,
            bf16=job.precision == "bf16",
            use_cpu=True,
            report_to="none",
            remove_unused_columns=False,  # or `shift_labels` goes, and targets are shifted once more
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
        )
        optimizer, schedule = adamw(job, model)
        trainer = Trainer(
            model, told, train_dataset=Rows(job), callbacks=[Steps(job)], optimizers=(optimizer, schedule)
        )
        with contextlib.suppress(Done):
            trainer.train()
    if job.task == "quality":
        model.eval()

        def nats(inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            return F.cross_entropy(model(inputs).logits.transpose(1, 2), targets, reduction="none")

        job.scored(nats)


def adamw(job: Job, model: torch.nn.Module) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """AdamW, and rates that rise, stay and fall with the training time."""
    matrices = [each for each in model.parameters() if each.ndim >= 2]
    norms = [each for each in model.parameters() if each.ndim < 2]
    settings = {"rate": 1e-3, "decay": 0.1, "warmup": 0.02, "falling": 0.5} | job.settings
    groups = [{"params": matrices, "weight_decay": settings["decay"]}, {"params": norms, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=settings["rate"], betas=(0.9, 0.95), fused=True)

    def factor(_: int) -> float:
        share = job.share() if job.task == "quality" else 0.5
        return min(1.0, max(share, 1e-3) / settings["warmup"], (1 - share) / settings["falling"])

    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


if __name__ == "__main__":
    main()
