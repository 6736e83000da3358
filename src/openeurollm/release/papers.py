"""What a release says of itself in files: its recipe, its records and its evaluation, checked before they are used."""

from dataclasses import dataclass
from pathlib import Path

from openeurollm.errors import BadInput
from openeurollm.ledger.results import (
    CorpusResults,
    Evaluation,
    Fairness,
    ModelResults,
    Statement,
    TuningResults,
    checked,
    read_as,
    read_bounded,
)
from openeurollm.recipe import Recipe, load

STAGES = ("corpus", "tokenizer", "model", "tuning", "evaluation")
"""The stages whose records are published, in the order of the road."""


@dataclass(frozen=True)
class Papers:
    """All that a card is made from."""

    recipe: Recipe
    records: dict[str, Statement]
    corpus: CorpusResults
    model: ModelResults
    tuning: TuningResults
    fairness: Fairness
    evaluation: Evaluation


def read_papers(folder: Path) -> Papers:
    """Read the papers of the release at `folder`; raises `BadInput` that names the file which is not as it must be."""
    records = {stage: _statement(folder, f"records/{stage}.json") for stage in STAGES}
    return Papers(
        recipe=load(folder / "recipe.toml"),
        records=records,
        corpus=checked(CorpusResults, records["corpus"].results, "records/corpus.json"),
        model=checked(ModelResults, records["model"].results, "records/model.json"),
        tuning=checked(TuningResults, records["tuning"].results, "records/tuning.json"),
        fairness=read_as(Fairness, folder / "fairness.json", "fairness.json"),
        evaluation=read_as(Evaluation, folder / "evaluation.json", "evaluation.json"),
    )


def _statement(folder: Path, name: str) -> Statement:
    raw = read_bounded(folder / name, name)
    try:
        definition = raw["predicate"]["buildDefinition"]
        parts = {
            "inputs": {part["uri"]: part["digest"]["sha256"] for part in definition["resolvedDependencies"]},
            "outputs": {part["name"]: part["digest"]["sha256"] for part in raw["subject"]},
            **{part: raw["openeurollm"][part] for part in ("counts", "cost", "results")},
        }
    except (KeyError, TypeError):
        raise BadInput(f"{name}: not a record of this project") from None
    return checked(Statement, parts, name)
