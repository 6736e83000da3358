"""The mixture: what share of the rows each language has, and in which order they come."""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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
    total, rest = sum(weights.values()), max(0.0, 1 - sum(fixed.values()))
    scale = 1.0 if weights else sum(fixed.values())
    return {tag: fixed[tag] / scale if tag in fixed else rest * weights[tag] / total for tag in text_bytes}


@dataclass(frozen=True)
class Phase:
    """How many rows of each language come in a stretch of the training; with `cut`, only the first so many of them."""

    rows: Mapping[str, int]
    cut: int | None = None

    def __len__(self) -> int:
        return sum(self.rows.values()) if self.cut is None else self.cut


def phases(
    mixture: Mixture, decay: float, total: int, text_bytes: Mapping[str, int], rows: Mapping[str, int]
) -> list[Phase]:
    """The phases of a training of `total` rows; fewer where that would repeat every language too often.

    There is one phase, or where the recipe has a mixture for annealing a second one, the last `decay` of the rows.
    `text_bytes` and `rows` say how much text an epoch of a language has; the rest is as in `budget`. Raises `BadInput`
    where there is no row to train on.
    """
    last = 0 if mixture.annealing is None else round(decay * total)
    wished = [shares(text_bytes, mixture.temperature, mixture.shares), _annealing(mixture, text_bytes)]
    found = [Phase(each) for each in budget([total - last, last], wished, text_bytes, rows, mixture.max_epochs, {})]
    if not any(map(len, found)):
        raise BadInput(
            f"no text to train on: {len(rows)} languages have {sum(rows.values()):,} rows together, and none may be "
            f"repeated more than {mixture.max_epochs:g} times; add text, or raise max_epochs in [mixture]"
        )
    return [phase for phase in found if len(phase)]


def decayed(
    phases: Sequence[Phase],
    place: int,
    number: int,
    mixture: Mixture,
    text_bytes: Mapping[str, int],
    rows: Mapping[str, int],
    seed: int,
) -> list[Phase]:
    """The same rows up to that place, and then a phase of `number` in the mixture for annealing, or the one there is
    where the recipe has none. No language is repeated over `max_epochs` times in all of them.
    """
    begun, left = [], place
    for phase in phases:
        if left:
            begun.append(replace(phase, cut=min(left, len(phase))))
            left -= len(begun[-1])
    spent = Order(begun, seed).before(place) if begun else {}
    wished = [_annealing(mixture, text_bytes)]
    return [*begun, *map(Phase, budget([number], wished, text_bytes, rows, mixture.max_epochs, spent))]


def _annealing(mixture: Mixture, text_bytes: Mapping[str, int]) -> dict[str, float]:
    """Shares in the steps in which the rates fall."""
    last = mixture.annealing
    if last is None:
        return shares(text_bytes, mixture.temperature, mixture.shares)
    return shares(text_bytes, mixture.temperature if last.temperature is None else last.temperature, last.shares)


def budget(
    totals: Sequence[int],
    wished: Sequence[Mapping[str, float]],
    text_bytes: Mapping[str, int],
    rows: Mapping[str, int],
    max_epochs: float,
    spent: Mapping[str, int],
) -> list[dict[str, int]]:
    """Rows of each language in phases of so many rows with such shares.

    Shares are in script-corrected bytes, so a language of many tokens a byte has more rows for the same share. No
    language is repeated over `max_epochs` times in all phases together and the rows `spent` before; what it cannot
    fill goes to the others by their shares, and where none can fill it the phase is shorter. Every language with a
    share has a row where there are enough for all.
    """
    most = {tag: max(0, int(max_epochs * rows[tag]) - spent.get(tag, 0)) for tag in rows}
    density = {tag: script_bytes(tag) * rows[tag] / text_bytes[tag] for tag in rows}
    rates = [{tag: share[tag] * density[tag] for tag in rows} for share in wished]
    exact = _filled([float(total) for total in totals], rates, most)
    result: list[dict[str, int]] = []
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
    """The language of every row of a training, and its rank among that language's rows: a pure function of the seed
    and the place.

    Phase follows phase, each cut into blocks. Up to the end of a block every language has had its share of the phase,
    off by less than one row; inside a block the order is random.
    """

    def __init__(self, phases: Sequence[Phase], seed: int) -> None:
        self.tags = tuple(dict.fromkeys(tag for phase in phases for tag in phase.rows))
        self._seed = seed
        counts = np.array([[phase.rows.get(tag, 0) for tag in self.tags] for phase in phases], np.int64)
        self._sizes = [max(_ROWS, -(-int(each.sum()) // _BLOCKS)) for each in counts]
        self._taken = [_taken(each, size) for each, size in zip(counts, self._sizes, strict=True)]
        self._block = lru_cache(maxsize=4)(self._shuffled)
        self._begins, self._before = [0], [np.zeros(len(self.tags), np.int64)]
        for number, phase in enumerate(phases):
            self._before.append(self._before[-1] + self._inside(number, len(phase)))
            self._begins.append(self._begins[-1] + len(phase))
        self.total = self._begins[-1]

    def before(self, place: int) -> dict[str, int]:
        """Rows of each language before that place."""
        phase = bisect_right(self._begins, place, hi=len(self._sizes)) - 1
        counts = self._before[phase] + self._inside(phase, place - self._begins[phase])
        return dict(zip(self.tags, counts.tolist(), strict=True))

    def places(self, first: int, number: int) -> Iterator[tuple[str, int]]:
        """Language and rank of `number` places from the `first` on."""
        for place in range(first, first + number):
            phase = bisect_right(self._begins, place, hi=len(self._sizes)) - 1
            block, inside = divmod(place - self._begins[phase], self._sizes[phase])
            languages, ranks = self._block(phase, block)
            language = languages[inside]
            yield self.tags[language], int(ranks[inside] + self._before[phase][language])

    def _inside(self, phase: int, number: int) -> Ints:
        """Rows of each language among the first rows of a phase."""
        block, inside = divmod(number, self._sizes[phase])
        counts: Ints = self._taken[phase][block].copy()
        if inside:
            languages, _ = self._block(phase, block)
            counts += np.bincount(languages[:inside], minlength=len(self.tags))
        return counts

    def _shuffled(self, phase: int, block: int) -> tuple[Ints, Ints]:
        """The number of the language at each place of a block, and its rank in the phase."""
        before, after = self._taken[phase][block : block + 2]
        languages = np.repeat(np.arange(len(self.tags)), after - before)
        np.random.Generator(np.random.PCG64([self._seed, phase, block])).shuffle(languages)
        ranks = np.empty_like(languages)
        for language, begin in enumerate(before):
            places = np.flatnonzero(languages == language)
            ranks[places] = np.arange(begin, begin + len(places))
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
