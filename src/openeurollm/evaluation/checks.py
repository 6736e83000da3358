"""A check on the evaluation itself: no held-out document may stand in the training corpus."""

import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

_WORD = re.compile(r"\w+")
GRAM = 13
"""Words in a row that count as copied, as in the evaluation of GPT-3 (Brown et al. 2020, appendix C)."""
OVERLAP = 0.5
"""A held-out document with this share of its word runs in the training text of its language stands in it."""
_BASE = np.uint64(0x9E3779B97F4A7C15)


def held_out_in_training(corpus: Path, tags: Sequence[str]) -> dict[str, Any]:
    """How many held-out documents there are, how many of them overlap with training text, and which."""
    documents, found = 0, []
    for tag in tags:
        held_out = list(_texts([corpus / tag / "held-out.parquet"]))
        marks = [np.unique(_grams(text)) for _, text in held_out]
        if not marks:
            continue
        documents += len(marks)
        sought = np.unique(np.concatenate(marks))
        seen = np.zeros(len(sought), bool)
        for _, text in _texts(sorted((corpus / tag).glob("part-*.parquet"))):
            seen |= np.isin(sought, _grams(text), assume_unique=False)
        copied = sought[seen]
        for (name, _), mark in zip(held_out, marks, strict=True):
            if len(mark) and np.isin(mark, copied).mean() >= OVERLAP:
                found.append({"id": name, "language": tag})
    return {"documents": documents, "overlapping": len(found), "found": found}


def _texts(files: list[Path]) -> Iterator[tuple[str, str]]:
    for path in files:
        if path.is_file():
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
