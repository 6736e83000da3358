"""Slurm: the scripts of a run's jobs, and what is asked of its commands.

Every job runs this same program on the node it is given: an element of an array joins the crew of a stage, a single
job builds a stage alone, a training job starts torchrun on all its nodes. Jobs follow one another by `afterany`, and
each looks for itself whether the stages before it are whole. A job that is warned of its time limit stops and asks to
be queued again.
"""

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from openeurollm.engine.site import Site, seconds
from openeurollm.errors import BadInput, Failure

Part = Literal["array", "single", "training"]
_NOTE = 1_000_000
"""Bytes that no note has."""
_SECONDS = 60
"""How long a command of Slurm may take to answer."""
ACTIVE = ("PENDING", "RUNNING", "CONFIGURING", "COMPLETING", "SUSPENDED", "REQUEUED", "REQUEUE_HOLD", "RESIZING")
"""States of jobs that are not over."""


@dataclass(frozen=True)
class Job:
    """A job of a run: the stages it builds and how, at a site, on some nodes, for at most `walltime`."""

    name: str
    stages: tuple[str, ...]
    part: Part
    site: Site = field(repr=False)
    nodes: int
    walltime: str
    processes: int = 1
    """Processes of a training on each node, each with a device where there are any."""

    @property
    def gpus(self) -> int:
        """Devices that the job takes on each node."""
        return self.processes if self.part == "training" and self.site.gpus else 0

    @property
    def most_node_hours(self) -> float:
        """Node-hours until the time limit."""
        return self.nodes * seconds(self.walltime) / 3600


def check(job: Job) -> None:
    """Raises `BadInput` for what the site's profile says cannot be."""
    site = job.site
    if site.account_required and not site.account:
        raise BadInput(
            f'{site.name} wants an account: give --account NAME, or a file with `extends = "{site.name}"` and `account`'
        )
    longest = site.facts.get("walltime")
    if longest and seconds(job.walltime) > seconds(str(longest.value)):
        raise BadInput(f"{job.name}: walltime {job.walltime}, but {site.name} allows {longest.value} at most")
    if job.nodes > (site.max_nodes or job.nodes):
        raise BadInput(f"{job.name}: {job.nodes} nodes, but {site.name} allows {site.max_nodes} at most")
    if job.part == "array" and job.nodes > (site.max_array or job.nodes):
        raise BadInput(f"{job.name}: {job.nodes} elements, but an array at {site.name} has {site.max_array} at most")


def script(job: Job, run: Path, python: str = sys.executable) -> str:
    """The batch script of a job of the run at `run`. Raises `BadInput` for a folder whose name Slurm would misread."""
    site, training = job.site, job.part == "training"
    work = run.resolve() / ".work"
    if any(letter in '%"\\\n' for letter in str(work)):
        raise BadInput(f"{run}: Slurm cannot write to a folder with % or quotes in its name")
    log = f"{job.name}-%A_%a.log" if job.part == "array" else f"{job.name}-%j.log"
    options = [
        f"--job-name={run.name}-{job.name}",
        f"--partition={site.partition}" if site.partition else "",
        f"--account={site.account}" if site.account else "",
        f"--qos={site.qos}" if site.qos else "",
        f"--array=0-{job.nodes - 1}" if job.part == "array" else f"--nodes={job.nodes if training else 1}",
        f"--ntasks={job.nodes}" if training else "--ntasks=1",
        "--ntasks-per-node=1",
        f"--cpus-per-task={site.cores}" if site.cores else "",
        f"--mem={round(site.memory_gb * 1024)}M" if site.memory_gb else "",
        f"--gpus-per-node={job.gpus}" if job.gpus else "",
        f"--time={job.walltime}",
        f"--signal=B:USR1@{site.warning_seconds}",
        "--requeue",
        "--open-mode=append",
        f'--output="{work / "logs" / log}"',
        *site.options,
    ]
    program = ["-m", "openeurollm", "work", str(run.resolve()), *job.stages, "--part", job.part, "--site", site.name]
    program += ["--lease", f"{site.lease_seconds:g}", "--gpus", str(job.gpus)]
    lines = ["#!/bin/bash", *(f"#SBATCH {option}" for option in options if option), *site.setup]
    lines += [f"python=({shlex.join([*site.launcher, python])})", f"program=({shlex.join(program)})"]
    if training:
        if site.interface:  # gloo wants the whole name of one, NCCL takes all that begin so
            lines += [f"export NCCL_SOCKET_IFNAME={site.interface}"]
            lines += [f"export GLOO_SOCKET_IFNAME=$(ls /sys/class/net | grep -m1 '^{site.interface}')"]
        lines += [f"processes={job.processes}", f"stop={shlex.quote(str(work / job.stages[0] / 'stop'))}"]
        lines += [f"over={shlex.quote(str(work / 'crews' / job.stages[0]))}/over-$SLURM_JOB_ID.json"]
    return "\n".join([*lines, _shell("training" if training else "alone") + _shell("ending")])


def _shell(name: str) -> str:
    return Path(__file__).with_name(f"{name}.sh").read_text("utf-8")


def submit(jobs: Sequence[Job], scripts: Sequence[str]) -> list[int]:
    """Submit jobs of which each begins when the one before it has ended, however; returns their numbers.

    Slurm is asked about all of them before the first is submitted. Raises `BadInput` where it refuses one.
    """
    for job, text in zip(jobs, scripts, strict=True):
        _ask(job, "--test-only", given=text)
    found: list[int] = []
    try:
        for job, text in zip(jobs, scripts, strict=True):
            after = [f"--dependency=afterany:{found[-1]}"] if found else []
            found.append(int(_ask(job, "--parsable", *after, given=text).split(";")[0]))
    except BaseException:
        cancel(found)
        raise
    return found


def cancel(jobs: Iterable[int]) -> None:
    """Cancel jobs; those that are over already are no matter."""
    for job in jobs:
        _run("scancel", str(job))


@dataclass
class Standing:
    """How a job stands: how many of its elements are in each of Slurm's states, and the node-hours that they have run
    for since they last began. A job that Slurm has forgotten has neither.
    """

    states: dict[str, int] = field(default_factory=dict)
    node_hours: float | None = None


def active(states: Iterable[str]) -> bool:
    """Is a job with elements in these states not over."""
    return any(state in ACTIVE for state in states)


def standings(jobs: Sequence[int]) -> dict[int, Standing]:
    """How each job stands. Raises `Failure` where the controller does not answer."""
    found = {job: Standing() for job in jobs}
    for job, state, elapsed, nodes in _queue(jobs, "%F %T %M %D"):
        each = found[int(job)]
        each.states[state] = each.states.get(state, 0) + 1
        with suppress(BadInput):  # Slurm says INVALID of a job that has not begun
            each.node_hours = (each.node_hours or 0.0) + seconds(elapsed) * int(nodes) / 3600
    return found


def _queue(jobs: Sequence[int], columns: str) -> list[list[str]]:
    """Columns of the queue for all elements of some jobs, the job's number first."""
    if not jobs:
        return []
    which = f"--jobs={','.join(map(str, jobs))}"
    told = _run("squeue", "--noheader", "--array", "--states=all", f"--format={columns}", which)
    if told.returncode and "Invalid job id" not in told.stderr:
        raise Failure(f"Slurm does not answer: {_last(told.stderr)}")
    rows = [line.split() for line in told.stdout.splitlines()]
    return [row for row in rows if row[0].isdigit() and int(row[0]) in jobs and len(row) == len(columns.split())]


def available() -> bool:
    """Are Slurm's commands on this machine."""
    return shutil.which("sbatch") is not None


def _ask(job: Job, *options: str, given: str) -> str:
    told = _run("sbatch", *options, given=given)
    if told.returncode:
        site = job.site
        what = f"partition {site.partition}, account {site.account or 'none'}, {job.nodes} nodes, {job.walltime}"
        raise BadInput(f"Slurm refuses {job.name} ({what}): {_last(told.stderr) or f'status {told.returncode}'}")
    return told.stdout.strip()


def _run(*command: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, input=given, text=True, capture_output=True, timeout=_SECONDS, errors="replace")
    except FileNotFoundError:
        raise BadInput(f"no Slurm on this machine: `{command[0]}` is not there; --on laptop runs here") from None
    except subprocess.TimeoutExpired:
        raise Failure(f"Slurm does not answer: {command[0]} took over {_SECONDS} s") from None


def _last(text: str) -> str:
    lines = [line.removeprefix("sbatch: ").removeprefix("error: ") for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower() or "invalid" in line.lower()]
    return (errors or lines or [""])[-1].removeprefix("allocation failure: ")


def read(file: Path) -> dict[str, Any]:
    """A note of the jobs or of how one went; empty where there is none, or nothing that one of ours would write."""
    try:
        told = json.loads(file.read_text("utf-8")) if file.stat().st_size < _NOTE else None
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}
