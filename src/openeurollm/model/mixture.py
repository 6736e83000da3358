"""The mixture: what share of the rows each language has, and in which order they come."""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from openeurollm.errors import BadInput
from openeurollm.languages import script_bytes
from openeurollm.languages.compiled import compiled
from openeurollm.recipe import Mixture

Ints = NDArray[np.int64]

_ROWS, _BLOCKS = 256, 1 << 14
"""Rows of a block, or more where there would be more blocks than this."""


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


def phases(
    mixture: Mixture, decay: float, total: int, batch: int, text_bytes: Mapping[str, int], rows: Mapping[str, int]
) -> list[dict[str, int]]:
    """Rows of each language in each phase of a training of `total` rows, of which a step takes `batch`.

    There is one phase, or where the recipe has a mixture for annealing a second one, the last `decay` of the rows.
    `text_bytes` and `rows` say how much text an epoch of a language has; the rest is as in `budget`. Raises `BadInput`
    where all epochs of all languages do not fill one step, or no language has a share.
    """
    most = sum(int(mixture.max_epochs * number) for number in rows.values())
    if most < batch:
        raise BadInput(
            f"a step takes {batch:,} rows, and the corpus has {most:,} in {mixture.max_epochs:g} epochs: lower "
            f"batch_tokens in [model], or add text"
        )
    wished = [shares(text_bytes, mixture.temperature, mixture.shares)]
    totals = [total]
    if mixture.annealing is not None:
        warm = mixture.temperature if mixture.annealing.temperature is None else mixture.annealing.temperature
        wished.append(shares(text_bytes, warm, mixture.annealing.shares))
        totals = [total - round(decay * total), round(decay * total)]
    found = budget(totals, wished, text_bytes, rows, mixture.max_epochs)
    if sum(sum(phase.values()) for phase in found) < batch:
        raise BadInput(f"a step takes {batch:,} rows, and the shares in [mixture] leave fewer: raise max_epochs there")
    return found


def budget(
    totals: Sequence[int],
    wished: Sequence[Mapping[str, float]],
    text_bytes: Mapping[str, int],
    rows: Mapping[str, int],
    max_epochs: float,
) -> list[dict[str, int]]:
    """Rows of each language in phases of so many rows with such shares.

    Shares are in script-corrected bytes, so a language of many tokens a byte has more rows for the same share. No
    language is repeated over `max_epochs` times in all phases together; what it cannot fill goes to the others by
    their shares, and where none can fill it the phase is shorter. Every language with a share has a row where there
    are enough for all.
    """
    most = {tag: int(max_epochs * rows[tag]) for tag in rows}
    density = {tag: script_bytes(tag) * rows[tag] / text_bytes[tag] for tag in rows}
    rates = [{tag: share[tag] * density[tag] for tag in rows} for share in wished]
    exact = _filled([float(total) for total in totals], rates, most)
    result = []
    for wanted in exact:
        seats = round(sum(wanted.values()))
        result.append(_apportioned(wanted, seats, most))
        most = {tag: most[tag] - result[-1][tag] for tag in most}
    return result


def _filled(
    totals: Sequence[float], rates: Sequence[Mapping[str, float]], most: Mapping[str, int]
) -> list[dict[str, float]]:
    """Rows by the rates, where a language that would have more than the most has that, in the same proportion over the
    phases, and the others divide what is left.
    """
    result = [dict.fromkeys(most, 0.0) for _ in totals]
    left, open_tags = list(totals), sorted(most)
    while open_tags:
        sums = [sum(rate[tag] for tag in open_tags) for rate in rates]
        scales = [rest / whole if whole > 0 else 0.0 for rest, whole in zip(left, sums, strict=True)]
        wanted = {tag: [rate[tag] * scale for rate, scale in zip(rates, scales, strict=True)] for tag in open_tags}
        full = [tag for tag in open_tags if sum(wanted[tag]) > most[tag]]
        for tag in full or open_tags:
            part = min(1.0, most[tag] / max(sum(wanted[tag]), 1e-9))
            for phase, number in enumerate(wanted[tag]):
                result[phase][tag] = number * part
                left[phase] = max(0.0, left[phase] - number * part)
        open_tags = [tag for tag in open_tags if tag not in full] if full else []
    return result


def _apportioned(wanted: Mapping[str, float], seats: int, most: Mapping[str, int]) -> dict[str, int]:
    """Whole numbers near those wanted, none over its most, that add up to `seats` where there is room: largest
    remainders; every language of which there is any has at least one where there are enough.
    """
    least = 1 if seats >= sum(number > 0 for number in wanted.values()) else 0
    counts = {tag: min(most[tag], max(int(number), least if number > 0 else 0)) for tag, number in wanted.items()}
    order = sorted(wanted, key=lambda tag: int(wanted[tag]) - wanted[tag])
    while sum(counts.values()) < seats and (
        room := [tag for tag in order if wanted[tag] > 0 and counts[tag] < most[tag]]
    ):
        for tag in room[: seats - sum(counts.values())]:
            counts[tag] += 1
    while sum(counts.values()) > seats:
        counts[max(counts, key=lambda tag: counts[tag])] -= 1
    return counts


class Order:
    """The language of every row of a training, and its rank among that language's rows.

    A phase is cut into blocks. Up to the end of each block every language has had its share of the phase, off by less
    than one row; inside a block the order is random. `place` to language is a pure function of seed and place.
    """

    def __init__(self, phases: Sequence[Mapping[str, int]], seed: int) -> None:
        self.tags = tuple(dict.fromkeys(tag for phase in phases for tag, number in phase.items() if number))
        self._seed = seed
        self._counts = np.array([[phase.get(tag, 0) for tag in self.tags] for phase in phases], np.int64)
        self._ends = np.cumsum(self._counts.sum(axis=1))
        self._before = np.cumsum(self._counts, axis=0) - self._counts
        sizes = [max(_ROWS, -(-int(total) // _BLOCKS)) for total in self._counts.sum(axis=1)]
        self._sizes = sizes
        self._taken = [_taken(counts, size) for counts, size in zip(self._counts, sizes, strict=True)]
        self._block = lru_cache(maxsize=4)(self._shuffled)
        self.total = int(self._ends[-1]) if len(self._ends) else 0

    def places(self, first: int, number: int) -> Iterator[tuple[str, int]]:
        """Language and rank of `number` places from the `first` on."""
        for place in range(first, first + number):
            phase = int(np.searchsorted(self._ends, place, "right"))
            begin = int(self._ends[phase]) - int(self._counts[phase].sum())
            block, inside = divmod(place - begin, self._sizes[phase])
            languages, ranks = self._block(phase, block)
            yield self.tags[languages[inside]], int(ranks[inside])

    def _shuffled(self, phase: int, block: int) -> tuple[Ints, Ints]:
        """The number of the language at each place of a block, and the ranks."""
        before, after = self._taken[phase][block : block + 2]
        languages = np.repeat(np.arange(len(self.tags)), after - before)
        np.random.Generator(np.random.PCG64([self._seed, phase, block])).shuffle(languages)
        ranks = np.empty_like(languages)
        for language in range(len(self.tags)):
            places = np.flatnonzero(languages == language)
            ranks[places] = np.arange(len(places)) + self._before[phase, language] + before[language]
        return languages, ranks


@compiled
def _taken(counts: Ints, size: int) -> Ints:
    """Rows of each language up to the end of each block of `size` rows, shape (blocks + 1, languages).

    Each number is that language's share rounded down or up, and falls in no block. Of those that could be rounded up
    the one is taken that reaches the next whole number first, which always comes out even (Tijdeman 1980, "The
    chairman assignment problem").
    """
    total = counts.sum()
    blocks = (total + size - 1) // size
    taken = np.zeros((blocks + 1, len(counts)), np.int64)
    whole, rest = np.zeros_like(counts), np.zeros_like(counts)  # the share is whole + rest / total
    deadline = np.empty(len(counts), np.int64)
    for block in range(blocks - 1):
        left = size * (block + 1)
        for tag in range(len(counts)):
            rest[tag] += counts[tag] * size
            whole[tag] += rest[tag] // total
            rest[tag] %= total
            taken[block + 1, tag] = max(whole[tag], taken[block, tag])
            left -= taken[block + 1, tag]
            deadline[tag] = np.iinfo(np.int64).max
            if rest[tag] > 0 and taken[block + 1, tag] == whole[tag]:
                deadline[tag] = (total - rest[tag] + counts[tag] * size - 1) // (counts[tag] * size)
        for tag in np.argsort(deadline, kind="mergesort")[:left]:
            taken[block + 1, tag] += 1
    if blocks:
        taken[blocks] = counts
    return taken
