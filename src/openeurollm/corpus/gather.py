"""The second pass, language by language: every document's fate, and the text that later stages read."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from openeurollm.corpus import document, duplicates, filters, runs
from openeurollm.corpus.contamination import Index
from openeurollm.corpus.refine import Drops
from openeurollm.corpus.runs import Run
from openeurollm.corpus.words import Words
from openeurollm.ledger import read_json, whole, write_json
from openeurollm.recipe import Corpus

PART_BYTES = 64_000_000
"""Bytes of text in a Parquet file: few large files, as parallel file systems like them."""
HELD_OUT = "held-out.parquet"
KEPT, HELD, EXACT, NEAR, LOW = range(5)
"""Fates of documents, before lines are taken out."""
_REASONS = {EXACT: "exact_duplicate", NEAR: "near_duplicate", LOW: "low_quality"}
_LIKE = {EXACT: "the words of", NEAR: "nearly the words of"}
_FATE = np.dtype([("fate", "u1"), ("copies", "<u4"), ("winner", "<u8")])
_LINE = np.dtype([("line", "<u8"), ("last", "<u8")])
_WORKS = 1_000_000
"""Works that are weighed against each other for the held-out part; of more, those whose hash is least."""

Fates = NDArray[Any]


@dataclass(frozen=True)
class Language:
    """A language to gather: the file that lists its runs, and where its arrays lie between the passes."""

    tag: str
    listed: Path
    limits: Corpus
    work: Path

    def __str__(self) -> str:
        return self.tag

    @property
    def runs(self) -> tuple[Run, ...]:
        """The runs that hold the language's documents."""
        return runs.noted(self.listed)

    @property
    def fates(self) -> Path:
        """What is decided of each document: `fate`, `copies` it stands for, and the id of its `winner`."""
        return self.work / "fates.npy"

    @property
    def settled(self) -> Path:
        """Documents and bytes by fate."""
        return self.work / "settled.json"

    def searches(self) -> list[duplicates.Search]:
        """The tasks that look for pairs of duplicates."""
        parts = runs.ranges(max(1, -(-runs.number_of(self.runs, "bands") // duplicates.RANGE)))
        return [
            duplicates.Search(
                self.tag, self.listed, low, high, self.limits.near_duplicate, self.work / f"pairs-{number:05d}.npy"
            )
            for number, (low, high) in enumerate(parts)
        ]

    def line_ranges(self) -> list["LineRange"]:
        """The tasks that look for lines which stand in too many documents."""
        parts = runs.ranges(max(1, -(-runs.number_of(self.runs, "lines") // duplicates.RANGE)))
        return [
            LineRange(self, low, high, self.work / f"lines-{number:05d}.npy")
            for number, (low, high) in enumerate(parts)
        ]

    def slices(self, folder: Path, index: Path) -> list["Slice"]:
        """The tasks that write the language's shards into `folder`, without what `index` forbids."""
        size = read_json(self.settled)["bytes"].get("kept", 0)
        parts = runs.ranges(max(1, -(-size // PART_BYTES)))
        return [Slice(self, number, low, high, folder, index) for number, (low, high) in enumerate(parts)]


def settle(task: Language) -> None:
    """Decide the fate of every document of the language from keys alone: duplicates, quality, held-out works."""
    if task.settled.is_file():
        return
    rows = np.concatenate([run.rows for run in task.runs])
    fates = np.zeros(len(rows), _FATE)
    fates["copies"] = 1
    _settle_duplicates(task, rows, fates)
    _settle_quality(rows, fates, task.limits)
    _hold_out(rows, fates, task.limits)
    with whole(task.fates) as partial, open(partial, "wb") as file:
        np.save(file, fates)
    names = {KEPT: "kept", HELD: "held_out", **_REASONS}
    sizes = {name: rows["size"][fates["fate"] == fate] for fate, name in names.items()}
    write_json(
        task.settled,
        {
            "counts": {name: len(found) for name, found in sizes.items() if len(found)},
            "bytes": {name: int(found.sum(dtype=np.uint64)) for name, found in sizes.items() if len(found)},
        },
    )


def _settle_duplicates(task: Language, rows: runs.Array, fates: Fates) -> None:
    """Keep one document of each cluster: of the clearest rights, then the best quality, the longest, the least id."""
    pairs = np.concatenate([np.load(search.out, allow_pickle=False) for search in task.searches()])
    if not len(pairs):
        return
    members, roots = duplicates.clusters(pairs)
    mine = rows[members]
    quality = np.nan_to_num(mine["quality"], nan=0.0)
    best = duplicates.winners(
        roots, (mine["rights"], -quality, -mine["size"].astype(np.int64), mine["id"], mine["fingerprint"])
    )
    won = best == np.arange(len(best))
    fates["copies"][members[won]] = np.bincount(best, minlength=len(best))[won]
    same = mine["fingerprint"] == mine["fingerprint"][best]
    fates["fate"][members[~won]] = np.where(same, EXACT, NEAR)[~won]
    fates["winner"][members[~won]] = mine["id"][best][~won]


def _settle_quality(rows: runs.Array, fates: Fates, limits: Corpus) -> None:
    """Of the text that has a quality score keep the best share, in bytes."""
    scored = np.flatnonzero((fates["fate"] == KEPT) & ~np.isnan(rows["quality"]))
    if limits.quality_share >= 1 or not len(scored):
        return
    mine = rows[scored]
    order = np.lexsort((mine["fingerprint"], mine["id"], -mine["quality"]))
    size = np.cumsum(mine["size"][order], dtype=np.uint64)
    fates["fate"][scored[order[size > limits.quality_share * float(size[-1])]]] = LOW


def _hold_out(rows: runs.Array, fates: Fates, limits: Corpus) -> None:
    """Set whole works aside, in the order of their hash, up to the share; where none is small enough, the smallest."""
    kept = np.flatnonzero(fates["fate"] == KEPT)
    works, sizes = rows["work"][kept], rows["size"][kept]
    target = min(limits.held_out * float(sizes.sum(dtype=np.uint64)), limits.held_out_bytes)
    if len(works) > _WORKS:
        few = works < np.uint64(runs.WHOLE // len(works) * _WORKS)
        kept, works, sizes = kept[few], works[few], sizes[few]
    names, place = np.unique(works, return_inverse=True)
    if len(names) < 2:
        return
    weights = np.bincount(place, sizes, len(names))
    chosen = np.zeros(len(names), bool)
    taken = 0.0
    for work in range(len(names)):
        if taken >= target:
            break
        if taken + weights[work] <= 1.5 * target:
            chosen[work], taken = True, taken + weights[work]
    if not chosen.any():
        chosen[np.argmin(weights)] = True
    fates["fate"][kept[chosen[place]]] = HELD


@dataclass(frozen=True)
class LineRange:
    """A range of the hashes of a language's lines."""

    language: Language
    low: int
    high: int
    out: Path

    def __str__(self) -> str:
        return f"{self.language} {self.out.stem}"


def repeated_lines(task: LineRange) -> None:
    """Write the lines of the range that stand in more documents than may be, sorted by hash, each with the greatest id
    of a document that may keep it.
    """
    if task.out.is_file():
        return
    language, most = task.language, task.language.limits.line_copies
    fates = np.load(language.fates, mmap_mode="r", allow_pickle=False)["fate"]
    parts = [run.keys("lines", task.low, task.high) for run in language.runs]
    lines, numbers = (np.concatenate([part[side] for part in parts]) for side in (0, 1))
    there = fates[numbers] <= HELD
    lines, numbers = lines[there], numbers[there]
    ids = runs.gathered(language.runs, "id", numbers)
    order = np.lexsort((ids, lines))
    lines, ids = lines[order], ids[order]
    starts = np.flatnonzero(np.r_[True, lines[1:] != lines[:-1]][: len(lines)])
    often = starts[np.diff(starts, append=len(lines)) > most]
    found = np.zeros(len(often), _LINE)
    found["line"], found["last"] = lines[often], ids[often + most - 1]
    with whole(task.out) as partial, open(partial, "wb") as file:
        np.save(file, found)


def hold(task: Language, folder: Path) -> list[dict[str, Any]]:
    """The documents of a language that are held out, sorted by id."""
    fates = np.load(task.fates, allow_pickle=False)
    held = np.flatnonzero(fates["fate"] == HELD)
    lines = _Lines(task)
    documents = []
    for run in task.runs:
        mine = held[(held >= run.offset) & (held < run.offset + run.number("rows"))]
        for number, row in run.documents(mine):
            text = lines.without(Words.of(row["text"]), row["id"])
            documents.append({**row, "text": text or row["text"], "duplicates": int(fates["copies"][number])})
    documents.sort(key=lambda row: (row["id"], row["text"]))
    if documents:
        document.write(folder / HELD_OUT, documents)
    return documents


@dataclass(frozen=True)
class Slice:
    """A range of the ids of a language, to be written as one file of its folder."""

    language: Language
    number: int
    low: int
    high: int
    folder: Path
    index: Path

    def __str__(self) -> str:
        return f"{self.language} {self.number}"

    @property
    def done(self) -> Path:
        """The slice's counts; its last file."""
        return self.language.work / f"slice-{self.number:05d}.json"


def write(task: Slice) -> None:
    """Write the documents of the slice that are kept, sorted by id, without repeated lines and contaminated ones."""
    if task.done.is_file():
        return
    language = task.language
    fates = np.load(language.fates, mmap_mode="r", allow_pickle=False)
    index = Index.load(task.index)
    lines = _Lines(language)
    drops = Drops(language.work, f"drops-{task.number:05d}")
    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    summary = Summary()
    kept = []
    for run in language.runs:
        for number, row in run.documents(run.between(task.low, task.high)):
            decided = fates[number]
            reason = _REASONS.get(int(decided["fate"]), "")
            detail = f"{_LIKE[int(decided['fate'])]} {int(decided['winner']):016x}" if decided["winner"] else ""
            text = row["text"]
            if decided["fate"] == KEPT:
                text, reason, detail = _pruned(row, lines, index, language.limits, summary)
            if reason:
                counts[reason] += 1
                sizes[reason] += len(row["text"].encode("utf-8"))
                drops.add(row, reason, detail, row["text"])
            elif decided["fate"] == KEPT:
                kept.append({**row, "text": text, "duplicates": int(decided["copies"])})
    kept.sort(key=lambda row: (row["id"], row["text"]))
    for row in kept:
        summary.add(row)
    counts["kept"], sizes["kept"] = len(kept), summary.bytes
    drops.flush()
    if kept:
        document.write(task.folder / f"part-{task.number:05d}.parquet", kept)
    write_json(task.done, {"counts": counts, "bytes": sizes, **summary.as_json()})


def _pruned(
    row: Mapping[str, Any], lines: "_Lines", index: Index, limits: Corpus, summary: "Summary"
) -> tuple[str, str, str]:
    """The text without repeated and contaminated lines; where too little is left, the reason and detail to drop it."""
    before = row["text"]
    words = Words.of(before)
    text = lines.without(words, row["id"])
    summary.repeated += len(before.encode()) - len(text.encode())
    if 2 * len(text) < len(before) or (text != before and filters.too_short_or_long(text, limits)):
        return text, "boilerplate", f"{1 - len(text) / len(before):.0%} of it are lines that many documents have"
    clean, found = index.strip(words if text == before else Words.of(text))
    summary.contaminated.update(found)
    if 2 * len(clean) < len(text) or (found and filters.too_short_or_long(clean, limits)):
        return clean, "contaminated", f"holds text of {', '.join(sorted(found))}"
    return clean, "", ""


class _Lines:
    """The lines of a language that stand in too many documents."""

    def __init__(self, language: Language) -> None:
        parts = [np.load(part.out, allow_pickle=False) for part in language.line_ranges()]
        self._found = np.concatenate(parts)

    def without(self, words: Words, hashed: str) -> str:
        """The text without those of its lines that the document of this id may not keep; the same where there are
        none.
        """
        mine = words.lines.hashes
        if not len(self._found) or not len(mine):
            return words.text
        place = np.minimum(np.searchsorted(self._found["line"], mine), len(self._found) - 1)
        found = self._found[place]
        surplus = (found["line"] == mine) & (found["last"] < np.uint64(document.number(hashed)))
        return words.without(np.flatnonzero(surplus)) if surplus.any() else words.text


class Summary:
    """What a slice of a language holds, in numbers that add up over slices."""

    def __init__(self) -> None:
        self.documents = self.bytes = self.characters = self.repeated = 0
        self.contaminated: Counter[str] = Counter()
        self.counters: dict[str, Counter[str]] = {
            name: Counter() for name in ("licences", "sources", "rights", "domains", "lengths", "scores", "qualities")
        }

    def add(self, row: Mapping[str, Any]) -> None:
        """Count a document that is kept."""
        size = len(row["text"].encode("utf-8"))
        self.documents += 1
        self.bytes += size
        self.characters += len(row["text"])
        count = self.counters
        count["licences"][row["licence"]] += 1
        count["sources"][row["source"]] += 1
        count["rights"][row["rights"]] += 1
        count["domains"][host(row["url"])] += 1
        count["lengths"][str(1 << size.bit_length() - 1)] += 1
        count["scores"][f"{int(row['language_score'] * 20) / 20:.2f}"] += 1
        if row["quality"] is not None:
            count["qualities"][f"{int(row['quality'] * 20) / 20:.2f}"] += 1

    def as_json(self) -> dict[str, Any]:
        """The numbers; of domains the thousand most frequent."""
        found = {name: dict(sorted(counter.items())) for name, counter in self.counters.items()}
        most = sorted(self.counters["domains"].items(), key=lambda pair: (-pair[1], pair[0]))[:1_000]
        return {
            "text": {"documents": self.documents, "bytes": self.bytes, "characters": self.characters},
            "repeated_lines": self.repeated,
            "contaminated": dict(sorted(self.contaminated.items())),
            **found,
            "domains": dict(most),
        }


def host(url: str) -> str:
    """The host of an address, or an empty string."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
