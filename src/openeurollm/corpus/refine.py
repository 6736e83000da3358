"""The first pass: a shard of records in, sorted runs of clean documents and counted drops out."""

import faulthandler
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from openeurollm.corpus import document, filters, minhash, page, privacy, rights, runs, sources
from openeurollm.corpus.document import Found, clean
from openeurollm.corpus.lists import Lists
from openeurollm.corpus.quality import Scorer
from openeurollm.corpus.rights import licences, sites
from openeurollm.corpus.sources import pdf
from openeurollm.corpus.sources.archive import responses
from openeurollm.corpus.words import Words
from openeurollm.languages import UNKNOWN, identify, normal_tag
from openeurollm.ledger import partial_name, remove, write_json
from openeurollm.recipe import Corpus, Rights, Source

_TOLD = ("id", "url", "source", "language")
DROPPED = pa.schema([(name, pa.string()) for name in (*_TOLD, "reason", "detail", "excerpt")])
EXCERPT = 500
"""Characters of a dropped document that are kept to look at."""
RIGHTS = (rights.ALLOWED, rights.UNKNOWN, rights.RESERVED)
"""From the clearest on: of copies with clear and unclear rights the clear one is kept."""

_RUN_BYTES = 64_000_000
"""Characters of text that wait in memory to be sorted."""
_DROPS = 50_000
_LINE_WORDS = 4
"""A line of fewer words is no boilerplate by itself: headings and captions may stand in many documents."""


@dataclass(frozen=True)
class Task:
    """One shard to refine into `folder`, with all that it takes."""

    shard: sources.Shard
    source: Source
    limits: Corpus
    tags: tuple[str, ...]
    sites: Path
    """The rules that sites state in the archives of the run."""
    folder: Path

    @property
    def rules(self) -> Path:
        """The rules that sites state in this shard."""
        return self.folder.with_suffix(".sites")

    def __str__(self) -> str:
        return str(self.shard)


class _Dropped(Exception):
    """The record goes no further; the arguments are its language, bucket and, in words, the measure that decided."""

    def __init__(self, language: str, reason: str, detail: str = "") -> None:
        super().__init__(language, reason, detail)
        self.language, self.reason, self.detail = language, reason, detail

    def told(self, found: Found) -> tuple[str, str, str]:
        """Reason, detail, and the text's beginning without personal data; none of a page whose rights are reserved."""
        reserved = self.reason == "rights_reserved"
        return self.reason, self.detail, "" if reserved else privacy.mask(found.text[:EXCERPT], self.language)[0]


@dataclass
class Tally:
    """What becomes of the records of a shard, by language: numbers and bytes of text by bucket, and what was masked."""

    read: int = 0
    counts: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    bytes: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    masked: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    reserved: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """Documents and bytes of text that were dropped for their owner's reservation, by its signal."""
    mended: Counter[str] = field(default_factory=Counter)
    """Documents whose broken encoding was undone."""

    def drop(self, found: Found, dropped: _Dropped) -> None:
        """Count a record that goes no further."""
        size = len(found.text.encode("utf-8", "replace"))
        self.counts[dropped.language][dropped.reason] += 1
        self.bytes[dropped.language][dropped.reason] += size
        if dropped.reason == "rights_reserved":
            self.reserved[found.rights_signal].update(documents=1, bytes=size)


def gather_sites(task: Task) -> None:
    """Gather the rules of sites, as an archive has them, into a file beside the shard's folder."""
    files = map(sources.local, task.shard.files)
    parts = (responses(file, task.limits.max_page_bytes, task.limits.max_unpacking) for file in files)
    if not task.rules.is_file():
        sites.gather((response for part in parts for response in part), task.rules)


def refine(task: Task) -> None:
    """Read every record of the shard; write its documents as sorted runs, its drops, and `done.json` with the counts.

    The folder appears under its name only when it is whole; a shard that is there already is left alone. A record at
    which a process died of its own fault is left out and counted as `crashes_parser`.
    """
    if (task.folder / "done.json").is_file():
        return
    partial = partial_name(task.folder)
    remove(partial)
    partial.mkdir(parents=True)
    tally, drops, documents = Tally(), Drops(partial), _Documents(partial)
    judge = _Judge(task, tally)
    with _watched(task.folder) as (at, poison):
        for found in sources.read(task.shard, task.source, task.limits):
            at(tally.read)
            if tally.read in poison:
                found.problem = "crashes_parser"
            tally.read += 1
            try:
                row, words = judge.judged(found)
            except _Dropped as dropped:
                tally.drop(found, dropped)
                drops.add({**vars(found), "id": found.id, "language": dropped.language}, *dropped.told(found))
            else:
                tally.counts[row["language"]]["refined"] += 1
                documents.add(row, found.work, words)
    documents.flush()
    drops.flush()
    write_json(partial / "done.json", {**vars(tally), "fetched": sources.origins(task.shard)})
    try:
        os.replace(partial, task.folder)
    except OSError:
        if not (task.folder / "done.json").is_file():
            raise
        remove(partial)  # another process made the same, being taken for dead


class _Judge:
    """What decides over the records of a shard: the rules of sites, safety lists, filters, the quality score."""

    def __init__(self, task: Task, tally: Tally) -> None:
        self._limits, self._tags, self._tally = task.limits, frozenset(task.tags), tally
        self._known = sites.Known(task.sites, task.limits.rights.today)
        self._lists = Lists.load(task.limits.lists)
        self._scorer = Scorer.load(task.limits.quality) if task.limits.quality else None

    def judged(self, found: Found) -> tuple[dict[str, Any], Words]:
        """The document's row and words; raises `_Dropped` for a record that is not kept."""
        claim = found.claim or (page.language_claim(found.page) if found.page else None)
        claimed = normal_tag(claim) or UNKNOWN
        self._read(found, claimed if claimed in self._tags else UNKNOWN)
        language, probability = self._language(found.text, claim)
        words = self._filtered(found, language)
        found.text, masks = privacy.mask(found.text, language)
        self._tally.masked[language].update(masks)
        if any(masks.values()):
            words = Words.of(found.text)
        quality = self._scorer.score(words, language) if self._scorer else None
        return _row(found, language, probability, quality), words

    def _read(self, found: Found, language: str) -> None:
        """Bring the record's text into `found.text`, where its owner allows it."""
        if found.problem:
            raise _Dropped(language, found.problem)
        reason, detail = self._lists.by_address(found.url)
        if reason:
            raise _Dropped(language, reason, detail)
        deciding, keep = _claim_rights(found, self._known, self._limits.rights)
        if found.page is not None:
            try:
                found.text = _main_text(found.page, found.headers.get("content-type", ""), self._limits)
            except page.Refused as refused:
                if keep:
                    raise _Dropped(language, str(refused)) from None
        if not keep:
            raise _Dropped(language, f"rights_{found.rights}", deciding)
        found.text, mended = filters.mended(found.text)
        self._tally.mended[language] += mended
        found.text = clean(found.text)
        if not found.text:
            raise _Dropped(language, "empty")
        reason = filters.too_short_or_long(found.text, self._limits)
        if reason:
            raise _Dropped(language, reason, f"{len(found.text):,} characters")

    def _filtered(self, found: Found, language: str) -> Words:
        """The words of a text that no filter and no list drops; letters of a wrong encoding are put right."""
        words = Words.of(found.text)
        reason, detail = filters.judge(words, language, self._limits)
        if reason == "mojibake":
            found.text, mended = filters.mended(found.text, language)
            if mended:
                self._tally.mended[language] += 1
                words = Words.of(found.text)
                reason, detail = filters.judge(words, language, self._limits)
        if not reason:
            reason, detail = self._lists.by_words(words.hashes, language)
        if reason:
            raise _Dropped(language, reason, detail)
        return words

    def _language(self, text: str, claim: str | None) -> tuple[str, float]:
        answer = identify(text, claim)
        if answer.group_probability < self._limits.min_language_probability:
            likeliest = f"{answer.language} with a probability of {answer.group_probability:.2f}"
            raise _Dropped(UNKNOWN, "language_uncertain", likeliest)
        if answer.language not in self._tags:
            raise _Dropped(answer.language, "language_outside_contract")
        return answer.language, answer.probability


def _main_text(content: bytes, content_type: str, limits: Corpus) -> str:
    if pdf.is_pdf(content, content_type):
        return pdf.main_text(content, limits)
    return page.main_text(content, limits, content_type)


def _claim_rights(found: Found, known: sites.Known, policy: Rights) -> tuple[str, bool]:
    """Note what owner and catalogue say of the record; the statement that decides, in words, and whether to keep it."""
    stated = rights.signals(found.url, found.fetched, found.headers, found.page or b"", known, policy.agents)
    if found.rights == rights.RESERVED:  # as its data set has it
        stated.append(rights.Signal("robots.txt", found.rights_signal, found.fetched, rights.RESERVED))
    named = licences.spdx(found.licence)
    if named:
        verdict = rights.ALLOWED if licences.allows(named) else rights.UNKNOWN
        stated.append(rights.Signal(rights.MARK, named, "", verdict))
    else:
        found.licence = rights.licence(stated) or found.licence
    found.rights, deciding, keep = rights.decide(stated, policy)
    found.signals = [asdict(signal) for signal in stated]
    if deciding is None:
        return "nobody has said anything", keep
    found.rights_signal = deciding.kind
    return f"{deciding.kind}: {deciding.value}" + (f" ({deciding.date[:10]})" if deciding.date else ""), keep


def _row(found: Found, language: str, probability: float, quality: float | None) -> dict[str, Any]:
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
        "signals": found.signals,
        "quality": quality,
        "duplicates": 1,
    }


class _Documents:
    """Documents that wait to be sorted into the next run."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._entries: list[runs.Entry] = []
        self._size = self._written = 0

    def add(self, row: dict[str, Any], work: str, words: Words) -> None:
        """Take a document, with what it is a piece of and its words."""
        bands, sketch = minhash.sketch(words)
        fingerprint = minhash.fingerprint(words)
        quality = float("nan") if row["quality"] is None else row["quality"]
        size = len(row["text"].encode("utf-8"))
        key = (document.number(row["id"]), document.number(document.hashed(work)), fingerprint, size)
        lines = words.lines
        lengths = np.diff(lines.first_word, append=len(words))
        self._entries.append(
            runs.Entry(
                row,
                (*key, RIGHTS.index(row["rights"]), quality),
                np.append(bands, np.uint64(fingerprint)),
                sketch,
                np.unique(lines.hashes[lengths >= _LINE_WORDS]),
            )
        )
        self._size += len(row["text"])
        if self._size >= _RUN_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if self._entries:
            runs.write(self._folder / f"run-{self._written:03d}", self._entries)
            self._written, self._size = self._written + 1, 0
            self._entries.clear()


class Drops:
    """What was dropped and why, in sorted files of a folder."""

    def __init__(self, folder: Path, name: str = "drops") -> None:
        self._folder, self._name = folder, name
        self._rows: list[dict[str, Any]] = []
        self._written = 0

    def add(self, row: Mapping[str, Any], reason: str, detail: str, excerpt: str) -> None:
        """Note a record that was dropped; `row` has its id, url, source and language."""
        known = {name: row[name] for name in _TOLD}
        self._rows.append({**known, "reason": reason, "detail": detail, "excerpt": excerpt[:EXCERPT]})
        if len(self._rows) == _DROPS:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if self._rows:
            rows = sorted(self._rows, key=lambda row: tuple(map(str, row.values())))
            document.write(self._folder / f"{self._name}-{self._written:03d}.parquet", rows, DROPPED)
            self._written += 1
            self._rows.clear()


@contextmanager
def _watched(place: Path) -> Iterator[tuple[Callable[[int], None], set[int]]]:
    """A function to be told the number of each record, and the records at which a process died before.

    Only a fault of the process itself (a parser that reads or writes outside its memory, or gives up) marks a record;
    to be killed from outside does not. The marks lie beside `place` until the block ends well.
    """
    now, fault, marks = (place.with_suffix(f".{name}") for name in ("at", "fault", "poison"))
    if fault.is_file() and fault.stat().st_size and now.is_file():
        with open(marks, "a") as file:
            file.write(now.read_text())
    poison = {int(line) for line in marks.read_text().split()} if marks.is_file() else set()
    watched = faulthandler.is_enabled()
    with open(now, "wb", buffering=0) as current, open(fault, "wb") as report:

        def at(number: int) -> None:
            current.seek(0)
            current.write(b"%d\n" % number)

        faulthandler.enable(report)
        try:
            yield at, poison
        finally:
            faulthandler.disable()
            if watched and sys.__stderr__:
                faulthandler.enable(sys.__stderr__)
    for mark in (now, fault, marks):
        mark.unlink(missing_ok=True)
