"""A check on the evaluation itself: no held-out document may stand in the training corpus."""

import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from openeurollm.engine import Engine
from openeurollm.ledger import read_json, write_json

_WORD = re.compile(r"\w+")
GRAM = 13
"""Words in a row that count as copied, as in the evaluation of GPT-3 (Brown et al. 2020, appendix C)."""
OVERLAP = 0.5
"""A held-out document with this share of its word runs in the training text of its language stands in it."""
_BASE = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Search:
    """Held-out documents of a language to be looked for in a file of its training text; what is found goes to `out`."""

    held_out: Path
    text: Path
    out: Path

    def __str__(self) -> str:
        return f"{self.text.parent.name} {self.text.name}"


def search(task: Search) -> None:
    """Write which of the held-out documents' runs of words the file has, as their places in sorted order."""
    if task.out.is_file():
        return
    sought = _sought(_marks(task.held_out).values())
    seen = np.zeros(len(sought), bool)
    for _, text in _texts(task.text):
        grams = _grams(text)
        places = np.minimum(np.searchsorted(sought, grams), len(sought) - 1)
        seen[places[sought[places] == grams]] = True
    write_json(task.out, np.flatnonzero(seen).tolist())


def held_out_in_training(corpus: Path, tags: Sequence[str], engine: Engine, work: Path) -> dict[str, Any]:
    """How many held-out documents there are, how many of them overlap with training text, and which.

    Searches file by file, and leaves in `work` what each had.
    """
    searches = {
        tag: [
            Search(corpus / tag / "held-out.parquet", part, work / tag / f"{part.stem}.json")
            for part in sorted((corpus / tag).glob("part-*.parquet"))
        ]
        for tag in tags
        if (corpus / tag / "held-out.parquet").is_file()
    }
    engine.map("look for held-out text", search, [each for several in searches.values() for each in several])
    documents, found = 0, []
    for tag, several in searches.items():
        marks = _marks(corpus / tag / "held-out.parquet")
        sought = _sought(marks.values())
        copied = sought[np.unique([place for each in several for place in read_json(each.out)]).astype(int)]
        documents += len(marks)
        for name, mark in marks.items():
            if len(mark) and np.isin(mark, copied).mean() >= OVERLAP:
                found.append({"id": name, "language": tag})
    return {"documents": documents, "overlapping": len(found), "found": found}


def _marks(held_out: Path) -> dict[str, NDArray[np.uint64]]:
    """The runs of words of every held-out document, by id."""
    return {name: np.unique(_grams(text)) for name, text in _texts(held_out)}


def _sought(marks: Iterable[NDArray[np.uint64]]) -> NDArray[np.uint64]:
    """All runs that are looked for, sorted; never empty."""
    return np.unique(np.concatenate([np.zeros(1, np.uint64), *marks]))


def _texts(path: Path) -> Iterator[tuple[str, str]]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(256, columns=["id", "text"]):
            yield from zip(batch["id"].to_pylist(), batch["text"].to_pylist(), strict=True)


def _grams(text: str) -> NDArray[np.uint64]:
    words = np.array([zlib.crc32(word.encode("utf-8", "replace")) for word in _WORD.findall(text.lower())], np.uint64)
    size = min(GRAM, len(words))
    grams = np.zeros(max(0, len(words) - size + 1) if size else 0, np.uint64)
    with np.errstate(over="ignore"):
        for offset in range(size):
            grams = grams * _BASE + words[offset : offset + len(grams)]
    return grams
