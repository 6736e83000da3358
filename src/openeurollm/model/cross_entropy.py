"""Cross-entropy of the next token, without the logits of all positions in memory at once.

Shapes in names: N positions, D width, V vocabulary, C positions of a chunk.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

_CPU_POSITIONS = 384
"""Positions of a chunk on a processor: with 64 or 1,024, products with 16,384 logits each take a fifth more time."""
_CPU_PADDING = 16
"""Columns without a logit behind each row: rows that lie a multiple of 4,096 bytes apart share places in the cache."""
_GPU_SHARE = 64
"""On an accelerator the float32 logits of a chunk are this part of its memory: the larger, the fewer sums of the head's
gradient, which take a fifth of the time with 2,048 positions and a vocabulary of 131,072."""
_SURE = 1e-30
"""The logarithm of a probability above this is right to the rounding of float32."""


def cross_entropy(hidden_ND: Tensor, head_VD: Tensor, targets_N: Tensor) -> Tensor:
    """Sum in nats over the targets that are not negative, of logits `hidden_ND @ head_VD.T`; scalar.

    Where gradients will be needed they are computed here, chunk by chunk along with the loss, so they can be asked for
    only once. Under autocast the factors of products are rounded to its type, and so are logits on a processor without
    AMX; sums are in float32.
    """
    loss: Tensor = _CrossEntropy.apply(hidden_ND, head_VD, targets_N)  # type: ignore[no-untyped-call]
    return loss


@torch.no_grad()
def nats(hidden_ND: Tensor, head_VD: Tensor, targets_N: Tensor) -> Tensor:
    """The loss at each position, 0 where the target is negative; shape (N), float32, without gradient."""
    rows_M = (targets_N >= 0).nonzero().squeeze(1)
    losses_M, _ = _chunked(hidden_ND[rows_M], head_VD, targets_N[rows_M], learnt=False)
    return torch.zeros(len(hidden_ND), device=hidden_ND.device).index_copy_(0, rows_M, losses_M)


class _CrossEntropy(torch.autograd.Function):
    """Computes the gradients in its forward; the backward only multiplies them."""

    @staticmethod
    def forward(ctx: Any, hidden_ND: Tensor, head_VD: Tensor, targets_N: Tensor) -> Tensor:
        """The summed loss."""
        rows_M = (targets_N >= 0).nonzero().squeeze(1)
        learnt = any(ctx.needs_input_grad)
        losses_M, gradients = _chunked(hidden_ND[rows_M], head_VD, targets_N[rows_M], learnt)
        if gradients is not None:
            to_hidden = torch.zeros_like(hidden_ND).index_copy_(0, rows_M, gradients[0].to(hidden_ND.dtype))
            ctx.gradients = to_hidden, gradients[1].to(head_VD.dtype)
        return losses_M.sum()

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, Tensor, None]:
        """Gradients by the hidden states and by the head, in place of what the forward kept."""
        if ctx.gradients is None:
            raise RuntimeError("the gradients of a cross-entropy can be asked for once")
        (to_hidden, to_head), ctx.gradients = ctx.gradients, None
        if slope.device.type != "cpu" or slope != 1:  # where asking is waiting for the device, or there is need
            to_hidden, to_head = to_hidden.mul_(slope), to_head.mul_(slope)
        return to_hidden, to_head, None


def _chunked(
    hidden_ND: Tensor, head_VD: Tensor, targets_N: Tensor, learnt: bool
) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
    """The losses, and where they are `learnt` their gradients by the hidden states and, in float32, by the head."""
    positions, vocabulary = len(hidden_ND), len(head_VD)
    most, padding = _CPU_POSITIONS, _CPU_PADDING
    if hidden_ND.is_cuda:
        memory = torch.cuda.get_device_properties(hidden_ND.device).total_memory
        most, padding = max(1, memory // (4 * _GPU_SHARE * vocabulary)), 0
    with _factors(hidden_ND, head_VD) as (hidden_ND, head_VD):
        losses_N = torch.empty(positions, device=hidden_ND.device)
        to_hidden_ND = torch.empty_like(hidden_ND) if learnt else hidden_ND
        to_head_VD = torch.zeros_like(head_VD, dtype=torch.float32) if learnt else head_VD
        room = torch.empty(min(most, positions), vocabulary + padding, device=hidden_ND.device)
        short = room if hidden_ND.dtype == room.dtype else torch.empty_like(room, dtype=hidden_ND.dtype)
        for start in range(0, positions, most):
            here = slice(start, start + most)
            chunk_CD, at_C1 = hidden_ND[here], targets_N[here, None]
            short_CV = short[: len(chunk_CD), :vocabulary]
            likely_CV, wanted_C1, losses_N[here] = _softmax(chunk_CD, head_VD, at_C1, room[: len(chunk_CD)], short_CV)
            if learnt:
                slopes_CV = likely_CV.scatter_(1, at_C1, wanted_C1 - 1)
                if short is not room:
                    slopes_CV = short_CV.copy_(slopes_CV)
                torch.mm(slopes_CV, head_VD, out=to_hidden_ND[here])
                _add_product(to_head_VD, slopes_CV.T, chunk_CD)
    return losses_N, (to_hidden_ND, to_head_VD) if learnt else None


@contextmanager
def _factors(hidden_ND: Tensor, head_VD: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Both as factors of products: in autocast's type; on a processor with AMX, whose products can round float32 by
    themselves and sum in it, unchanged.
    """
    kind = hidden_ND.device.type
    if not torch.is_autocast_enabled(kind):
        yield hidden_ND, head_VD
        return
    before = torch.get_float32_matmul_precision()
    with torch.autocast(kind, enabled=False):
        if kind != "cpu" or not torch.cpu.get_capabilities().get("amx_bf16"):
            dtype = torch.get_autocast_dtype(kind)
            yield hidden_ND.to(dtype), head_VD.to(dtype)
            return
        torch.set_float32_matmul_precision("medium")
        try:
            yield hidden_ND.float(), head_VD.float()
        finally:
            torch.set_float32_matmul_precision(before)


def _softmax(
    chunk_CD: Tensor, head_VD: Tensor, at_C1: Tensor, room: Tensor, short_CV: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """All probabilities, which lie in `room` (C, V or more), and those and the losses of the targets `at_C1`.

    Logits that are not made in float32 lie in `short_CV` first.
    """
    likely_CV = room[:, : len(head_VD)]
    room[:, len(head_VD) :] = -math.inf
    _product(chunk_CD, head_VD.T, likely_CV, short_CV)
    torch.softmax(room, 1, out=room)
    wanted_C1 = likely_CV.gather(1, at_C1)
    losses_C1 = -wanted_C1.log()
    unsure_C = (wanted_C1 < _SURE).squeeze(1)
    if unsure_C.any():
        logits = _product(chunk_CD[unsure_C], head_VD.T)
        losses_C1[unsure_C] = logits.logsumexp(1, keepdim=True) - logits.gather(1, at_C1[unsure_C])
    return likely_CV, wanted_C1, losses_C1.squeeze(1)


def _product(one: Tensor, other: Tensor, out: Tensor | None = None, short: Tensor | None = None) -> Tensor:
    """The product in float32, by way of `short` where the device has none of short factors in float32."""
    if one.dtype == torch.float32:
        return torch.mm(one, other, out=out)
    if one.is_cuda:
        return torch.mm(one, other, torch.float32, out=out)
    product = torch.mm(one, other, out=short)
    return product.float() if out is None else out.copy_(product)


def _add_product(to: Tensor, one: Tensor, other: Tensor) -> None:
    if one.dtype == torch.float32:
        to.addmm_(one, other)
    else:
        to += torch.mm(one, other, torch.float32) if one.is_cuda else torch.mm(one, other)
