"""Learning merges: byte-level BPE from words with weights, in compiled code.

The pair of neighbouring symbols that weighs most becomes a symbol, again and again; of equal weights the pair of lower
symbols. Weights are whole numbers, so that sums do not depend on their order, and the same words with the same weights
give the same merges. Symbols 0 to 255 are the bytes; each merge adds the next number.

A pair of two symbols can only come about when the later of them is made. Its list of words is therefore complete at
that moment and its weight only falls from then on: a heap whose entries are put back when they are found to be out of
date gives the heaviest pair, and pairs that are light when they come about (under `floor`) need not be kept at all.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openeurollm.errors import BadInput
from openeurollm.languages.compiled import compiled, inlined
from openeurollm.tokenizer.pretokenizer import Bytes

Numbers = NDArray[np.int64]
Symbols = NDArray[np.int32]

BYTES = 256
MOST_WEIGHT = 1 << 60
"""Largest sum of weights times lengths; below it no sum of 64 bits overflows."""
_MOST_SYMBOLS = (1 << 31) - 1
_ODD = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(32)
_PRIME = np.uint64(0x100000001B3)


@dataclass(frozen=True)
class Rows:
    """Words to learn from, and after them words to measure on.

    `lengths` in bytes, `data` their bytes one after the other, `weights` what each counts in the choice of merges (0
    for what is only measured), `measured` how often each stands in the development text, `groups` its language's
    number, in ascending order among the rows that are learnt from.
    """

    lengths: Numbers
    data: Bytes
    weights: Numbers
    measured: NDArray[np.int32]
    groups: NDArray[np.int16]

    def weighted(self, factors: Sequence[int]) -> "Rows":
        """The rows with their weights times the factor of their group; scaled down where sums would overflow."""
        sums = np.bincount(self.groups, self.weights * self.lengths.astype(np.float64), len(factors))
        scale = max(1.0, float(sums @ np.array(factors, np.float64)) / MOST_WEIGHT)
        whole = np.array([max(1, int(factor / scale)) for factor in factors], np.int64)
        return replace(self, weights=self.weights * whole[self.groups])


@dataclass(frozen=True)
class Parity:
    """At `share` of the merges the pair is chosen that is heaviest in the language which is most expensive, among those
    that were not favoured in the last `window` such choices.
    """

    share: float
    window: int


@dataclass(frozen=True)
class Learnt:
    """`merges` (number, 2) are pairs of symbols in the order of their rank, `weights` what each weighed when it was
    chosen, `costs` the tokens of each group's development text under all of them.
    """

    merges: Symbols
    weights: Numbers
    costs: Numbers


def learn(
    rows: Rows,
    number: int,
    forced: Sequence[tuple[int, int]] = (),
    parity: Parity | None = None,
    per_tokens: NDArray[np.float64] | None = None,
) -> Learnt:
    """Learn `number` merges, those of `forced` first; fewer where no pair is left that weighs anything.

    `per_tokens` turns a group's tokens into its cost for `parity` (one over its sentences). Raises `BadInput` for more
    text than the arrays can number.
    """
    if int(rows.lengths.sum()) > _MOST_SYMBOLS:
        raise BadInput("tokenizer: over 2,147,483,647 bytes of different words; lower [tokenizer] words_per_language")
    groups = int(rows.groups.max(initial=0)) + 1
    turned = np.ones(groups) if per_tokens is None else per_tokens
    share, window = (parity.share, parity.window) if parity else (0.0, 0)
    given = np.array(list(forced), np.int32).reshape(-1, 2)
    floor = max(1, int((rows.weights * rows.lengths).sum()) // (100 * BYTES * max(1, number)))
    while True:
        learnt = _learn(rows, number, given, floor, turned, share, window)
        if len(learnt.merges) == number or floor == 1:
            return learnt
        floor = max(1, floor // 16)


def _learn(
    rows: Rows,
    number: int,
    forced: Symbols,
    floor: int,
    turned: NDArray[np.float64],
    share: float,
    window: int,
) -> Learnt:
    starts = np.concatenate([[0], np.cumsum(rows.lengths)])
    firsts = np.searchsorted(rows.groups[rows.weights > 0], np.arange(len(turned) + 1))
    costs = np.bincount(rows.groups, rows.measured * rows.lengths, len(turned)).astype(np.int64)
    text = _Text(
        rows.data.astype(np.int32),
        starts,
        rows.lengths.astype(np.int32),
        rows.weights,
        rows.measured,
        rows.groups,
        costs,
    )
    merges, weights = np.empty((number, 2), np.int32), np.empty(number, np.int64)
    made = _loop(text, _byte_pairs(text), firsts, merges, weights, forced, floor, turned, share, window)
    return Learnt(merges[:made], weights[:made], costs)


class _Text(NamedTuple):
    """Every row's symbols lie in its own stretch of `symbols`, which shortens as they are merged. `costs` are tokens of
    the development text by group.
    """

    symbols: Symbols
    starts: Numbers
    lengths: Symbols
    weights: Numbers
    measured: NDArray[np.int32]
    groups: NDArray[np.int16]
    costs: Numbers


class _Pairs(NamedTuple):
    """Pairs by number: their `keys`, weights, and where their rows lie in `lists`; `slots` finds a key's number.

    `heap_weights` and `heap_pairs` are the heap. `sizes` says how many pairs, heap entries and list entries there are.
    """

    keys: Numbers
    weights: Numbers
    list_starts: Numbers
    list_sizes: Symbols
    slots: Symbols
    heap_weights: Numbers
    heap_pairs: Symbols
    lists: Symbols
    sizes: Numbers


class _New(NamedTuple):
    """Pairs that come about as a symbol is made, by the symbol beside it, to which half the length of these arrays is
    added where it follows: weight, number of rows, the last row seen, and the number of the pair (-1: not kept).
    """

    weights: Numbers
    rows: Symbols
    last: Symbols
    pairs: Symbols
    touched: Symbols


class _Events(NamedTuple):
    """Which new pair came about in which row, in order."""

    codes: Symbols
    rows: Symbols


class _Known(NamedTuple):
    """Hashes of the bytes of each symbol, factors to put two together, and the set of all hashes."""

    hashes: NDArray[np.uint64]
    factors: NDArray[np.uint64]
    slots: NDArray[np.uint64]


@inlined
def _key(left: Any, right: Any) -> np.int64:
    return np.int64(left) << np.int64(32) | np.int64(right)


@inlined
def _place(slots: Symbols, keys: Numbers, key: np.int64) -> np.int64:
    """Where in `slots` the pair is, or would be put."""
    mask = np.uint64(len(slots) - 1)
    mixed = np.uint64(key) * _ODD
    place = (mixed ^ (mixed >> _SHIFT)) & mask
    while slots[place] >= 0 and keys[slots[place]] != key:
        place = (place + np.uint64(1)) & mask
    return np.int64(place)


@inlined
def _find(slots: Symbols, keys: Numbers, left: Any, right: Any) -> Any:
    """The number of a pair, or -1."""
    return slots[_place(slots, keys, _key(left, right))]


@compiled
def _longer(array: NDArray[Any], size: int) -> NDArray[Any]:
    """The array with room for `size` entries; what is new is not set."""
    if size <= len(array):
        return array
    longer = np.empty(max(size, len(array) + len(array) // 2), array.dtype)
    longer[: len(array)] = array
    return longer


@compiled
def _rehashed(keys: Numbers, number: int, size: int) -> Symbols:
    slots = np.full(size, -1, np.int32)
    for pair in range(number):
        slots[_place(slots, keys, keys[pair])] = pair
    return slots


@inlined
def _before(weights: Numbers, numbers: Symbols, keys: Numbers, one: int, other: int) -> Any:
    if weights[one] != weights[other]:
        return weights[one] > weights[other]
    return keys[numbers[one]] < keys[numbers[other]]


@inlined
def _swap(weights: Numbers, numbers: Symbols, one: int, other: int) -> None:
    weights[one], weights[other] = weights[other], weights[one]
    numbers[one], numbers[other] = numbers[other], numbers[one]


@compiled
def _rise(pairs: _Pairs, at: int) -> None:
    """Move an entry of the heap up to its place."""
    weights, numbers, keys = pairs.heap_weights, pairs.heap_pairs, pairs.keys
    while at > 0 and _before(weights, numbers, keys, at, (at - 1) >> 1):
        _swap(weights, numbers, at, (at - 1) >> 1)
        at = (at - 1) >> 1


@compiled
def _sink(pairs: _Pairs, at: int) -> None:
    """Move an entry of the heap down to its place."""
    weights, numbers, keys, size = pairs.heap_weights, pairs.heap_pairs, pairs.keys, pairs.sizes[1]
    while True:
        best = at
        for below in range(2 * at + 1, min(2 * at + 3, size)):
            if _before(weights, numbers, keys, below, best):
                best = below
        if best == at:
            return
        _swap(weights, numbers, at, best)
        at = best


@compiled
def _byte_pairs(text: _Text) -> _Pairs:
    """The pairs of bytes, with their weights and rows."""
    plain = BYTES * BYTES
    sums, places, seen = np.zeros(plain, np.int64), np.zeros(plain + 1, np.int64), np.full(plain, -1, np.int32)
    for row in range(len(text.lengths)):
        for at in range(text.starts[row], text.starts[row + 1] - 1):
            pair = text.symbols[at] << 8 | text.symbols[at + 1]
            sums[pair] += text.weights[row]
            places[pair + 1] += seen[pair] != row
            seen[pair] = row
    places = np.cumsum(places)
    lists, filled = np.empty(places[plain], np.int32), places[:plain].copy()
    seen[:] = -1
    for row in range(len(text.lengths)):
        for at in range(text.starts[row], text.starts[row + 1] - 1):
            pair = text.symbols[at] << 8 | text.symbols[at + 1]
            if seen[pair] != row:
                seen[pair] = row
                lists[filled[pair]] = row
                filled[pair] += 1
    there = np.flatnonzero(filled > places[:plain])
    number = len(there)
    keys = (there >> 8) << 32 | (there & 255)
    found = _Pairs(
        keys,
        sums[there],
        places[there],
        (filled[there] - places[there]).astype(np.int32),
        _rehashed(keys, number, 1 << 18),
        sums[there],
        np.arange(number).astype(np.int32),
        lists,
        np.array([number, number, len(lists)]),
    )
    for at in range(number // 2, -1, -1):
        _sink(found, at)
    return found


@compiled
def _heaviest(pairs: _Pairs) -> Any:
    """The pair that weighs most, or -1."""
    while pairs.sizes[1]:
        top = pairs.heap_pairs[0]
        if pairs.weights[top] == pairs.heap_weights[0]:
            return top if pairs.weights[top] > 0 else -1
        pairs.heap_weights[0] = pairs.weights[top]
        _sink(pairs, 0)
    return -1


@compiled
def _heaviest_of(text: _Text, pairs: _Pairs, first: int, last: int, sums: Numbers) -> Any:
    """The pair that weighs most in rows `first` to `last`, or -1; `sums` is scratch space that holds zeros."""
    symbols, starts, lengths = text.symbols, text.starts, text.lengths
    slots, keys, weights = pairs.slots, pairs.keys, pairs.weights
    best, heaviest = -1, np.int64(0)
    for row in range(first, last):
        for at in range(starts[row], starts[row] + lengths[row] - 1):
            pair = _find(slots, keys, symbols[at], symbols[at + 1])
            if pair >= 0 and weights[pair] > 0:
                sums[pair] += text.weights[row]
                if sums[pair] > heaviest or (sums[pair] == heaviest and keys[pair] < keys[best]):
                    best, heaviest = pair, sums[pair]
    for row in range(first, last):
        for at in range(starts[row], starts[row] + lengths[row] - 1):
            pair = _find(slots, keys, symbols[at], symbols[at + 1])
            if pair >= 0:
                sums[pair] = 0
    return best


@compiled
def _dearest(costs: Numbers, turned: NDArray[np.float64], firsts: Numbers, barred: Numbers, choice: int) -> int:
    """The group with the highest cost that has rows and may be favoured again, or -1."""
    best = -1
    for group in range(len(costs)):
        allowed = firsts[group + 1] > firsts[group] and barred[group] <= choice
        if allowed and (best < 0 or costs[group] * turned[group] > costs[best] * turned[best]):
            best = group
    return best


@compiled
def _is_new(known: _Known, left: int, right: int, new: int) -> bool:
    """Whether no symbol has these bytes yet; if so, they are those of `new` from now on."""
    code = known.hashes[left] * known.factors[right] + known.hashes[right]
    mask = np.uint64(len(known.slots) - 1)
    place = (code ^ (code >> _SHIFT)) & mask
    while known.slots[place] != 0:
        if known.slots[place] == code:
            return False
        place = (place + np.uint64(1)) & mask
    known.slots[place] = code
    known.hashes[new], known.factors[new] = code, known.factors[left] * known.factors[right]
    return True


@compiled
def _merge_rows(text: _Text, pairs: _Pairs, fresh: _New, events: _Events, best: np.int64, new: int) -> int:
    """Merge a pair in its rows, and note the pairs that come about; returns how many are noted."""
    symbols, starts, lengths, row_weights = text.symbols, text.starts, text.lengths, text.weights
    slots, keys, weights = pairs.slots, pairs.keys, pairs.weights
    codes, rows, fresh_weights, half = events.codes, events.rows, fresh.weights, len(fresh.last) // 2
    left, right = keys[best] >> 32, keys[best] & 0xFFFFFFFF
    noted, begin = 0, pairs.list_starts[best]
    for row in pairs.lists[begin : begin + pairs.list_sizes[best]]:
        weight, at = row_weights[row], starts[row]
        to, end = at, at + lengths[row]
        while at < end:
            if symbols[at] != left or at + 1 == end or symbols[at + 1] != right:
                symbols[to] = symbols[at]
                to, at = to + 1, at + 1
                continue
            if to > starts[row]:
                before = symbols[to - 1]
                pair = _find(slots, keys, right if before == new else before, left)
                if pair >= 0:
                    weights[pair] -= weight
                codes[noted], rows[noted] = before, row
                fresh_weights[before] += weight
                noted += 1
            at += 2
            if at < end and not (symbols[at] == left and at + 1 < end and symbols[at + 1] == right):
                after = symbols[at]
                pair = _find(slots, keys, right, after)
                if pair >= 0:
                    weights[pair] -= weight
                codes[noted], rows[noted] = half + after, row
                fresh_weights[half + after] += weight
                noted += 1
            symbols[to] = new
            to += 1
        text.costs[text.groups[row]] -= np.int64(text.measured[row]) * (end - to)
        lengths[row] = to - starts[row]
    return noted


@compiled
def _roomier(pairs: _Pairs, more: int) -> _Pairs:
    """The pairs with room for `more`."""
    number, heaped, _ = pairs.sizes
    slots = pairs.slots
    if 2 * (number + more) > len(slots):
        slots = _rehashed(pairs.keys, number, 4 * len(slots))
    return _Pairs(
        _longer(pairs.keys, number + more),
        _longer(pairs.weights, number + more),
        _longer(pairs.list_starts, number + more),
        _longer(pairs.list_sizes, number + more),
        slots,
        _longer(pairs.heap_weights, heaped + more),
        _longer(pairs.heap_pairs, heaped + more),
        pairs.lists,
        pairs.sizes,
    )


@compiled
def _touched(fresh: _New, events: _Events, noted: int) -> int:
    """Count the rows of each new pair, and list the pairs; returns how many there are."""
    touches = 0
    for event in range(noted):
        code = events.codes[event]
        if fresh.rows[code] == 0:
            fresh.touched[touches] = code
            touches += 1
        fresh.rows[code] += fresh.last[code] != events.rows[event]
        fresh.last[code] = events.rows[event]
    return touches


@compiled
def _keep(pairs: _Pairs, fresh: _New, touches: int, floor: int, new: int) -> None:
    """Give the new pairs that weigh at least `floor` a number, a place in the heap, and room for their rows."""
    half, sizes = len(fresh.last) // 2, pairs.sizes
    for touch in range(touches):
        code = fresh.touched[touch]
        fresh.last[code] = -1
        if fresh.weights[code] < floor:
            continue
        key = _key(code, new) if code < half else _key(new, code - half)
        pair = sizes[0]
        pairs.keys[pair], pairs.weights[pair] = key, fresh.weights[code]
        pairs.list_starts[pair], pairs.list_sizes[pair] = sizes[2], 0
        pairs.slots[_place(pairs.slots, pairs.keys, key)] = pair
        pairs.heap_weights[sizes[1]], pairs.heap_pairs[sizes[1]] = fresh.weights[code], pair
        _rise(pairs, sizes[1])
        fresh.pairs[code] = pair
        sizes[0], sizes[1], sizes[2] = pair + 1, sizes[1] + 1, sizes[2] + fresh.rows[code]


@compiled
def _fill(pairs: _Pairs, fresh: _New, events: _Events, noted: int, touches: int) -> None:
    """Write the rows of the new pairs, and make room for the next step's."""
    for event in range(noted):
        code, row = events.codes[event], events.rows[event]
        pair = fresh.pairs[code]
        if pair >= 0 and fresh.last[code] != row:
            fresh.last[code] = row
            pairs.lists[pairs.list_starts[pair] + pairs.list_sizes[pair]] = row
            pairs.list_sizes[pair] += 1
    for touch in range(touches):
        code = fresh.touched[touch]
        fresh.weights[code], fresh.rows[code], fresh.last[code], fresh.pairs[code] = 0, 0, -1, -1


@compiled
def _merge(
    text: _Text, pairs: _Pairs, fresh: _New, events: _Events, best: np.int64, new: int, floor: int
) -> tuple[_Pairs, _Events]:
    """Make a pair the symbol `new` wherever it stands; new pairs under `floor` are not kept."""
    begin, room = pairs.list_starts[best], 0
    for row in pairs.lists[begin : begin + pairs.list_sizes[best]]:
        room += text.lengths[row]  # a merge takes two symbols and brings two pairs at most
    events = _Events(_longer(events.codes, room), _longer(events.rows, room))
    noted = _merge_rows(text, pairs, fresh, events, best, new)
    pairs.weights[best] = 0
    touches = _touched(fresh, events, noted)
    pairs = _roomier(pairs, touches)
    _keep(pairs, fresh, touches, floor, new)
    pairs = _with_lists(pairs, _longer(pairs.lists, pairs.sizes[2]))
    _fill(pairs, fresh, events, noted, touches)
    return pairs, events


@inlined
def _with_lists(pairs: _Pairs, lists: Symbols) -> _Pairs:
    return _Pairs(
        pairs.keys,
        pairs.weights,
        pairs.list_starts,
        pairs.list_sizes,
        pairs.slots,
        pairs.heap_weights,
        pairs.heap_pairs,
        lists,
        pairs.sizes,
    )


@compiled
def _scratch(most: int) -> tuple[_New, _Events, _Known]:
    """Room for the pairs of a step and the bytes of `most` symbols."""
    hashes, factors = np.empty(most, np.uint64), np.empty(most, np.uint64)
    for symbol in range(BYTES):
        hashes[symbol], factors[symbol] = np.uint64(symbol + 1), _PRIME
    twice = 2 * most
    fresh = _New(
        np.zeros(twice, np.int64),
        np.zeros(twice, np.int32),
        np.full(twice, -1, np.int32),
        np.full(twice, -1, np.int32),
        np.empty(twice, np.int32),
    )
    known = _Known(hashes, factors, np.zeros(1 << int(np.ceil(np.log2(4 * most))), np.uint64))
    return fresh, _Events(np.empty(1 << 16, np.int32), np.empty(1 << 16, np.int32)), known


@compiled
def _loop(
    text: _Text,
    pairs: _Pairs,
    firsts: Numbers,
    merges: Symbols,
    chosen: Numbers,
    forced: Symbols,
    floor: int,
    turned: NDArray[np.float64],
    share: float,
    window: int,
) -> int:
    """Write merges and their weights until the arrays are full or no pair is left; returns how many there are."""
    fresh, events, known = _scratch(BYTES + len(merges))
    barred, choices, owed = np.zeros(len(turned), np.int64), 0, 0.0
    sums = np.zeros(1, np.int64)
    made = 0
    while made < len(merges):
        best = np.int64(-1)
        if made < len(forced):
            merges[made] = forced[made]
            best = np.int64(_find(pairs.slots, pairs.keys, forced[made, 0], forced[made, 1]))
        else:
            owed += share
            if owed >= 1.0:
                group = _dearest(text.costs, turned, firsts, barred, choices)
                owed, choices = owed - 1.0, choices + 1
                if group >= 0:
                    barred[group] = choices + window
                    if len(sums) < len(pairs.keys):
                        sums = np.zeros(len(pairs.keys), np.int64)
                    best = np.int64(_heaviest_of(text, pairs, firsts[group], firsts[group + 1], sums))
            if best < 0:
                best = np.int64(_heaviest(pairs))
                if best < 0 or pairs.weights[best] < floor:
                    break
            merges[made, 0], merges[made, 1] = pairs.keys[best] >> 32, pairs.keys[best] & 0xFFFFFFFF
        new = BYTES + made
        if not _is_new(known, merges[made, 0], merges[made, 1], new) and made >= len(forced):
            pairs.weights[best] = 0
            continue
        chosen[made] = pairs.weights[best] if best >= 0 else 0
        made += 1
        if best >= 0:
            pairs, events = _merge(text, pairs, fresh, events, best, new, floor if made >= len(forced) else 1)
    return made
