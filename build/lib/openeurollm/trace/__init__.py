"""Tracing: which training documents hold the words of a text."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from openeurollm.errors import BadInput

_WORD = re.compile(r"\w+")
LEAST = 5
"""Words in a row from which a match is told."""
_MAX_TEXT = 100_000
_TOLD = ("id", "url", "source", "language", "licence")
"""What is told of a document."""


@dataclass(frozen=True)
class Span:
    """A run of words of the text that stands in training documents: `words`, as written, and the `documents`."""

    start: int
    words: int
    text: str
    documents: tuple[dict[str, Any], ...]


def trace(corpus: Path, text: str, least: int = LEAST, most_documents: int = 5) -> list[Span]:
    """The longest runs of at least `least` words of `text` that stand in the training documents below `corpus`.

    Runs are told from left to right, a run inside a longer one is not told. The corpus is read once, in constant
    memory. Raises `BadInput` where the text is too long or there is no corpus.
    """
    if len(text) > _MAX_TEXT:
        raise BadInput(f"the text has over {_MAX_TEXT:,} characters")
    matches = list(_WORD.finditer(text))
    words = tuple(match[0].lower() for match in matches)
    files = sorted(corpus.glob("*/part-*.parquet"))
    if not files:
        raise BadInput(f"{corpus}: no training documents here")
    longest = [0] * len(words)
    found: list[list[dict[str, Any]]] = [[] for _ in words]
    starts: dict[tuple[str, ...], list[int]] = {}
    for place in range(len(words) - least + 1):
        starts.setdefault(words[place : place + least], []).append(place)
    for document in _documents(files):
        for place, length in _runs(words, starts, document["text"], least).items():
            if length > longest[place]:
                longest[place], found[place] = length, []
            if length == longest[place] and len(found[place]) < most_documents:
                found[place].append({key: document[key] for key in _TOLD})
    return list(_spans(text, matches, longest, found))


def _runs(
    words: tuple[str, ...], starts: dict[tuple[str, ...], list[int]], document: str, least: int
) -> dict[int, int]:
    """Place in the text → words of the longest run from there that the document holds."""
    if not starts:
        return {}
    theirs = tuple(_WORD.findall(document.lower()))
    runs: dict[int, int] = {}
    for at in range(len(theirs) - least + 1):
        for place in starts.get(theirs[at : at + least], ()):
            length = least
            while (
                place + length < len(words)
                and at + length < len(theirs)
                and words[place + length] == theirs[at + length]
            ):
                length += 1
            runs[place] = max(runs.get(place, 0), length)
    return runs


def _spans(
    text: str, matches: list[re.Match[str]], longest: list[int], found: list[list[dict[str, Any]]]
) -> Iterator[Span]:
    reached = 0
    for place, length in enumerate(longest):
        if length and place + length > reached:
            reached = place + length
            start, end = matches[place].start(), matches[reached - 1].end()
            yield Span(start, length, text[start:end], tuple(found[place]))


def _documents(files: list[Path]) -> Iterator[dict[str, Any]]:
    for path in files:
        try:
            file = pq.ParquetFile(path)
        except pa.ArrowInvalid as error:
            raise BadInput(f"{path}: not a Parquet file: {error}") from None
        with file:
            missing = [name for name in (*_TOLD, "text") if name not in file.schema_arrow.names]
            if missing:
                raise BadInput(f"{path}: holds no documents of this project: column `{missing[0]}` is missing")
            for batch in file.iter_batches(256, columns=[*_TOLD, "text"]):
                yield from batch.to_pylist()
