"""What a release says of itself in files: its recipe, its records and its evaluation, checked before they are used.

A release may come from anywhere. Every file is bounded before it is read, numbers must be finite, text must be text.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from openeurollm.errors import BadInput
from openeurollm.ledger import digest_of
from openeurollm.recipe import Recipe, load

STAGES = ("corpus", "tokenizer", "model", "tuning", "evaluation")
"""The stages whose records are published, in the order of the road."""
MAX_BYTES = 100_000_000
"""Largest record; a corpus of a hundred thousand shards writes about 30 MB."""

Count = Annotated[int, Field(ge=0, le=10**18)]
Amount = Annotated[float, Field(ge=0, le=1e30, allow_inf_nan=False)]


class Part(BaseModel):
    """A part of a paper; keys that the card does not show are passed over."""

    model_config = ConfigDict(frozen=True)


class Energy(Part):
    """Energy in kWh, the interval it lies in, and how it was measured."""

    kwh: Amount
    low: Amount
    high: Amount
    method: str


class Cost(Part):
    """What a stage cost."""

    wall_seconds: Amount
    cpu_seconds: Amount
    gpu_hours: Amount
    energy: Energy


class Text(Part):
    """A language's training text."""

    documents: Count
    bytes: Count


class CorpusResults(Part):
    """What the corpus reports; `kept` is documents by source, where the record has it."""

    read: dict[str, Count]
    kept: dict[str, Count] = {}
    text: dict[str, Text]
    masked: dict[str, dict[str, Count]]
    licences: dict[str, dict[str, Count]]


class Slice(Part):
    """A language's part of the mixture; `share` lies in [0, 1]."""

    share: Amount
    epochs: Amount


class ModelResults(Part):
    """What training the base model reports."""

    shape: dict[str, Count | Amount | str | bool | None]
    parameters: Count
    tokens: Count
    flop: Amount
    mixture: dict[str, Slice]


class TuningResults(Part):
    """What tuning reports."""

    conversations: dict[str, Count]
    tokens: Count


class Tokens(Part):
    """The tokenizer's slots and tokens a parallel sentence by language."""

    vocabulary: Count
    languages: dict[str, Amount]


class Fairness(Part):
    """`fairness.json`; its first tokenizer is the release's own."""

    sentences: Count
    tokenizers: Annotated[list[Tokens], Field(min_length=1)]


class Measured(Part):
    """One number of the evaluation; `low` and `high` bound its 95 % interval."""

    value: Amount
    low: Amount | None = None
    high: Amount | None = None
    n: Count | None = None


class Scores(Part):
    """What was measured of one model: measure → language → number."""

    model: str
    measures: dict[str, dict[str, Measured]]


class Evaluation(Part):
    """`evaluation.json`."""

    models: list[Scores]
    checks: dict[str, Any]

    def measure(self, model: str, name: str) -> dict[str, Measured]:
        """A measure of `base` or `tuned` by language; empty where it was not taken."""
        return next((scores.measures.get(name, {}) for scores in self.models if scores.model == model), {})


class Statement(Part):
    """The part of a published record that every stage has."""

    inputs: dict[str, str]
    outputs: dict[str, str]
    counts: dict[str, dict[str, Count]]
    cost: Cost
    results: dict[str, Any]

    @property
    def made(self) -> str:
        """One digest of all that the stage made, as the ledger computes it."""
        return digest_of(self.outputs)


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
    records = {stage: _statement(folder / "records" / f"{stage}.json") for stage in STAGES}
    return Papers(
        recipe=load(folder / "recipe.toml"),
        records=records,
        corpus=_as(CorpusResults, records["corpus"].results, "records/corpus.json"),
        model=_as(ModelResults, records["model"].results, "records/model.json"),
        tuning=_as(TuningResults, records["tuning"].results, "records/tuning.json"),
        fairness=_as(Fairness, read_bounded(folder / "fairness.json"), "fairness.json"),
        evaluation=_as(Evaluation, read_bounded(folder / "evaluation.json"), "evaluation.json"),
    )


def read_bounded(path: Path, most: int = MAX_BYTES) -> Any:
    """Read a JSON file of at most `most` bytes; raises `BadInput` where it is absent, larger, or not JSON."""
    try:
        if path.is_symlink() or not path.is_file():
            raise BadInput(f"{path.name}: no such file")
        with open(path, "rb") as file:
            data = file.read(most + 1)
        if len(data) > most:
            raise BadInput(f"{path.name}: over {most:,} bytes")
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path.name}: not JSON: {error}") from None


def _statement(path: Path) -> Statement:
    raw = read_bounded(path)
    name = f"records/{path.name}"
    try:
        definition = raw["predicate"]["buildDefinition"]
        parts = {
            "inputs": {part["uri"]: part["digest"]["sha256"] for part in definition["resolvedDependencies"]},
            "outputs": {part["name"]: part["digest"]["sha256"] for part in raw["subject"]},
            **{part: raw["openeurollm"][part] for part in ("counts", "cost", "results")},
        }
    except (KeyError, TypeError):
        raise BadInput(f"{name}: not a record of this project") from None
    return _as(Statement, parts, name)


PartType = TypeVar("PartType", bound=Part)


def _as(kind: type[PartType], raw: Any, name: str) -> PartType:
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadInput(f"{name}: {where!r}: {first['msg']}") from None
