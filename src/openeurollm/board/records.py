"""What the board reads of a run: the records and numbers of its stages, checked before anything is shown.

What is missing is told of; what is there and cannot be used is refused by the name of its file. Board and report are
made of records and results alone; documents of the corpus are read by `samples` alone, for a page of their own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openeurollm.errors import BadInput
from openeurollm.ledger import FOLDERS, NAME, RunFolder
from openeurollm.ledger.metrics import Metrics, read_metrics
from openeurollm.ledger.results import (
    CorpusResults,
    Coverage,
    Evaluation,
    Fairness,
    ModelResults,
    PartType,
    Statement,
    TuningResults,
    checked,
    read_as,
    read_bounded,
)
from openeurollm.recipe import Recipe, load

STAGES = tuple(stage for stage in FOLDERS if stage != "board")
"""The stages that a board tells of, in the order of the road."""
_NOTHING: Mapping[str, Any] = {"read": {}, "text": {}, "masked": {}, "licences": {}}
"""What a corpus reports whose record holds its cost and no results."""


@dataclass(frozen=True)
class Papers:
    """All that the board reads of one run; what is not built is None or empty."""

    name: str
    """Name of the run folder."""
    recipe: Recipe
    stages: Mapping[str, Statement]
    states: Mapping[str, str]
    """Stage → `built`, `missing`, `unfinished`, or what it is out of date with."""
    corpus: CorpusResults | None = None
    fairness: Fairness | None = None
    model: ModelResults | None = None
    tuning: TuningResults | None = None
    evaluation: Evaluation | None = None
    coverage: Coverage | None = None
    metrics: Mapping[str, Metrics] = field(default_factory=dict)
    """`base` and `tuned` → the metrics of its training, also of one under way."""


def read(run: RunFolder) -> Papers:
    """Read what is built of a run. Raises `BadInput` that names the file where one cannot be used."""
    stages = {stage: found for stage in STAGES if (found := statement(run, stage)) is not None}
    evaluated, coverage = "evaluation" in stages, run.folder("evaluation") / "coverage.json"
    return Papers(
        name=run.path.resolve().name,
        recipe=load(run.path / "recipe.toml"),
        stages=stages,
        states={stage: _state(run, stage, stages) for stage in STAGES},
        corpus=_results(CorpusResults, run, stages, "corpus", _NOTHING),
        fairness=read_as(Fairness, run.folder("tokenizer") / "fairness.json") if "tokenizer" in stages else None,
        model=_results(ModelResults, run, stages, "model"),
        tuning=_results(TuningResults, run, stages, "tuning"),
        evaluation=read_as(Evaluation, run.folder("evaluation") / "results.json") if evaluated else None,
        coverage=_coverage(coverage) if evaluated and coverage.is_file() else None,
        metrics={
            model: read_metrics(metrics)
            for model, stage in (("base", "model"), ("tuned", "tuning"))
            if (metrics := run.folder(stage) / "metrics.jsonl").is_file()
        },
    )


def statement(run: RunFolder, stage: str) -> Statement | None:
    """The record of a stage, checked; None where it is not built. Raises `BadInput` for one that cannot be used."""
    path = run.folder(stage) / NAME
    if not path.is_file():
        return None
    read_bounded(path)  # the ledger reads its own records as they are; this one may be anyone's
    record = run.need(stage)
    if record.stage != stage:
        raise BadInput(f"{path}: is the record of another stage ({record.stage[:40]!r})")
    return checked(Statement, vars(record), str(path))


def _state(run: RunFolder, stage: str, stages: Mapping[str, Statement]) -> str:
    """Built, or not; built from what an earlier stage no longer holds counts as out of date."""
    if stage not in stages:
        return "unfinished" if (run.work(stage) / "key").is_file() else "missing"
    for name, made in stages[stage].inputs.items():
        before = name.removeprefix("stage/")
        if before != name and (before not in stages or stages[before].made != made):
            return f"out of date: {before} has changed since" if before in stages else f"out of date: {before} is gone"
    return "built"


def _results(
    kind: type[PartType], run: RunFolder, stages: Mapping[str, Statement], stage: str, without: Mapping[str, Any] = {}
) -> PartType | None:
    """What the record of a stage reports, or `without` where it reports nothing; None where it is not built."""
    if stage not in stages:
        return None
    return checked(kind, stages[stage].results or without, str(run.folder(stage) / NAME))


def _coverage(path: Path) -> Coverage:
    return checked(Coverage, {"measures": read_bounded(path)}, str(path))
