"""The first pass: a shard of records in, clean documents and counted drops out."""

import os
from collections import Counter, defaultdict
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from openeurollm.corpus import duplicates, filters, page, privacy, rights, sources
from openeurollm.corpus.document import SCHEMA, Found, clean, parquet
from openeurollm.languages import UNKNOWN, identify, normal_tag
from openeurollm.ledger import read_json, remove, write_json
from openeurollm.recipe import Corpus, Source

KEYED = pa.schema(
    [*SCHEMA, ("work", pa.string()), ("fingerprint", pa.string()), ("signature", pa.binary(4 * duplicates.HASHES))]
)
"""A document with what the search for duplicates needs beside it."""

DROPPED = pa.schema([(name, pa.string()) for name in ("id", "url", "source", "language", "reason", "excerpt")])
EXCERPT = 300
"""Characters of a dropped document that are kept to look at."""


@dataclass(frozen=True)
class Task:
    """One shard to refine into `folder`, with all that it takes."""

    shard: sources.Shard
    source: Source
    limits: Corpus
    tags: frozenset[str]
    robots: Path
    folder: Path

    def __str__(self) -> str:
        return str(self.shard)


def refine(task: Task) -> None:
    """Read every record of the shard and write its documents by language, its drops, and `done.json` with the counts.

    The folder appears under its name only when it is whole; a shard that is there already is left alone.
    """
    if (task.folder / "done.json").is_file():
        return
    partial = task.folder.with_name(f".{task.folder.name}.part")
    remove(partial)
    partial.mkdir(parents=True)
    robots = read_json(task.robots)
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    masked: dict[str, Counter[str]] = defaultdict(Counter)
    read = 0
    with _Tables(partial) as tables:
        for found in sources.read(task.shard, task.source, task.limits):
            read += 1
            language, reason, row = _judge(found, task, robots)
            counts[language][reason or "refined"] += 1
            if row is None:
                excerpt = "" if reason == "rights_reserved" else found.text[:EXCERPT]
                dropped = (found.id, found.url, found.source, language, reason, excerpt)
                tables.add("dropped", DROPPED, dict(zip(DROPPED.names, dropped, strict=True)))
            else:
                row["text"], masks = privacy.mask(row["text"], language)
                masked[language].update(masks)
                tables.add(language, KEYED, row)
        tables.finish()
    write_json(partial / "done.json", {"read": read, "counts": counts, "masked": masked})
    os.replace(partial, task.folder)


def _judge(found: Found, task: Task, robots: Mapping[str, str]) -> tuple[str, str, dict[str, Any] | None]:
    """Language, reason to drop (empty when kept) and the document's row (None when dropped)."""
    limits = task.limits
    claim = found.claim or (page.language_claim(found.page) if found.page else None)
    claimed = normal_tag(claim) or UNKNOWN
    language = claimed if claimed in task.tags else UNKNOWN
    if found.problem:
        return language, found.problem, None
    if found.page is not None:
        signal = rights.reserved(found.url, found.headers, found.page, robots)
        found.rights, found.rights_signal = ("reserved", signal) if signal else (found.rights, "")
        if signal and not limits.keep_reserved:
            return language, "rights_reserved", None
        try:
            found.text = page.main_text(found.page, limits, found.headers.get("content-type", ""))
        except page.Refused as refused:
            return language, str(refused), None
    found.text = clean(found.text)
    if not found.text:
        return language, "empty", None
    answer = identify(found.text, claim)
    language = answer.language
    reason = filters.too_short_or_long(found.text, limits) or filters.unlike_prose(found.text, limits)
    if reason:
        return language, reason, None
    if answer.group_probability < limits.min_language_probability:
        return UNKNOWN, "language_uncertain", None
    if language not in task.tags:
        return language, "language_outside_contract", None
    reason = filters.wrong_script(found.text, language, limits)
    if reason:
        return language, reason, None
    return language, "", _row(found, language, answer.probability)


def _row(found: Found, language: str, probability: float) -> dict[str, Any]:
    return {
        "id": found.id,
        "text": found.text,
        "language": language,
        "language_score": probability,
        "url": found.url,
        "fetched": found.fetched,
        "source": found.source,
        "licence": found.licence,
        "rights": found.rights,
        "rights_signal": found.rights_signal,
        "quality": None,
        "duplicates": 1,
        "work": found.work,
        "fingerprint": duplicates.fingerprint(found.text),
        "signature": duplicates.signature(found.text).tobytes(),
    }


class _Tables(ExitStack):
    """Parquet files of one folder, one a name, written in batches."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._writers: dict[str, pq.ParquetWriter] = {}
        self._rows: dict[str, list[dict[str, Any]]] = defaultdict(list)

    def add(self, name: str, schema: pa.Schema, row: dict[str, Any]) -> None:
        """Add a row to the file of this name."""
        if name not in self._writers:
            self._writers[name] = self.enter_context(parquet(self._folder / f"{name}.parquet", schema))
        self._rows[name].append(row)
        if len(self._rows[name]) >= 200:
            self._flush(name)

    def finish(self) -> None:
        """Write what is still held."""
        for name in list(self._rows):
            self._flush(name)

    def _flush(self, name: str) -> None:
        writer = self._writers[name]
        writer.write_table(pa.Table.from_pylist(self._rows.pop(name), writer.schema))
