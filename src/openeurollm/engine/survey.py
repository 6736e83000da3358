"""What a site's profile says, against what the cluster itself says."""

import getpass
import grp
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from openeurollm.engine.site import Site, seconds
from openeurollm.errors import BadInput

Verdict = Literal["ok", "differs", "unknown"]
SECONDS = 60
"""How long a command of Slurm may take."""
IDLE_SHARE = 0.75
"""A profile that uses less of a node than this share leaves much of it idle; what is between is kept for the system."""


@dataclass(frozen=True)
class Finding:
    """A fact of a profile beside what was found on the cluster, and what to do about it."""

    fact: str
    profile: str
    found: str
    verdict: Verdict
    advice: str = ""


def check(site: Site) -> list[Finding]:
    """Compare a profile with the cluster whose login node this is: limits, partition, nodes, accounts, scratch.

    Raises `BadInput` where Slurm does not answer here.
    """
    if site.scheduler == "none":
        return _storage(site)
    try:
        settings = _pairs(_slurm("scontrol", "show", "config"))
    except BadInput as error:
        raise BadInput(f"no Slurm answers here; check {site.name} on a login node of {site.title} ({error})") from None
    findings = [_at_most("max_array", site.max_array, _number(settings.get("MaxArraySize")))]
    findings += _partition(site) + _associations(site) + _storage(site)
    return [finding for finding in findings if finding.profile]


def scratch(site: Site) -> Path | None:
    """The folder for runs of the user who asks."""
    if not site.scratch:
        return None
    words = {"account": site.account, "user": _user(), "group": _group()}
    return Path(re.sub(r"\{(account|user|group)\}", lambda match: words[match[1]], site.scratch))


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _group() -> str:
    try:
        return grp.getgrgid(os.getgid()).gr_name
    except KeyError:
        return str(os.getgid())


def _slurm(*command: str) -> str:
    if not shutil.which(command[0]):
        raise BadInput(f"there is no {command[0]}")
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=SECONDS)
    except subprocess.TimeoutExpired:
        raise BadInput(f"`{command[0]}` did not answer within {SECONDS} seconds; try again later") from None
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())[:300]
        raise BadInput(f"{command[0]} says: {said or 'nothing'}")
    return done.stdout


def _pairs(text: str) -> dict[str, str]:
    """Words such as `MaxTime=60`, with or without spaces around the equals sign."""
    return dict(re.findall(r"(\w+)\s*=\s*(\S*)", text))


def _number(text: str | None) -> float | None:
    """A number of Slurm's; `None` where there is none, infinity for UNLIMITED."""
    if text == "UNLIMITED":
        return float("inf")
    return float(text) if text and re.fullmatch(r"\d{1,15}", text) else None


def _at_most(fact: str, profile: float | None, found: float | None, shown: str = "") -> Finding:
    """A limit that the profile may not exceed; `shown` is how Slurm writes what was found."""
    told = "" if profile is None else f"{profile:.15g}"
    if found is None:
        return Finding(fact, told, shown, "unknown", "not checked: Slurm does not say")
    seen = shown or ("UNLIMITED" if found == float("inf") else f"{found:.15g}")
    if profile is not None and profile > found:
        return Finding(fact, told, seen, "differs", f"set `{fact}` to at most {seen}")
    return Finding(fact, told, seen, "ok")


def _partition(site: Site) -> list[Finding]:
    if not site.partition:
        return []
    known = sorted(set(re.findall(r"^PartitionName=(\S+)", _slurm("scontrol", "show", "partition"), re.MULTILINE)))
    if site.partition not in known:
        there = ", ".join(known)
        return [Finding("partition", site.partition, there, "differs", f"set `partition` to one of {there}")]
    told = _pairs(_slurm("scontrol", "show", "partition", site.partition))
    state = told.get("State", "")
    advice = "" if state == "UP" else "jobs wait until the partition is up again"
    up = Finding(
        "partition", site.partition, f"{site.partition}, {state}", "ok" if state == "UP" else "differs", advice
    )
    nodes = _number(told.get("TotalNodes"))
    most = _number(told.get("MaxNodes"))
    most = nodes if most == float("inf") else most
    return [up, _at_most("max_nodes", site.max_nodes, most), _walltime(site, told.get("MaxTime", "")), *_nodes(site)]


def _walltime(site: Site, found: str) -> Finding:
    longest = site.facts.get("walltime")
    told = str(longest.value) if longest else ""
    if not told or not found:
        return Finding("walltime", told, found, "unknown", "not checked: Slurm does not say")
    if found != "UNLIMITED" and seconds(told) > seconds(found):
        return Finding("walltime", told, found, "differs", f"set `walltime` to at most {found}")
    return Finding("walltime", told, found, "ok")


def _nodes(site: Site) -> list[Finding]:
    """Cores, memory and GPUs: of the smallest node, since a job may get any."""
    lines = _slurm("sinfo", "-h", "-e", "-p", str(site.partition), "-o", "%X|%Y|%m|%G").splitlines()
    rows = [row for line in lines if len(row := line.strip().split("|")) == 4 and row[0].isdigit() and row[1].isdigit()]
    if not rows:
        return [Finding("cores", str(site.cores), "", "unknown", "not checked: the partition has no nodes")]
    cores = min(int(row[0]) * int(row[1]) for row in rows)
    memory = min(_number(row[2].rstrip("+")) or 0 for row in rows) / 1024
    return [
        _part_of("cores", site.cores, cores),
        _part_of("memory_gb", site.memory_gb, int(memory)),
        _gpus(site, min(_devices(row[3]) for row in rows)),
    ]


def _part_of(fact: str, profile: float | None, found: float) -> Finding:
    """How much of a node is used: not more than there is, nor much less."""
    finding = _at_most(fact, profile, found)
    if profile is not None and profile < found * IDLE_SHARE:
        return Finding(fact, finding.profile, finding.found, "differs", f"{found - profile:g} of a node stay idle")
    return finding


def _gpus(site: Site, found: int) -> Finding:
    told = "" if site.gpus is None else str(site.gpus)
    if told == str(found):
        return Finding("gpus", told, str(found), "ok")
    return Finding("gpus", told, str(found), "differs", f"set `gpus` to {found}, or choose another partition")


def _devices(gres: str) -> int:
    """GPUs in a list such as `gpu:mi250:8(S:0-3),tmpfs:200G`."""
    return sum(int(count) for count in re.findall(r"(?:^|,)gpu(?::[^:,()]+)?:(\d{1,4})", gres))


def _associations(site: Site) -> list[Finding]:
    """Whether the user may charge the account and use the QOS, and how many jobs may wait."""
    asked = ("show", "assoc", f"user={_user()}", "format=account,qos,maxsubmit")
    qos, jobs = site.qos or "", "" if site.max_jobs is None else str(site.max_jobs)
    account = site.account or ("(none)" if site.account_required else "")
    try:
        rows = [line.split("|") for line in _slurm("sacctmgr", "-nP", *asked).splitlines() if line.count("|") == 2]
    except BadInput as error:
        unknown = f"not checked: {error}"
        parts = (("account", account), ("qos", qos), ("max_jobs", jobs))
        return [Finding(fact, told, "", "unknown", unknown) for fact, told in parts]
    accounts = sorted({row[0] for row in rows})
    mine = [row for row in rows if not site.account or row[0] == site.account]
    return [
        _one_of("account", account, accounts, "in [use] of a file of your own"),
        _one_of("qos", qos, sorted({name for row in mine for name in row[1].split(",") if name}), "in [facts]"),
        _at_most("max_jobs", site.max_jobs, min((n for row in mine if (n := _number(row[2]))), default=None)),
    ]


def _one_of(fact: str, profile: str, found: list[str], where: str) -> Finding:
    shown = ", ".join(found)
    if profile in found:
        return Finding(fact, profile, shown, "ok")
    advice = f"set `{fact}` {where} to one of {shown}" if found else "you have none here; ask the site"
    return Finding(fact, profile, shown, "differs", advice)


def _storage(site: Site) -> list[Finding]:
    folder = scratch(site)
    if folder is None:
        return []
    if not site.account and "{account}" in str(site.scratch):
        return [Finding("scratch", str(site.scratch), "", "unknown", "not checked: give an `account` in [use]")]
    told = str(folder)
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        wrong = "not writable" if folder.is_dir() else "no such folder"
        return [Finding("scratch", told, wrong, "differs", "set `scratch` to a folder of yours on the shared disk")]
    found = [Finding("scratch", told, "writable", "ok")]
    if site.max_files is not None:
        found.append(_at_most("max_files", site.max_files, os.statvfs(folder).f_files or None))
    return found
