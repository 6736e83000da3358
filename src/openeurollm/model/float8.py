"""Products of eight-bit floating-point numbers, each tensor scaled by its largest (Micikevicius et al. 2022, "FP8
Formats for Deep Learning").

Shapes in names: N positions, I inputs, O outputs.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_MULTIPLE = 16


class Linear(nn.Linear):
    """A layer whose products are made so. A plain one becomes one by its `__class__`, and keeps its weight."""

    def forward(self, x: Tensor) -> Tensor:
        """`x @ weight.T`, in bfloat16."""
        return product(x, self.weight)


def product(x: Tensor, weight_OI: Tensor) -> Tensor:
    """`x @ weight_OI.T` of x of shape (…, I), in bfloat16.

    Weights and activations are rounded to e4m3, gradients to e5m2; sums are in float32. The kernel wants rows and
    columns in multiples of 16: where they are not, factors are in bfloat16.
    """
    rows = x.flatten(0, -2)
    if any(size % _MULTIPLE for size in (*rows.shape, *weight_OI.shape)):
        return F.linear(x.bfloat16(), weight_OI.bfloat16())
    out: Tensor = _Product.apply(rows, weight_OI)  # type: ignore[no-untyped-call]
    return out.view(*x.shape[:-1], -1)


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_NI: Tensor, weight_OI: Tensor) -> Tensor:
        x, x_scale = _scaled(x_NI, torch.float8_e4m3fn)
        weight, weight_scale = _scaled(weight_OI, torch.float8_e4m3fn)
        ctx.save_for_backward(x, x_scale, weight, weight_scale)
        ctx.types = x_NI.dtype, weight_OI.dtype
        return torch._scaled_mm(x, weight.T, x_scale, weight_scale, out_dtype=torch.bfloat16, use_fast_accum=True)

    @staticmethod
    def backward(ctx: Any, slope_NO: Tensor) -> tuple[Tensor, Tensor]:
        x, x_scale, weight, weight_scale = ctx.saved_tensors
        slope, slope_scale = _scaled(slope_NO, torch.float8_e5m2)
        to_x = torch._scaled_mm(slope, _by_columns(weight), slope_scale, weight_scale, out_dtype=torch.bfloat16)
        to_weight = torch._scaled_mm(
            slope.T.contiguous(), _by_columns(x), slope_scale, x_scale, out_dtype=torch.bfloat16
        )
        return to_x.to(ctx.types[0]), to_weight.to(ctx.types[1])


def _scaled(x: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """`x` over its scale in a type of eight bits, and the scale, with which its largest number is the type's."""
    scale = x.abs().amax().float().clamp(min=1e-12) / torch.finfo(dtype).max
    return (x.float() / scale).to(dtype).contiguous(), scale


def _by_columns(x: Tensor) -> Tensor:
    """The same matrix with columns one after another, as the kernel wants its second factor."""
    return x.T.contiguous().T
