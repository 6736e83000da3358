"""What a training needs of memory, and what there is: estimates, made before anything is allocated."""

import torch

from openeurollm.errors import BadInput
from openeurollm.model.distributed import World, available
from openeurollm.model.shape import Shape

_STATE = 20
"""Bytes a parameter: weight, gradient, the sum of other parts' gradients, and two numbers of the optimiser."""
_MOST, _LEAST = 32_768, 256
_ON_PROCESSOR = 4_096
"""Positions at once: on a processor as many as stay in its caches, on an accelerator as many as fit, up to `_MOST`."""


def state_bytes(shape: Shape) -> int:
    """Bytes of weights, gradients and states of the optimisers."""
    return _STATE * shape.parameters


def position_bytes(shape: Shape, recompute: bool, bytes_each: int) -> int:
    """Bytes of what a position leaves behind for the gradient, numbers taking `bytes_each`."""
    layer = 8 * shape.width + 4 * shape.feed_forward + 6 * (shape.heads + shape.key_value_heads) * shape.head
    layers = shape.width * shape.layers + layer if recompute else layer * shape.layers
    return bytes_each * (layers + 4 * shape.width)


def micro(shape: Shape, world: World, recompute: bool, bytes_each: int) -> int:
    """Positions that go through the decoder at once, a power of two or one row.

    Raises `BadInput` where not even one row fits, with what would.
    """
    there, shard = available(world.node), world.layout["shard"]
    room = 0.85 * there - state_bytes(shape) / shard
    each = position_bytes(shape, recompute, bytes_each)
    if room < each * min(shape.context, _LEAST):
        most = int(0.5 * there * shard / _STATE)
        raise BadInput(
            f"[model] {shape.parameters:,} parameters need {_size(state_bytes(shape) / shard)} in each process, which "
            f"shares the weights with {shard - 1} others, and {_size(each * shape.context)} for a row of "
            f"{shape.context:,} positions; there are {_size(there)}. About {most:,} parameters fit, "
            f"or more processes to share them"
        )
    most = _MOST if torch.cuda.is_available() else _ON_PROCESSOR
    while most > max(_LEAST, shape.context) and most * each > room:
        most //= 2
    return max(most, shape.context)


def _size(number: float) -> str:
    return f"{number / 1e9:,.1f} GB"
