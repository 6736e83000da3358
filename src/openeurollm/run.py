"""The conductor: recipe → stages in order → records.

Each stage is built when it has no record, or when what it depends on differs from what its record says: its tables of
the recipe, the files it reads, the outputs of earlier stages. A stage that comes out the same stops the change there.
"""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from importlib import import_module
from pathlib import Path
from typing import Any

from openeurollm.engine import Engine, Job, Part, Site, for_cpus
from openeurollm.errors import BadInput, Failure
from openeurollm.ledger import (
    NAME,
    Digests,
    Meter,
    Record,
    RunFolder,
    code_digest,
    damage,
    digest_of,
    files_below,
    host,
    now,
    outputs,
    remove,
    remove_partial,
    with_others,
    write_text,
)
from openeurollm.ledger.results import Results, checked
from openeurollm.recipe import PART, Recipe, batch_tokens, falls, parts, paths, previous_shares, prove, shares, tags


@dataclass(frozen=True)
class Stage:
    """A stage: the room that builds it, the recipe tables it reads, the stages and paths whose files go in, and the
    kind of job that builds it on a cluster.
    """

    name: str
    module: str
    tables: tuple[str, ...]
    after: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    part: Part = "single"


STAGES = (
    Stage(
        "corpus",
        "openeurollm.corpus",
        ("sources", "corpus", "contamination"),
        paths=("sources", "corpus", "contamination", "parallel"),
        part="array",
    ),
    Stage(
        "tokenizer",
        "openeurollm.tokenizer",
        ("tokenizer", "name"),
        ("corpus",),
        ("parallel", "tokenizer"),
        part="array",
    ),
    Stage(
        "model",
        "openeurollm.model",
        ("model", "mixture", "seed"),
        ("corpus", "tokenizer"),
        ("model",),
        part="training",
    ),
    Stage(
        "tuning",
        "openeurollm.model.tuning",
        ("tuning", "seed"),
        ("tokenizer", "model"),
        ("tuning",),
        part="training",
    ),
    Stage(
        "evaluation",
        "openeurollm.evaluation",
        ("evaluation", "seed", "gaps"),
        ("corpus", "tokenizer", "model", "tuning"),
        ("parallel",),
        part="array",
    ),
    Stage(
        "release",
        "openeurollm.release",
        ("release", "name", "gaps"),
        ("corpus", "tokenizer", "model", "tuning", "evaluation"),
    ),
    Stage(
        "board",
        "openeurollm.board",
        ("name", "gaps"),
        ("corpus", "tokenizer", "model", "tuning", "evaluation", "release"),
    ),
)
NAMES = tuple(stage.name for stage in STAGES)
_ROOMS_BELOW = ("languages", "recipe", "ledger", "engine")


@dataclass(frozen=True)
class Step:
    """What is to be done about a stage: `build` or not, and `why` in words."""

    stage: str
    build: bool
    why: str


def plan(recipe: Recipe, run: RunFolder, until: str | None = None, again: Sequence[str] = ()) -> list[Step]:
    """What `run` would do, stage by stage. Reads the sources to see whether they changed; builds nothing."""
    stages, files = _asked(recipe, run, until, again)
    steps: list[Step] = []
    rebuilt: list[str] = []
    for stage in stages:
        pending = [name for name in stage.after if name in rebuilt]
        if pending:
            step = Step(stage.name, True, f"{' and '.join(pending)} will be built, and it reads from there")
        else:
            step = _step(stage, recipe, run, files, again)
        if step.build:
            rebuilt.append(stage.name)
        steps.append(step)
    return steps


def run(
    recipe: Recipe, folder: RunFolder, engine: Engine, until: str | None = None, again: Sequence[str] = ()
) -> list[Step]:
    """Build every stage that is missing or out of date, in order; returns what was done and why.

    Raises `BadInput` for input that cannot be used and `Failure` where the work fails; what was finished stays.
    """
    stages, files = _asked(recipe, folder, until, again)
    done = []
    with folder.locked():
        write_text(folder.path / "recipe.toml", to_toml(recipe))
        for stage in stages:
            step = _step(stage, recipe, folder, files, again)
            if step.build:
                engine.reporter.say(f"[bold]{stage.name}[/bold]: {step.why}")
                _build(stage, recipe, folder, engine, files)
            else:
                folder.clear(stage.name)  # a kill between the record and clearing its scratch space leaves it
            done.append(step)
        remove(folder.crew(""))  # nobody is at work but this process
        if not (folder.path / ".work").is_dir() or not any((folder.path / ".work").iterdir()):
            shutil.rmtree(folder.path / ".work", ignore_errors=True)
    return done


def work(recipe: Recipe, folder: RunFolder, names: Sequence[str], engine: Engine, first: bool = True) -> None:
    """Build some stages as a job on a cluster does; those before them must be whole, and what is built stays.

    A process that is not the `first` of a training takes its part in it and writes no record. Raises `Failure` where a
    stage before them is not whole.
    """
    stages, files = _asked(recipe, folder, names[-1], ())
    for stage in stages:
        step = _step(stage, recipe, folder, files, ())
        if not step.build:
            continue
        if stage.name not in names:
            raise Failure(f"{stage.name} is not whole ({step.why}), so no {names[0]}; `openeurollm run` finishes it")
        if first:
            engine.reporter.say(f"[bold]{stage.name}[/bold]: {step.why}")
            _build(stage, recipe, folder, engine, files)
            continue
        assert engine.costs is not None
        with Meter(engine.costs / f"{host()['name']}-{os.getpid()}.json", engine.gpus):
            import_module(stage.module).build(recipe, folder, replace(engine, work=folder.work(stage.name)))


def jobs(
    recipe: Recipe, steps: Sequence[Step], site: Site, nodes: Mapping[str, int], walltime: str | None = None
) -> list[Job]:
    """The jobs that build what `steps` say at a site, in order; `nodes` is by job, with "" for all others.

    Stages that one process builds share a job. Raises `BadInput` for a job that there is not.
    """
    found: list[Job] = []
    cpus = for_cpus(site)
    for stage in (stage for stage, step in zip(STAGES, steps, strict=False) if step.build):
        names: tuple[str, ...] = (stage.name,)
        where, processes = site if stage.part == "training" else cpus, 1
        if stage.part == "single" and found and found[-1].part == "single":
            names = (*found.pop().stages, stage.name)
        title = "-".join(names)
        number = 1 if stage.part == "single" else nodes.get(title) or nodes.get("") or where.nodes
        if stage.part == "training":
            number, processes = _shared(recipe, stage, number, where.gpus or 1)
            if nodes.get(title, number) != number:
                raise BadInput(f"--nodes {title}={nodes[title]}: its steps are large enough for {number} at most")
        longest = walltime or where.walltime or str(where.facts["walltime"].value)
        found.append(Job(title, names, stage.part, where, number, longest, processes))
    stray = sorted(set(nodes) - {job.name for job in found} - {""})
    if stray:
        raise BadInput(f"--nodes {stray[0]}: no such job; there are {', '.join(job.name for job in found)}")
    return found


def _shared(recipe: Recipe, stage: Stage, nodes: int, devices: int) -> tuple[int, int]:
    """The most nodes, and processes on each, that a training's steps are large enough for."""
    tokens = recipe.tuning.batch_tokens if stage.name == "tuning" else batch_tokens(recipe.model)
    pieces = parts(recipe.model, tokens)

    def enough(processes: int) -> bool:
        return pieces % processes == 0 or tokens >= PART * processes

    processes = next(number for number in range(devices, 0, -1) if enough(number))
    return next(number for number in range(nodes, 0, -1) if enough(number * processes)), processes


def _asked(
    recipe: Recipe, folder: RunFolder, until: str | None, again: Sequence[str]
) -> tuple[tuple[Stage, ...], "_Inputs"]:
    """The stages asked for and the files they read; raises `BadInput` before any work for what cannot be done."""
    for name in again:
        _until(name)
    stages, files = _until(until), _Inputs(recipe, folder.digests())
    for stage in stages:
        files.check(stage)
        if stage.name == "model":
            previous_shares(recipe)
    return stages, files


def _until(until: str | None) -> tuple[Stage, ...]:
    if until is None:
        return STAGES
    if until not in NAMES:
        raise BadInput(f"unknown stage `{until}`; the stages are {', '.join(NAMES)}")
    return STAGES[: NAMES.index(until) + 1]


def _step(stage: Stage, recipe: Recipe, run: RunFolder, files: "_Inputs", again: Sequence[str]) -> Step:
    record = run.record(stage.name)
    if record is None:
        resumed = (run.work(stage.name) / "key").is_file()
        return Step(stage.name, True, "not finished, goes on" if resumed else "not built yet")
    if stage.name in again:
        return Step(stage.name, True, "asked for again")
    change = _difference(_parameters(stage, recipe), record.parameters) or _difference_of_inputs(
        _inputs(stage, run, files), record.inputs
    )
    if change:
        return Step(stage.name, True, change)
    broken = damage(run.folder(stage.name), record, files.known.of)
    files.known.save()
    if broken:
        return Step(stage.name, True, f"its file {broken}")
    _keeps_the_contract(stage, recipe, run, record)
    if record.code != _code(stage):
        return Step(stage.name, False, f"built, by other code than today's; --again {stage.name} builds it anew")
    return Step(stage.name, False, "built")


def _keeps_the_contract(stage: Stage, recipe: Recipe, run: RunFolder, record: Record) -> None:
    """Raises `Failure` where a stage that is built does not give what the recipe now promises: a gap has closed, or the
    mixture is compared with another.
    """
    where = str(run.folder(stage.name) / NAME)
    prove(recipe, stage.name, checked(Results, record.results, where).contract.figures)
    if stage.name == "model":
        falls(recipe, run, shares(record, where))


def _build(stage: Stage, recipe: Recipe, folder: RunFolder, engine: Engine, files: "_Inputs") -> None:
    parameters, inputs = _parameters(stage, recipe), _inputs(stage, folder, files)
    key = digest_of([parameters, inputs, _code(stage)])
    if engine.costs is None or not _goes_on(folder, stage.name, key):
        folder.begin(stage.name, key)
    started, notes = now(), folder.work(stage.name) / "cost.json"
    if engine.costs is not None and not notes.is_file():
        for file in engine.costs.glob("*.json"):
            file.unlink(missing_ok=True)
    with Meter(notes, engine.gpus) as meter:
        here = replace(engine, work=folder.work(stage.name))
        counts, results = import_module(stage.module).build(recipe, folder, here)
    remove_partial(folder.folder(stage.name))
    cost = with_others(meter.cost, engine.costs) if engine.costs is not None else meter.cost
    record = Record(
        stage=stage.name,
        parameters=parameters,
        inputs=inputs,
        outputs=outputs(folder.folder(stage.name), without=("tuned",) if stage.name == "model" else ()),
        counts=counts,
        results=results,
        cost=cost,
        code=_code(stage),
        host=host(),
        site=engine.site,
        started=started,
        finished=now(),
    )
    engine.confirm()
    folder.end(stage.name, record)
    engine.reporter.say(f"  {stage.name} done in {meter.cost['wall_seconds']:.0f} s")


def _goes_on(folder: RunFolder, stage: str, key: str) -> bool:
    """Is the stage under way, so that others may be at its shards, whose files must stay."""
    mark = folder.work(stage) / "key"
    under_way = mark.is_file() and mark.read_text("utf-8") == key
    return under_way and folder.folder(stage).is_dir() and folder.record(stage) is None


def _parameters(stage: Stage, recipe: Recipe) -> dict[str, Any]:
    """The recipe's tables that the stage depends on.

    Paths are left out, the digests of their files stand for them; so is what only says whether the run may go on. An
    address stays, and stands for what was fetched from there: nothing is fetched to see whether it changed.
    """
    raw = recipe.model_dump(mode="json")
    for name in paths(recipe):
        *tables, key = name.split("/")
        reduce(dict.__getitem__, tables, raw).pop(key)
    for key in ("largest_fall", "falls"):
        raw["mixture"].pop(key)
    return {"languages": list(tags(recipe)), **{table: raw[table] for table in stage.tables}}


class _Inputs:
    """Digests of the files that a recipe names and of those that its run holds."""

    def __init__(self, recipe: Recipe, known: Digests) -> None:
        self._paths, self.known = paths(recipe), known
        self._known: dict[str, dict[str, str]] = {}

    def check(self, stage: Stage) -> None:
        """Raises `BadInput` where a path that the stage reads does not exist."""
        for name, path in (pair for group in stage.paths for pair in self._of(group)):
            if not path.exists():
                raise BadInput(f"{name}: {path} does not exist; --set can name another path")

    def _of(self, group: str) -> list[tuple[str, Path]]:
        """The paths that a table of the recipe names, or the key of this name."""
        return [(name, path) for name, path in self._paths.items() if name.split("/")[0] == group]

    def digests(self, group: str) -> dict[str, str]:
        if group not in self._known:
            found: dict[str, str] = {}
            for name, path in self._of(group):
                if path.is_file():
                    found[name] = self.known.of(path)
                else:
                    found |= {
                        f"{name}/{file.relative_to(path).as_posix()}": self.known.of(file) for file in files_below(path)
                    }
            self._known[group] = found
            self.known.save()
        return self._known[group]


def _inputs(stage: Stage, run: RunFolder, files: _Inputs) -> dict[str, str]:
    inputs = {f"stage/{name}": run.need(name).made for name in stage.after}
    for group in stage.paths:
        inputs |= files.digests(group)
    return inputs


def _difference(now: Mapping[str, Any], before: Mapping[str, Any], table: str = "") -> str | None:
    """The first value that differs, in words: `[tokenizer] vocabulary: 4096 → 8192`."""
    for key in [*now, *(key for key in before if key not in now)]:
        new, old = now.get(key), before.get(key)
        if new == old:
            continue
        if isinstance(new, Mapping) and isinstance(old, Mapping):
            return _difference(new, old, f"{table}.{key}".strip("."))
        where = f"[{table}] " if table else ""
        return f"{where}{key} changed: {_short(old)} → {_short(new)}"
    return None


def _difference_of_inputs(now: Mapping[str, str], before: Mapping[str, str]) -> str | None:
    for name in [*now, *(name for name in before if name not in now)]:
        if now.get(name) != before.get(name):
            what = "is new" if name not in before else "is gone" if name not in now else "changed"
            return f"{name.removeprefix('stage/')} {what}"
    return None


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _code(stage: Stage) -> str:
    return code_digest(stage.module.split(".")[1], *_ROOMS_BELOW)


def to_toml(recipe: Recipe) -> str:
    """The resolved recipe as TOML: every value in force, also those the recipe left out."""
    lines: list[str] = []
    _write_table(recipe.model_dump(mode="json", exclude_none=True), "", lines)
    return "\n".join(lines).lstrip("\n") + "\n"


def _write_table(table: Mapping[str, Any], name: str, lines: list[str]) -> None:
    plain = {key: value for key, value in table.items() if not isinstance(value, Mapping)}
    if name and (plain or not table):
        lines += ["", f"[{name}]"]
    lines += [f"{key} = {_toml_value(value)}" for key, value in plain.items()]
    for key, value in table.items():
        if isinstance(value, Mapping):
            _write_table(value, f"{name}.{key}".strip("."), lines)


def _toml_value(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_toml_value(item) for item in value)}]"
    if isinstance(value, float):
        return repr(value)
    # Strings, whole numbers and booleans are written as in JSON, but for one character that TOML wants escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


__all__ = ["NAMES", "STAGES", "Stage", "Step", "jobs", "plan", "run", "to_toml", "work"]
