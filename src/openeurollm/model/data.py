"""Training data: token shards read in place, and rows of them that are a pure function of seed and place."""

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from openeurollm.errors import BadInput, Failure
from openeurollm.languages import name as name_of
from openeurollm.ledger import inside
from openeurollm.ledger.results import read_bounded
from openeurollm.model.mixture import Order, Phase
from openeurollm.model.packing import Packing, Piece

Ints = NDArray[np.int64]

_AT_ONCE = 1 << 20
"""Bounds that are looked at together."""
_PLACES, _ALL_PLACES = 1_000, 1_000_000
"""Ids that a fingerprint reads: of a shard, and about of all of them."""


@dataclass(frozen=True)
class Batch:
    """Rows to learn from: `inputs` and `targets` (int64) and `pieces` (int32), each of shape (rows, context).

    A target of -100 is not learnt. `pieces` numbers the stretch of a document that each position belongs to, from 0 in
    each row, padding last; attention stays inside. It is None where no row has two.
    """

    inputs: Ints
    targets: Ints
    pieces: NDArray[np.int32] | None = None

    def rows(self, start: int, stop: int) -> "Batch":
        """The rows from `start` up to `stop`, the same whatever other rows they are taken from."""
        inputs, targets = self.inputs[start:stop], self.targets[start:stop]
        if self.pieces is None or not self.pieces[start:stop][targets >= 0].any():
            return Batch(inputs, targets)
        return Batch(inputs, targets, self.pieces[start:stop])


@dataclass(frozen=True)
class Shard:
    """Documents one after another, each closed by the id `end`, and where each begins and the last one ends."""

    name: str
    ids: NDArray[Any]
    bounds: Ints
    end: int


class Text:
    """A language's documents, and how they are packed into rows of `context` positions.

    Ids that the `vocabulary` does not have are refused when they are read.
    """

    def __init__(self, shards: Sequence[Shard], context: int, vocabulary: int) -> None:
        self.shards, self.context, self._vocabulary = shards, context, vocabulary
        self._ends = np.array([0, *accumulate(len(shard.bounds) - 1 for shard in shards)], np.int64)
        self.documents, self.tokens = int(self._ends[-1]), sum(len(shard.ids) for shard in shards)
        self.packing = Packing(self._lengths, self.documents, context)

    @property
    def rows(self) -> int:
        """Rows of an epoch."""
        return self.packing.rows

    @property
    def end(self) -> int:
        """The id that closes a document."""
        return self.shards[0].end

    def _lengths(self, first: int, last: int) -> Ints:
        """The lengths of the documents from `first` up to `last`."""
        found = []
        for shard, begin in zip(self.shards, self._ends, strict=False):
            start, stop = max(first - begin, 0), min(last - begin, len(shard.bounds) - 1)
            if start < stop:
                found.append(np.diff(shard.bounds[start : stop + 1]))
        return np.concatenate(found)

    def read(self, piece: Piece) -> tuple[Ints, int]:
        """The ids of a piece, and the one before them: that of the document, or at its beginning that which closes one.

        Raises `BadInput` for an id beyond the vocabulary.
        """
        number = int(np.searchsorted(self._ends, piece.document, "right")) - 1
        shard = self.shards[number]
        start = int(shard.bounds[piece.document - self._ends[number]]) + piece.start
        more = 1 if piece.start else 0
        ids = shard.ids[start - more : start + piece.length].astype(np.int64)
        if int(ids.max()) >= self._vocabulary:
            raise BadInput(f"{shard.name}.npy: has id {ids.max()}, beyond the {self._vocabulary:,} of the vocabulary")
        return ids[more:], int(ids[0]) if more else shard.end


def read(folder: Path, tags: Sequence[str], context: int, vocabulary: int) -> dict[str, Text]:
    """The text of languages, from the shards in `folder/TAG` that the tokenizer wrote.

    Raises `Failure` where there is no language or one has no token, and `BadInput` for a shard that is damaged or was
    encoded with a larger vocabulary. Lengths of documents are read, well under a second for ten million of them; ids
    are not.
    """
    if not tags:
        raise Failure(f"{folder}: no text to train on; the corpus has none in any language")
    found = {}
    for tag in tags:
        abouts = sorted(inside(folder, tag).glob("*.json"))
        text = Text([_shard(about, vocabulary) for about in abouts], context, vocabulary)
        if not text.tokens:
            raise Failure(f"{folder / tag}: no token of {name_of(tag)} to train on; build the tokenizer again")
        found[tag] = text
    return found


def _shard(about: Path, vocabulary: int) -> Shard:
    """The shard whose JSON file this is, looked over without reading its ids."""
    place, made = about.with_suffix(""), read_bounded(about)
    ids, bounds = _array(place, ".npy", ("<u2", "<u4")), _array(place, ".bounds.npy", ("<i8",))
    try:
        told, encoded, end = (made["documents"], made["tokens"]), int(made["vocabulary"]), int(made["end"])
    except (KeyError, TypeError, ValueError, OverflowError):
        raise BadInput(f"{about}: does not say what the shard holds; encode it again") from None
    if told != (len(bounds) - 1, len(ids)) or not 0 <= end < encoded:
        raise BadInput(f"{about}: says other numbers than the shard has; encode it again")
    if encoded > vocabulary:
        raise BadInput(
            f"{about}: encoded with {encoded:,} ids, where the tokenizer has {vocabulary:,}; encode it again"
        )
    starts = range(0, len(bounds) - 1, _AT_ONCE)
    ascend = all(bool((np.diff(bounds[start : start + _AT_ONCE + 1]) > 0).all()) for start in starts)
    if not ascend or bounds[0] != 0 or bounds[-1] != len(ids):
        raise BadInput(f"{place}.bounds.npy: does not divide the {len(ids):,} ids into documents; encode it again")
    return Shard(str(place), ids, bounds, end)


def _array(place: Path, ending: str, kinds: Sequence[str]) -> NDArray[Any]:
    """A file of numpy's form, in place; only whole numbers of these kinds in one dimension are taken."""
    path = place.with_name(place.name + ending)
    try:
        found = np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # what numpy's reader of headers raises has many kinds
        raise BadInput(f"{path}: cannot be read ({type(error).__name__}); encode it again") from None
    if found.ndim != 1 or found.dtype.str not in kinds or (ending != ".npy" and not len(found)):
        raise BadInput(f"{path}: not an array of ids of a shard or of its bounds; encode it again")
    return found


class Rows:
    """The rows of a training: `take` is a pure function of seed and place, whoever asks.

    `phases` say how many rows each language has; there is one at least. A row is text of one language: pieces of
    documents, packed best-fit. Every id of a language is a target once in each of its epochs.
    """

    def __init__(self, texts: Mapping[str, Text], phases: Sequence[Phase], seed: int) -> None:
        self._texts, self._order = texts, Order(phases, seed)
        self._keys = {tag: (seed, crc32(tag.encode())) for tag in texts}
        self.context = next(iter(texts.values())).context
        self.total = self._order.total
        self.sequences = {tag: number for tag, number in self._order.before(self.total).items() if number}
        self.trained = {
            tag: texts[tag].packing.before(number, self._keys[tag]) for tag, number in self.sequences.items()
        }

    @property
    def filled(self) -> float:
        """Share of all positions that are targets."""
        return sum(self.trained.values()) / (self.total * self.context)

    def take(self, first: int, number: int) -> Batch:
        """`number` rows from the `first` on."""
        shape = number, self.context
        inputs, targets = np.zeros(shape, np.int64), np.full(shape, -100, np.int64)
        pieces = np.zeros(shape, np.int32)
        for row, (tag, rank) in enumerate(self._order.places(first, number)):
            text, at = self._texts[tag], 0
            for count, piece in enumerate(text.packing.row(rank, self._keys[tag])):
                ids, before = text.read(piece)
                end = at + piece.length
                targets[row, at:end] = ids
                inputs[row, at], inputs[row, at + 1 : end] = before, ids[:-1]
                pieces[row, at:end], pieces[row, end:] = count, count + 1
                at = end
        return Batch(inputs, targets, pieces).rows(0, number)

    def fingerprint(self) -> str:
        """SHA-256 over which shards there are, in their order, how long, and ids at about a thousand places of each."""
        found = hashlib.sha256()
        shards = [(tag, shard) for tag, text in self._texts.items() for shard in text.shards]
        places = max(10, min(_PLACES, _ALL_PLACES // max(1, len(shards))))
        for tag, shard in shards:
            found.update(f"{tag}/{Path(shard.name).name} {len(shard.bounds)} {len(shard.ids)}\n".encode())
            for array in (shard.bounds, shard.ids):
                if len(array):
                    found.update(array[np.linspace(0, len(array) - 1, places).astype(np.int64)].tobytes())
        return found.hexdigest()


@contextmanager
def ahead(make: Callable[[int], Batch], steps: Sequence[int], depth: int = 2) -> Iterator[Iterator[Batch]]:
    """The batches of steps, `depth` of them made in advance by a thread of their own.

    What `make` raises comes to whoever takes that batch. The thread has ended when the block has.
    """
    thread = ThreadPoolExecutor(1, "batches")

    def batches() -> Iterator[Batch]:
        coming = deque(thread.submit(make, step) for step in steps[:depth])
        for step in steps[depth:]:
            batch = coming.popleft().result()
            coming.append(thread.submit(make, step))
            yield batch
        while coming:
            yield coming.popleft().result()

    try:
        yield batches()
    finally:
        thread.shutdown(cancel_futures=True)


def bytes_of_tokens(tokenizer: Tokenizer) -> NDArray[np.int64]:
    """UTF-8 bytes that each id stands for, 0 for special tokens."""
    size = tokenizer.get_vocab_size()
    special: dict[int, Any] = tokenizer.get_added_tokens_decoder()
    lengths = [0 if number in special else len(tokenizer.id_to_token(number) or "") for number in range(size)]
    return np.array(lengths, np.int64)
