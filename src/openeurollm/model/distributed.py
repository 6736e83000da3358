"""Training over several processes, as torchrun starts them; any number of them ends in the same bits.

Sums go along one binary tree over the parts of a step, whoever computes them: each process adds up an aligned block of
parts, then the processes add up what they have, first in pairs, then in pairs of pairs.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from itertools import count
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from openeurollm.engine import Engine, Reporter
from openeurollm.errors import BadInput, Lost

_WORK_ELSEWHERE = timedelta(days=1)
"""How long processes wait for one that writes; where it dies, they learn of it at once."""
_EXCHANGE = timedelta(minutes=10)
"""How long a process waits for another one's part of a step."""


@dataclass(frozen=True)
class World:
    """The processes that train together: `size` of them, this one being number `rank`.

    Every method but `check` and `reporter` is called by all processes, in the same order. They raise `Failure` where
    another process has ended or is not heard of for too long.
    """

    rank: int = 0
    size: int = 1
    group: Any = None

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and tells the progress."""
        return self.rank == 0

    def reporter(self, engine: Engine) -> Reporter:
        """The engine's own in the first process, a silent one in the others."""
        return engine.reporter if self.first else Reporter(quiet=True)

    def check(self, parts: int) -> None:
        """Raises `BadInput` where a step of so many parts cannot be shared evenly between the processes."""
        if parts % self.size:
            possible = [str(number) for number in range(1, parts + 1) if parts % number == 0]
            raise BadInput(
                f"{self.size} processes cannot share a step of {parts} parts evenly; "
                f"{', '.join(possible)} can (more where batch_tokens in the recipe is larger, up to 8)"
            )

    def sum(self, parts: int, part: Callable[[int], Tensor]) -> Tensor:
        """The sum of `part(0)` to `part(parts - 1)`, tensors of one shape, along the tree; the same on all processes.

        `parts` is a power of two that the number of processes divides.
        """
        mine = parts // self.size
        total = _tree(self.rank * mine, (self.rank + 1) * mine, part)
        theirs = torch.empty_like(total)
        distance = 1
        while distance < self.size:
            peer = self.rank ^ distance
            with _peers():
                exchange = [
                    dist.P2POp(dist.isend, total, peer, self.group),
                    dist.P2POp(dist.irecv, theirs, peer, self.group),
                ]
                for message in dist.batch_isend_irecv(exchange):
                    message.wait()
            total.add_(theirs)  # the same bits on both sides, as a + b = b + a
            distance *= 2
        return total

    def from_first(self, number: float) -> float:
        """The number that the first process gives."""
        told = torch.tensor(number, dtype=torch.float64)
        if self.size > 1:
            with _peers():
                dist.broadcast(told, 0)
        return float(told)

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.size > 1:
            with _peers():
                dist.barrier()


@contextmanager
def start() -> Iterator[World]:
    """Join the processes that torchrun started, which waits for all of them, and leave them together at the end.

    Without torchrun's WORLD_SIZE in the environment, or where it is 1, a world of one.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World()
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    with _peers():
        store, rank, _ = _meeting()
        store = PrefixStore(f"training {next(_starts)}", store)
        dist.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=_WORK_ELSEWHERE)
        group = dist.new_group(backend="nccl" if torch.cuda.is_available() else "gloo", timeout=_EXCHANGE)
    try:
        world = World(rank, size, group)
        yield world
        world.wait()
    finally:
        dist.destroy_process_group()


_starts = count()
"""Trainings of this process so far; each has names of its own in the store, where those of the last one stay."""


@cache
def _meeting() -> tuple[Store, int, int]:
    """The store in which processes find each other, kept for the trainings to come; this one's rank; their number."""
    found: tuple[Store, int, int] = next(rendezvous("env://", timeout=_WORK_ELSEWHERE))
    return found


@contextmanager
def _peers() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        reason = (str(error).splitlines() or [""])[0][:200]
        raise Lost(f"another process of the training has ended ({reason}); run again to go on") from error


def _tree(low: int, high: int, part: Callable[[int], Tensor]) -> Tensor:
    """The sum of `part(low)` to `part(high - 1)`, halves first; their number is a power of two."""
    if high - low == 1:
        return part(low)
    middle = (low + high) // 2
    return _tree(low, middle, part).add_(_tree(middle, high, part))
