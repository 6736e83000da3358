"""What a recipe promises its languages: something at every stage, and no sudden loss of their share of the mixture."""

from collections.abc import Mapping
from typing import Any

from openeurollm.errors import Failure
from openeurollm.languages import named
from openeurollm.ledger import NAME, Record, RunFolder, open_run
from openeurollm.ledger.results import ModelResults, checked
from openeurollm.recipe.load import tags
from openeurollm.recipe.schema import Recipe

_REMEDIES = {
    "corpus": "add a source",
    "tokenizer": "add a source of text, or TAG.txt to the parallel text",
    "model": "raise [model] compute",
    "tuning": "add some to the conversations of [tuning]",
    "evaluation": "add TAG.txt to the parallel text",
    "release": "see what the stages before it found",
    "board": "see what the stages before it found",
}
"""What helps where a stage has nothing of a language."""


def lacking(recipe: Recipe, figure: Mapping[str, float]) -> list[str]:
    """The languages of the contract that have no figure above zero, those in [gaps] left out."""
    return [tag for tag in tags(recipe) if tag not in recipe.gaps and not figure.get(tag, 0) > 0]


def prove(recipe: Recipe, stage: str, figures: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """The proof that a stage serves every language of the contract, for its record.

    `figures` has, by the name of what the stage gives a language, how much each language got. Of those that got nothing
    the proof names the reason that the recipe gives in [gaps]. Raises `Failure` that names those without a reason.
    """
    for what, figure in figures.items():
        without = lacking(recipe, figure)
        if without:
            them = "it" if len(without) == 1 else "them"
            raise Failure(
                f"{stage}: no {what} for {named(without)}; {_REMEDIES[stage]}, or list {them} in [gaps] with the reason"
            )
    shown = {what: {tag: figure.get(tag, 0) for tag in tags(recipe)} for what, figure in figures.items()}
    empty = [tag for tag in tags(recipe) if not all(figure[tag] for figure in shown.values())]
    return {"figures": shown, "exceptions": {tag: recipe.gaps[tag] for tag in empty}}


def shares(record: Record, where: str) -> dict[str, float]:
    """Each language's share of the mixture in a model's record, of one, in script-corrected bytes.

    Raises `BadInput` where the record has no such shares; `where` is what the error calls it.
    """
    mixture = checked(ModelResults, record.results, where).mixture
    return {tag: portion.share for tag, portion in mixture.items()}


def previous_shares(recipe: Recipe) -> dict[str, float]:
    """The shares in the run that `mixture.previous` names, empty where it names none.

    Raises `BadInput` where that is no run, its model is not built, or its record cannot be used.
    """
    if recipe.mixture.previous is None:
        return {}
    run = open_run(recipe.mixture.previous)
    return shares(run.need("model"), str(run.folder("model") / NAME))


def falls(recipe: Recipe, run: RunFolder, now: Mapping[str, float]) -> dict[str, str]:
    """The languages whose share of the mixture fell by more than the recipe's factor, with the reason it gives.

    `now` is compared with the build that this one replaces and with the run that `mixture.previous` names. Languages
    outside the contract are not compared. Raises `Failure` that names the falls without a reason.
    """
    earlier: dict[str, dict[str, float]] = {}
    if recipe.mixture.previous is not None:
        earlier[str(recipe.mixture.previous)] = previous_shares(recipe)
    replaced = run.replaced("model")
    if replaced is not None:
        earlier["the last build"] = shares(replaced, f"the last record of the model, kept in {run.path}/.work")
    reasons, factor = {**recipe.gaps, **recipe.mixture.falls}, recipe.mixture.largest_fall
    found: dict[str, str] = {}
    for since, before in earlier.items():
        fallen = [tag for tag in tags(recipe) if before.get(tag, 0) > factor * now.get(tag, 0)]
        unexplained = [tag for tag in fallen if tag not in reasons]
        if unexplained:
            changes = ", ".join(
                f"{named([tag])} from {100 * before[tag]:.3g} % to {100 * now.get(tag, 0):.3g} %" for tag in unexplained
            )
            raise Failure(
                f"model: share of the mixture fell by more than a factor of {factor:g} since {since}: {changes}; "
                "mend the mixture, or list the language in [mixture.falls] with the reason"
            )
        found |= {tag: reasons[tag] for tag in fallen}
    return found
