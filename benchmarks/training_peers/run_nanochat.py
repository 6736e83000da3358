"""nanochat's decoder and optimiser, with the rules by which its own training script sets rates, momentum and decay.

`settings`: `folder` (nanochat's source), and for quality `rates` (a factor on all rates; its own rule where absent),
`decay` (weight decay; its own rule where absent), `warmup` (steps; 40 where absent).
"""

import math
import os
import sys
from collections.abc import Callable
from typing import Any

from job import Done, Job

REFERENCE_BATCH, REFERENCE_DEPTH, TOKENS_A_PARAMETER, CONTEXT = 2**19, 12, 12, 2_048
MATRIX, EMBEDDING, HEAD, SCALAR, DECAY = 0.02, 0.3, 0.008, 0.5, 0.28
WARMUP, WARMDOWN, FINAL, MOMENTUM_STEPS = 40, 0.65, 0.05, 400


def main() -> None:
    job = Job()
    sys.path.insert(0, job.settings["folder"])
    os.environ["NANOCHAT_DTYPE"] = {"bf16": "bfloat16", "fp32": "float32"}[job.precision]
    import torch

    if not job.compiled:
        torch.compiler.set_stance("force_eager")
    from nanochat.gpt import GPT, GPTConfig

    shape = job.shape
    with torch.device("meta"):
        model = GPT(
            GPTConfig(
                shape["context"],
                shape["vocabulary"],
                shape["layers"],
                shape["heads"],
                shape["heads"],
                shape["width"],
                "L",
            )
        )
    model.to_empty(device=job.device)
    model.init_weights()
    full = 12.0 * shape["layers"] * shape["heads"] * shape["head"] * shape["context"]
    parameters = sum(each.numel() for each in model.parameters())
    job.begin(
        model.estimate_flops() - full / 2, parameters
    )  # it counts all of the causal square, we the half that is seen
    factor, decay = rules(job, model, GPT, GPTConfig)
    optimizer = model.setup_optimizer(HEAD * factor, EMBEDDING * factor, MATRIX * factor, decay, SCALAR * factor)
    run: Callable[..., Any] = torch.compile(model, dynamic=False) if job.compiled else model
    warmup = job.settings.get("warmup", WARMUP)
    try:
        while True:
            inputs, targets = job.batch(job.steps)
            run(inputs, targets).backward()
            share = job.share() if job.task == "quality" else 0.0
            schedule(optimizer, job.steps, share, warmup, decay)
            optimizer.step()
            model.zero_grad(set_to_none=True)
            job.step()
    except Done:
        pass
    if job.task == "quality":
        job.scored(lambda inputs, targets: model(inputs, targets, loss_reduction="none").view_as(targets))


def rules(job: Job, model: Any, decoder: Any, config: Any) -> tuple[float, float]:
    """The factor on all rates and the weight decay that its training script derives from batch and depth."""
    import torch

    def counted(each: Any) -> int:
        counts = each.num_scaling_params()
        return int(counts["transformer_matrices"] + counts["lm_head"])

    with torch.device("meta"):
        reference = decoder(config(CONTEXT, job.shape["vocabulary"], REFERENCE_DEPTH, 6, 6, 64 * REFERENCE_DEPTH, "L"))
    scale = math.sqrt(job.rows * job.shape["context"] / REFERENCE_BATCH)
    decay = DECAY * scale * counted(reference) / counted(model)
    return job.settings.get("rates", scale), job.settings.get("decay", decay)


def schedule(optimizer: Any, step: int, share: float, warmup: int, decay: float) -> None:
    """Rates, momentum and weight decay of a step, at a share of the training time."""
    left = min(1.0, (1 - share) / WARMDOWN)
    rate = min((step + 1) / warmup if warmup else 1.0, left + (1 - left) * FINAL)
    risen = min(1.0, step / MOMENTUM_STEPS)
    momentum = (1 - risen) * 0.85 + risen * 0.97 if risen < 1 or left == 1 else left * 0.97 + (1 - left) * 0.90
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * rate
        if group["kind"] == "muon":
            group["momentum"] = momentum
            group["weight_decay"] = decay * 0.5 * (1 + math.cos(math.pi * share))


if __name__ == "__main__":
    main()
