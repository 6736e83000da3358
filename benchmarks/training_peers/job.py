"""What each tool's process does the same way: it takes rows from a file, waits for its turn, and scores held-out text.

Runs inside the environments of the tools, so it needs no more than torch and numpy. A job is a JSON file; answers are
JSON, a line each, on what was standard output when the process began. Everything else that is printed goes to standard
error.
"""

import json
import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

MATMUL = 1_024
SCORED_ROWS = 16


class Done(Exception):
    """Nobody asks for more steps."""


class Job:
    """What is asked of a tool.

    `task` is `speed` or `quality`; `shape` has vocabulary, layers, width, heads, head, feed_forward and context; `rows`
    sequences make a step. `settings` are the tool's own.
    """

    def __init__(self) -> None:
        self._answers = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)
        told = json.loads(Path(sys.argv[1]).read_text("utf-8"))
        self.task: str = told["task"]
        self.shape: dict[str, int] = told["shape"]
        self.rows: int = told["rows"]
        self.compiled: bool = told["compiled"]
        self.precision: str = told["precision"]
        self.threads: int = told["threads"]
        self.seed: int = told["seed"]
        self.settings: dict[str, Any] = told["settings"]
        self.told = told
        self.device = torch.device(told["device"])
        torch.set_num_threads(self.threads)
        torch.manual_seed(self.seed)
        self.flop_per_token = self.parameters = 0.0
        self.steps = 0
        self._left: int = told["warm"]
        self._began = self._cpu = self._first = self._last = 0.0

    def answer(self, **told: Any) -> None:
        """Tell the benchmark something."""
        self._answers.write(json.dumps(told) + "\n")
        self._answers.flush()

    def begin(self, flop_per_token: float, parameters: float) -> None:
        """Call before the model is compiled and trained: the clock starts here."""
        self.flop_per_token, self.parameters = flop_per_token, parameters
        self._first = self._began = self._now()

    def batch(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs and targets of a step, (rows, context) each, in the order of the file, from a place that depends on
        the seed.
        """
        ids = np.load(self.told["data"], mmap_mode="r")
        first = (self.seed * len(ids) // 7 + step * self.rows) % len(ids)
        rows = torch.from_numpy(ids[np.arange(first, first + self.rows) % len(ids)].astype(np.int64))
        rows = rows.to(self.device)
        return rows[:, :-1].contiguous(), rows[:, 1:].contiguous()

    def step(self) -> None:
        """Call after every step; raises `Done` where no more are wanted."""
        self.steps += 1
        self._last = self._now()
        if self.steps <= self.told["untimed"]:
            self._first = self._last
        if self.task == "speed":
            self._turn()
        elif self.share() >= 1:
            raise Done

    def share(self) -> float:
        """The share of the time that has gone, for schedules."""
        seconds: float = self.told["seconds"]
        return min(1.0, (self._now() - self._first) / seconds)

    def _turn(self) -> None:
        """Tell what the last steps took and wait to be asked for more."""
        self._left -= 1
        if self._left:
            return
        seconds, cpu_s = self._now() - self._began, time.process_time() - self._cpu
        flop_per_token, parameters = self.flop_per_token, self.parameters
        self.answer(
            seconds=seconds,
            cpu_s=cpu_s,
            matmul_flop_per_s=matmul_flop_per_s(),
            flop_per_token=flop_per_token,
            parameters=parameters,
        )
        self._left = int(sys.stdin.readline() or "0")
        if not self._left:
            raise Done
        self._began, self._cpu = self._now(), time.process_time()

    def _now(self) -> float:
        """Seconds of wall time, or of CPU over threads where the machine is shared."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        if self.told["clock"] == "cpu":
            used = os.times()
            return sum(used[:4]) / self.threads
        return time.perf_counter()

    def scored(self, nats: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> None:
        """Answer with bits per byte of the held-out text by language.

        `nats` gives the loss at each position for inputs and targets (rows, positions); targets of -100 do not count.
        """
        with np.load(self.told["held"]) as held:
            inputs, targets, languages, sizes, tags = (
                held[name] for name in ("inputs", "targets", "languages", "bytes", "tags")
            )
        sums = np.zeros(len(tags))
        for start in range(0, len(inputs), SCORED_ROWS):
            part = slice(start, start + SCORED_ROWS)
            sums += _sums(nats, inputs[part], targets[part], languages[part], len(tags))
        bits = {str(tag): float(total / math.log(2) / size) for tag, total, size in zip(tags, sums, sizes, strict=True)}
        tokens = self.steps * self.rows * self.shape["context"]
        self.answer(
            seconds=self._last - self._first,
            steps=self.steps,
            tokens=tokens,
            parameters=self.parameters,
            bits_per_byte=bits,
        )


@torch.no_grad()
def _sums(
    nats: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    inputs: NDArray[Any],
    targets: NDArray[Any],
    languages: NDArray[Any],
    number: int,
) -> NDArray[np.float64]:
    length = int(np.flatnonzero((targets >= 0).any(axis=0)).max()) + 1
    wanted = torch.from_numpy(targets[:, :length].astype(np.int64))
    lost = nats(torch.from_numpy(inputs[:, :length].astype(np.int64)), wanted.clamp(min=0))
    each = (lost.double() * (wanted >= 0)).sum(dim=1).numpy()
    return np.bincount(languages, weights=each, minlength=number)


def matmul_flop_per_s() -> float:
    """Float32 FLOP a second of a plain product of two large matrices; best of several."""
    one, other = torch.rand(MATMUL, MATMUL), torch.rand(MATMUL, MATMUL)
    best = 0.0
    for _ in range(20):
        began = time.perf_counter()
        torch.mm(one, other)
        best = max(best, 2 * MATMUL**3 / (time.perf_counter() - began))
    return best


def gated_flop_per_token(shape: dict[str, int]) -> float:
    """Training FLOP a token of a decoder with gated feed-forward layers: 6 a parameter that multiplies, and causal
    attention over half the context on average.
    """
    width, attention = shape["width"], shape["heads"] * shape["head"]
    layer = 4 * width * attention + 3 * width * shape["feed_forward"]
    matrices = shape["layers"] * layer + shape["vocabulary"] * width
    return 6.0 * matrices + 6.0 * shape["layers"] * attention * shape["context"]
