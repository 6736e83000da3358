"""Writing a corpus as HPLT publishes its own: JSON lines under its names of fields, packed, a file a language."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from openeurollm.corpus.document import rows
from openeurollm.engine import Engine
from openeurollm.errors import BadInput
from openeurollm.languages import contract, hplt_code, languages
from openeurollm.ledger import remove


@dataclass(frozen=True)
class Task:
    """The parts of a language's text that go into one file."""

    language: str
    parts: tuple[Path, ...]
    file: Path

    def __str__(self) -> str:
        return self.language


def export(folder: Path, out: Path, chosen: Sequence[str], engine: Engine) -> dict[str, int]:
    """Write the training text of a corpus to `out`, `mlt_Latn.jsonl.zst` and so on; returns documents by language.

    Without `chosen` languages it is all that there are. The folder `out` appears under its name when all of it is
    written. Raises `BadInput` where there is something in it, for what is no language of ours, and for one in which the
    corpus has no text.
    """
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise BadInput(f"{out} is not empty; name a new folder")
    partial = out.with_name(f".{out.name}.part")
    tasks = [
        Task(tag, tuple(sorted((folder / tag).glob("part-*.parquet"))), partial / f"{hplt_code(tag)}.jsonl.zst")
        for tag in (contract(chosen) if chosen else filter(lambda tag: (folder / tag).is_dir(), languages()))
    ]
    lacking = next((task.language for task in tasks if not task.parts), None if tasks else "any language")
    if lacking:
        raise BadInput(f"{folder} holds no text in {lacking}")
    remove(partial)
    partial.mkdir(parents=True)
    engine.map("export", write, tasks)
    if out.is_dir():
        out.rmdir()
    os.replace(partial, out)
    return {task.language: sum(pq.read_metadata(part).num_rows for part in task.parts) for task in tasks}


def write(task: Task) -> None:
    """Write one file."""
    with pa.OSFile(str(task.file), "wb") as file, pa.CompressedOutputStream(file, "zstd") as stream:
        for part in task.parts:
            for row in rows(part):
                stream.write(json.dumps(fields(row), ensure_ascii=False).encode("utf-8") + b"\n")


def fields(row: dict[str, Any]) -> dict[str, Any]:
    """A document under HPLT's names, and under our own what HPLT has no name for; what is not known is left out."""
    named = {
        "u": row["url"],
        "ts": row["fetched"],
        "collection": row["source"],
        "lang": [hplt_code(row["language"])],
        "prob": [round(row["language_score"], 4)],
        "text": row["text"],
        "id": row["id"],
        "cluster_size": row["duplicates"],
        "licence": row["licence"],
        "rights": row["rights"],
        "rights_signal": row["rights_signal"],
        "quality": row["quality"],
    }
    return {name: value for name, value in named.items() if value not in (None, "")}
