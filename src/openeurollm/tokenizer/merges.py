"""Learning merges: byte-level BPE from words with weights, in compiled code.

The pair of neighbouring symbols that weighs most becomes a symbol, again and again; of equal weights the pair of lower
symbols. Weights are whole numbers, so that sums do not depend on their order, and the same words with the same weights
give the same merges. Symbols 0 to 255 are the bytes; each merge adds the next number.

A pair of two symbols can only come about when the later of them is made. Its list of words is therefore complete at that
moment and its weight only falls from then on: a heap whose entries are put back when they are found to be out of date
gives the heaviest pair, and pairs that are light when they come about (under `floor`) need not be kept at all.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

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
    """Words to learn from or to measure on, group by group: a group is a language, or its development text.

    `lengths` in bytes, `data` their bytes one after the other, `weights` what each counts in the choice of merges (0 for
    what is only measured), `measured` how often each stands in the development text, `groups` its language's number, in
    ascending order among the rows that are learnt from.
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
        merges, weights, costs = _learn(
            rows.data,
            rows.lengths,
            rows.weights,
            rows.measured,
            rows.groups,
            given,
            number,
            floor,
            share,
            window,
            turned,
        )
        if len(merges) == number or floor == 1:
            return Learnt(merges, weights, costs)
        floor = max(1, floor // 16)


@inlined
def _place(slots: Symbols, keys: Numbers, key: int) -> int:
    """Where in `slots` the pair is, or would be put."""
    mask = np.uint64(len(slots) - 1)
    mixed = np.uint64(key) * _ODD
    place = (mixed ^ (mixed >> _SHIFT)) & mask
    while slots[place] >= 0 and keys[slots[place]] != key:
        place = (place + np.uint64(1)) & mask
    return np.int64(place)


@compiled
def _longer(array, size):  # type: ignore[no-untyped-def]
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
def _before(heap_weights: Numbers, heap_pairs: Symbols, keys: Numbers, one: int, other: int) -> bool:
    if heap_weights[one] != heap_weights[other]:
        return heap_weights[one] > heap_weights[other]
    return keys[heap_pairs[one]] < keys[heap_pairs[other]]


@compiled
def _rise(weights: Numbers, pairs: Symbols, keys: Numbers, at: int) -> None:
    """Move the entry at `at` of a heap up to its place."""
    while at > 0:
        above = (at - 1) >> 1
        if not _before(weights, pairs, keys, at, above):
            return
        weights[at], weights[above] = weights[above], weights[at]
        pairs[at], pairs[above] = pairs[above], pairs[at]
        at = above


@compiled
def _sink(weights: Numbers, pairs: Symbols, keys: Numbers, size: int, at: int) -> None:
    """Move the entry at `at` of a heap of `size` entries down to its place."""
    while True:
        best = at
        for below in range(2 * at + 1, min(2 * at + 3, size)):
            if _before(weights, pairs, keys, below, best):
                best = below
        if best == at:
            return
        weights[at], weights[best] = weights[best], weights[at]
        pairs[at], pairs[best] = pairs[best], pairs[at]
        at = best


@compiled
def _heaviest_of(
    symbols: Symbols,
    starts: Numbers,
    lengths: Symbols,
    weights: Numbers,
    first: int,
    last: int,
    slots: Symbols,
    keys: Numbers,
    pair_weights: Numbers,
    sums: Numbers,
) -> int:
    """The pair that weighs most in rows `first` to `last`, or -1; `sums` is scratch space that holds zeros."""
    best, heaviest = -1, np.int64(0)
    for row in range(first, last):
        for at in range(starts[row], starts[row] + lengths[row] - 1):
            pair = slots[_place(slots, keys, np.int64(symbols[at]) << 32 | np.int64(symbols[at + 1]))]
            if pair >= 0 and pair_weights[pair] > 0:
                sums[pair] += weights[row]
                if sums[pair] > heaviest or (sums[pair] == heaviest and best >= 0 and keys[pair] < keys[best]):
                    best, heaviest = pair, sums[pair]
    for row in range(first, last):
        for at in range(starts[row], starts[row] + lengths[row] - 1):
            pair = slots[_place(slots, keys, np.int64(symbols[at]) << 32 | np.int64(symbols[at + 1]))]
            if pair >= 0:
                sums[pair] = 0
    return best


@compiled
def _dearest(costs: Numbers, turned: NDArray[np.float64], firsts: Numbers, favoured: Numbers, choice: int) -> int:
    """The group with the highest cost that has rows and may be favoured again, or -1."""
    best = -1
    for group in range(len(costs)):
        if firsts[group + 1] > firsts[group] and favoured[group] <= choice:
            if best < 0 or costs[group] * turned[group] > costs[best] * turned[best]:
                best = group
    return best


@compiled
def _learn(
    data: Bytes,
    sizes: Numbers,
    weights: Numbers,
    measured: NDArray[np.int32],
    groups: NDArray[np.int16],
    forced: Symbols,
    number: int,
    floor: int,
    share: float,
    window: int,
    turned: NDArray[np.float64],
) -> tuple[Symbols, Numbers, Numbers]:
    # Every row's symbols lie in its own stretch of `symbols`, which shortens as they are merged.
    rows = len(sizes)
    symbols = data.astype(np.int32)
    starts = np.zeros(rows + 1, np.int64)
    starts[1:] = np.cumsum(sizes)
    lengths = sizes.astype(np.int32)
    costs = np.zeros(len(turned), np.int64)
    firsts = np.zeros(len(turned) + 1, np.int64)
    for row in range(rows):
        costs[groups[row]] += np.int64(measured[row]) * lengths[row]
        if weights[row] > 0:
            firsts[groups[row] + 1] = row + 1
    for group in range(len(turned)):
        firsts[group + 1] = max(firsts[group + 1], firsts[group])

    # The pairs of bytes: weight, and the list of rows.
    plain = BYTES * BYTES
    sums, places, seen = np.zeros(plain, np.int64), np.zeros(plain + 1, np.int64), np.full(plain, -1, np.int32)
    for row in range(rows):
        for at in range(starts[row], starts[row + 1] - 1):
            pair = symbols[at] << 8 | symbols[at + 1]
            sums[pair] += weights[row]
            if seen[pair] != row:
                seen[pair] = row
                places[pair + 1] += 1
    places = np.cumsum(places)
    lists = np.empty(places[plain], np.int32)
    filled = places[:plain].copy()
    seen[:] = -1
    for row in range(rows):
        for at in range(starts[row], starts[row + 1] - 1):
            pair = symbols[at] << 8 | symbols[at + 1]
            if seen[pair] != row:
                seen[pair] = row
                lists[filled[pair]] = row
                filled[pair] += 1
    listed = places[plain]

    pairs = 0
    keys, pair_weights = np.empty(plain, np.int64), np.empty(plain, np.int64)
    list_starts, list_sizes = np.empty(plain, np.int64), np.empty(plain, np.int32)
    heap_weights, heap_pairs = np.empty(plain, np.int64), np.empty(plain, np.int32)
    for pair in range(plain):
        if filled[pair] > places[pair]:
            keys[pairs] = np.int64(pair >> 8) << 32 | np.int64(pair & 255)
            pair_weights[pairs] = sums[pair]
            list_starts[pairs], list_sizes[pairs] = places[pair], filled[pair] - places[pair]
            heap_weights[pairs], heap_pairs[pairs] = sums[pair], pairs
            pairs += 1
    slots = _rehashed(keys, pairs, 1 << 18)
    heaped = pairs
    for at in range(heaped // 2, -1, -1):
        _sink(heap_weights, heap_pairs, keys, heaped, at)

    # New pairs of a step, by their other symbol: first those in which it stands left, then those in which it stands right.
    most = BYTES + number
    new_weights, new_sizes = np.zeros(2 * most, np.int64), np.zeros(2 * most, np.int32)
    last_row, list_of = np.full(2 * most, -1, np.int32), np.full(2 * most, -1, np.int64)
    touched = np.empty(2 * most, np.int32)
    event_codes, event_rows = np.empty(1 << 16, np.int32), np.empty(1 << 16, np.int32)

    hashes, factors = np.empty(most, np.uint64), np.empty(most, np.uint64)
    for symbol in range(BYTES):
        hashes[symbol], factors[symbol] = np.uint64(symbol + 1), _PRIME
    known = np.zeros(1 << int(np.ceil(np.log2(4 * most))), np.uint64)
    favoured, choices, owed = np.zeros(len(turned), np.int64), 0, 0.0
    scratch = np.zeros(0, np.int64)

    merges, chosen = np.empty((number, 2), np.int32), np.empty(number, np.int64)
    made = 0
    while made < number:
        # Choose a pair.
        best = -1
        key = np.int64(-1)
        if made < len(forced):
            key = np.int64(forced[made, 0]) << 32 | np.int64(forced[made, 1])
            best = slots[_place(slots, keys, key)]
        else:
            owed += share
            if owed >= 1.0:
                owed -= 1.0
                group = _dearest(costs, turned, firsts, favoured, choices)
                if group >= 0:
                    if len(scratch) < len(keys):
                        scratch = np.zeros(len(keys), np.int64)
                    best = _heaviest_of(
                        symbols, starts, lengths, weights, firsts[group], firsts[group + 1], slots, keys, pair_weights,
                        scratch,
                    )  # fmt: skip
                    choices += 1
                    favoured[group] = choices + window
            while best < 0 and heaped:
                top = heap_pairs[0]
                if pair_weights[top] == heap_weights[0]:
                    best = top
                else:
                    heap_weights[0] = pair_weights[top]
                    _sink(heap_weights, heap_pairs, keys, heaped, 0)
            if best < 0 or pair_weights[best] <= 0 or (pair_weights[best] < floor and floor > 1):
                break
            key = keys[best]
        left, right = np.int32(key >> 32), np.int32(key & 0xFFFFFFFF)

        # The same bytes are never two symbols.
        code = hashes[left] * factors[right] + hashes[right]
        place = np.uint64(code * _ODD >> np.uint64(20)) & np.uint64(len(known) - 1)
        while known[place] != 0 and known[place] != code:
            place = (place + np.uint64(1)) & np.uint64(len(known) - 1)
        if known[place] == code:
            pair_weights[best] = 0
            continue
        known[place] = code
        new = np.int32(BYTES + made)
        hashes[new], factors[new] = code, factors[left] * factors[right]
        merges[made, 0], merges[made, 1] = left, right
        chosen[made] = pair_weights[best] if best >= 0 else 0
        made += 1
        if best < 0:
            continue

        # Merge it in the rows of its list, and note the pairs that come about.
        touches = events = 0
        begin, size = list_starts[best], list_sizes[best]
        for entry in range(begin, begin + size):
            row = lists[entry]
            weight = weights[row]
            start, length = starts[row], lengths[row]
            end = start + length
            at = to = start
            event_codes = _longer(event_codes, events + 2 * length)
            event_rows = _longer(event_rows, events + 2 * length)
            while at < end:
                if symbols[at] != left or at + 1 >= end or symbols[at + 1] != right:
                    symbols[to] = symbols[at]
                    to, at = to + 1, at + 1
                    continue
                if to > start:
                    before = symbols[to - 1]
                    old = slots[
                        _place(slots, keys, np.int64(right if before == new else before) << 32 | np.int64(left))
                    ]
                    if old >= 0:
                        pair_weights[old] -= weight
                    event_codes[events], event_rows[events] = before, row
                    new_weights[before] += weight
                    events += 1
                at += 2
                if at < end and not (symbols[at] == left and at + 1 < end and symbols[at + 1] == right):
                    after = symbols[at]
                    old = slots[_place(slots, keys, np.int64(right) << 32 | np.int64(after))]
                    if old >= 0:
                        pair_weights[old] -= weight
                    event_codes[events], event_rows[events] = most + after, row
                    new_weights[most + after] += weight
                    events += 1
                symbols[to] = new
                to += 1
            costs[groups[row]] -= np.int64(measured[row]) * (end - to)
            lengths[row] = to - start
        pair_weights[best] = 0

        # Lists for the new pairs that are heavy enough.
        for event in range(events):
            other, row = event_codes[event], event_rows[event]
            if new_sizes[other] == 0:
                touched[touches] = other
                touches += 1
            if last_row[other] != row:
                last_row[other] = row
                new_sizes[other] += 1
        least = floor if made >= len(forced) else 1
        for touch in range(touches):
            other = touched[touch]
            if new_weights[other] >= least:
                if pairs == len(keys):
                    keys, pair_weights = _longer(keys, pairs + 1), _longer(pair_weights, pairs + 1)
                    list_starts, list_sizes = _longer(list_starts, pairs + 1), _longer(list_sizes, pairs + 1)
                if heaped == len(heap_pairs):
                    heap_weights, heap_pairs = _longer(heap_weights, heaped + 1), _longer(heap_pairs, heaped + 1)
                if 2 * pairs > len(slots):
                    slots = _rehashed(keys, pairs, 4 * len(slots))
                if other < most:
                    key = np.int64(other) << 32 | np.int64(new)
                else:
                    key = np.int64(new) << 32 | np.int64(other - most)
                keys[pairs], pair_weights[pairs] = key, new_weights[other]
                list_starts[pairs], list_sizes[pairs] = listed, 0
                slots[_place(slots, keys, key)] = pairs
                heap_weights[heaped], heap_pairs[heaped] = new_weights[other], pairs
                heaped += 1
                _rise(heap_weights, heap_pairs, keys, heaped - 1)
                list_of[other] = pairs
                listed += new_sizes[other]
                pairs += 1
            last_row[other] = -1
        lists = _longer(lists, listed)
        for event in range(events):
            other, row = event_codes[event], event_rows[event]
            if list_of[other] >= 0 and last_row[other] != row:
                last_row[other] = row
                lists[list_starts[list_of[other]] + list_sizes[list_of[other]]] = row
                list_sizes[list_of[other]] += 1
        for touch in range(touches):
            other = touched[touch]
            new_weights[other], new_sizes[other], last_row[other], list_of[other] = 0, 0, -1, -1
    return merges[:made].copy(), chosen[:made].copy(), costs
