"""Text to ids in compiled code.

A piece (`pretokenizer`) that came before is looked up in a table that lives on from document to document; it holds a
bounded number of pieces, and what it holds never changes an id. A new piece is merged, pair by pair, if it is short.
A longer one is encoded from left to right: the longest token that fits is taken, a shorter one where merging would
have joined its beginning to the token before, and where none is left, the token before is taken back. There is one
sequence of tokens in which merging would leave every two neighbours as they are, and it is the one that merging
finds; so the ids are the same, and the time grows with the length of a piece, not with its square (van Antwerpen and
Neubeck, "So many tokens, so little time", 2024).
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openeurollm.errors import BadInput
from openeurollm.languages.compiled import compiled, inlined
from openeurollm.tokenizer import formats
from openeurollm.tokenizer.pretokenizer import classified, kinds, pattern, piece_end

_SLOTS, _KEPT_BYTES, _KEPT_IDS = 1 << 19, 1 << 23, 1 << 21
"""The table of pieces: it is emptied when half of its slots, or the room for text or ids, are used."""
_PROBES = 64
"""Slots that are looked at for a piece: words that were made to fall on the same one cost no more."""
_LONGEST = 128
"""Bytes of a piece that is kept in the table; longer ones seldom come back."""
_MOST_TEXT = 1 << 24
"""Bytes of all tokens, and so the nodes of their trie, that a step can name."""
_NONE, _MOST = -1, 0x7FFFFFFF
_SHORT = 40
"""Bytes of a piece that is merged."""
_ODD = np.uint64(0x9E3779B97F4A7C15)
_MIX = np.uint64(0xBF58476D1CE4E5B9)
_SHIFT, _LOW = np.uint64(32), np.uint64(0xFFFFFFFF)
_ID, _ID_BITS = np.uint64(21), np.uint64(0x1FFFFF)

Bytes = NDArray[np.uint8]
Ids = NDArray[np.int32]
Keys = NDArray[np.uint64]
Slots = NDArray[np.int64]
Bounds = NDArray[np.int64]
Number = int | np.signedinteger[Any]


class Tables(NamedTuple):
    """A byte-level BPE as arrays.

    `of_byte` has the token of each byte. By token: its `left` and `right` part (itself for a byte), its `size` in
    bytes, and the longest other token that it begins with (`shorter`, -1 where there is none). `pairs` is a hash
    table of two tokens and what they make, 21 bits each; `steps` one of a node of the trie of tokens with a byte,
    and the next node, 32 bits each. `ends` tells the token that ends at a node, or -1.
    """

    of_byte: Ids
    left: Ids
    right: Ids
    size: Ids
    shorter: Ids
    pairs: Keys
    steps: Keys
    ends: Ids


class Pieces(NamedTuple):
    """The table of pieces that came before.

    A slot is four numbers: hash of the piece, where its bytes begin in `text`, where its ids begin in `ids` (where it
    has only one: that id itself), and its size in bytes << 32 | number of ids; 0 in an empty slot. `used` counts
    pieces, bytes and ids.
    """

    slots: Slots
    text: Bytes
    ids: Ids
    used: NDArray[np.int64]


class Encoder:
    """Encodes text with a tokenizer of ours; the ids are those of `tokenizers`.

    Control tokens that stand in the text are text: they give the ids of their letters. Not for several threads at once.
    Raises `BadInput` for a tokenizer that splits text by another pattern than ours.
    """

    def __init__(self, tokenizer: formats.BytePairs) -> None:
        patterns = {pattern("threes"): True, pattern("single"): False}
        if tokenizer.pattern not in patterns:
            raise BadInput("a tokenizer that splits text by another pattern than ours")
        self._threes = patterns[tokenizer.pattern]
        self._kinds = kinds()
        self._tables = tables(tokenizer)
        self._pieces = Pieces(
            np.zeros((_SLOTS, 4), np.int64),
            np.empty(_KEPT_BYTES, np.uint8),
            np.empty(_KEPT_IDS, np.int32),
            np.zeros(3, np.int64),
        )

    def encode(self, text: str) -> Ids:
        """The ids of a text."""
        data = np.frombuffer(text.encode("utf-8"), np.uint8)
        return self.encode_buffer(data, np.array([0, len(data)], np.int64))[0]

    def encode_buffer(self, data: Bytes, bounds: Bounds, close: int = _NONE) -> tuple[Ids, Bounds]:
        """The ids of documents that stand one after another in `data`, UTF-8, each followed by the id `close` if given.

        `bounds` are the places of the first byte of each document, and behind the last one. Returns the ids of all, and
        the bounds of the documents in them. Takes up to 10 bytes of memory a byte of text.
        """
        return _documents(data, bounds, close, self._kinds, self._threes, self._tables, self._pieces)


def tables(tokenizer: formats.BytePairs) -> Tables:
    """The tokenizer as arrays. Raises `BadInput` where a merge makes a lower id than those of its parts."""
    size = max(tokenizer.tokens.values()) + 1
    left, right = np.arange(size, dtype=np.int32), np.arange(size, dtype=np.int32)
    lengths = np.zeros(size, np.int32)
    for token, number in tokenizer.tokens.items():
        lengths[number] = len(token)
    pairs = np.array([[tokenizer.tokens[part] for part in pair] for pair in tokenizer.merges], np.int32).reshape(-1, 2)
    made = np.array([tokenizer.tokens[one + other] for one, other in tokenizer.merges], np.int32)
    if np.any(made <= pairs.max(axis=1, initial=0)):
        raise BadInput("a tokenizer in which a merge makes a lower id than those of its parts")
    left[made], right[made] = pairs[:, 0], pairs[:, 1]
    ordered = sorted(tokenizer.tokens.items(), key=lambda pair: len(pair[0]))
    text = np.frombuffer(b"".join(token for token, _ in ordered), np.uint8)
    numbers = np.array([number for _, number in ordered], np.int32)
    if len(text) >= _MOST_TEXT:
        raise BadInput(f"a tokenizer whose tokens have over {_MOST_TEXT:,} bytes together")
    _, ends, _ = _trie(text, numbers, lengths, _room(len(text)))
    steps, ends, shorter = _trie(text, numbers, lengths, _room(len(ends)))  # what fits the processor's caches is faster
    of_byte = np.array([tokenizer.tokens[bytes([byte])] for byte in range(256)], np.int32)
    return Tables(of_byte, left, right, lengths, shorter, _hashed(pairs, made, _room(len(made))), steps, ends)


def _room(entries: int) -> int:
    """Slots of a hash table, a power of two: a quarter to a half of them will be taken."""
    return 1 << (2 * entries + 1).bit_length()


@inlined
def _pair_slot(pairs: Keys, one: Number, other: Number) -> Number:
    """Where what two tokens make stands in the hash table, or the empty slot where it would."""
    last = np.uint64(len(pairs) - 1)
    key = np.uint64(one) << _ID | np.uint64(other)
    slot = (key * _ODD) >> _SHIFT & last
    while pairs[slot] != 0 and pairs[slot] >> _ID != key:
        slot = (slot + np.uint64(1)) & last
    return np.int64(slot)


@inlined
def _pair(pairs: Keys, one: Number, other: Number) -> Number:
    """What the two make, or `_MOST`."""
    slot = _pair_slot(pairs, one, other)
    return np.int64(_MOST) if pairs[slot] == 0 else np.int64(pairs[slot] & _ID_BITS)


@inlined
def _step(steps: Keys, node: Number, byte: int) -> Number:
    """Where the step from `node` on `byte` stands in the hash table, or the empty slot where it would."""
    last = np.uint64(len(steps) - 1)
    key = np.uint64(node) << np.uint64(8) | np.uint64(byte)
    slot = (key * _ODD) >> _SHIFT & last
    while steps[slot] != 0 and steps[slot] >> _SHIFT != key:
        slot = (slot + np.uint64(1)) & last
    return np.int64(slot)


@compiled
def _hashed(parts: Ids, made: Ids, room: int) -> Keys:
    pairs = np.zeros(room, np.uint64)
    for number in range(len(made)):
        one, other = parts[number, 0], parts[number, 1]
        slot = _pair_slot(pairs, one, other)
        pairs[slot] = (np.uint64(one) << _ID | np.uint64(other)) << _ID | np.uint64(made[number])
    return pairs


@compiled
def _trie(text: Bytes, numbers: Ids, lengths: Ids, room: int) -> tuple[Keys, Ids, Ids]:
    """The trie of the tokens in `text`, the shorter ones first: its steps, the tokens at its nodes, and `shorter`."""
    steps = np.zeros(room, np.uint64)
    ends = np.full(len(text) + 1, _NONE, np.int32)
    shorter = np.full(len(lengths), _NONE, np.int32)
    at, many = 0, 1
    for number in numbers:
        node, prefix = np.int64(0), np.int64(_NONE)
        for byte in text[at : at + lengths[number]]:
            if ends[node] != _NONE:
                prefix = ends[node]
            slot = _step(steps, node, byte)
            if steps[slot] == 0:
                steps[slot] = (np.uint64(node) << np.uint64(8) | np.uint64(byte)) << _SHIFT | np.uint64(many)
                many += 1
            node = np.int64(steps[slot] & _LOW)
        ends[node], shorter[number] = number, prefix
        at += lengths[number]
    return steps, ends[:many].copy(), shorter


@inlined
def _longest(data: Bytes, at: int, end: int, steps: Keys, ends: Ids) -> Number:
    """The longest token with which the bytes from `at` on begin."""
    node, found = np.int64(0), np.int64(_NONE)
    while at < end:
        slot = _step(steps, node, data[at])
        if steps[slot] == 0:
            break
        node = np.int64(steps[slot] & _LOW)
        if ends[node] != _NONE:
            found = ends[node]
        at += 1
    return found


@inlined
def _stand(one: Number, other: Number, left: Ids, right: Ids, pairs: Keys) -> bool:
    """Whether merging leaves these two tokens side by side.

    Their merges are undone, the last one first: those of the higher id, and of equal ones that on the right. Each time
    two smaller tokens meet at the border; if they make one of a lower id than the merge that was undone, or of the same
    id on the left of it, merging would have joined them before.
    """
    limit = np.int64(len(left))
    while True:
        if _pair(pairs, one, other) < limit:
            return False
        whole_one, whole_other = right[one] == one, left[other] == other
        if whole_one and whole_other:
            return True
        if whole_other or (not whole_one and one > other):
            limit, one = np.int64(one), np.int64(right[one])
        else:
            limit, other = np.int64(other) + 1, np.int64(left[other])


@compiled
def _piece(data: Bytes, at: int, end: int, tables: Tables, out: Ids, made: int) -> int:
    """Write the ids of the piece from `at` to `end` to `out` from place `made` on; returns the place behind them."""
    _, left, right, sizes, shorter, pairs, steps, ends = tables
    first, begin = made, at
    token = np.int64(_longest(data, at, end, steps, ends))
    if sizes[token] == end - at:
        out[made] = token
        return made + 1
    blocked = np.zeros(end - at + 1, np.bool_)
    while at < end:
        behind = at
        while token != _NONE:
            behind = at + sizes[token]
            after = made == first or _stand(np.int64(out[made - 1]), token, left, right, pairs)
            if after and not blocked[behind - begin]:
                break
            token = np.int64(shorter[token])
        if token != _NONE:
            out[made] = token
            made += 1
            at = behind
            token = np.int64(_longest(data, at, end, steps, ends))
        else:
            blocked[at - begin] = True
            made -= 1
            token = np.int64(out[made])
            at -= sizes[token]
    return made


@compiled
def _merged(data: Bytes, at: int, end: int, tables: Tables, joined: Ids, out: Ids, made: int) -> int:
    """What `_piece` does, by merging: for short pieces, since it looks at every pair of neighbours again and again."""
    pairs, of_byte = tables.pairs, tables.of_byte
    last = end - at - 1
    for place in range(last + 1):
        out[made + place] = of_byte[data[at + place]]
    for place in range(last):
        joined[place] = _pair(pairs, out[made + place], out[made + place + 1])
    while last > 0:
        lowest = 0
        for place in range(1, last):
            if joined[place] < joined[lowest]:
                lowest = place
        if joined[lowest] == _MOST:
            break
        out[made + lowest] = joined[lowest]
        last -= 1
        for place in range(lowest + 1, last + 1):
            out[made + place] = out[made + place + 1]
            joined[place - 1] = joined[place]
        if lowest > 0:
            joined[lowest - 1] = _pair(pairs, out[made + lowest - 1], out[made + lowest])
        if lowest < last:
            joined[lowest] = _pair(pairs, out[made + lowest], out[made + lowest + 1])
    return made + last + 1


@inlined
def _hash(data: Bytes, at: int, end: int) -> Number:
    code = np.uint64(end - at)
    for place in range(at, end):
        code = (code ^ np.uint64(data[place])) * _ODD
    code = (code ^ (code >> _SHIFT)) * _MIX
    return np.int64(code ^ (code >> _SHIFT))


@inlined
def _slot(slots: Slots, kept: Bytes, data: Bytes, at: int, size: int, code: Number) -> Number:
    """The slot of the piece of `size` bytes at `at`, whose hash is `code`, or where it can be put; -1 where all are
    taken."""
    slot, found = np.int64(code & (_SLOTS - 1)), np.int64(_NONE)
    for _ in range(_PROBES):
        if slots[slot, 3] == 0:
            found = slot
            break
        if slots[slot, 0] == code and slots[slot, 3] >> 32 == size:
            start, same = slots[slot, 1], 0
            while same < size and kept[start + same] == data[at + same]:
                same += 1
            if same == size:
                found = slot
                break
        slot = np.int64((slot + 1) & (_SLOTS - 1))
    return found


@compiled
def _keep(pieces: Pieces, slot: Number, code: Number, piece: Bytes, ids: Ids) -> None:
    """Put a piece and its ids into the empty slot `slot`, or into an emptied table."""
    slots, kept, kept_ids, used = pieces
    if used[0] >= _SLOTS // 2 or used[1] + len(piece) > _KEPT_BYTES or used[2] + len(ids) > _KEPT_IDS:
        slots[:] = 0
        used[:] = 0
        slot = code & (_SLOTS - 1)
    kept[used[1] : used[1] + len(piece)] = piece
    slots[slot, 0], slots[slot, 1], slots[slot, 3] = code, used[1], len(piece) << 32 | len(ids)
    slots[slot, 2] = ids[0]
    if len(ids) > 1:
        slots[slot, 2] = used[2]
        kept_ids[used[2] : used[2] + len(ids)] = ids
        used[2] += len(ids)
    used[0] += 1
    used[1] += len(piece)


@compiled
def _documents(
    data: Bytes, bounds: Bounds, close: int, kind_of: Bytes, threes: bool, tables: Tables, pieces: Pieces
) -> tuple[Ids, Bounds]:
    out = np.empty(bounds[-1] - bounds[0] + len(bounds), np.int32)
    places = np.zeros(len(bounds), np.int64)
    made = 0
    for document in range(len(bounds) - 1):
        text = data[bounds[document] : bounds[document + 1]]
        made = _document(text, classified(text, kind_of), threes, tables, pieces, out, made)
        if close != _NONE:
            out[made] = close
            made += 1
        places[document + 1] = made
    return out[:made].copy(), places


@compiled
def _document(text: Bytes, marks: Bytes, threes: bool, tables: Tables, pieces: Pieces, out: Ids, made: int) -> int:
    """Write the ids of a text, of which `marks` are the kinds, to `out` from place `made` on."""
    slots, kept, kept_ids, _ = pieces
    joined = np.empty(_SHORT, np.int32)
    at = 0
    while at < len(text):
        end = piece_end(marks, at, len(text), threes)
        size = end - at
        if size > _LONGEST:
            made = _piece(text, at, end, tables, out, made)
        else:
            code = _hash(text, at, end)
            slot = _slot(slots, kept, text, at, size, code)
            number, place = np.int64(0), np.int64(0)
            if slot != _NONE:
                number, place = slots[slot, 3] & 0xFFFFFFFF, slots[slot, 2]
            if number == 1:
                out[made] = place
                made += 1
            elif number > 1:
                for each in range(number):
                    out[made + each] = kept_ids[place + each]
                made += int(number)
            else:
                if size <= _SHORT:
                    after = _merged(text, at, end, tables, joined, out, made)
                else:
                    after = _piece(text, at, end, tables, out, made)
                if slot != _NONE:
                    _keep(pieces, slot, code, text[at:end], out[made:after])
                made = after
        at = end
    return made
