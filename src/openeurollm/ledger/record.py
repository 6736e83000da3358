"""Records: what was made, from what, with which parameters, by which code, where, and at what cost.

A record is an in-toto statement (https://in-toto.io/Statement/v1) with SLSA provenance
(https://slsa.dev/provenance/v1) and one field of our own, `openeurollm`, for counts, results and cost.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from openeurollm import __version__
from openeurollm.errors import BadInput
from openeurollm.ledger.files import digest, digest_of, files_below, inside, read_json, write_json

NAME = "record.json"
_CLOCKED = "metrics.jsonl"
"""A file of this name tells seconds, which differ between equal trainings; like the cost, it is no output."""
Counts = Mapping[str, Mapping[str, int]]
"""Records per language and bucket: `{"mt": {"kept": 8, "too_short": 1}}`."""


@dataclass(frozen=True)
class Record:
    """One stage's record.

    `outputs` maps file names, relative to the stage's folder, to SHA-256; `inputs` maps what went in (a source's file,
    another stage's record) to SHA-256; `parameters` are the resolved recipe tables; `counts` are records per language
    and bucket; `results` is what the stage reports of itself; `cost` is as `Meter` gives it.
    """

    stage: str
    parameters: Mapping[str, Any]
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    counts: Counts = field(default_factory=dict)
    results: Mapping[str, Any] = field(default_factory=dict)
    cost: Mapping[str, Any] = field(default_factory=dict)
    code: str = ""
    host: Mapping[str, Any] = field(default_factory=dict)
    site: str = "laptop"
    started: str = ""
    finished: str = ""

    @property
    def made(self) -> str:
        """One digest of all that the stage made; it changes exactly when an output changes."""
        return digest_of(dict(self.outputs))

    def write(self, folder: Path) -> None:
        """Write `record.json` into `folder`; it is the last file a stage writes."""
        write_json(folder / NAME, self._statement())

    def _statement(self) -> dict[str, Any]:
        return {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": name, "digest": {"sha256": sha}} for name, sha in self.outputs.items()],
            "predicateType": "https://slsa.dev/provenance/v1",
            "predicate": {
                "buildDefinition": {
                    "buildType": f"urn:openeurollm:stage:{self.stage}",
                    "externalParameters": self.parameters,
                    "resolvedDependencies": [
                        {"uri": name, "digest": {"sha256": sha}} for name, sha in self.inputs.items()
                    ],
                },
                "runDetails": {
                    "builder": {
                        "id": f"urn:openeurollm:site:{self.site}",
                        "version": {"openeurollm": __version__, "code": self.code},
                    },
                    "metadata": {"startedOn": self.started, "finishedOn": self.finished},
                },
            },
            "openeurollm": {
                "counts": self.counts,
                "results": self.results,
                "cost": self.cost,
                "host": self.host,
            },
        }


def read(folder: Path) -> Record | None:
    """The record in `folder`, or None where there is none. Raises `BadInput` where it is no record of ours."""
    if not (folder / NAME).is_file():
        return None
    raw = read_json(folder / NAME)
    try:
        definition = raw["predicate"]["buildDefinition"]
        details = raw["predicate"]["runDetails"]
        own = raw["openeurollm"]
        return Record(
            stage=definition["buildType"].rpartition(":")[2],
            parameters=definition["externalParameters"],
            inputs={part["uri"]: part["digest"]["sha256"] for part in definition["resolvedDependencies"]},
            outputs={part["name"]: part["digest"]["sha256"] for part in raw["subject"]},
            counts=own["counts"],
            results=own["results"],
            cost=own["cost"],
            host=own["host"],
            code=details["builder"]["version"]["code"],
            site=details["builder"]["id"].rpartition(":")[2],
            started=details["metadata"]["startedOn"],
            finished=details["metadata"]["finishedOn"],
        )
    except (KeyError, TypeError, AttributeError):
        raise BadInput(f"{folder / NAME}: not a record of this project; remove the folder to build it again") from None


def now() -> str:
    """The time, to the second, as in-toto writes it: `2026-01-31T23:59:59Z`."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def outputs(folder: Path, without: tuple[str, ...] = ()) -> dict[str, str]:
    """Digest of every file that a stage left in `folder`, its record, its metrics and the sub-folders `without` left
    out.
    """
    names = (path.relative_to(folder).as_posix() for path in files_below(folder))
    return {
        name: digest(folder / name)
        for name in names
        if name not in (NAME, _CLOCKED) and not name.startswith(tuple(f"{w}/" for w in without))
    }


def damage(folder: Path, record: Record, digest: Callable[[Path], str] = digest) -> str | None:
    """What is wrong with the files a record speaks of: the first that is missing or changed, or None."""
    for name, sha in record.outputs.items():
        path = inside(folder, name)
        if not path.is_file():
            return f"{name} is missing"
        if digest(path) != sha:
            return f"{name} has changed"
    return None


@cache
def code_digest(*rooms: str) -> str:
    """SHA-256 over the Python and data files of the named rooms (`corpus`, `languages`, …) of the package."""
    root = Path(__file__).resolve().parent.parent
    total = hashlib.sha256()
    for room in rooms:
        base = root / room
        for path in sorted(base.rglob("*")):
            if path.is_file() and path.suffix in (".py", ".toml", ".html", ".md"):
                total.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return total.hexdigest()
