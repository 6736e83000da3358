"""Measure a training step of the decoder on the processor: ours, in each way that it can compute, and transformers'.

    python benchmarks/decoder.py [--sizes 5M 25M] [--tokens N] [--micro N] [--repeats N] [--pause S] [--json]

A step is forward, backward and the optimisers' updates, over random ids in rows of 512 and a vocabulary of 16,384. All
variants of a size take their steps in turn, in one process, and the best of each counts. `ratio` is what a step counts
as FLOP (6 a matrix parameter and token, and causal attention) over its seconds and over the speed of a plain float32
product of two matrices of 1,024, the best of those that were measured between the steps. It can be over 1 where
products are made in bfloat16. transformers' Qwen3 has the same shape and updates with AdamW, fused, as Trainer does.
`first` is the first step, compilation included where no cache of it is left from before. `--pause` lets the processor
rest so many seconds before each step, for a machine that others use, too.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from openeurollm.model import numerics
from openeurollm.model.decoder import Decoder
from openeurollm.model.export import configuration
from openeurollm.model.numerics import Numerics
from openeurollm.model.optimizer import optimizers
from openeurollm.model.shape import Shape
from openeurollm.recipe import Model

SHAPES = {
    "5M": Shape(16_384, 4, 128, 4, 4, 32, 384, 512),
    "25M": Shape(16_384, 6, 384, 12, 12, 32, 1_152, 512),
}
OURS = {
    "ours": ("fp32", False),
    "ours compiled": ("fp32", True),
    "ours bf16": ("bf16", False),
    "ours bf16 compiled": ("bf16", True),
}
THEIRS = "transformers"


class Times(NamedTuple):
    """Seconds of the first step and of those that followed."""

    first: float
    steps: list[float]


def ours(shape: Shape, precision: str, compiled: bool, micro: int) -> Callable[[torch.Tensor], None]:
    """A step of our decoder over ids (rows, positions + 1)."""
    decoder = Decoder(shape, seed=1)
    chosen = Numerics(precision, compiled, False, "", 0.0, 0.0, None)
    chosen.prepare(decoder)
    updates = optimizers(decoder, Model(), dtype=chosen.dtype)

    def step(ids: torch.Tensor) -> None:
        for part in ids.split(max(1, micro // shape.context)):
            with chosen.autocast():
                loss = decoder.losses(part[:, :-1], part[:, 1:])
            (loss / ids[:, 1:].numel()).backward()
        for update in updates:
            update.step()
        decoder.zero_grad(set_to_none=True)

    return step


def theirs(shape: Shape, micro: int) -> Callable[[torch.Tensor], None]:
    """A step of transformers' Qwen3 over the same."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    decoder = Qwen3ForCausalLM(Qwen3Config(**configuration(shape))).train()
    update = torch.optim.AdamW(decoder.parameters(), lr=1e-3, fused=True)

    def step(ids: torch.Tensor) -> None:
        parts = ids[:, :-1].split(max(1, micro // shape.context))
        for part in parts:
            (decoder(part, labels=part, use_cache=False).loss / len(parts)).backward()
        update.step()
        decoder.zero_grad(set_to_none=True)

    return step


def measure(shape: Shape, tokens: int, micro: int, repeats: int, pause: float) -> tuple[float, dict[str, Times]]:
    """The speed of a plain product, and the seconds of each variant's steps."""
    rows = max(1, tokens // shape.context)
    ids = torch.randint(shape.vocabulary, (rows, shape.context + 1), generator=torch.Generator().manual_seed(1))
    steps = {name: ours(shape, *way, micro) for name, way in OURS.items()} | {THEIRS: theirs(shape, micro)}
    times = {name: Times(_seconds(step, ids), []) for name, step in steps.items()}
    product = 0.0
    for _ in range(repeats):
        time.sleep(pause)
        product = max(product, numerics.matmul_speed())
        for name, step in steps.items():
            time.sleep(pause)
            times[name].steps.append(_seconds(step, ids))
    return product, times


def _seconds(step: Callable[[torch.Tensor], None], ids: torch.Tensor) -> float:
    began = time.perf_counter()
    step(ids)
    return time.perf_counter() - began


def figures(shape: Shape, tokens: int, product: float, times: Times) -> dict[str, Any]:
    """A row of the table."""
    speed = tokens // shape.context * shape.context / min(times.steps)
    return {
        "tokens_per_s": round(speed),
        "ratio": round(speed * shape.flop_per_token / product, 3),
        "step_s": round(min(times.steps), 3),
        "median_s": round(sorted(times.steps)[len(times.steps) // 2], 3),
        "first_s": round(times.first, 1),
    }


def main() -> int:
    """Measure, and print the table or JSON."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--sizes", nargs="+", choices=SHAPES, default=list(SHAPES))
    arguments.add_argument("--tokens", type=int, default=8_192, help="positions of a step")
    arguments.add_argument("--micro", type=int, default=4_096, help="positions at once")
    arguments.add_argument("--repeats", type=int, default=7)
    arguments.add_argument("--pause", type=float, default=0.0)
    arguments.add_argument("--json", action="store_true")
    given = arguments.parse_args()
    torch.set_flush_denormal(True)
    told: dict[str, Any] = {"threads": torch.get_num_threads()}
    for size in given.sizes:
        shape = SHAPES[size]
        product, times = measure(shape, given.tokens, given.micro, given.repeats, given.pause)
        rows = {name: figures(shape, given.tokens, product, each) for name, each in times.items()}
        told[size] = {"parameters": shape.parameters, "matmul_flop_per_s": round(product), "variants": rows}
    if given.json:
        json.dump(told, sys.stdout, indent=1)
        print()
        return 0
    for size in given.sizes:
        part = told[size]
        print(f"\n{part['parameters'] / 1e6:.1f}M parameters, {told['threads']} threads,", end=" ")
        print(f"plain float32 product {part['matmul_flop_per_s'] / 1e9:.0f} GFLOP/s")
        print(f"{'':20}{'tokens/s':>10}{'ratio':>8}{'step s':>9}{'median':>9}{'first':>8}")
        for name, row in part["variants"].items():
            print(f"{name:20}{row['tokens_per_s']:10,}{row['ratio']:8.2f}{row['step_s']:9.3f}", end="")
            print(f"{row['median_s']:9.3f}{row['first_s']:8.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
