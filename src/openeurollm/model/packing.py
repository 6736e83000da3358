"""Best-fit packing: the documents of a language as rows of a fixed number of positions.

A *piece* is a stretch of one document. A document longer than a row is cut into whole rows and a remainder; remainders
and short documents are put together, the largest first, each into the row with the least room that it fits. Nearly no
position is lost, and no document is cut that fits a row (Ding et al. 2024, "Fewer Truncations Improve Language
Modeling").
"""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from openeurollm.languages.compiled import compiled

Ints = NDArray[np.int64]

_WINDOW, _PIECES = 1 << 16, 1 << 15
"""Documents whose lengths are read at a time, and pieces that are packed at a time: a block has no more, or one
document."""


class Piece(NamedTuple):
    """`length` ids of the document of this number, from the `start`-th on."""

    document: int
    start: int
    length: int


class Packing:
    """The rows of a language, of `context` positions each: a pure function of a key and a rank.

    `lengths(first, last)` gives the lengths of some of the `documents`, in ids, all over 0. Documents are packed block
    by block. An *epoch* is every block in a random order, and in each its rows in a random order. Epochs differ in
    what comes together in a row, and every second one has a document's remainder at its beginning, so that it is cut
    elsewhere; yet all have the same number of rows, since that depends on the sizes of the pieces alone.
    """

    def __init__(self, lengths: Callable[[int, int], Ints], documents: int, context: int) -> None:
        self._lengths, self._context = lengths, context
        firsts, rows, tokens = [0], [], []
        for start in range(0, documents, _WINDOW):
            window = lengths(start, min(start + _WINDOW, documents))
            for first, last in _blocks(window, context):
                firsts.append(start + last)
                rows.append(_count(window[first:last], context))
                tokens.append(int(window[first:last].sum()))
        self._firsts, self._rows, self._tokens = firsts, np.array(rows, np.int64), np.array(tokens, np.int64)
        self.rows, self.tokens = sum(rows), sum(tokens)
        self._epoch = lru_cache(maxsize=2)(self._shuffled)
        self._block = lru_cache(maxsize=2)(self._packed)

    def row(self, rank: int, key: Sequence[int]) -> list[Piece]:
        """The pieces of the row that comes `rank`-th in the training, from 0; epoch follows epoch."""
        epoch, place = divmod(rank, self.rows)
        order, ends = self._epoch(epoch, tuple(key))
        at = int(np.searchsorted(ends, place, "right"))
        block = int(order[at])
        return self._block(block, epoch, tuple(key)).row(place - int(ends[at] - self._rows[block]))

    def before(self, rank: int, key: Sequence[int]) -> int:
        """Ids in all the rows before that one."""
        epoch, place = divmod(rank, self.rows)
        order, ends = self._epoch(epoch, tuple(key))
        at = int(np.searchsorted(ends, place, "right"))
        block = int(order[at])
        packed = self._block(block, epoch, tuple(key))
        inside = packed.lengths[: packed.bounds[place - int(ends[at] - self._rows[block])]].sum()
        return epoch * self.tokens + int(self._tokens[order[:at]].sum() + inside)

    def _shuffled(self, epoch: int, key: tuple[int, ...]) -> tuple[Ints, Ints]:
        """The blocks in the order of an epoch, and the rows up to the end of each."""
        order = _random(*key, epoch).permutation(len(self._rows))
        return order, np.cumsum(self._rows[order])

    def _packed(self, block: int, epoch: int, key: tuple[int, ...]) -> "_Packed":
        first, last = self._firsts[block : block + 2]
        pieces = _pieces(self._lengths(first, last), self._context, remainder_first=epoch % 2 == 1)
        return _pack(first, *pieces, self._context, _random(*key, epoch, block))


class _Packed(NamedTuple):
    """The rows of a block: its pieces row by row, and where each row begins among them."""

    documents: Ints
    starts: Ints
    lengths: Ints
    bounds: Ints

    def row(self, number: int) -> list[Piece]:
        of = slice(int(self.bounds[number]), int(self.bounds[number + 1]))
        told = (self.documents[of].tolist(), self.starts[of].tolist(), self.lengths[of].tolist())
        return [Piece(*each) for each in zip(*told, strict=True)]


def _blocks(lengths: Ints, context: int) -> Iterator[tuple[int, int]]:
    """Cut documents into blocks of about as many pieces each; gives the first document of each and the next one's."""
    ends = np.cumsum(-(-lengths // context))
    number = -(-int(ends[-1]) // _PIECES)
    wanted = ends[-1] * np.arange(1, number + 1) // number
    cuts = np.unique(np.concatenate([[0], np.searchsorted(ends, wanted) + 1]))
    yield from zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True)


def _count(lengths: Ints, context: int) -> int:
    """Rows that a block's documents fill."""
    left = lengths % context
    sizes = np.sort(left[left > 0].astype(np.int32))[::-1]
    return int((lengths // context).sum()) + int(_fit(sizes, context, np.empty(len(sizes), np.int32)))


def _pieces(lengths: Ints, context: int, *, remainder_first: bool) -> tuple[Ints, Ints, Ints]:
    """The pieces of documents, cut into whole rows and a remainder: number of the document, start and length."""
    counts = -(-lengths // context)
    documents = np.repeat(np.arange(len(lengths)), counts)
    number = np.arange(len(documents)) - np.repeat(np.cumsum(counts) - counts, counts)
    shift = (counts * context - lengths)[documents] if remainder_first else 0
    starts = np.maximum(number * context - shift, 0)
    ends = np.minimum((number + 1) * context - shift, lengths[documents])
    return documents, starts, ends - starts


def _pack(
    first: int, documents: Ints, starts: Ints, lengths: Ints, context: int, random: np.random.Generator
) -> _Packed:
    """Pieces as rows in a random order; among those of one length chance decides which goes where."""
    order = random.permutation(len(lengths))
    order = order[np.argsort(-lengths[order], kind="stable")]
    row = np.empty(len(order), np.int32)
    rows = int(_fit(lengths[order].astype(np.int32), context, row))
    row[:] = random.permutation(rows)[row]
    order = order[np.argsort(row, kind="stable")]
    bounds = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=rows))])
    return _Packed(documents[order] + first, starts[order], lengths[order], bounds)


@compiled
def _fit(sizes: NDArray[np.int32], context: int, row: NDArray[np.int32]) -> int:
    """Put pieces of descending sizes into rows, each into the one with the least room that it fits, or a new one.

    Fills `row` with the row of each, and returns the number of rows. Rows with the same room are kept as a stack
    (`top`, `below`); over the stacks stands a binary tree (`some`) that says below which node one is not empty, so
    that a piece costs a few steps up and down.
    """
    leaves = 1
    while leaves <= context:
        leaves *= 2
    some = np.zeros(2 * leaves, np.bool_)
    top = np.full(context + 1, -1, np.int32)
    below = np.empty(len(sizes), np.int32)
    rows = 0
    for piece in range(len(sizes)):
        size = sizes[piece]
        node = leaves + size
        if not some[node]:  # up to the first part of the tree on the right that has a row, if there is one
            while node > 1 and (node % 2 == 1 or not some[node + 1]):
                node //= 2
            node = node + 1 if node > 1 else 0
        if node == 0:
            room, found = context, rows
            rows += 1
        else:
            while node < leaves:
                node = 2 * node if some[2 * node] else 2 * node + 1
            room = node - leaves
            found = top[room]
            top[room] = below[found]
            if top[room] < 0:
                some[node] = False
                while node > 1 and not some[node ^ 1]:
                    node //= 2
                    some[node] = False
        row[piece] = found
        room -= size
        if room > 0:
            below[found] = top[room]
            top[room] = found
            node = leaves + room
            while node >= 1 and not some[node]:
                some[node] = True
                node //= 2
    return rows


def _random(*key: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(list(key)))
