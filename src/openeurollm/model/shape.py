"""The shape of a decoder, derived from a compute budget in FLOP or given by hand; never from a clock."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from openeurollm.errors import BadInput
from openeurollm.recipe import Model, batch_tokens, compute
from openeurollm.recipe import Shape as GivenShape

# Loss of a decoder of N parameters after D tokens, nats: E + A / N^a + B / D^b. Besiroglu et al. 2024, "Chinchilla
# scaling: a replication attempt", table 1.
_A, _B, _ALPHA, _BETA, _E = 482.01, 2085.43, 0.3478, 0.3658, 1.8172
_HALF_LIFE = 15.39
"""Repeated tokens count less and less: R* of Muennighoff et al. 2023, "Scaling data-constrained language models"."""

_WIDTHS = (64, 96, 128, 160, 192, 256, 320, 384, 448, 512, 640, 768, 1024, 1280, 1536, 2048, 2560, 3072, 4096, 5120)


@dataclass(frozen=True)
class Shape:
    """A Qwen3-like decoder; `head` is the width of an attention head, even.

    `tied` is one matrix for embedding and head. Positions turn with `rope_base`; under a `rope_scaling` other than
    `none` those up to `rope_factor` times `original_context` are brought back into it.
    """

    vocabulary: int
    layers: int
    width: int
    heads: int
    key_value_heads: int
    head: int
    feed_forward: int
    context: int
    tied: bool = False
    rope_base: float = 10_000.0
    rope_scaling: str = "none"
    rope_factor: float = 1.0
    original_context: int = 0

    @property
    def matrix_parameters(self) -> int:
        """Parameters that multiply every token: the layers' matrices and the output head."""
        attention = 2 * self.width * self.head * (self.heads + self.key_value_heads)
        return self.layers * (attention + 3 * self.width * self.feed_forward) + self.vocabulary * self.width

    @property
    def parameters(self) -> int:
        """All parameters: matrices, input embedding where it is one of its own, norms."""
        norms = self.layers * (2 * self.width + 2 * self.head) + self.width
        return self.matrix_parameters + (0 if self.tied else self.vocabulary * self.width) + norms

    @property
    def flop_per_token(self) -> float:
        """Training FLOP a token: 6 a matrix parameter, and causal attention over half the context on average."""
        return 6.0 * self.matrix_parameters + 6.0 * self.layers * self.heads * self.head * self.context

    def asdict(self) -> dict[str, Any]:
        """As plain values, for records."""
        return asdict(self)


def derive(model: Model, vocabulary: int, available_tokens: float, max_epochs: float) -> tuple[Shape, int]:
    """The shape and the number of training tokens for a budget.

    Among shapes of growing width, the one with the lowest predicted loss, where repeated text counts for less.
    `available_tokens` is the text of one epoch. Raises `BadInput` where the budget does not pay for one batch.
    """
    if model.shape is not None:
        shapes = [_given(model.shape, vocabulary, model)]
    else:
        shapes = [_standard(width, vocabulary, model) for width in _WIDTHS]

    batch = max(1, batch_tokens(model) // model.context) * model.context  # whole sequences, as `Batches` makes them

    def tokens(shape: Shape) -> int:
        return int(compute(model) / shape.flop_per_token) // batch * batch

    limit = available_tokens * max_epochs
    affordable = [shape for shape in shapes if tokens(shape) >= batch]
    if not affordable:
        least = batch * min(shape.flop_per_token for shape in shapes)
        raise BadInput(
            f"[model] compute = {compute(model):.2g} does not pay for one batch; the least is {least:.2g} FLOP"
        )
    best = min(affordable, key=lambda shape: predicted_loss(shape, min(tokens(shape), limit), available_tokens))
    batches = max(1, int(min(tokens(best), limit)) // batch)
    return best, batches * batch


def predicted_loss(shape: Shape, tokens: float, available_tokens: float) -> float:
    """Loss in nats that the scaling law predicts; good for choosing between shapes, not as a forecast."""
    repeats = max(0.0, tokens / available_tokens - 1)
    useful = min(tokens, available_tokens) * (1 + _HALF_LIFE * (1 - math.exp(-repeats / _HALF_LIFE)))
    return float(_E + _A / shape.matrix_parameters**_ALPHA + _B / useful**_BETA)


def _standard(width: int, vocabulary: int, model: Model) -> Shape:
    head = 32 if width < 512 else 64 if width < 2048 else 128
    heads = width // head
    key_value_heads = next(heads // group for group in (4, 3, 2, 1) if heads % group == 0)
    layers = max(2, round(width / 64))
    return Shape(vocabulary, layers, width, heads, key_value_heads, head, 3 * width, **_rest(model))


def _given(given: GivenShape, vocabulary: int, model: Model) -> Shape:
    head = given.width // given.heads
    return Shape(
        vocabulary,
        given.layers,
        given.width,
        given.heads,
        given.key_value_heads,
        head,
        given.feed_forward,
        **_rest(model),
    )


def _rest(model: Model) -> dict[str, Any]:
    """What the recipe says of every shape: its context, and how positions turn."""
    rope = model.rope
    original = rope.original_context or round(model.context / rope.factor)
    return {
        "context": model.context,
        "tied": model.tied,
        "rope_base": rope.base,
        "rope_scaling": rope.scaling,
        "rope_factor": rope.factor,
        "original_context": original if rope.scaling != "none" else 0,
    }
