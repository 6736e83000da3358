"""The shape of a decoder and the length of its training, from one dial or given by hand; never from a clock."""

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

from openeurollm.errors import BadInput
from openeurollm.model import law as laws
from openeurollm.model.law import Estimate, Law
from openeurollm.recipe import Model, batch_tokens, compute
from openeurollm.recipe import Shape as GivenShape

WIDTHS = (
    *(32, 48, 64, 96, 128, 192, 256, 320, 384, 448, 512, 640, 768, 1024, 1280, 1536),
    *(2048, 2560, 3072, 4096, 5120),
)
_TIE = 1.002
"""Of shapes whose losses differ by less than two trainings do, the smallest is best: it costs least to run."""
_NEAR = 1.15
"""A shape may have this many times the parameters that are asked for, or that much fewer."""
ROPE_BASE = 10_000.0
"""Of positions, where neither recipe nor model has another."""


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
    rope_base: float = ROPE_BASE
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


@dataclass(frozen=True)
class Text:
    """What there is to train on: tokens of one epoch, how often they may come, and the bytes that one stands for."""

    tokens: float
    max_epochs: float
    bytes_per_token: float

    @property
    def most(self) -> int:
        """Tokens that can be trained on."""
        return int(self.tokens * self.max_epochs)


@dataclass(frozen=True)
class Choice:
    """A shape, the tokens that it is trained on, and the loss to expect."""

    shape: Shape
    tokens: int
    predicted: Estimate

    @property
    def flop(self) -> float:
        """What the training takes."""
        return self.tokens * self.shape.flop_per_token


def law_of(model: Model) -> Law:
    """The scaling law that the recipe names, or the bundled one."""
    return laws.read(model.law) if model.law else laws.bundled()


def choose(model: Model, vocabulary: int, text: Text, law: Law, shape: Shape | None = None) -> Choice:
    """The shape and the tokens that the recipe's dial comes to.

    For `compute` it is the smallest shape whose predicted loss is as good as the lowest, trained until the budget is
    spent or the text has been repeated as often as it may be. For `parameters` it is the shape nearest to them, for
    `tokens` the one that they are the best number for; what the two do not say, tokens or size, is what spends compute
    best. `shape` is that of a model that is there already. Raises `BadInput` where the text does not fill a batch, the
    budget does not pay for one, no shape has so many parameters, or the text has not so many tokens.
    """
    shapes = [shape] if shape else candidates(model, vocabulary)
    batch = max(1, batch_tokens(model) // model.context) * model.context  # whole rows, as the trainer takes them
    if text.most < batch:
        raise BadInput(
            f"the corpus has {text.tokens:,.0f} tokens, which with [mixture] max_epochs = {text.max_epochs:g} do not "
            f"fill a batch of {batch:,}; gather more text, or set [model] batch_tokens lower"
        )
    if model.tokens is not None and model.tokens > text.most:
        raise BadInput(
            f"[model] tokens = {model.tokens:,.0f}: the corpus has {text.tokens:,.0f}, which [mixture] max_epochs = "
            f"{text.max_epochs:g} lets be {text.most:,}"
        )
    choices = [_choice(model, each, text, law, batch) for each in shapes]
    paid = [choice for choice in choices if choice.tokens]
    if not paid:
        least = batch * min(shape.flop_per_token for shape in shapes)
        raise BadInput(
            f"[model] compute = {compute(model):.2g} does not pay for one batch; the least is {least:.2g} FLOP"
        )
    if model.tokens is not None:
        return min(paid, key=lambda choice: abs(math.log(_best_tokens(choice.shape, text, law) / choice.tokens)))
    enough = _TIE * min(choice.predicted.value for choice in paid)
    return next(choice for choice in paid if choice.predicted.value <= enough)


def candidates(model: Model, vocabulary: int) -> list[Shape]:
    """The shapes that a recipe may come to, by size: the one given, the one of the parameters asked for, or all."""
    if model.shape is not None:
        return [_given(model.shape, vocabulary, model)]
    if model.parameters is not None:
        return [_nearest(model.parameters, vocabulary, model)]
    return [standard(width, vocabulary, model) for width in WIDTHS]


def neighbours(model: Model, chosen: Choice, vocabulary: int, text: Text, law: Law, each: int = 2) -> list[Choice]:
    """The choice and usual shapes a little smaller and larger, with the tokens that as much compute pays for."""
    beside = [standard(width, vocabulary, model) for width in WIDTHS]
    smaller = [shape for shape in beside if shape.matrix_parameters < chosen.shape.matrix_parameters][-each:]
    larger = [shape for shape in beside if shape.matrix_parameters > chosen.shape.matrix_parameters][:each]
    tokens = [(shape, int(min(chosen.flop / shape.flop_per_token, text.most))) for shape in smaller + larger]
    found = [Choice(shape, number, predict(shape, number, text, law)) for shape, number in tokens if number]
    return sorted([*found, chosen], key=lambda choice: choice.shape.matrix_parameters)


def suitable_vocabulary(shape: Shape) -> int:
    """About how many tokens suit the layers of a shape: a power of two between 1,024 and 262,144.

    Four times what Tao et al. 2024 ("Scaling laws with vocabulary") find for English, 1.77 P^0.83 parameters of
    embedding for P of layers: between a thousand for the smallest models here (docs/diary.md) and the 128,000 that
    models of many languages have at two billion.
    """
    layers = shape.matrix_parameters - shape.vocabulary * shape.width
    wished = 4 * 1.77 * layers**0.83 / shape.width
    return int(min(2**18, max(2**10, 2 ** round(math.log2(wished)))))


def predict(shape: Shape, tokens: float, text: Text, law: Law) -> Estimate:
    """Bits a byte on held-out text, mean over languages, after `tokens` of `text`."""
    different = text.tokens * text.bytes_per_token
    size = laws.useful_size(shape.matrix_parameters, law.best.best_size(different))
    return law.predict(size, laws.useful(tokens * text.bytes_per_token, different))


def _choice(model: Model, shape: Shape, text: Text, law: Law, batch: int) -> Choice:
    if model.tokens is not None:
        tokens = max(model.tokens, batch)
    elif model.parameters is not None:
        tokens = max(_best_tokens(shape, text, law), batch)
    else:
        tokens = compute(model) / shape.flop_per_token
    whole = int(min(tokens, text.most)) // batch * batch
    return Choice(shape, whole, predict(shape, max(whole, 1), text, law))


def _best_tokens(shape: Shape, text: Text, law: Law) -> float:
    return law.best.best_text(shape.matrix_parameters) / text.bytes_per_token


def _nearest(parameters: float, vocabulary: int, model: Model) -> Shape:
    """The shape with about so many parameters whose proportions are nearest to the usual ones."""
    shapes = [
        replace(usual, layers=layers)
        for usual in (standard(width, vocabulary, model) for width in WIDTHS)
        for layers in range(max(1, usual.layers // 2), 2 * usual.layers + 1)
    ]
    near = [shape for shape in shapes if 1 / _NEAR <= shape.parameters / parameters <= _NEAR]
    if not near:
        sizes = sorted(shape.parameters for shape in shapes)
        nearest = min(sizes, key=lambda size: abs(math.log(size / parameters)))
        raise BadInput(
            f"[model] parameters = {parameters:,.0f}: no shape over a vocabulary of {vocabulary:,} has about so many; "
            f"the nearest has {nearest:,}, the smallest {sizes[0]:,}"
        )

    def strange(shape: Shape) -> float:
        usual = standard(shape.width, vocabulary, model)
        return abs(math.log(shape.layers / usual.layers)) + 4 * abs(math.log(shape.parameters / parameters))

    return min(near, key=strange)


def standard(width: int, vocabulary: int, model: Model) -> Shape:
    """The usual shape of a width: depth, heads and feed-forward width follow from it."""
    head = 16 if width < 64 else 32 if width < 128 else 64 if width < 2048 else 128
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
        "rope_base": rope.base or ROPE_BASE,
        "rope_scaling": rope.scaling,
        "rope_factor": rope.factor,
        "original_context": original if rope.scaling != "none" else 0,
    }
