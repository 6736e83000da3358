"""Wheels for another machine: this project and all that it needs there, fetched by pip and checked to be complete."""

import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename
from packaging.version import Version

from openeurollm.engine.progress import Reporter, Task
from openeurollm.errors import BadInput, Failure
from openeurollm.ledger import digest, digest_of, files_below, read_json, remove, write_json, write_text

LIST = "list.json"
GLIBC = 28
"""Wheels are taken that run with glibc 2.28 (2018, Red Hat 8) or newer."""
_SOURCE = ("pyproject.toml", "README.md", "LICENSE", "requirements.lock", "src", "sites")
_ALIASES = {5: "manylinux1", 12: "manylinux2010", 17: "manylinux2014"}
"""Older names of what runs with glibc 2.5, 2.12 and 2.17 (PEP 600)."""


@dataclass(frozen=True)
class Target:
    """What the wheels are to run on: Linux, a machine (`x86_64`, `aarch64`), a Python (`3.11`), an accelerator (`cuda`,
    `rocm`, `none`)."""

    machine: str
    python: str
    accelerator: str

    @property
    def platforms(self) -> list[str]:
        """Names of the platforms whose wheels run there, newest first."""
        found = []
        for minor in range(GLIBC, 4, -1):
            found += [f"manylinux_2_{minor}_{self.machine}"]
            found += [f"{_ALIASES[minor]}_{self.machine}"] if minor in _ALIASES else []
        return [*found, f"linux_{self.machine}"]

    @property
    def markers(self) -> dict[str, str]:
        """What conditions of requirements (PEP 508) are asked of."""
        return {
            "implementation_name": "cpython",
            "implementation_version": f"{self.python}.0",
            "os_name": "posix",
            "platform_machine": self.machine,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Linux",
            "platform_version": "",
            "python_full_version": f"{self.python}.0",
            "python_version": self.python,
            "sys_platform": "linux",
        }


def gather(
    folder: Path, work: Path, target: Target, project: Path, indexes: Sequence[str], reporter: Reporter
) -> dict[str, Any]:
    """Bring the wheels of the checkout `project`, with its extra `all` under its `requirements.lock`, into `folder`.

    `work` is scratch space, from which a killed attempt goes on; `indexes` are words for pip that say where wheels are.
    Returns what `list.json` in the folder holds: `wheels`, by file its `name`, `version`, `bytes` and `sha256`. Wheels
    that are there and whole, made for the same, are kept. Raises `Failure` where pip does.
    """
    sources = _digests(project)
    fixed = [sources.get(name) for name in ("requirements.lock", "pyproject.toml")]
    sort = digest_of([vars(target), list(indexes), fixed])
    key = digest_of([sort, sources])
    made = _list(folder)
    if made.get("key") == key and _whole(folder, made):
        return made
    wheels = work / "wheels"
    if not (work / "sort").is_file() or (work / "sort").read_text("utf-8") != sort:
        remove(work)
        write_text(work / "sort", sort)
    if made.get("sort") == sort and not wheels.exists():
        folder.rename(wheels)
    wheels.mkdir(exist_ok=True)
    for path in wheels.glob("*.whl"):
        if not _sound(path):
            path.unlink()
    _build(project, wheels, indexes)
    needed = _fetch(wheels, target, project / "requirements.lock", indexes, reporter)
    for path in wheels.iterdir():
        if path not in needed.values():
            path.unlink()
    _suits(needed, target)
    made = {"key": key, "sort": sort, "wheels": {path.name: _entry(path) for path in sorted(needed.values())}}
    write_json(wheels / LIST, made)
    remove(folder)
    wheels.rename(folder)
    return made


def _digests(project: Path) -> dict[str, str]:
    roots = [project / name for name in _SOURCE]
    files = [path for root in roots for path in ([root] if root.is_file() else files_below(root))]
    names = {path: path.relative_to(project) for path in files}
    return {name.as_posix(): digest(path) for path, name in names.items() if not _is_made(name.parts)}


def _is_made(parts: Sequence[str]) -> bool:
    """Whether Python or a build made it."""
    return any(part == "__pycache__" or part.endswith(".egg-info") for part in parts)


def _list(folder: Path) -> dict[str, Any]:
    """The list of a folder, empty where there is none."""
    made = read_json(folder / LIST) if (folder / LIST).is_file() else {}
    return made if isinstance(made, dict) else {}


def _whole(folder: Path, made: dict[str, Any]) -> bool:
    """Whether a folder holds what its list says, and nothing else."""
    there = {path.name: path for path in folder.iterdir() if path.name != LIST}
    wheels = made["wheels"]
    return there.keys() == wheels.keys() and all(digest(path) == wheels[name]["sha256"] for name, path in there.items())


def _entry(path: Path) -> dict[str, Any]:
    name, version, *_ = parse_wheel_filename(path.name)
    return {"name": name, "version": str(version), "bytes": path.stat().st_size, "sha256": digest(path)}


def _sound(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as packed:
            return packed.testzip() is None
    except (zipfile.BadZipFile, OSError, EOFError):
        return False


def _build(project: Path, wheels: Path, indexes: Sequence[str]) -> None:
    """The project's own wheel, built from a copy, which leaves the checkout as it is."""
    for path in wheels.glob("openeurollm-*.whl"):
        path.unlink()
    with tempfile.TemporaryDirectory() as copy:
        for name in _SOURCE:
            source = project / name
            if source.is_dir():
                shutil.copytree(source, Path(copy, name), ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
            elif source.is_file():
                shutil.copy(source, Path(copy, name))
        _pip("wheel", "--no-deps", "--wheel-dir", str(wheels), *indexes, copy)


def _fetch(wheels: Path, target: Target, lock: Path, indexes: Sequence[str], reporter: Reporter) -> dict[str, Path]:
    """Download until nothing is missing; the wheels needed, by name.

    Which requirements hold is asked here, of the target: pip asks conditions such as `platform_machine == "aarch64"` of
    the machine it runs on. The versions are those of the lock, so that there is nothing else to resolve.
    """
    platforms = [word for name in target.platforms for word in ("--platform", name)]
    where = [*platforms, "--python-version", target.python, "--only-binary=:all:", "--dest", str(wheels), *indexes]
    before: list[str] = []
    with reporter.task("wheels", len(lock.read_text("utf-8").splitlines())) as task:
        while True:
            needed, missing = _closure(wheels, target)
            if not missing:
                return needed
            if missing == before:
                raise Failure(f"wheels: what is in requirements.lock does not fit {missing[0]}")
            _pip("download", "--no-deps", "-c", str(lock), *where, "--", *missing, task=task)
            before = missing


def _closure(wheels: Path, target: Target) -> tuple[dict[str, Path], list[str]]:
    """The wheels that `openeurollm[all]` needs on the target, by name, and requirements that none fulfils."""
    there: dict[str, tuple[Version, Path]] = {}
    for path in sorted(wheels.glob("*.whl")):
        own, version, *_ = parse_wheel_filename(path.name)
        name = str(own)
        there[name] = max(there.get(name, (version, path)), (version, path))
    needed: dict[str, Path] = {}
    missing: list[str] = []
    waiting, seen = [("openeurollm", ""), ("openeurollm", "all")], set[tuple[str, str]]()
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        needed[name] = there[name][1]
        for requirement in _requirements(there[name][1]):
            if requirement.marker and not requirement.marker.evaluate({**target.markers, "extra": extra}):
                continue
            other = canonicalize_name(requirement.name)
            if other not in there or not requirement.specifier.contains(there[other][0], prereleases=True):
                missing.append(f"{requirement.name}{requirement.specifier}")
                continue
            waiting += [(other, ""), *((other, canonicalize_name(each)) for each in requirement.extras)]
    return needed, sorted(set(missing))


def _requirements(wheel: Path) -> list[Requirement]:
    with zipfile.ZipFile(wheel) as packed:
        name = next(name for name in packed.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name))
        told = HeaderParser().parsestr(packed.read(name).decode("utf-8"))
    return [Requirement(line) for line in told.get_all("Requires-Dist", [])]


def _suits(needed: dict[str, Path], target: Target) -> None:
    """Raises `Failure` where torch is said to be built for another accelerator."""
    if "torch" not in needed or target.accelerator == "none":
        return
    version = parse_wheel_filename(needed["torch"].name)[1]
    built = version.local or ("cuda" if target.accelerator == "cuda" else "")
    marks = {"cuda": ("cu1", "cuda"), "rocm": ("rocm",)}[target.accelerator]
    if not built.startswith(marks):
        needed["torch"].unlink()  # another try looks again
        raise Failure(
            f"wheels: pip found torch {version}, which is not built for {target.accelerator}; name PyTorch's own index "
            "for it with --extra-index-url, and remove other builds of torch from where pip looks"
        )


def _pip(*words: str, task: Task | None = None) -> None:
    """Run pip; raises `Failure` with its own last words."""
    command = [sys.executable, "-m", "pip", words[0], "--disable-pip-version-check", "--no-input", *words[1:]]
    last: deque[str] = deque(maxlen=2)
    errors: deque[str] = deque(maxlen=3)
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as pip:
        assert pip.stdout is not None
        for line in map(str.strip, pip.stdout):
            if line:
                last.append(line)
            if line.startswith("ERROR:"):
                errors.append(line)
            if task and line.startswith("Collecting "):
                task.advance(line.split()[1])
    if pip.returncode == 0:
        return
    told = re.sub(r"//[^/@\s]*@", "//", " | ".join(errors or last))
    if "No module named pip" in told:
        raise BadInput(f"{sys.executable} has no pip; `{sys.executable} -m ensurepip` brings it")
    raise Failure(f"wheels: pip {words[0]} failed: {told}; what was fetched is kept, run again to go on")
