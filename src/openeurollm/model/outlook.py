"""What a recipe's dial comes to: the model, how long it is trained, how good it will be."""

from dataclasses import asdict, dataclass
from typing import Any

from openeurollm.ledger import RunFolder
from openeurollm.model.export import shape_of, vocabulary
from openeurollm.model.law import Estimate
from openeurollm.model.shape import Shape, Text, choose, law_of, suitable_vocabulary
from openeurollm.recipe import Recipe, batch_tokens, compute


@dataclass(frozen=True)
class Outlook:
    """The shape, its training, the predicted loss in bits a byte on held-out text (mean over languages), and the
    vocabulary that is usual for it. `budget` is what the dial allows, in FLOP, and `flop` what the training takes.
    `text_known` says whether the length was held against the text that there is.
    """

    shape: Shape
    tokens: int
    batch_tokens: int
    budget: float
    flop: float
    bits_per_byte: Estimate
    suitable_vocabulary: int
    text_known: bool

    @property
    def unspent(self) -> float:
        """Share of the budget that is left where the text runs out, or the budget pays for no further step."""
        return 1 - self.flop / self.budget

    def asdict(self) -> dict[str, Any]:
        """As plain values."""
        return {**asdict(self), "parameters": self.shape.parameters, "bits_per_byte": self.bits_per_byte._asdict()}


def outlook(recipe: Recipe, run: RunFolder) -> Outlook:
    """What the recipe's model will be, from the text of `run` where its corpus is built, else as if there were enough.

    Raises `BadInput` for a budget, a size or a length that cannot be had.
    """
    model, law = recipe.model, law_of(recipe.model)
    corpus = run.record("corpus")
    size = sum(part["bytes"] for part in corpus.results["text"].values()) if corpus else 0
    text = Text(size / law.bytes_per_token or 1e18, recipe.mixture.max_epochs, law.bytes_per_token)
    start = shape_of(model.start) if model.start else None
    chosen = choose(model, start.vocabulary if start else _vocabulary(recipe), text, law, start)
    given = model.parameters is not None or model.tokens is not None
    return Outlook(
        chosen.shape,
        chosen.tokens,
        batch_tokens(model),
        chosen.flop if given else compute(model),
        chosen.flop,
        chosen.predicted,
        suitable_vocabulary(chosen.shape),
        corpus is not None,
    )


def _vocabulary(recipe: Recipe) -> int:
    """Ids of the tokenizer that is taken as it is, else as many as the recipe asks for."""
    given = recipe.tokenizer.path
    if given is None:
        return recipe.tokenizer.vocabulary
    return 1 + max(vocabulary(given / "tokenizer.json" if given.is_dir() else given).values())
