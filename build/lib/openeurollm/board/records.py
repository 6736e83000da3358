"""What the board reads of a run: the records and numbers of its stages, checked before anything is shown.

A run folder may come from anywhere. Numbers must be finite and in bounds, text must be text; all else is refused with
the name of the file. The board reads records and results alone, never a document of the corpus.
"""

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from openeurollm.errors import BadInput
from openeurollm.ledger import FOLDERS, NAME, Record, RunFolder, read_json
from openeurollm.recipe import Recipe, load

STAGES = tuple(stage for stage in FOLDERS if stage != "board")
"""The stages that a board tells of, in the order of the road."""
MAX_BYTES = 200_000_000
"""Largest file of numbers that is read."""


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


Count = Annotated[int, Field(ge=0, le=10**18)]
Amount = Annotated[float, Field(ge=0, le=1e30, allow_inf_nan=False)]
Loss = Annotated[Amount | None, BeforeValidator(_finite)]
"""A loss; None where training had run away and it was no number."""


class Part(BaseModel):
    """A part of a record; keys that the board does not show are passed over."""

    model_config = ConfigDict(frozen=True)


class Energy(Part):
    """Energy in kWh, the interval it lies in, and how it was measured."""

    kwh: Amount
    low: Amount
    high: Amount
    method: str


class Cost(Part):
    """What a stage cost."""

    wall_seconds: Amount = 0.0
    cpu_seconds: Amount = 0.0
    gpu_hours: Amount = 0.0
    attempts: Count = 1
    energy: Energy | None = None


class Host(Part):
    """The machine, without its name: where a run was made is nobody's business, on what it was made is."""

    processor: str = ""
    cores: Count | None = None
    memory_bytes: Count | None = None
    system: str = ""
    python: str = ""


class Stage(Part):
    """The part of a record that every stage has."""

    counts: dict[str, dict[str, Count]]
    cost: Cost
    host: Host
    site: str
    finished: str


class Size(Part):
    """Documents and their bytes in UTF-8."""

    documents: Count
    bytes: Count
    characters: Count = 0


class Terms(Part):
    """On what terms a source came."""

    kind: str
    licence: str
    publisher: str
    obtained: str


class CorpusResults(Part):
    """What the corpus reports."""

    read: dict[str, Count] = {}
    text: dict[str, Size] = {}
    held_out: dict[str, Size] = {}
    masked: dict[str, dict[str, Count]] = {}
    licences: dict[str, dict[str, Count]] = {}
    sources: dict[str, Terms] = {}


class Tokenizer(Part):
    """Tokens that a tokenizer needs for the same sentences in each language."""

    name: str
    vocabulary: Count | None = None
    mean: Amount
    worst: Amount
    worst_language: str
    max_min: Amount
    gini: Amount
    english: Amount | None = None
    languages: dict[str, Amount]


class Fairness(Part):
    """`fairness.json`; the first tokenizer is the run's own."""

    sentences: Count
    tokenizers: Annotated[list[Tokenizer], Field(min_length=1)]


class Portion(Part):
    """A language's part of the training mixture."""

    share: Amount
    bytes: Count
    tokens: Count
    epochs: Amount


class ModelResults(Part):
    """What training the base model reports."""

    shape: dict[str, Count | Amount | str | None] = {}
    parameters: Count | None = None
    tokens: Count | None = None
    steps: Count | None = None
    flop: Amount | None = None
    matmul_flop_per_s: Amount | None = None
    final_loss: Loss = None
    mixture: dict[str, Portion] = {}


class TuningResults(Part):
    """What tuning reports."""

    conversations: dict[str, Count] = {}
    steps: Count | None = None
    tokens: Count | None = None
    final_loss: Loss = None


class Step(Part):
    """One line of `metrics.jsonl`; `loss` in nats a token, `tokens` since the start."""

    step: Count
    loss: Loss
    bits_per_byte: Loss = None
    tokens: Count
    seconds: Amount | None = None
    tokens_per_s: Amount | None = None
    matmul_share: Amount | None = None


class Measured(Part):
    """A measured value with its 95 % interval."""

    value: Amount
    low: Amount | None = None
    high: Amount | None = None
    n: Count | None = None
    unit: str = ""


class Measures(Part):
    """Measures of one model, by name and language."""

    model: str
    measures: dict[str, dict[str, Measured]]


class EvaluationResults(Part):
    """`results.json`."""

    models: list[Measures] = []
    checks: dict[str, Any] = {}


class Coverage(Part):
    """`coverage.json`: measure → language → `measured` or the reason why not."""

    measures: dict[str, dict[str, str]]


@dataclass(frozen=True)
class Papers:
    """All that the board reads of one run; what is not built is None or empty."""

    name: str
    """Name of the run folder."""
    recipe: Recipe
    stages: Mapping[str, Stage]
    states: Mapping[str, str]
    """Stage → `built`, `missing`, `unfinished`, or what it is out of date with."""
    corpus: CorpusResults | None = None
    fairness: Fairness | None = None
    model: ModelResults | None = None
    tuning: TuningResults | None = None
    evaluation: EvaluationResults | None = None
    coverage: Coverage | None = None
    steps: Mapping[str, list[Step]] = field(default_factory=dict)
    """`base` and `tuned` → the steps of training."""


def read(run: RunFolder) -> Papers:
    """Read what is built of a run. Raises `BadInput` that names the file where one cannot be used."""
    records = {stage: record for stage in STAGES if (record := _record(run, stage)) is not None}
    return Papers(
        name=run.path.resolve().name,
        recipe=load(run.path / "recipe.toml"),
        stages={stage: _stage(run, record) for stage, record in records.items()},
        states={stage: _state(run, stage, records) for stage in STAGES},
        corpus=_results(CorpusResults, run, records.get("corpus")),
        fairness=_file(Fairness, run.folder("tokenizer") / "fairness.json") if "tokenizer" in records else None,
        model=_results(ModelResults, run, records.get("model")),
        tuning=_results(TuningResults, run, records.get("tuning")),
        evaluation=_file(EvaluationResults, run.folder("evaluation") / "results.json")
        if "evaluation" in records
        else None,
        coverage=_coverage(run.folder("evaluation") / "coverage.json") if "evaluation" in records else None,
        steps={
            model: _steps(run.folder(stage) / "metrics.jsonl")
            for model, stage in (("base", "model"), ("tuned", "tuning"))
            if stage in records
        },
    )


Model = TypeVar("Model", bound=BaseModel)


def _record(run: RunFolder, stage: str) -> Record | None:
    path = run.folder(stage) / NAME
    with _refused(path):
        record = run.record(stage)
        _check_text(asdict(record) if record else None)
    if record is not None and record.stage != stage:
        raise BadInput(f"{path}: is the record of another stage ({record.stage[:40]!r})")
    return record


def _stage(run: RunFolder, record: Record) -> Stage:
    fields = {name: getattr(record, name) for name in Stage.model_fields}
    return _checked(Stage, fields, run.folder(record.stage) / NAME)


def _state(run: RunFolder, stage: str, records: Mapping[str, Record]) -> str:
    """Built, or not; built from what an earlier stage no longer holds counts as out of date."""
    if stage not in records:
        return "unfinished" if (run.work(stage) / "key").is_file() else "missing"
    for name, made in records[stage].inputs.items():
        before = name.removeprefix("stage/")
        if before != name and (before not in records or records[before].made != made):
            return f"out of date: {before} has changed since" if before in records else f"out of date: {before} is gone"
    return "built"


def _results(model: type[Model], run: RunFolder, record: Record | None) -> Model | None:
    return None if record is None else _checked(model, record.results, run.folder(record.stage) / NAME)


def _file(model: type[Model], path: Path) -> Model:
    return _checked(model, _json(path), path)


def _coverage(path: Path) -> Coverage | None:
    return _checked(Coverage, {"measures": _json(path)}, path) if path.is_file() else None


def _steps(path: Path) -> list[Step]:
    """The lines of a `metrics.jsonl`; none where the file is absent."""
    if not path.is_file():
        return []
    with _refused(path):
        lines = path.read_text("utf-8").splitlines()
        return [_checked(Step, json.loads(line), path) for line in lines if line.strip()]


def _json(path: Path) -> Any:
    with _refused(path):
        value = read_json(path)
        _check_text(value)
    return value


def _check_text(value: Any) -> None:
    """Raise `UnicodeEncodeError` for text with half a character (a lone surrogate), which no page can hold."""
    json.dumps(value, ensure_ascii=False).encode("utf-8")


@contextmanager
def _refused(path: Path) -> Iterator[None]:
    """Turn what a broken or hostile file does to a reader into one line that names the file."""
    if path.is_file() and path.stat().st_size > MAX_BYTES:
        raise BadInput(f"{path}: larger than {MAX_BYTES:,} bytes, which no record is")
    try:
        yield
    except RecursionError:
        raise BadInput(f"{path}: nested too deep to be a record") from None
    except UnicodeEncodeError:
        raise BadInput(f"{path}: holds text that is no Unicode (half a surrogate pair)") from None
    except ValueError as error:
        raise BadInput(f"{path}: cannot be read: {error}") from None


def _checked(model: type[Model], value: Any, path: Path) -> Model:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])[:200]
        raise BadInput(f"{path}: `{where}` cannot be used: {first['msg'].lower()}") from None
