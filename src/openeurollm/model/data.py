"""Training data: token shards, the mixture of languages, and batches that are a pure function of (seed, step)."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from openeurollm.languages import script_bytes
from openeurollm.ledger import read_json


class Tokens:
    """The token ids of a language's training text, read in place: shards of numpy's form one after another."""

    def __init__(self, shards: Sequence[NDArray[Any]]) -> None:
        self._shards = shards
        self._ends = np.cumsum([len(shard) for shard in shards])

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def take(self, start: int, number: int) -> NDArray[np.int64]:
        """`number` ids from `start` on; the first follows the last."""
        found = np.empty(number, np.int64)
        filled = 0
        while filled < number:
            at = (start + filled) % len(self)
            shard = int(np.searchsorted(self._ends, at, "right"))
            first = at - (int(self._ends[shard]) - len(self._shards[shard]))
            piece = self._shards[shard][first : first + number - filled]
            found[filled : filled + len(piece)] = piece
            filled += len(piece)
        return found


def tokens(folder: Path, tags: Sequence[str]) -> tuple[dict[str, Tokens], dict[str, int]]:
    """The languages' tokens and numbers of documents, from the shards in `folder/TAG` that the tokenizer wrote."""
    found, documents = {}, {}
    for tag in tags:
        about = sorted((folder / tag).glob("*.json"))
        found[tag] = Tokens([np.load(each.with_suffix(".npy"), mmap_mode="r", allow_pickle=False) for each in about])
        documents[tag] = sum(int(read_json(each)["documents"]) for each in about)
    return found, documents


def shares(text_bytes: Mapping[str, int], temperature: float, given: Mapping[str, float]) -> dict[str, float]:
    """Each language's share of the mixture in script-corrected bytes, adding up to 1.

    `given` has shares that are set by hand; the other languages divide the rest by (their bytes) ** temperature. Where
    there is no other language the given shares are scaled to 1.
    """
    fixed = {tag: share for tag, share in given.items() if tag in text_bytes}
    weights = {tag: (size / script_bytes(tag)) ** temperature for tag, size in text_bytes.items() if tag not in fixed}
    total, rest = sum(weights.values()), 1 - sum(fixed.values())
    scale = 1.0 if weights else sum(fixed.values())
    return {tag: fixed[tag] / scale if tag in fixed else rest * weights[tag] / total for tag in text_bytes}


def budget(
    total: int, share: Mapping[str, float], text_bytes: Mapping[str, int], tokens: Mapping[str, int], max_epochs: float
) -> dict[str, int]:
    """Tokens each language brings to a training of `total` tokens.

    Shares are in script-corrected bytes, so a language of many tokens a byte brings more tokens for the same share. No
    language is repeated over `max_epochs` times; what it cannot fill goes to the others by their shares.
    """
    rate = {tag: share[tag] * script_bytes(tag) * tokens[tag] / text_bytes[tag] for tag in share}
    result: dict[str, int] = {}
    open_tags, left = set(share), float(total)
    while open_tags:
        scale = left / sum(rate[tag] for tag in sorted(open_tags))
        full = {tag for tag in open_tags if rate[tag] * scale > max_epochs * tokens[tag]}
        if not full:
            result |= {tag: int(rate[tag] * scale) for tag in open_tags}
            break
        result |= {tag: int(max_epochs * tokens[tag]) for tag in full}
        left -= sum(result[tag] for tag in full)
        open_tags -= full
    return {tag: result[tag] for tag in share}


class Batches:
    """The batches of a training: `batch(step)` depends on nothing but the seed, the step and the data.

    Every sequence is `context + 1` tokens of one language's text, documents following one another; each language
    comes in an exact number of sequences, spread evenly at random over the training. An epoch of a language is a fresh
    permutation of its text, cut at a fresh offset.
    """

    def __init__(
        self, tokens: Mapping[str, Tokens], wanted: Mapping[str, int], context: int, rows: int, seed: int
    ) -> None:
        self._tokens, self._context, self._rows, self._seed = tokens, context, rows, seed
        self._tags = tuple(tag for tag in wanted if len(tokens[tag]))
        self.steps = max(1, round(sum(wanted.values()) / (context * rows)))
        counts = _apportion([wanted[tag] for tag in self._tags], self.steps * rows)
        order = np.repeat(np.arange(len(self._tags)), counts)
        np.random.Generator(np.random.PCG64(seed)).shuffle(order)
        self._language = order
        self._rank = np.empty(len(order), np.int64)
        for number in range(len(self._tags)):
            places = np.flatnonzero(order == number)
            self._rank[places] = np.arange(len(places))
        self.sequences = dict(zip(self._tags, counts, strict=True))

    def batch(self, step: int) -> NDArray[np.int64]:
        """Token ids of the step's sequences, shape (rows, context + 1)."""
        places = range(step * self._rows, (step + 1) * self._rows)
        return np.stack([self._sequence(int(self._language[place]), int(self._rank[place])) for place in places])

    def _sequence(self, number: int, rank: int) -> NDArray[np.int64]:
        tokens = self._tokens[self._tags[number]]
        chunks = max(1, len(tokens) // self._context - 1)
        epoch, place = divmod(rank, chunks)
        order, offset = self._epoch(number, epoch, chunks)
        start = int(order[place]) * self._context + offset
        return tokens.take(start, self._context + 1)

    @lru_cache(maxsize=512)  # noqa: B019 - one Batches lives as long as its training
    def _epoch(self, number: int, epoch: int, chunks: int) -> tuple[NDArray[np.int64], int]:
        generator = np.random.Generator(np.random.PCG64([self._seed, number, epoch]))
        return generator.permutation(chunks), int(generator.integers(self._context))


def _apportion(wanted: list[int], seats: int) -> list[int]:
    """Whole numbers in proportion to `wanted` that add up to `seats`: largest remainders, every language at least
    one.
    """
    exact = np.array(wanted, float) / sum(wanted) * seats
    counts = np.maximum(np.floor(exact).astype(int), 1 if seats >= len(wanted) else 0)
    order = np.argsort(-(exact - np.floor(exact)), kind="stable")
    place = 0
    while counts.sum() < seats:
        counts[order[place % len(order)]] += 1
        place += 1
    while counts.sum() > seats:
        counts[int(np.argmax(counts))] -= 1
    return [int(count) for count in counts]


def bytes_of_tokens(tokenizer: Tokenizer) -> NDArray[np.int64]:
    """UTF-8 bytes that each id stands for, 0 for special tokens."""
    size = tokenizer.get_vocab_size()
    special: dict[int, Any] = tokenizer.get_added_tokens_decoder()
    lengths = [0 if number in special else len(tokenizer.id_to_token(number) or "") for number in range(size)]
    return np.array(lengths, np.int64)
