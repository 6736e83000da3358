"""One training loop for pretraining and tuning, over any number of processes; killed or stopped at any point and
started again, it ends in the same bits.
"""

import json
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from openeurollm.engine import Reporter
from openeurollm.errors import Failure, Stopped
from openeurollm.ledger import whole
from openeurollm.model.decoder import Decoder
from openeurollm.model.distributed import World
from openeurollm.model.optimizer import optimizers, schedule
from openeurollm.recipe import Model

Batch = Callable[[int], tuple[NDArray[np.int64], NDArray[np.int64]]]
"""Inputs and targets of a step, each of shape (rows, positions); targets of -100 are not learnt."""

_MICRO_TOKENS = 8_192
"""Positions that go through the decoder at once; larger parts are accumulated."""


@dataclass(frozen=True)
class Training:
    """What to train and how: `batch(step)` for `steps` steps, at the recipe's rates times `factor`.

    The rows of a step are cut into `parts`, between which processes can share it.
    """

    title: str
    batch: Batch
    steps: int
    rates: Model
    factor: float
    warmup: float
    decay: float
    checkpoint_steps: int
    parts: int
    bytes_of_tokens: NDArray[np.int64]


def device() -> torch.device:
    """The accelerator where there is one, else the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def prepare(workers: int) -> None:
    """Fix what results may depend on: number of threads, deterministic kernels, full float32 products."""
    torch.set_num_threads(workers)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.set_float32_matmul_precision("highest")


def train(
    decoder: Decoder, training: Training, work: Path, metrics: Path, reporter: Reporter, world: World
) -> dict[str, Any]:
    """Train the decoder in place; returns tokens, the last loss, the machine's matmul speed, threads and processes.

    The first process writes a line of `metrics` every few steps and a checkpoint into `work` every `checkpoint_steps`.
    Raises `Failure` when the loss or a weight is no number, and `Stopped`, with a checkpoint, after a step in which the
    file `work / "stop"` was there or a process was sent SIGTERM. Whoever puts that file there takes it away.
    """
    decoder.to(device()).train()
    opts = optimizers(decoder, training.rates, training.factor)
    told = _restore(work / "checkpoint.safetensors", decoder, opts)
    begin = int(told.get("step", 0))
    if world.from_first(begin) != begin:
        raise Failure(f"{training.title}: processes do not see the same checkpoint in {work}")
    if world.first:
        _cut(metrics, begin)
    peak = world.from_first(matmul_speed() if world.first else 0.0)
    window = _Window(decoder, peak * world.size, told)
    with reporter.task(training.title, training.steps) as task, _wish(work / "stop", world) as wish:
        for step in range(begin, training.steps):
            factor = schedule(step, training.steps, training.warmup, training.decay)
            loss, learnt, size, stop = _step(decoder, opts, training, step, factor, world, wish())
            if not math.isfinite(loss):
                raise Failure(f"{training.title}: the loss at step {step} is {loss}; lower its rates in the recipe")
            window.add(loss, learnt, size)
            done, last = step + 1, step + 1 == training.steps
            if done % window.every == 0 or last:
                _append(metrics, window.line(done, factor), world)
            task.update(done, window.words)
            if not last and (stop or done % training.checkpoint_steps == 0):
                position = {"step": str(done), "threads": str(torch.get_num_threads()), **window.sums()}
                _save(work / "checkpoint.safetensors", decoder, opts, position, world)
            if not last and stop:
                raise Stopped(f"{training.title}: stopped after step {done} of {training.steps}; run again to go on")
    if not all(bool(parameter.isfinite().all()) for parameter in decoder.parameters()):
        raise Failure(f"{training.title}: weights are no numbers after the last step; lower its rates in the recipe")
    decoder.eval()
    return {
        "tokens": window.tokens,
        "final_loss": round(window.loss, 5),
        "matmul_flop_per_s": round(peak),
        "threads": torch.get_num_threads(),
        "processes": world.size,
    }


@contextmanager
def _wish(file: Path, world: World) -> Iterator[Callable[[], bool]]:
    """A function that says whether this process has been asked to stop: by SIGTERM, the first one also by `file`."""
    signals: list[int] = []
    listens = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, lambda number, _: signals.append(number)) if listens else None
    try:
        yield lambda: bool(signals) or (world.first and file.exists())
    finally:
        if listens:
            signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def _step(
    decoder: Decoder,
    opts: list[torch.optim.Optimizer],
    training: Training,
    step: int,
    factor: float,
    world: World,
    wish: bool,
) -> tuple[float, int, int, bool]:
    """One update; returns the summed loss in nats, the targets learnt, the bytes they stand for, and whether any
    process has the `wish` to stop.
    """
    inputs, targets = training.batch(step)
    learnt = int((targets >= 0).sum())
    size = int(training.bytes_of_tokens[targets[targets >= 0]].sum())
    edges = [len(inputs) * number // training.parts for number in range(training.parts + 1)]

    def part(number: int) -> Tensor:
        rows = slice(edges[number], edges[number + 1])
        return _gradient(decoder, inputs[rows], targets[rows], max(1, learnt), wish)

    total = world.sum(training.parts, part)
    loss, wishes = total[-2:].tolist()
    parameters = list(decoder.parameters())
    gradients = torch.split(total[:-2], [parameter.numel() for parameter in parameters])
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient.view_as(parameter)
    for optimizer in opts:
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return loss, learnt, size, wishes > 0


def _gradient(
    decoder: Decoder, inputs: NDArray[np.int64], targets: NDArray[np.int64], learnt: int, wish: bool
) -> Tensor:
    """A part's share of the step's gradient, its loss in nats and the wish to stop, as one flat tensor.

    Positions behind the last one that is learnt in any row are left out.
    """
    where = device()
    length = int(np.flatnonzero((targets >= 0).any(axis=0)).max(initial=0)) + 1
    rows = max(1, _MICRO_TOKENS // length)
    total = torch.zeros(1, device=where)
    for start in range(0, len(inputs), rows):
        ids = torch.from_numpy(inputs[start : start + rows, :length]).to(where)
        wanted = torch.from_numpy(targets[start : start + rows, :length]).to(where)
        loss = decoder.losses(ids, wanted)
        (loss / learnt).backward()  # type: ignore[no-untyped-call]
        total += loss.detach()
    gradients = [parameter.grad.flatten() for parameter in decoder.parameters() if parameter.grad is not None]
    decoder.zero_grad(set_to_none=True)
    return torch.cat([*gradients, total, torch.full_like(total, float(wish))])


class _Window:
    """Sums since the last line of metrics; `told` is what a checkpoint says of them."""

    every = 10

    def __init__(self, decoder: Decoder, peak: float, told: Mapping[str, str]) -> None:
        self._flop, self._peak = decoder.shape.flop_per_token, peak
        self.loss, self.words = 0.0, ""
        self._start()
        self._began, self._before = self._since, int(told.get("learnt", 0))
        self.tokens, self._learnt = int(told.get("tokens", 0)), self._before
        self._nats, self._bytes = float.fromhex(told.get("nats", "0")), int(told.get("bytes", 0))

    def _start(self) -> None:
        self._since, self._nats, self._learnt, self._bytes, self._before = time.monotonic(), 0.0, 0, 0, 0

    def sums(self) -> dict[str, str]:
        """What a checkpoint must hold for the next line to be the same after a crash."""
        told = {"learnt": self._learnt, "bytes": self._bytes, "tokens": self.tokens}
        return {"nats": self._nats.hex(), **{name: str(number) for name, number in told.items()}}

    def add(self, nats: float, learnt: int, size: int) -> None:
        self.tokens += learnt
        self._nats, self._learnt, self._bytes = self._nats + nats, self._learnt + learnt, self._bytes + size

    def line(self, step: int, rate: float) -> dict[str, Any]:
        seconds = max(1e-9, time.monotonic() - self._since)
        speed = (self._learnt - self._before) / seconds
        self.loss = self._nats / max(1, self._learnt)
        share = speed * self._flop / self._peak
        bits = self._nats / math.log(2) / max(1, self._bytes)
        self.words = (
            f"loss {self.loss:.3f}, {bits:.3f} bits a byte, {speed:,.0f} tokens/s, {100 * share:.0f} % of matmul"
        )
        self._start()
        return {
            "step": step,
            "loss": round(self.loss, 5),
            "bits_per_byte": round(bits, 5),
            "tokens": self.tokens,
            "rate": round(rate, 5),
            "seconds": round(self._since - self._began, 2),
            "tokens_per_s": round(speed, 1),
            "matmul_share": round(share, 4),
        }


def _append(metrics: Path, line: dict[str, Any], world: World) -> None:
    if world.first:
        with open(metrics, "a", encoding="utf-8") as lines:
            lines.write(json.dumps(line) + "\n")


def _save(path: Path, decoder: Decoder, opts: list[torch.optim.Optimizer], told: dict[str, str], world: World) -> None:
    """Let the first process write weights, optimiser states and what is `told` of the position, whole or not at all."""
    if world.first:
        _write(path, decoder, opts, told)
    world.wait()


def _write(path: Path, decoder: Decoder, opts: list[torch.optim.Optimizer], told: dict[str, str]) -> None:
    tensors = {f"weights.{name}": parameter.detach().contiguous() for name, parameter in decoder.named_parameters()}
    for number, optimizer in enumerate(opts):
        for index, state in optimizer.state_dict()["state"].items():
            for name, value in state.items():
                tensors[f"state.{number}.{index}.{name}"] = value.contiguous()
    with whole(path) as partial:
        save_file(tensors, str(partial), metadata=told)


def _restore(path: Path, decoder: Decoder, opts: list[torch.optim.Optimizer]) -> dict[str, str]:
    """Load a checkpoint where there is a good one; returns what it tells of the position, else nothing.

    One that was made with another number of threads is passed over: sums in another order are other bits.
    """
    if not path.is_file():
        return {}
    try:
        with safe_open(str(path), "pt") as file:
            told: dict[str, str] = file.metadata()
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError):
        return {}  # begin anew; the result is the same
    if told.get("threads") != str(torch.get_num_threads()):
        return {}
    weights = {name.removeprefix("weights."): t for name, t in tensors.items() if name.startswith("weights.")}
    decoder.load_state_dict(weights)
    for number, optimizer in enumerate(opts):
        fresh = optimizer.state_dict()
        for name, tensor in tensors.items():
            kind, *rest = name.split(".", 3)
            if kind == "state" and int(rest[0]) == number:
                fresh["state"].setdefault(int(rest[1]), {})[rest[2]] = tensor
        optimizer.load_state_dict(fresh)
    return told


def _cut(metrics: Path, step: int) -> None:
    """Drop lines of metrics beyond the step that training goes on from."""
    lines = metrics.read_text("utf-8").splitlines() if metrics.is_file() else []
    kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= step]
    metrics.write_text("".join(f"{line}\n" for line in kept), "utf-8")


def matmul_speed() -> float:
    """Float32 FLOP a second of a plain product of two large matrices on the device; best of several."""
    where, size = device(), 1024
    one, other = torch.rand(size, size, device=where), torch.rand(size, size, device=where)
    best = 0.0
    for _ in range(20):
        began = time.perf_counter()
        product = one @ other
        if where.type == "cuda":
            torch.cuda.synchronize()
        best = max(best, 2 * size**3 / (time.perf_counter() - began))
    del product
    return best
