"""From texts to answers: packing, scoring, cutting documents into stretches, weighing claims."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openeurollm.languages.identifier import kernel
from openeurollm.languages.identifier.model import WINDOW, WINDOWS, Scorer, bundled, packed, whole
from openeurollm.languages.identify import GROUPS, UNKNOWN, Answer, Document, Segment
from openeurollm.languages.tags import normal_tag

_CLAIM = 8.0
"""Odds that the claim of a page or source adds to a language, against the others of its group."""
_LEAST, _MOST = 120, 400
"""Bytes of the stretches that a document is cut into."""
_CHANGE = 7.0
"""What a change of language within a document costs, in nats: about one change in a thousand stretches."""


def batch(texts: Any, claims: Sequence[str | None]) -> list[Answer]:
    """See `identify_batch`."""
    scorer = bundled()
    data, offsets = _packed(texts)
    found = scorer.probabilities(*scorer.sums(data, whole(data, offsets), len(offsets) - 1))
    for row, claim in enumerate(claims):
        _weigh_claim(scorer, found[row], claim)
    return _answers(scorer, found)


def documents(texts: Any) -> list[Document]:
    """See `identify.documents`."""
    scorer = bundled()
    data, offsets = _packed(texts)
    parts = _parts(scorer, data, whole(data, offsets), len(offsets) - 1)
    sizes = np.zeros((len(offsets) - 1, len(scorer.tags) + 1))
    np.add.at(sizes, (parts.units, parts.labels), parts.spans[:, 1] - parts.spans[:, 0])
    main = parts.labels == sizes.argmax(1)[parts.units]
    sums, known, letters = (_by_unit(tally[main], parts.units[main], len(sizes)) for tally in parts.tallies)
    told = []
    for answer, row in zip(_answers(scorer, scorer.probabilities(sums, known, letters)), sizes, strict=True):
        order = np.argsort(-row, kind="stable")[: np.count_nonzero(row)]
        shares = {_tag(scorer, label): float(row[label] / row.sum()) for label in order}
        told.append(Document(answer, shares or {UNKNOWN: 1.0}))
    return told


def segments(texts: Sequence[str]) -> list[list[Segment]]:
    """See `identify.segments`."""
    scorer = bundled()
    data, offsets = packed([text.encode("utf-8", "replace") for text in texts])
    windows = np.stack([offsets[:-1], offsets[1:], np.arange(len(texts))], 1)
    parts = _parts(scorer, data, windows, len(texts))
    told: list[list[Segment]] = [[] for _ in texts]
    if not len(parts.spans):
        return told
    first = np.flatnonzero(np.diff(parts.labels, prepend=-1) | np.diff(parts.units, prepend=-1))
    sums, known, letters = (np.add.reduceat(tally, first) for tally in parts.tallies)
    answers = _answers(scorer, scorer.probabilities(sums, known, letters))
    begins = parts.spans[first, 0]
    for answer, begin, end, unit in zip(answers, begins, [*begins[1:], len(data)], parts.units[first], strict=True):
        start = told[unit][-1].end if told[unit] else 0
        told[unit].append(Segment(start, start + len(data[begin:end].tobytes().decode()), answer))
    return told


def _by_unit(tally: NDArray[Any], units: NDArray[np.int64], count: int) -> NDArray[Any]:
    total = np.zeros((count, tally.shape[1]), tally.dtype)
    np.add.at(total, units, tally)
    return total


@dataclass(frozen=True)
class _Parts:
    """Stretches of documents: `spans` of bytes, the document each belongs to, its label, and its sums."""

    spans: NDArray[np.int64]
    units: NDArray[np.int64]
    labels: NDArray[np.int64]
    tallies: tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]


def _parts(scorer: Scorer, data: NDArray[np.uint8], windows: NDArray[np.int64], count: int) -> _Parts:
    """Cut documents into stretches and label them; of a close group only a document's best member remains."""
    spans = kernel.stretches(data, windows, _LEAST, _MOST)
    units = spans[:, 2].copy()
    spans[:, 2] = np.arange(len(spans))
    tallies = scorer.sums(data, spans, len(spans))
    found = scorer.probabilities(*tallies)
    rows = np.arange(len(spans))
    for group in GROUPS:
        members = np.array([scorer.place(tag) for tag in group])
        votes = np.zeros((count, len(members)))
        np.add.at(votes, units, np.log(found[:, members] + 1e-4))
        together = found[:, members].sum(1)
        found[:, members] = 0
        found[rows, members[votes.argmax(1)][units]] = together
    found[found.sum(1) == 0] = 1
    labels = kernel.smoothed(np.log(found + np.float32(1e-6)), units, _CHANGE)
    return _Parts(spans, units, labels, tallies)


def _packed(texts: Any) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The texts' UTF-8 bytes in a row, and where each begins and ends."""
    if hasattr(texts, "buffers"):
        import pyarrow as pa

        texts = texts.cast(pa.large_string())
        _, offsets, data = texts.buffers()
        ends = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
        return np.frombuffer(data or b"", np.uint8), ends
    return packed([_encoded(text) for text in texts])


def _encoded(text: str) -> bytes:
    if len(text) > WINDOW * WINDOWS:
        step = (len(text) - WINDOW) // (WINDOWS - 1)
        text = "\n".join(text[step * i : step * i + WINDOW] for i in range(WINDOWS))
    data = text.encode("utf-8", "replace")
    if b"\xcc" in data or b"\xcd" in data:  # the first bytes of combining marks
        data = unicodedata.normalize("NFC", text).encode("utf-8", "replace")
    return data


def _weigh_claim(scorer: Scorer, found: NDArray[np.float32], claim: str | None) -> None:
    """Multiply the odds of a claimed language against its group's.

    Montenegrin is known by two letters that many do not write: a claim of it takes what Bosnian and Serbian have.
    """
    claimed = normal_tag(claim)
    if claimed == "sr":
        claimed = "sr-Cyrl" if found[scorer.place("sr-Cyrl")] > found[scorer.place("sr-Latn")] else "sr-Latn"
    group = next((group for group in GROUPS if claimed in group), None)
    if group is None or claimed is None:
        return
    members = [scorer.place(tag) for tag in group]
    together = found[members].sum()
    if claimed == "cnr":
        alike = [scorer.place("bs"), scorer.place("sr-Latn")]
        found[scorer.place("cnr")] += found[alike].sum()
        found[alike] = 0
    found[scorer.place(claimed)] *= _CLAIM
    if together:
        found[members] *= together / found[members].sum()


def _tag(scorer: Scorer, label: int) -> str:
    return scorer.tags[label] if label < len(scorer.tags) else UNKNOWN


def _answers(scorer: Scorer, found: NDArray[np.float32]) -> list[Answer]:
    best = np.argsort(-found, 1, kind="stable")[:, :3]
    chances = np.take_along_axis(found, best, 1)
    told = []
    for labels, values in zip(best.tolist(), chances.tolist(), strict=True):
        if not values[0]:
            told.append(Answer(UNKNOWN, 0.0, ()))
            continue
        top = tuple((_tag(scorer, label), value) for label, value in zip(labels, values, strict=True))
        told.append(Answer(top[0][0], top[0][1], top))
    return told
