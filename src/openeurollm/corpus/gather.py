"""The second pass, language by language: duplicates out, a part held out, and the shards that later stages read."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from openeurollm.corpus import duplicates
from openeurollm.corpus.document import rows, write
from openeurollm.corpus.refine import DROPPED, EXCERPT
from openeurollm.ledger import write_json
from openeurollm.recipe import Corpus

PART_BYTES = 64_000_000
"""Bytes of text in a Parquet file: few large files, as parallel file systems like them."""
HELD_OUT = "held-out.parquet"


@dataclass(frozen=True)
class Task:
    """One language to gather from the refined shards into `folder`; what is dropped goes to `drops`, counts to
    `done`.
    """

    language: str
    shards: tuple[Path, ...]
    limits: Corpus
    folder: Path
    drops: Path
    done: Path

    def __str__(self) -> str:
        return self.language


@dataclass
class _Key:
    """What is known of a document without its text: `fate` is `kept`, `held_out` or why it is dropped."""

    id: str
    work: str
    fingerprint: str
    size: int
    fate: str = "kept"
    duplicates: int = 1


def gather(task: Task) -> None:
    """Decide every document's fate, then write the language's shards; deterministic for a given order of shards."""
    if task.done.is_file():
        return
    keys, signatures = _keys(task)
    _drop_duplicates(keys, signatures, task.limits.near_duplicate)
    _hold_out(keys, task.limits)
    kept = _with_fate(task, keys, "kept")
    for number, part in enumerate(_parts(kept)):
        write(task.folder / f"part-{number:05d}.parquet", part)
    if any(key.fate == "held_out" for key in keys):
        write(task.folder / HELD_OUT, _with_fate(task, keys, "held_out"))
    write(task.drops, _drops(task, keys), DROPPED)
    write_json(task.done, _summary(keys, task))


def _keys(task: Task) -> tuple[list[_Key], Any]:
    keys, signatures = [], []
    for row in _documents(task, ["id", "work", "fingerprint", "signature", "text"]):
        keys.append(_Key(row["id"], row["work"], row["fingerprint"], len(row["text"].encode("utf-8"))))
        signatures.append(np.frombuffer(row["signature"], np.uint32))
    return keys, np.stack(signatures)


def _documents(task: Task, columns: list[str] | None = None) -> Iterator[dict[str, Any]]:
    for shard in task.shards:
        path = shard / f"{task.language}.parquet"
        if path.is_file():
            yield from rows(path, columns)


def _drop_duplicates(keys: list[_Key], signatures: Any, threshold: float) -> None:
    """Keep the longest document of each cluster (of equals the one with the least id)."""
    roots = duplicates.clusters([key.fingerprint for key in keys], signatures, threshold)
    best: dict[int, int] = {}
    for number, root in enumerate(roots.tolist()):
        rival = best.setdefault(root, number)
        if (-keys[number].size, keys[number].id) < (-keys[rival].size, keys[rival].id):
            best[root] = number
    sizes = duplicates.sizes(roots)
    for number, root in enumerate(roots.tolist()):
        winner = keys[best[root]]
        if keys[number] is winner:
            winner.duplicates = sizes[root]
        else:
            same = keys[number].fingerprint == winner.fingerprint
            keys[number].fate = "exact_duplicate" if same else "near_duplicate"


def _hold_out(keys: list[_Key], limits: Corpus) -> None:
    """Set whole works aside, in the order of their hash, up to the share; where none is small enough, the smallest."""
    works: Counter[str] = Counter()
    for key in keys:
        if key.fate == "kept":
            works[key.work] += key.size
    if len(works) < 2:
        return
    target = min(limits.held_out * works.total(), limits.held_out_bytes)
    chosen: set[str] = set()
    taken = 0
    for work in sorted(works, key=lambda name: hashlib.sha256(name.encode("utf-8", "replace")).digest()):
        if taken < target and taken + works[work] <= 1.5 * target:
            chosen.add(work)
            taken += works[work]
    if not chosen:
        chosen = {min(works, key=lambda name: (works[name], name))}
    for key in keys:
        if key.fate == "kept" and key.work in chosen:
            key.fate = "held_out"


def _with_fate(task: Task, keys: list[_Key], fate: str) -> Iterator[dict[str, Any]]:
    for key, row in zip(keys, _documents(task), strict=True):
        if key.fate == fate:
            yield {**row, "duplicates": key.duplicates}


def _parts(documents: Iterable[dict[str, Any]]) -> Iterator[Iterator[dict[str, Any]]]:
    """Runs of documents of about `PART_BYTES` each; every run must be used up before the next is asked for."""
    stream = iter(documents)

    def run(first: dict[str, Any]) -> Iterator[dict[str, Any]]:
        size = len(first["text"])
        yield first
        while size < PART_BYTES and (row := next(stream, None)) is not None:
            size += len(row["text"])
            yield row

    while (first := list(islice(stream, 1))) != []:
        yield run(first[0])


def _drops(task: Task, keys: list[_Key]) -> Iterator[dict[str, Any]]:
    for key, row in zip(keys, _documents(task), strict=True):
        if key.fate not in ("kept", "held_out"):
            yield {
                **{name: row.get(name) for name in DROPPED.names},
                "reason": key.fate,
                "excerpt": row["text"][:EXCERPT],
            }


def _summary(keys: list[_Key], task: Task) -> dict[str, Any]:
    licences: Counter[str] = Counter()
    sources: Counter[str] = Counter()
    characters = 0
    for key, row in zip(keys, _documents(task, ["text", "licence", "source"]), strict=True):
        if key.fate == "kept":
            licences[row["licence"]] += 1
            sources[row["source"]] += 1
            characters += len(row["text"])

    def size(fate: str) -> dict[str, int]:
        these = [key.size for key in keys if key.fate == fate]
        return {"documents": len(these), "bytes": sum(these)}

    return {
        "counts": Counter(key.fate for key in keys),
        "text": {**size("kept"), "characters": characters},
        "held_out": size("held_out"),
        "licences": licences,
        "sources": sources,
    }
