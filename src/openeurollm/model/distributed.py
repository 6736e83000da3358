"""Training over several processes, as torchrun starts them.

*Replicated*: each process has all weights, and sums go along one binary tree over the parts of a step, whoever computes
them: each process adds up an aligned block of parts, then the processes add up what they have, first in pairs, then in
pairs of pairs. Any number of processes that the parts allow ends in the same bits.

*Sharded* (FSDP2): groups of processes hold one copy between them, and the groups are replicas of each other (hybrid
sharding; groups of one are plain data parallelism). The same layout ends in the same bits; another one trains on the
same batches.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache
from itertools import count
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.rendezvous import rendezvous

from openeurollm.engine import Engine, Reporter
from openeurollm.errors import BadInput, Lost
from openeurollm.model.decoder import Decoder

_WORK_ELSEWHERE = timedelta(days=1)
"""How long processes wait for one that writes; where it dies, they learn of it at once."""
_EXCHANGE = timedelta(minutes=10)
"""How long a process waits for another one's part of a step."""


@dataclass(frozen=True)
class World:
    """The processes that train together: `size` of them, this one being number `rank`.

    `mesh` has the dimensions "replicate" and "shard" where the weights are sharded; a step is cut into `parts` where
    they are not. Every method but `reporter` and `share` is called by all processes, in the same order. They raise
    `Lost` where another process has ended or is not heard of for too long.
    """

    rank: int = 0
    size: int = 1
    group: Any = None
    writers: Any = None
    parts: int = 1
    mesh: DeviceMesh | None = None

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and tells the progress."""
        return self.rank == 0

    @property
    def node(self) -> int:
        """Processes on this one's node."""
        return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if self.size > 1 else 1

    @property
    def layout(self) -> dict[str, int]:
        """How the weights lie, for records."""
        return {"processes": self.size, "shard": self.mesh["shard"].size() if self.mesh else 1}

    def reporter(self, engine: Engine) -> Reporter:
        """The engine's own in the first process, a silent one in the others."""
        return engine.reporter if self.first else Reporter(quiet=True)

    def lay_out(self, sharding: int | Literal["auto"], parts: int, state_bytes: float) -> "World":
        """This world with the layout for a training whose weights, gradients and optimisers take `state_bytes`.

        `auto` gives each process a copy where one takes at most a third of its memory, else each node, else all.
        Raises `BadInput` where the processes cannot be grouped so.
        """
        room = available(self.node) / 3
        smallest = next((shard for shard in (1, self.node) if state_bytes / shard <= room), self.size)
        shard = smallest if sharding == "auto" else sharding
        if self.size % shard:
            raise BadInput(f"[model] sharding = {shard}: {self.size} processes are no multiple of that")
        if shard == 1 and parts % self.size == 0:
            return replace(self, parts=parts)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        with _peers():
            mesh = init_device_mesh(device, (self.size // shard, shard), mesh_dim_names=("replicate", "shard"))
        return replace(self, mesh=mesh)

    def shard(self, decoder: Decoder, precision: torch.dtype) -> None:
        """Shard the decoder's weights in place where the layout says so; products are made in `precision`."""
        if self.mesh is None:
            return
        policy = MixedPrecisionPolicy(param_dtype=precision, reduce_dtype=torch.float32)
        for layer in decoder.model.layers:
            fully_shard(layer, mesh=self.mesh, mp_policy=policy)
        fully_shard(decoder, mesh=self.mesh, mp_policy=policy)
        for name in ("losses", "nats"):
            register_fsdp_forward_method(decoder, name)

    def reshard(self, decoder: Decoder) -> None:
        """Give back the weights of others, which stay after a forward without a gradient."""
        for module in decoder.modules():
            if isinstance(module, FSDPModule):
                module.reshard()

    def gathered(self, decoder: Decoder) -> Decoder:
        """The decoder with all its weights, on the processor, for the first process; another one's is of no use."""
        if self.mesh is None:
            return decoder
        weights = {}
        for name, parameter in decoder.named_parameters():
            with _peers():
                full = parameter.full_tensor()  # type: ignore[attr-defined]
            weights[name] = full.detach().cpu() if self.first else torch.empty(0)
        if not self.first:
            return decoder
        whole = Decoder(decoder.shape, seed=0)
        whole.load_state_dict(weights, strict=False)
        return whole

    def share(self, rows: int) -> tuple[int, int]:
        """The first row of a step of so many that is this process' own, and the first one behind them."""
        if self.mesh is not None:
            return rows * self.rank // self.size, rows * (self.rank + 1) // self.size
        mine = self.parts // self.size
        return rows * mine * self.rank // self.parts, rows * mine * (self.rank + 1) // self.parts

    def sum(self, part: Callable[[int], list[Tensor]]) -> list[Tensor]:
        """The sum of all parts, lists of tensors alike, along the tree; the same on all processes.

        Each process asks for its own parts, which `part` numbers from 0.
        """
        total = _tree(0, self.parts // self.size, part)
        if self.size == 1:
            return total
        flat = torch.cat([each.flatten() for each in total])
        theirs = torch.empty_like(flat)
        distance = 1
        while distance < self.size:
            peer = self.rank ^ distance
            with _peers():
                exchange = [
                    dist.P2POp(dist.isend, flat, peer, self.group),
                    dist.P2POp(dist.irecv, theirs, peer, self.group),
                ]
                for message in dist.batch_isend_irecv(exchange):
                    message.wait()
            flat.add_(theirs)  # the same bits on both sides, as a + b = b + a
            distance *= 2
        pieces = torch.split(flat, [each.numel() for each in total])
        return [piece.view_as(each) for piece, each in zip(pieces, total, strict=True)]

    def totals(self, numbers: list[float]) -> list[float]:
        """The sum of each number over all processes, in float64: exact for whole numbers."""
        if self.size == 1:
            return numbers
        told = torch.tensor(numbers, dtype=torch.float64)
        with _peers():
            dist.all_reduce(told)
        return [float(number) for number in told]

    def from_first(self, number: float) -> float:
        """The number that the first process gives."""
        return self.totals([number if self.first else 0.0])[0]

    def words(self, text: str) -> str:
        """The text that the first process gives."""
        if self.size == 1:
            return text
        encoded = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)
        told = encoded if self.first else torch.empty(0, dtype=torch.uint8)
        told = torch.cat([told, torch.zeros(int(self.from_first(len(encoded))) - len(told), dtype=torch.uint8)])
        with _peers():
            dist.broadcast(told, 0)
        return bytes(told.tolist()).decode()

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.size > 1:
            with _peers():
                dist.barrier()


def available(processes: int = 1) -> int:
    """Bytes that a process has to itself where so many share a node: the device's, or its part of the machine's."""
    if torch.cuda.is_available():
        return int(torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // processes


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
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=_WORK_ELSEWHERE)
        group = dist.new_group(backend="nccl" if torch.cuda.is_available() else "gloo", timeout=_EXCHANGE)
        writers = dist.new_group(backend="gloo", timeout=_WORK_ELSEWHERE)  # speaks while the training goes on
    try:
        world = World(rank, size, group, writers)
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
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        reason = (str(error).splitlines() or [""])[0][:200]
        raise Lost(f"another process of the training has ended ({reason}); run again to go on") from error


def _tree(low: int, high: int, part: Callable[[int], list[Tensor]]) -> list[Tensor]:
    """The sum of `part(low)` to `part(high - 1)`, halves first; their number is a power of two."""
    if high - low == 1:
        return part(low)
    middle = (low + high) // 2
    left, right = _tree(low, middle, part), _tree(middle, high, part)
    torch._foreach_add_(left, right)
    return left
