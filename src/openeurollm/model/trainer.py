"""One training loop for pretraining and tuning, over any number of processes; killed or stopped at any point and
started again, it ends in the same bits.
"""

import json
import math
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.distributed.tensor import DTensor

from openeurollm.engine import Reporter
from openeurollm.errors import BadInput, Failure, Stopped
from openeurollm.ledger import spent, write_text
from openeurollm.model.checkpoint import FOLDER, Checkpoints, Position
from openeurollm.model.data import Batch, ahead
from openeurollm.model.decoder import Decoder
from openeurollm.model.distributed import World
from openeurollm.model.guard import Guard
from openeurollm.model.held_out import HeldOut
from openeurollm.model.numerics import Numerics, device, release
from openeurollm.model.optimizer import local, optimizers
from openeurollm.model.schedule import Schedule
from openeurollm.model.window import Window
from openeurollm.recipe import Model


@dataclass(frozen=True)
class Training:
    """What to train and how: the rows that `take(first, number)` gives, as the schedule deals them out to steps, at the
    recipe's rates times `factor`.

    `micro` positions go through the decoder at once. `fingerprint` says what data the rows come from. Held-out text is
    measured before the first step, `held_out_times` times evenly over the training, the last time at its end.
    """

    title: str
    take: Callable[[int, int], Batch]
    schedule: Schedule
    rates: Model
    factor: float
    checkpoint_steps: int
    keep_steps: int | None
    bytes_of_tokens: NDArray[np.int64]
    numerics: Numerics
    micro: int
    fingerprint: str
    held_out: HeldOut | None = None
    held_out_times: int = 0


def prepare(workers: int) -> None:
    """Fix what results may depend on: number of threads, deterministic kernels, full float32 products.

    Numbers below 1e-38 become zero until the training ends: the tails of a softmax made products twenty times as slow.
    Threads inherit this when they start, so this comes before the first product.
    """
    torch.set_flush_denormal(True)
    torch.set_num_threads(workers)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.set_float32_matmul_precision("highest")


def train(
    decoder: Decoder, training: Training, work: Path, kept: Path, metrics: Path, reporter: Reporter, world: World
) -> dict[str, Any]:
    """Train the decoder in place and return what the record says of it.

    The first process writes lines of `metrics`. Checkpoints go into `work / FOLDER`, the last two, and into
    `kept`, for ever; a training that finds one goes on from there. Raises `BadInput` where that was made from other
    data, `Failure` where losses or weights are no numbers whatever is left out, and `Stopped`, with a checkpoint, after
    a step in which the file `work / "stop"` was there or a process was sent SIGTERM. Whoever puts that file there takes
    it away.
    """
    metrics.parent.mkdir(parents=True, exist_ok=True)
    decoder.to(device()).train()
    checkpoints = Checkpoints(work / FOLDER, kept, world, reporter.say)
    position = checkpoints.newest()
    numerics = Numerics.of(position["numerics"]) if position["step"] else training.numerics
    numerics.prepare(decoder)
    world.shard(decoder, numerics.dtype)
    loop = _Loop(decoder, training, numerics, checkpoints, metrics, world, work / "cost.json")
    begin = loop.begin(position)
    with reporter.task(training.title, training.schedule.steps) as task, _wish(work / "stop", world) as wish:
        try:
            while begin < training.schedule.steps:
                begin = loop.run(begin, wish, task.update)
        finally:
            checkpoints.wait()
            torch.set_flush_denormal(False)
    if not all(bool(weights.isfinite().all()) for weights in map(local, decoder.parameters())):
        raise Failure(f"{training.title}: weights are no numbers after the last step; lower its rates in the recipe")
    release(decoder)
    decoder.eval()
    return loop.told()


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


class _Loop:
    """The state of a training between steps."""

    def __init__(
        self,
        decoder: Decoder,
        training: Training,
        numerics: Numerics,
        checkpoints: Checkpoints,
        metrics: Path,
        world: World,
        cost: Path,
    ) -> None:
        self._decoder, self._training, self._numerics, self._world = decoder, training, numerics, world
        self._cost, self._words = cost, ""
        self._checkpoints, self._metrics = checkpoints, metrics
        self._optimizers = optimizers(decoder, training.rates, training.factor, numerics.dtype)
        self._guard, self._window = Guard(training.title), Window(decoder.shape, numerics, world.size)
        self._resumed: list[dict[str, Any]] = []
        self._held_out: dict[str, dict[str, float]] = {}
        times, steps = training.held_out_times, training.schedule.steps
        self._measured = {round(steps * number / times) for number in range(1, times + 1)} if times else set()

    def begin(self, position: Position, back: bool = False) -> int:
        """Be at a position, that of a checkpoint or the beginning; returns the step to be made next."""
        step = int(position["step"])
        if self._world.first:
            _cut(self._metrics, step, back)
        if not step:
            self._measure(0)
            return 0
        if position["data"] != self._training.fingerprint:
            raise BadInput(
                f"{self._training.title}: the text is not that of the checkpoint at step {step}; put the old text "
                f"back, or remove {self._metrics.parent} and its checkpoints to begin anew"
            )
        self._checkpoints.restore(step, self._decoder, self._optimizers)
        self._guard = Guard(self._training.title, position["guard"])
        self._window = Window(self._decoder.shape, self._numerics, self._world.size, position["window"])
        self._resumed, self._held_out = position["resumed"], position["held_out"]
        if position["made"] != self._made():
            self._resumed = [*self._resumed, {"step": step, **position["made"]}]
        return step

    def run(self, begin: int, wish: Callable[[], bool], update: Callable[[int, str], None]) -> int:
        """Make the steps from `begin` on, to the end or to one from which the training goes back; returns the next."""
        schedule = self._training.schedule
        todo = [step for step in range(begin, schedule.steps) if step not in self._guard.avoided]
        with ahead(self._batch, todo) as batches:
            for step, batch in zip(todo, batches, strict=True):
                stop, verdict, why = self._step(step, batch, wish())
                if verdict == "rolled_back":
                    return self._go_back(step, why)
                done, last = step + 1, step + 1 == schedule.steps
                if done % Window.every == 0 or last:
                    self._write(self._window.line(done, schedule.rate(step)))
                    kwh = spent(self._cost)
                    self._words = self._window.words + (f", {1000 * kwh:,.2f} Wh" if kwh else "")
                update(done, self._words)
                if done in self._measured:
                    self._measure(done)
                self._checkpoint(done, last, stop)
        return schedule.steps

    def told(self) -> dict[str, Any]:
        """What the record says of the training."""
        numerics = self._numerics
        return {
            "tokens": self._window.tokens,
            "final_loss": round(self._window.loss, 5),
            "matmul_flop_per_s": round(numerics.matmul_flop_per_s),
            "threads": torch.get_num_threads(),
            "processes": self._world.size,
            "layout": self._world.layout,
            "precision": numerics.precision,
            "compiled": numerics.compiled,
            "skipped": self._guard.skipped,
            "rolled_back": self._guard.rolled_back,
            "resumed": self._resumed,
            "held_out": self._held_out,
        }

    def _batch(self, step: int) -> Batch:
        """This process' rows of a step."""
        first, number = self._training.schedule.span(step)
        start, stop = self._world.share(number)
        return self._training.take(first + start, stop - start)

    def _step(self, step: int, batch: Batch, wish: bool) -> tuple[bool, str, str]:
        """One update; returns whether any process has the wish to stop, what became of the step, and why."""
        _, number = self._training.schedule.span(step)
        wanted = batch.targets[batch.targets >= 0]
        told = [float(len(wanted)), float(self._training.bytes_of_tokens[wanted].sum()), float(wish)]
        if self._world.mesh is None:
            gradients, nats = self._replicated(batch, number)
            learnt, size, wishes = self._world.totals(told)
        else:
            gradients, mine = self._sharded(batch, number)
            learnt, size, wishes, nats = self._world.totals([*told, mine])
        torch._foreach_mul_(gradients, 1 / max(1.0, learnt))
        norm = _norm(gradients)
        verdict, why = self._guard.judge(step, nats / max(1.0, learnt), norm)
        if verdict == "update":
            self._window.add(nats, int(learnt), int(size), norm)
            self._update(gradients, self._training.schedule.rate(step))
        elif verdict == "skipped":
            self._write({"step": step + 1, "event": verdict, "reason": why})
        return wishes > 0, verdict, why

    def _replicated(self, batch: Batch, number: int) -> tuple[list[Tensor], float]:
        """The gradient of the step's loss, summed along the tree, and the loss in nats."""
        parts = self._world.parts
        start, stop = self._world.share(number)
        first = self._world.rank * parts // self._world.size

        def part(own: int) -> list[Tensor]:
            low, high = (number * (first + own + edge) // parts - start for edge in (0, 1))
            return self._gradient(batch.rows(low, min(high, stop - start)))

        *gradients, nats = self._world.sum(part)
        return gradients, float(nats)

    def _gradient(self, batch: Batch) -> list[Tensor]:
        """A part's share of the step's gradient, and its loss in nats, as tensors."""
        parameters = list(self._decoder.parameters())
        nats = torch.zeros(1, device=device())
        for micro in self._micros(batch):
            nats += self._learn(micro)
        gradients = [
            torch.zeros_like(each) if each.grad is None else each.grad for each in parameters
        ]  # a part without rows has none
        self._decoder.zero_grad(set_to_none=True)
        return [*gradients, nats]

    def _sharded(self, batch: Batch, number: int) -> tuple[list[Tensor], float]:
        """This process' rows of the gradient of the step's loss, and its share of the loss in nats."""
        size = self._world.size
        each = self._rows_at_once(batch)
        times = math.ceil(math.ceil(number / size) / each)  # as often as the one with most rows: all must be there
        nats = torch.zeros(1, device=device())
        for turn in range(times):
            self._decoder.set_requires_gradient_sync(turn == times - 1)  # type: ignore[operator]
            micro = batch.rows(turn * each, (turn + 1) * each)
            nats += self._learn(micro if len(micro.inputs) else _nothing(batch), size)  # FSDP takes the mean
        gradients = [each.grad for each in self._decoder.parameters() if each.grad is not None]
        self._decoder.zero_grad(set_to_none=True)
        return gradients, float(nats)

    def _learn(self, batch: Batch, times: float = 1.0) -> Tensor:
        """Add `times` the gradient of a batch's loss to the parameters'; returns the loss in nats."""
        where, batch = device(), _trimmed(batch)
        ids, targets = torch.from_numpy(batch.inputs).to(where), torch.from_numpy(batch.targets).to(where)
        pieces = None if batch.pieces is None else torch.from_numpy(batch.pieces).to(where)
        try:
            with self._numerics.autocast():
                nats = self._decoder.losses(ids, targets, pieces)
            (nats * times).backward()  # type: ignore[no-untyped-call]
        except torch.OutOfMemoryError:
            raise Failure(
                f"{self._training.title}: out of memory with {ids.numel():,} positions at once; set [model] recompute "
                f"= true, a shorter context, or let more processes share the weights ([model] sharding)"
            ) from None
        return nats.detach().reshape(1)

    def _micros(self, batch: Batch) -> Iterator[Batch]:
        each = self._rows_at_once(batch)
        for start in range(0, len(batch.inputs), each):
            yield batch.rows(start, start + each)

    def _rows_at_once(self, batch: Batch) -> int:
        return max(1, self._training.micro // int(batch.inputs.shape[1]))

    def _update(self, gradients: list[Tensor], rate: float) -> None:
        for parameter, gradient in zip(self._decoder.parameters(), gradients, strict=True):
            parameter.grad = gradient
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * rate
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def _go_back(self, step: int, why: str) -> int:
        """Go back to a checkpoint before the steps that stood out, and remember to pass over them."""
        guard = self._guard
        position = self._checkpoints.newest(before=guard.first)
        guard.go_back(int(position["step"]), Guard(self._training.title, position.get("guard")))
        begin = self.begin(position, back=True)
        self._guard = guard
        self._write({"step": begin, "event": "rolled_back", "reason": f"from step {step + 1}: {why}"})
        return begin

    def _checkpoint(self, done: int, last: bool, stop: bool) -> None:
        keep = bool(self._training.keep_steps) and done % (self._training.keep_steps or 1) == 0
        due = done % self._training.checkpoint_steps == 0 and not last
        if keep or due or (stop and not last):
            self._checkpoints.save(self._decoder, self._optimizers, self._position(done), keep)
        if stop and not last:
            self._checkpoints.wait()
            words = f"{self._training.title}: stopped after step {done} of {self._training.schedule.steps}"
            if self._checkpoints.failed:
                raise Failure(f"{words}, but {self._checkpoints.failed}")
            raise Stopped(f"{words}; run again to go on")

    def _position(self, step: int) -> Position:
        return {
            "step": step,
            "data": self._training.fingerprint,
            "made": self._made(),
            "numerics": self._numerics.asdict(),
            "guard": self._guard.asdict(),
            "window": self._window.asdict(),
            "resumed": self._resumed,
            "held_out": self._held_out,
        }

    def _made(self) -> dict[str, Any]:
        """What the bits depend on beside recipe and text; where weights are replicated not the number of processes."""
        layout = self._world.layout if self._world.mesh is not None else {}
        return {"threads": torch.get_num_threads(), **layout}

    def _measure(self, step: int) -> None:
        """Bits per byte on held-out text, by language."""
        if self._training.held_out is None:
            return
        self._decoder.eval()
        with self._window.paused(), self._numerics.autocast():
            found = self._training.held_out.measure(self._decoder, self._world)
        self._world.reshard(self._decoder)
        self._decoder.train()
        self._held_out = {"first": self._held_out.get("first", found), "last": found}
        self._write({"step": step, "tokens": self._window.tokens, "held_out": found})

    def _write(self, line: Mapping[str, Any]) -> None:
        if self._world.first:
            with open(self._metrics, "a", encoding="utf-8") as lines:
                lines.write(json.dumps(line) + "\n")


def _trimmed(batch: Batch) -> Batch:
    """A batch without the positions behind the last one that is learnt in any row, to a multiple of 32."""
    learnt = int(np.flatnonzero((batch.targets >= 0).any(axis=0)).max(initial=0)) + 1
    length = -(-learnt // 32) * 32
    if length >= batch.targets.shape[1]:
        return batch
    inputs, targets = (np.ascontiguousarray(each[:, :length]) for each in (batch.inputs, batch.targets))
    return Batch(inputs, targets, None if batch.pieces is None else np.ascontiguousarray(batch.pieces[:, :length]))


def _nothing(batch: Batch) -> Batch:
    """A row from which nothing is learnt."""
    shape = (1, batch.inputs.shape[1])
    return Batch(np.zeros(shape, np.int64), np.full(shape, -100, np.int64), None)


def _norm(gradients: list[Tensor]) -> float:
    total = torch.nn.utils.get_total_norm(gradients)
    return float(total.full_tensor() if isinstance(total, DTensor) else total)


def _cut(metrics: Path, step: int, back: bool) -> None:
    """Drop lines of metrics beyond the step that training goes on from; all where it begins.

    That it went `back` to that step is kept where it does so again, and told anew where it only goes on.
    """
    lines = metrics.read_text("utf-8").splitlines() if step and metrics.is_file() else []
    told = [(line, json.loads(line)) for line in lines if line.endswith("}")]
    kept = [
        line
        for line, each in told
        if each["step"] < step or (each["step"] == step and (back or each.get("event") != "rolled_back"))
    ]
    write_text(metrics, "".join(f"{line}\n" for line in kept))
