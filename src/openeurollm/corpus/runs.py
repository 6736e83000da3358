"""Runs: the documents of a shard in sorted pieces, with their keys beside them, so that any range can be read alone.

A run is a folder of few large files: `documents.parquet` sorted by language and id, and arrays of what later passes
compare, none of which needs the text: `rows` (a document's identity and size), `sketches` (MinHash) and sorted keys
(`bands` for near duplicates, `lines` for boilerplate). A pass over a range of ids or keys takes the same range from
every run, so that its memory does not depend on the size of the corpus, nor its result on the order of the runs.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from openeurollm.corpus.document import SCHEMA, parquet
from openeurollm.ledger import read_json, write_json

ROW = np.dtype(
    [("id", "<u8"), ("work", "<u8"), ("fingerprint", "<u8"), ("size", "<u4"), ("rights", "u1"), ("quality", "<f4")]
)
"""What is known of a document without its text: `id` and `work` are the first 64 bits of their hashes, `size` is in
bytes, `rights` is 0 for the clearest, `quality` is NaN where there is none."""

KEYS = ("bands", "lines")
WHOLE = 1 << 64
"""One more than the largest id or key."""
_GROUP_ROWS, _GROUP_BYTES = 1_000, 16_000_000
"""Documents and characters of a row group: what one read of a range brings at least."""
_PIECE = 1 << 20

Array = NDArray[Any]


@dataclass(frozen=True)
class Entry:
    """A document on its way into a run: its row of Parquet and the keys it is found by."""

    document: dict[str, Any]
    row: tuple[int, int, int, int, int, float]
    """The fields of `ROW`."""
    bands: NDArray[np.uint64]
    sketch: NDArray[np.uint8]
    lines: NDArray[np.uint64]


def write(folder: Path, entries: Sequence[Entry]) -> None:
    """Write a run; `index.json`, its last file, says where each language stands in the others."""

    def order(entry: Entry) -> tuple[str, str, str]:
        document = entry.document
        return document["language"], document["id"], document["text"]

    entries = sorted(entries, key=order)
    folder.mkdir(parents=True, exist_ok=True)
    index: dict[str, dict[str, list[int]]] = {}
    place = {"rows": 0, "bands": 0, "lines": 0}
    keys: dict[str, list[tuple[Array, Array]]] = {name: [] for name in KEYS}
    with parquet(folder / "documents.parquet", SCHEMA) as writer:
        for tag, group in groupby(entries, key=lambda entry: str(entry.document["language"])):
            some = list(group)
            for part in _groups(some):
                writer.write_table(pa.Table.from_pylist([entry.document for entry in part], SCHEMA))
            found = {"rows": len(some)}
            for name in KEYS:
                keys[name].append(_sorted([getattr(entry, name) for entry in some], place["rows"]))
                found[name] = len(keys[name][-1][0])
            index[tag] = {name: [place[name], place[name] + number] for name, number in found.items()}
            for name, number in found.items():
                place[name] += number
    np.save(folder / "rows.npy", np.array([entry.row for entry in entries], ROW))
    np.save(folder / "sketches.npy", np.stack([entry.sketch for entry in entries]))
    for name, parts in keys.items():
        np.save(folder / f"{name}.keys.npy", np.concatenate([part[0] for part in parts]))
        np.save(folder / f"{name}.rows.npy", np.concatenate([part[1] for part in parts]))
    write_json(folder / "index.json", index)


def _groups(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    group: list[Entry] = []
    size = 0
    for entry in entries:
        group.append(entry)
        size += len(entry.document["text"])
        if len(group) == _GROUP_ROWS or size >= _GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _sorted(keys: Sequence[Array], first: int) -> tuple[Array, Array]:
    """All keys in order, and the row each belongs to."""
    rows = np.repeat(np.arange(first, first + len(keys), dtype=np.uint32), [len(each) for each in keys])
    joined = np.concatenate([np.zeros(0, np.uint64), *keys])
    order = np.lexsort((rows, joined))
    return joined[order], rows[order]


@dataclass(frozen=True)
class Run:
    """One language's part of a run, read in place. Row numbers count from the language's first document."""

    folder: Path
    tag: str
    offset: int
    """Documents of the language in the runs before this one."""

    @cached_property
    def _index(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = read_json(self.folder / "index.json")[self.tag]
        return found

    def _array(self, name: str, what: str) -> Array:
        start, end = self._index[what]
        array: Array = np.load(self.folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)[start:end]
        return array

    @cached_property
    def rows(self) -> Array:
        """The documents' `ROW`s, shape (documents,), sorted by id."""
        return self._array("rows", "rows")

    @cached_property
    def sketches(self) -> Array:
        """MinHash sketches, shape (documents, hashes)."""
        return self._array("sketches", "rows")

    def keys(self, kind: str, low: int, high: int) -> tuple[Array, Array]:
        """The keys of a kind in [low, high), and the language's number of the document of each."""
        keys = self._array(f"{kind}.keys", kind)
        start, end = _within(keys, low, high)
        rows = self._array(f"{kind}.rows", kind)[start:end].astype(np.int64)
        return np.asarray(keys[start:end]), rows - self._index["rows"][0] + self.offset

    def number(self, kind: str) -> int:
        """How many `rows`, `bands` or `lines` the language has here."""
        start, end = self._index[kind]
        return end - start

    def documents(self, numbers: range | Array) -> Iterator[tuple[int, dict[str, Any]]]:
        """The documents of some of the language's numbers, in ascending order, each with its number."""
        first = self._index["rows"][0] - self.offset
        wanted = np.asarray(numbers, np.int64) + first
        if not len(wanted):
            return
        with pq.ParquetFile(self.folder / "documents.parquet") as file:
            begin = 0
            for group in range(file.num_row_groups):
                end = begin + file.metadata.row_group(group).num_rows
                low, high = np.searchsorted(wanted, (begin, end))
                if low < high:
                    table = file.read_row_group(group).take(pa.array(wanted[low:high] - begin))
                    for number, document in zip(wanted[low:high] - first, table.to_pylist(), strict=True):
                        yield int(number), document
                begin = end

    def between(self, low: int, high: int) -> range:
        """The language's numbers of the documents whose ids begin with 64 bits in [low, high)."""
        start, end = _within(self.rows["id"], low, high)
        return range(self.offset + start, self.offset + end)


def runs(folders: Iterable[Path]) -> dict[str, list[Run]]:
    """The runs of each language in some folders of shards."""
    found: dict[str, list[Run]] = {}
    counted: dict[str, int] = {}
    for folder in folders:
        for index in sorted(folder.glob("run-*/index.json")):
            for tag, places in read_json(index).items():
                found.setdefault(tag, []).append(Run(index.parent, tag, counted.get(tag, 0)))
                counted[tag] = counted.get(tag, 0) + places["rows"][1] - places["rows"][0]
    return found


def note(folders: Iterable[Path], out: Path) -> dict[str, Path]:
    """List the runs of each language in a file of `out`, so that a task can name any number of them; returns the files
    by language.
    """
    files = {}
    for tag, some in runs(folders).items():
        files[tag] = out / f"{tag}.runs.json"
        write_json(files[tag], [[str(run.folder), run.tag, run.offset] for run in some])
    return files


def noted(file: Path) -> tuple[Run, ...]:
    """The runs that `note` listed in a file."""
    told = file.stat()
    return _noted(file, told.st_mtime_ns, told.st_size)


@lru_cache(maxsize=4)
def _noted(file: Path, _written: int, _size: int) -> tuple[Run, ...]:
    return tuple(Run(Path(folder), tag, offset) for folder, tag, offset in read_json(file))


def number_of(some: Sequence[Run], kind: str) -> int:
    """How many documents, bands or lines a language has in its runs."""
    return sum(run.number(kind) for run in some)


def ranges(parts: int) -> list[tuple[int, int]]:
    """Equal ranges of the 64-bit ids or keys."""
    edges = [part * WHOLE // parts for part in range(parts + 1)]
    return list(pairwise(edges))


def gathered(some: Sequence[Run], field: str, numbers: NDArray[np.int64]) -> Array:
    """A field of `ROW`, or `sketches`, of the documents of some numbers, in the order asked for."""
    starts = np.array([run.offset for run in some])
    which = np.searchsorted(starts, numbers, side="right") - 1
    found: Array | None = None
    for place, run in enumerate(some):
        mine = which == place
        if not mine.any():
            continue
        values = (run.sketches if field == "sketches" else run.rows[field])[numbers[mine] - run.offset]
        if found is None:
            found = np.empty((len(numbers), *values.shape[1:]), values.dtype)
        found[mine] = values
    return found if found is not None else np.zeros(0, ROW[field] if field in (ROW.names or ()) else np.uint8)


def _within(ordered: Array, low: int, high: int) -> tuple[int, int]:
    """Where the values in [low, high) stand in a sorted array of unsigned 64-bit numbers."""
    start = int(np.searchsorted(ordered, np.uint64(low)))
    end = len(ordered) if high >= WHOLE else int(np.searchsorted(ordered, np.uint64(high)))
    return start, end
