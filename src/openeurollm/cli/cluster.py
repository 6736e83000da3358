"""`openeurollm run --on SITE` where the site is a cluster, and what its jobs are doing."""

import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from openeurollm.cli.frame import print_json, print_table
from openeurollm.engine import Job, Site, crew, slurm, survey
from openeurollm.errors import BadInput, Failure
from openeurollm.ledger import FOLDERS, RunFolder, remove, write_json, write_text
from openeurollm.plan import Forecast, total
from openeurollm.recipe import Recipe
from openeurollm.run import Step, to_toml


def dry_run(jobs: Sequence[Job], costs: Sequence[Forecast], folder: RunFolder, as_json: bool) -> None:
    """Print the scripts as they would be submitted, and what they may cost."""
    scripts = [slurm.script(job, folder.path) for job in jobs]
    problems = [problem for job in jobs if (problem := _problem(job))]
    if as_json:
        told = [
            {**asdict(cost), "site": job.site.name, "script": text}
            for job, cost, text in zip(jobs, costs, scripts, strict=True)
        ]
        print_json({"jobs": told, "total": total(costs), "problems": list(dict.fromkeys(problems))})
        return
    for job, text in zip(jobs, scripts, strict=True):
        print(f"# ---- {job.name}, at {job.site.name}\n{text}")
    show_costs(jobs, costs)
    for problem in dict.fromkeys(problems):
        print(f"would be refused: {problem}", file=sys.stderr)


def _problem(job: Job) -> str:
    try:
        slurm.check(job)
    except BadInput as error:
        return str(error)
    return ""


def show_costs(jobs: Sequence[Job], costs: Sequence[Forecast]) -> None:
    """Print what each job and all together may cost."""
    rows: list[tuple[Any, ...]] = [
        (job.name, job.site.name, job.nodes, *_amounts(asdict(cost))) for job, cost in zip(jobs, costs, strict=True)
    ]
    rows.append(("total", "", "", *_amounts(total(costs))))
    columns = ("job", "site", "nodes", "node-hours", "at most", "GPU-hours", "kWh", "euros")
    print_table("", columns, rows, numbers=6)
    print("estimates: see openeurollm/plan/jobs.py for the speeds behind them; `at most` is the time limit")


def _amounts(told: dict[str, Any]) -> list[str]:
    keys = ("node_hours", "most_node_hours", "gpu_hours", "kwh", "euros")
    return ["unknown" if told[key] is None else f"{told[key]:,.2f}" for key in keys]


def submit(
    recipe: Recipe, folder: RunFolder, jobs: Sequence[Job], costs: Sequence[Forecast], again: Sequence[str], yes: bool
) -> list[dict[str, Any]]:
    """Submit the jobs, after asking where they may cost much; returns what is noted of each.

    Raises `BadInput` for what a profile or Slurm refuses, `Failure` where jobs of the run are under way already.
    """
    for job in jobs:
        slurm.check(job)
    if not slurm.available():
        raise BadInput("no Slurm on this machine; log in to the cluster, or use --on laptop")
    for site in {job.site.name: job.site for job in jobs}.values():
        _agrees(site)
    scripts = [slurm.script(job, folder.path) for job in jobs]
    with folder.locked():
        idle(folder)
        most, limit = total(costs)["node_hours"] or 0.0, min(job.site.confirm_node_hours for job in jobs)
        if most > limit and not yes:
            _confirm(most, limit)
        (folder.path / ".work" / "logs").mkdir(parents=True, exist_ok=True)
        write_text(folder.path / "recipe.toml", to_toml(recipe))
        for name in again:
            folder.reopen(name)
        for name in FOLDERS:
            crew.forgive(folder.work(name))
        numbers = slurm.submit(jobs, scripts)
        noted = [
            {
                "id": number,
                "site": job.site.name,
                "nodes": job.nodes,
                "stages": job.stages,
                **asdict(cost),
            }
            for number, job, cost in zip(numbers, jobs, costs, strict=True)
        ]
        try:
            write_json(_file(folder), {"jobs": noted})
        except BaseException:  # jobs of which nobody would know
            slurm.cancel(numbers)
            raise
    return noted


def _agrees(site: Site) -> None:
    """Raises `BadInput` where a profile promises what the cluster does not give."""
    for finding in survey.check(site):
        if finding.verdict == "differs" and finding.fact in _LIMITS:
            said = f"`{finding.fact}` is {finding.profile} in the profile, but {finding.found} here"
            raise BadInput(f"{site.name}: {said}; {finding.advice}")


_LIMITS = ("partition", "walltime", "max_nodes", "max_array", "account", "qos")


def _confirm(hours: float, limit: float) -> None:
    if not sys.stdin.isatty():
        raise BadInput(f"this may take {hours:,.0f} node-hours, more than {limit:,.0f}; say --yes if that is meant")
    print(f"this may take {hours:,.0f} node-hours, more than {limit:,.0f}. Submit it? [y/N] ", end="", flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise BadInput("nothing was submitted")


class _Noted(BaseModel):
    """A job as it was noted when it was submitted."""

    model_config = ConfigDict(extra="allow")
    id: int = Field(gt=0, lt=2**32)
    job: str
    site: str
    nodes: int
    stages: list[Literal[tuple(FOLDERS)]]  # type: ignore[valid-type]
    node_hours: float
    gpu_hours: float | None


def _file(folder: RunFolder) -> Path:
    return folder.path / ".work" / "jobs.json"


def noted(folder: RunFolder) -> list[dict[str, Any]]:
    """What was noted of the run's jobs when they were submitted."""
    if not _file(folder).is_file():
        return []
    try:
        found = TypeAdapter(list[_Noted]).validate_python(slurm.read(_file(folder)).get("jobs"))
    except ValidationError:
        raise BadInput(
            f"{_file(folder)} is damaged, so the run's jobs are unknown; end them with Slurm's `scancel` "
            "(`squeue --me` lists yours), then remove this file"
        ) from None
    return [job.model_dump() for job in found]


def idle(folder: RunFolder) -> None:
    """Raises `Failure` where jobs of the run are queued or running, or processes of them give signs of life."""
    jobs = noted(folder)
    if slurm.available():
        active = ", ".join(map(str, _active(jobs)))
        if active:
            raise Failure(
                f"{folder.path}: jobs {active} of this run are under way; wait (openeurollm status "
                f"{folder.path} --watch) or stop them (openeurollm cancel {folder.path})"
            )
        return
    for name in FOLDERS if jobs else ():
        who = crew.somebody(folder.crew(name), 60)
        if who:
            raise Failure(f"{folder.path}: {who} is at work on {name}; wait for it or cancel its job where it runs")


def _active(jobs: Sequence[dict[str, Any]]) -> list[int]:
    """The numbers of the jobs that are not over."""
    standings = slurm.standings([job["id"] for job in jobs])
    return [job for job, standing in standings.items() if slurm.active(standing.states)]


def progress(folder: RunFolder) -> list[dict[str, Any]]:
    """Jobs of the run as they stand: Slurm's states of each, and the passes of its stages."""
    told = noted(folder)
    known = slurm.standings([job["id"] for job in told]) if slurm.available() else {}
    found = []
    for job in told:
        passes = [vars(each) for stage in job["stages"] for each in crew.progress(folder.work(stage))]
        standing = known.get(job["id"], slurm.Standing())
        nodes = standing.node_hours
        gpus = None if nodes is None or job["gpu_hours"] is None else nodes * job["gpu_hours"] / job["node_hours"]
        used = {"node_hours": nodes, "gpu_hours": gpus}
        found.append({**job, "states": standing.states, "passes": passes, "used": used})
    return found


def show_progress(jobs: Sequence[dict[str, Any]], built: dict[str, bool]) -> None:
    """Print the jobs of a run."""
    rows = []
    for job in jobs:
        whole = all(built[stage] for stage in job["stages"])
        states = _states(job)
        passes = job["passes"][-1:] if not whole else []
        words = [
            f"{p['title']}: {p['done']} of {p['number']}" + (f", {p['aside']} set aside" if p["aside"] else "")
            for p in passes
        ]
        what = states or ("built" if whole else "over")
        hours = [_used(job["used"][key], job[key]) for key in ("node_hours", "gpu_hours")]
        rows.append((job["id"], job["job"], job["site"], what, "".join(words), *hours))
    columns = ("job", "builds", "site", "state", "shards", "node-hours", "GPU-hours")
    print_table("jobs, with hours used of those foretold", columns, rows, numbers=2)


def _used(used: float | None, foretold: float | None) -> str:
    first, second = ("?" if value is None else f"{value:,.2f}" for value in (used, foretold))
    return f"{first} of {second}"


def wait(folder: RunFolder, steps: Sequence[Step], quiet: bool) -> None:
    """Wait until the run's jobs are over; raises `Failure` where a stage is not built then."""
    try:
        _wait(folder, quiet)
    except KeyboardInterrupt:
        raise Failure(
            f"waits no longer, the jobs go on; openeurollm status {folder.path} --watch shows how far they are, "
            f"openeurollm cancel {folder.path} ends them"
        ) from None
    missing = [step.stage for step in steps if folder.record(step.stage) is None]
    if missing:
        raise Failure(f"{folder.path}: incomplete, {_why(folder, missing[0])}; `openeurollm run` goes on from here")
    remove(folder.crew(""))


def _wait(folder: RunFolder, quiet: bool) -> None:
    pause, said, heard = 0.2, "", time.monotonic()
    while True:
        try:
            active = [job for job in progress(folder) if slurm.active(job["states"])]
            heard, words = time.monotonic(), "; ".join(map(_state, active))
            if not active:
                return
        except Failure as error:  # jobs go on without a controller, and it may come back
            if time.monotonic() - heard > _PATIENCE:
                raise
            words = str(error)
        if words != said and not quiet:
            print(words, file=sys.stderr)
            said = words
        time.sleep(pause)
        pause = min(10.0, 1.2 * pause)


_PATIENCE = 1800.0
"""Seconds without an answer from Slurm after which nobody waits any longer."""


def _state(job: dict[str, Any]) -> str:
    last = "".join(f", {p['title']} {p['done']} of {p['number']}" for p in job["passes"][-1:])
    return f"{job['job']}: {_states(job)}{last}"


def _states(job: dict[str, Any]) -> str:
    return ", ".join(f"{number} {state.lower()}" for state, number in sorted(job["states"].items()))


def _why(folder: RunFolder, stage: str) -> str:
    """Why a stage is missing: what its job said at the end, or the last error in its logs."""
    logs = folder.path / ".work" / "logs"
    words = ""
    for job in (job for job in noted(folder) if stage in job["stages"]):
        told = slurm.read(folder.crew("-".join(job["stages"])) / f"over-{job['id']}.json")
        words = str(told.get("words") or "") or _last_error(logs.glob(f"{job['job']}-{job['id']}*.log")) or words
    return f"{stage} is not built: {words}" if words else f"{stage} is not built; see {logs}"


def _last_error(logs: Iterable[Path]) -> str:
    """The last error of which one of the logs tells."""
    for log in sorted(logs, key=lambda log: log.stat().st_mtime, reverse=True):
        with open(log, "rb") as file:
            file.seek(max(0, log.stat().st_size - 100_000))
            lines = file.read(100_000).decode("utf-8", "replace").splitlines()
        errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        if errors:
            return errors[-1]
    return ""


def cancel(folder: RunFolder) -> list[int]:
    """Cancel the run's jobs that are not over; returns their numbers."""
    active = _active(noted(folder))
    slurm.cancel(active)
    return active


def at(site: Site, account: str) -> Site:
    """The site with the user's account."""
    return site.model_copy(update={"account": account or site.account})
