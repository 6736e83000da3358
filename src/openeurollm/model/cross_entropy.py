"""Cross-entropy of the next token, without the logits of all positions in memory at once.

Shapes in comments: N positions, D width, V vocabulary, C positions of a chunk.
"""

from typing import Any

import torch
from torch import Tensor

_CPU_POSITIONS = 512
"""Positions of a chunk on a processor. With 16,384 logits each: 64 and 1,024 take a fifth more time than 256 to 512."""
_GPU_LOGITS = 1 << 28
"""Logits of a chunk on an accelerator: one gibibyte of float32."""


def cross_entropy(hidden_ND: Tensor, head_VD: Tensor, targets_N: Tensor) -> Tensor:
    """Sum in nats over the targets that are not negative, of logits `hidden_ND @ head_VD.T`; scalar.

    Where a gradient will be needed it is computed here, chunk by chunk along with the loss (Wijmans et al. 2024, "Cut
    Your Losses in Large-Vocabulary Language Models", take the idea further), so it can be asked for only once. Under
    autocast products are taken in its type; sums are in float32 always.
    """
    loss: Tensor = _CrossEntropy.apply(hidden_ND, head_VD, targets_N)  # type: ignore[no-untyped-call]
    return loss


def nats(hidden_ND: Tensor, head_VD: Tensor, targets_N: Tensor) -> Tensor:
    """The loss at each position, 0 where the target is negative; shape (N), without gradient."""
    with torch.no_grad():
        losses = hidden_ND.new_zeros(len(hidden_ND), dtype=torch.float32)
        for rows, chunk, head, targets in _chunks(hidden_ND, head_VD, targets_N):
            losses[rows] = _losses(_product(chunk, head.T), targets)[0]
        return losses


class _CrossEntropy(torch.autograd.Function):
    """Computes the gradients in its forward; the backward only multiplies them."""

    @staticmethod
    def forward(ctx: Any, hidden_ND: Tensor, head_VD: Tensor, targets_N: Tensor) -> Tensor:
        """The summed loss."""
        total = torch.zeros((), device=hidden_ND.device)
        wanted = any(ctx.needs_input_grad)
        if wanted:
            to_hidden = torch.zeros_like(hidden_ND)
            to_head = torch.zeros_like(head_VD, dtype=torch.float32)
        for rows, chunk, head, targets in _chunks(hidden_ND, head_VD, targets_N):
            losses, slopes = _losses(_product(chunk, head.T), targets)
            total += losses.sum()
            if wanted:
                slopes = slopes.to(chunk.dtype)
                to_hidden[rows] = (slopes @ head).to(to_hidden.dtype)
                if chunk.dtype == torch.float32:
                    to_head.addmm_(slopes.T, chunk)
                else:
                    to_head += _product(slopes.T, chunk)
        ctx.gradients = (to_hidden, to_head.to(head_VD.dtype)) if wanted else None
        return total

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, Tensor, None]:
        """Gradients of the hidden states and of the head."""
        to_hidden, to_head = ctx.gradients
        ctx.gradients = None
        return to_hidden.mul_(slope), to_head.mul_(slope), None


def _chunks(hidden_ND: Tensor, head_VD: Tensor, targets_N: Tensor) -> Any:
    """Chunks of positions that have a target: (which, hidden states, head, targets), in the type of the products."""
    kind = hidden_ND.device.type
    if torch.is_autocast_enabled(kind):
        hidden_ND, head_VD = (x.to(torch.get_autocast_dtype(kind)) for x in (hidden_ND, head_VD))
    size = _CPU_POSITIONS if kind == "cpu" else max(1, _GPU_LOGITS // len(head_VD))
    rows_N = (targets_N >= 0).nonzero().squeeze(1)
    for rows_C in torch.split(rows_N, size):
        yield rows_C, hidden_ND[rows_C], head_VD, targets_N[rows_C]


def _product(one: Tensor, other: Tensor) -> Tensor:
    """A product in float32, also of tensors of a shorter type."""
    if one.is_cuda and one.dtype != torch.float32:
        return torch.mm(one, other, out_dtype=torch.float32)
    return (one @ other).float()


def _losses(logits_CV: Tensor, targets_C: Tensor) -> tuple[Tensor, Tensor]:
    """The loss at each position, and its slope by each logit, which is written over the logits."""
    at = targets_C[:, None]
    wanted = logits_CV.gather(1, at)
    highest = logits_CV.amax(1, keepdim=True)
    spread = logits_CV.sub_(highest).exp_().sum(1, keepdim=True)
    losses = (spread.log() + highest - wanted).squeeze(1)
    return losses, logits_CV.div_(spread).scatter_add_(1, at, -torch.ones_like(wanted))
