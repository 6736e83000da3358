"""Muon for the layers' matrices, AdamW for embedding, head and norms."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from openeurollm.model.decoder import Decoder
from openeurollm.recipe import Model

_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic iteration, Jordan et al. 2024, "Muon: an optimizer for hidden layers"."""
_KEPT, _LEAST = 0.9, 1e-6
"""Share of the mean square of a row's updates that is kept at each step, and the least share of the usual one."""


class Muon(torch.optim.Optimizer):
    """Momentum whose update is made orthogonal by five Newton–Schulz steps (Jordan et al. 2024), with rows of even size
    (Li et al. 2025, "NorMuon: Making Muon more efficient and scalable").

    Unlike `torch.optim.Muon` it makes products in the precision of the training, takes matrices of one shape together,
    and has each matrix of a sharded model made orthogonal by one process.
    """

    def __init__(
        self,
        parameters: list[nn.Parameter],
        rate: float,
        decay: float = 0.0,
        momentum: float = 0.95,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(parameters, {"lr": rate, "weight_decay": decay, "momentum": momentum})
        self._dtype = dtype

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Update every matrix once."""
        for group in self.param_groups:
            alike: dict[torch.Size, list[nn.Parameter]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    alike.setdefault(parameter.shape, []).append(parameter)
            for shape, parameters in alike.items():
                updates = local(parameters[0]).new_empty(len(parameters), *local(parameters[0]).shape)
                for parameter, update in zip(parameters, updates, strict=True):
                    self._momentum(parameter, group["momentum"], update)
                scale = group["lr"] * max(1.0, shape[0] / shape[1]) ** 0.5
                for parameter, update in zip(parameters, self._orthogonal(updates, parameters[0]), strict=True):
                    weights = local(parameter)
                    if group["weight_decay"]:
                        weights.mul_(1 - group["lr"] * group["weight_decay"])
                    weights.add_(self._even(parameter, update), alpha=-scale)

    @staticmethod
    def begun(parameter: nn.Parameter) -> dict[str, Tensor]:
        """The state of a matrix before the first step."""
        usual = torch.full_like(
            parameter[:, :1], 1 / max(parameter.shape)
        )  # of a matrix with orthogonal rows or columns
        return {"momentum_buffer": torch.zeros_like(parameter), "row_square": usual}

    def _momentum(self, parameter: nn.Parameter, momentum: float, update: Tensor) -> None:
        """Write this process' rows of the update before it is made orthogonal, Nesterov's, into `update`."""
        if not self.state[parameter]:
            self.state[parameter] = self.begun(parameter)
        buffer, gradient = local(self.state[parameter]["momentum_buffer"]), local(parameter.grad)
        buffer.lerp_(gradient, 1 - momentum)
        torch.lerp(gradient, buffer, momentum, out=update)

    def _even(self, parameter: nn.Parameter, update: Tensor) -> Tensor:
        """This process' rows of an update, each over the root of the mean square that its updates have had lately."""
        square = local(self.state[parameter]["row_square"])
        norms = torch.linalg.vector_norm(update, dim=1, keepdim=True, dtype=square.dtype)
        square.lerp_(norms.square() / update.shape[1], 1 - _KEPT)
        return update * (square * max(parameter.shape)).clamp_min(_LEAST).rsqrt().to(update.dtype)

    def _orthogonal(self, updates: Tensor, parameter: nn.Parameter) -> Tensor | list[Tensor]:
        """The updates of matrices of one shape made orthogonal; of sharded ones this process' rows, in and out."""
        if not isinstance(parameter, DTensor):
            return orthogonal(updates, self._dtype)
        shards = parameter.device_mesh["shard"].get_group()
        return _shared(updates, shards, parameter.shape[0], parameter.shape[1], self._dtype)


def local(tensor: Any) -> Tensor:
    """The part of a tensor that this process holds: of a sharded one its rows."""
    held: Tensor = tensor.to_local() if isinstance(tensor, DTensor) else tensor
    return held


def _shared(rows: Tensor, group: dist.ProcessGroup, height: int, width: int, dtype: torch.dtype) -> list[Tensor]:
    """Matrices of which each process of the group has some rows: each process puts together its share of the matrices,
    makes them orthogonal, and gives the others their rows back.
    """
    size, rank = dist.get_world_size(group), dist.get_rank(group)
    each = -(-len(rows) // size)
    most = -(-height // size)  # rows are dealt out as `torch.chunk` does it
    heights = [max(0, min(most, height - most * number)) for number in range(size)]
    numbers = [max(0, min(each, len(rows) - each * number)) for number in range(size)]
    mine = [number * heights[rank] * width for number in numbers]
    theirs = [numbers[rank] * part * width for part in heights]
    sent = rows.flatten()
    received = sent.new_empty(sum(theirs))
    dist.all_to_all_single(received, sent, theirs, mine, group=group)
    if numbers[rank]:
        parts = [
            part.view(numbers[rank], part_height, width)
            for part, part_height in zip(torch.split(received, theirs), heights, strict=True)
        ]
        done = torch.split(orthogonal(torch.cat(parts, dim=1), dtype), heights, dim=1)
        received = torch.cat([part.flatten() for part in done])
    returned = torch.empty_like(sent, dtype=dtype)
    dist.all_to_all_single(returned, received.to(dtype), mine, theirs, group=group)
    if not heights[rank]:
        return list(rows)
    return [part.view(heights[rank], width) for part in torch.split(returned, heights[rank] * width)]


def orthogonal(matrices: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """The nearest (semi-)orthogonal matrix to each of a stack (n, rows, columns), to about 30 % in singular values.

    Products are made in `dtype`, in which it is returned.
    """
    a, b, c = _NEWTON_SCHULZ
    tall = matrices.shape[1] > matrices.shape[2]
    x: Tensor = (matrices / (matrices.norm(dim=(1, 2), keepdim=True) + 1e-7)).to(dtype)
    for _ in range(5):
        square = x.mT @ x if tall else x @ x.mT  # the smaller one
        series = torch.baddbmm(square, square, square, beta=b, alpha=c)
        x = torch.baddbmm(x, x, series, beta=a) if tall else torch.baddbmm(x, series, x, beta=a)
    return x


def optimizers(
    decoder: Decoder, model: Model, factor: float = 1.0, dtype: torch.dtype = torch.float32
) -> list[torch.optim.Optimizer]:
    """The optimisers of a decoder, every rate times `factor`; each group remembers its rate as `initial_lr`.

    A matrix that is embedding and head in one learns at the head's rate.
    """
    matrices: list[nn.Parameter] = []
    norms: list[nn.Parameter] = []
    for parameter in decoder.model.layers.parameters():
        (matrices if parameter.ndim == 2 else norms).append(parameter)
    groups = [
        {"params": [decoder.lm_head.weight], "lr": model.head_rate * factor},
        {"params": [*norms, decoder.model.norm.weight], "lr": model.head_rate * factor},
    ]
    if not decoder.shape.tied:
        groups.append({"params": [decoder.model.embed_tokens.weight], "lr": model.embedding_rate * factor})
    adam = torch.optim.AdamW(groups, betas=(0.8, 0.95), eps=1e-10, weight_decay=0.0, fused=True)
    muon = Muon(matrices, model.muon_rate * factor, model.weight_decay, dtype=dtype)
    for optimizer in (muon, adam):
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    return [muon, adam]


def begin(optimizer: torch.optim.Optimizer) -> None:
    """Give each parameter the state it has before the first step, into which a checkpoint can be read."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if isinstance(optimizer, Muon):
                optimizer.state[parameter] = optimizer.begun(parameter)
            else:
                moments = {kind: torch.zeros_like(parameter) for kind in ("exp_avg", "exp_avg_sq")}
                optimizer.state[parameter] = {"step": torch.tensor(0.0), **moments}
