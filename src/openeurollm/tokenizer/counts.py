"""Counts: how often each piece of text stands in a language, which is all that training needs to know of it.

A table of counts is a Parquet file of two columns, `word` (bytes) and `count`, sorted by word; its metadata say which
language it is of, how pieces were cut, and how much text was counted. Tables of the same language add up, whatever
shards, machines or sites they come from.
"""

import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from openeurollm.errors import BadInput
from openeurollm.languages import languages, script_bytes
from openeurollm.languages.compiled import compiled, inlined
from openeurollm.languages.scripts import script_of
from openeurollm.ledger import digest_of, whole
from openeurollm.tokenizer.pretokenizer import Bytes, Digits, classified, kinds, pattern, piece_end

LONGEST_WORD = 128
"""Bytes of the longest piece that is counted; what is longer is no word and is left out, but for its first bytes."""
MOST_WORDS = 50_000_000
"""Rows of the largest table that is read."""
MOST_TIMES = 1 << 50
"""The largest sum of the counts of a table, so that weights do not overflow."""
_METADATA = b"openeurollm_counts"
_BATCH = 4_000_000
"""Bytes of text that are counted at a time."""
_LONGEST_LINE = 100_000_000
"""Bytes of the longest line that is read from a file of lines."""
_ODD, _MIX = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9)
_SHIFT = np.uint64(29)

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Counted:
    """What a table was counted from: the language, how digits were cut, documents, and bytes of their text."""

    language: str
    digits: Digits
    documents: int
    bytes: int


@dataclass(frozen=True)
class Table:
    """Words of a language and how often each stands in its text: `words` is a pyarrow array of bytes, sorted."""

    counted: Counted
    words: Any
    counts: Numbers

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def digest(self) -> str:
        """SHA-256 over words and counts, the same for the same table however it was put together."""
        lengths, data = buffers(self.words)
        made = hashlib.sha256(digest_of(asdict(self.counted)).encode())
        for part in (lengths, data, self.counts.astype("<i8")):
            made.update(part.tobytes())
        return made.hexdigest()

    @property
    def parallel_bytes(self) -> float:
        """Bytes of the text that was counted, corrected for its script; of a table that is no language's, its bytes."""
        tag = self.counted.language
        return self.counted.bytes / (script_bytes(tag) if tag in languages() else 1.0)

    def most_frequent(self, most: int) -> "Table":
        """The table without its rarest words, so that at most `most` stay; words of one count go or stay together."""
        if len(self) <= most:
            return self
        least = int(np.partition(self.counts, len(self) - most - 1)[len(self) - most - 1]) + 1
        stay = self.counts >= least
        return Table(self.counted, self.words.filter(pa.array(stay)), self.counts[stay])

    def scripts(self) -> dict[str, float]:
        """Share of each script (ISO 15924) among the letters of the text, as far as the table tells."""
        lengths, data = buffers(self.words)
        points, numbers = _points(data, lengths, self.counts)
        found: dict[str, int] = {}
        for point, number in zip(points.tolist(), numbers.tolist(), strict=True):
            script = script_of(chr(point))
            if script != "Zyyy":
                found[script] = found.get(script, 0) + number
        total = sum(found.values())
        return {script: number / total for script, number in sorted(found.items(), key=lambda pair: -pair[1])}


def buffers(words: Any) -> tuple[Numbers, Bytes]:
    """Lengths of the words in bytes, and their bytes one after the other."""
    _, offsets, letters = words.buffers()
    starts = np.frombuffer(offsets, np.int32, len(words) + 1, 4 * words.offset).astype(np.int64)
    data = np.frombuffer(letters, np.uint8) if letters is not None else np.zeros(0, np.uint8)
    return np.diff(starts), data[starts[0] : starts[-1]]


@dataclass(frozen=True)
class Counting:
    """A file of documents of a language, to be counted into the table `out` in the order in which they stand there,
    until `most_bytes` of text are counted; the last one is cut there.

    Parquet (a column `text`), JSON lines (a field `text`) and plain text (a line a document), these two packed or not.
    """

    language: str
    path: Path
    digits: Digits
    most_bytes: int
    out: Path

    def __str__(self) -> str:
        return f"{self.language} {self.path.name}"


def count(task: Counting) -> None:
    """Write the counts of a file of documents."""
    if not task.out.is_file():
        write(task.out, count_texts(task.language, _first(_texts(task.path), task.most_bytes), task.digits))


def _first(texts: Iterable[str], size: int) -> Iterator[str]:
    for text in texts:
        if size <= 0:
            return
        data = text.encode("utf-8", "replace")
        yield text if len(data) <= size else data[:size].decode("utf-8", "ignore")
        size -= max(1, len(data))


def _texts(path: Path) -> Iterator[str]:
    if path.suffix == ".parquet":
        for batch in pq.ParquetFile(path).iter_batches(1_000, columns=["text"]):
            yield from batch["text"].to_pylist()
        return
    name = path.name.removesuffix(".zst").removesuffix(".gz")
    with pa.input_stream(path, compression="detect") as stream:
        lines = io.BufferedReader(stream, 1 << 20)
        while line := lines.readline(_LONGEST_LINE):
            if not line.endswith(b"\n") and len(line) == _LONGEST_LINE:
                raise BadInput(f"{path}: a line of over {_LONGEST_LINE:,} bytes")
            yield _field(path, line) if name.endswith(".jsonl") else line.decode("utf-8", "replace")


def _field(path: Path, line: bytes) -> str:
    try:
        text = json.loads(line)["text"]
    except (ValueError, KeyError, TypeError, RecursionError):
        text = None
    if not isinstance(text, str):
        raise BadInput(f"{path}: lines must be JSON objects with a `text`")
    return text


def count_texts(language: str, texts: Iterable[str], digits: Digits = "threes") -> Table:
    """The counts of some texts."""
    words = _Words()
    documents = size = 0
    waiting: list[bytes] = []
    pending = 0
    for text in texts:
        data = text.encode("utf-8", "replace")
        documents, size, pending = documents + 1, size + len(data), pending + len(data)
        waiting.append(data)
        if pending >= _BATCH:
            words.add(waiting, digits == "threes")
            waiting, pending = [], 0
    words.add(waiting, digits == "threes")
    return words.table(Counted(language, digits, documents, size))


def merged(tables: Sequence[Table]) -> Table:
    """Tables of one language as one: counts of a word add up. Raises `BadInput` where pieces were cut differently."""
    first = tables[0].counted
    for other in (table.counted for table in tables):
        if (other.language, other.digits) != (first.language, first.digits):
            raise BadInput(
                f"counts of {other.language} (digits: {other.digits}) and of {first.language} (digits: {first.digits}) "
                "do not add up"
            )
    counted = Counted(
        first.language,
        first.digits,
        sum(table.counted.documents for table in tables),
        sum(table.counted.bytes for table in tables),
    )
    if len(tables) == 1:
        return Table(counted, tables[0].words, tables[0].counts)
    rows = pa.table(
        {
            "word": pa.concat_arrays([table.words for table in tables]),
            "count": np.concatenate([table.counts for table in tables]),
        }
    )
    sums = rows.group_by("word").aggregate([("count", "sum")]).sort_by("word")
    return Table(counted, _one_piece(sums["word"]), sums["count_sum"].to_numpy())


def write(path: Path, table: Table) -> None:
    """Write a table of counts, whole or not at all."""
    rows = pa.table({"word": table.words, "count": table.counts})
    described = TypeAdapter(dict[str, Any]).dump_json(
        {**asdict(table.counted), "pattern": pattern(table.counted.digits)}
    )
    with whole(path) as partial:
        pq.write_table(rows.replace_schema_metadata({_METADATA: described}), partial, compression="zstd")


def _one_piece(column: Any) -> Any:
    """A column's values as one array."""
    return pa.concat_arrays([pa.array([], column.type), *column.chunks])


def read(path: Path) -> Table:
    """Read a table of counts. Raises `BadInput` for a file that is none, and for pieces cut by another rule."""
    refused = BadInput(f"{path}: not a table of counts; `openeurollm` writes them from text")
    try:
        file = pq.ParquetFile(path)
        described = (file.schema_arrow.metadata or {}).get(_METADATA)
        if described is None or file.metadata.num_rows > MOST_WORDS or file.schema_arrow.names != ["word", "count"]:
            raise refused
        rule = TypeAdapter(dict[str, Any]).validate_json(described)
        cut = rule.pop("pattern", None)
        counted = TypeAdapter(Counted).validate_python(rule)
        rows = file.read()
        words, counts = _one_piece(rows["word"]), rows["count"].to_numpy()
    except (OSError, pa.ArrowException, ValidationError, TypeError):
        raise refused from None
    if words.type != pa.binary() or counts.dtype != np.int64 or words.null_count or counted.documents < 0:
        raise refused
    if len(words) and not (
        counted.bytes > 0
        and counts.min() > 0
        and counts.astype(np.float64).sum() <= MOST_TIMES
        and pc.max(pc.binary_length(words)).as_py() <= LONGEST_WORD
        and pc.all(pc.less(words[:-1], words[1:])).as_py() is not False
    ):
        raise refused
    if cut != pattern(counted.digits):
        raise BadInput(f"{path}: counted with another rule for pieces; count the text anew")
    return Table(counted, words, counts)


@dataclass
class _Words:
    """A growing table: `slots` finds a word by its hash, `starts` says where its bytes lie in `letters`."""

    slots: NDArray[np.int32] = field(default_factory=lambda: np.full(1 << 16, -1, np.int32))
    hashes: NDArray[np.uint64] = field(default_factory=lambda: np.empty(1 << 15, np.uint64))
    starts: Numbers = field(default_factory=lambda: np.zeros((1 << 15) + 1, np.int64))
    counts: Numbers = field(default_factory=lambda: np.zeros(1 << 15, np.int64))
    letters: Bytes = field(default_factory=lambda: np.empty(1 << 18, np.uint8))
    number: int = 0

    def add(self, texts: Sequence[bytes], threes: bool) -> None:
        """Count the pieces of some texts, each text by itself."""
        data = np.frombuffer(b"".join(texts), np.uint8)
        ends = np.cumsum([len(text) for text in texts], dtype=np.int64)
        found = classified(data, kinds())
        text = at = 0
        while text < len(ends):
            self.number, text, at = _count(
                data, found, ends, text, at, threes, self.slots, self.hashes, self.starts, self.counts, self.letters,
                self.number,
            )  # fmt: skip
            if text < len(ends):
                self._grow()

    def _grow(self) -> None:
        twice = 2 * len(self.hashes)
        self.hashes, self.counts = np.resize(self.hashes, twice), np.resize(self.counts, twice)
        self.starts, self.letters = np.resize(self.starts, twice + 1), np.resize(self.letters, 2 * len(self.letters))
        self.slots = np.full(2 * len(self.slots), -1, np.int32)
        _rehash(self.slots, self.hashes[: self.number])

    def table(self, counted: Counted) -> Table:
        """The words found so far, sorted."""
        starts = self.starts[: self.number + 1]
        words = pa.Array.from_buffers(
            pa.binary(),
            self.number,
            [None, pa.py_buffer(starts.astype(np.int32)), pa.py_buffer(self.letters[: starts[-1]].copy())],
        )
        order = pc.sort_indices(words)
        return Table(counted, words.take(order), self.counts[: self.number][np.asarray(order)])


@inlined
def _hash(data: Bytes, start: int, end: int) -> np.uint64:
    code = np.uint64(end - start) * _ODD
    for at in range(start, end):
        code = (code ^ np.uint64(data[at])) * _MIX
        code ^= code >> _SHIFT
    return code


@compiled
def _rehash(slots: NDArray[np.int32], hashes: NDArray[np.uint64]) -> None:
    mask = np.uint64(len(slots) - 1)
    for number in range(len(hashes)):
        place = hashes[number] & mask
        while slots[place] >= 0:
            place = (place + np.uint64(1)) & mask
        slots[place] = number


@compiled
def _count(
    data: Bytes,
    found: Bytes,
    ends: Numbers,
    text: int,
    at: int,
    threes: bool,
    slots: NDArray[np.int32],
    hashes: NDArray[np.uint64],
    starts: Numbers,
    counts: Numbers,
    letters: Bytes,
    number: int,
) -> tuple[int, int, int]:
    """Count pieces from `at` on in text number `text`; stops early where a new word might not fit."""
    mask = np.uint64(len(slots) - 1)
    while text < len(ends):
        while at < ends[text]:
            if number == len(hashes) or starts[number] + LONGEST_WORD > len(letters):
                return number, text, at
            end = piece_end(found, at, ends[text], threes)
            size = min(end - at, LONGEST_WORD)
            code = _hash(data, at, at + size)
            place = code & mask
            while slots[place] >= 0:
                known = slots[place]
                if hashes[known] == code and starts[known + 1] - starts[known] == size:
                    begin = starts[known]
                    same = True
                    for offset in range(size):
                        if letters[begin + offset] != data[at + offset]:
                            same = False
                            break
                    if same:
                        break
                place = (place + np.uint64(1)) & mask
            if slots[place] < 0:
                slots[place] = number
                hashes[number], counts[number] = code, 0
                begin = starts[number]
                for offset in range(size):
                    letters[begin + offset] = data[at + offset]
                starts[number + 1] = begin + size
                number += 1
            counts[slots[place]] += 1
            at = end
        text += 1
    return number, text, at


@compiled
def _points(data: Bytes, lengths: Numbers, counts: Numbers) -> tuple[Numbers, Numbers]:
    """Code points of the words and how often each stands in the text."""
    numbers = np.zeros(0x110000, np.int64)
    at = 0
    for word in range(len(lengths)):
        for place in range(at, at + lengths[word]):
            first = np.int64(data[place])
            if 0x80 <= first < 0xC0:
                continue
            size = 1 if first < 0x80 else 2 if first < 0xE0 else 3 if first < 0xF0 else 4
            point = first if size == 1 else first & (0x7F >> size)
            for following in range(place + 1, min(place + size, at + lengths[word])):
                point = point << 6 | np.int64(data[following] & 0x3F)
            if point < 0x110000:
                numbers[point] += counts[word]
        at += lengths[word]
    points = np.flatnonzero(numbers)
    return points, numbers[points]
