"""Pretokenization: text is cut into pieces that merges never cross, the same way in every program that reads the files.

`pattern` is a regular expression that Hugging Face `tokenizers` and tiktoken both accept; `classified` and
`piece_end` are the same rule in compiled code over UTF-8 bytes. The pieces, in the order in which the rule tries them:

- a word: letters and combining marks with the sign or blank before it, inner apostrophes and middle dots kept
  (l’homme, п’ять, col·lecció, ինչո՞ւ), a last apostrophe where a blank follows (Maltese *ta'*, Italian *po'*);
- a word of up to five letters with its hyphen where another follows: the articles and prefixes of Maltese and Irish
  (*il-*, *t-*), which the word after them then does not have to be learnt with;
- digits by threes, counted from the right, so that thousands, millions … are cut alike in every number, or singly;
- signs with the blank before and the line ends after them; line ends with the white space before; white space, of which
  the last blank goes to what follows.

Letters, numbers and white space are what the installed `tokenizers` takes for such. It follows an older Unicode than
tiktoken: the two disagree on characters that came after Unicode 12, which no language of the contract uses.
"""

from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from openeurollm.languages.compiled import compiled, inlined

Digits = Literal["threes", "single"]

JOINERS = "·՚՛՜՞"
"""Signs inside words: the middle dot of Catalan, and Armenian's, which stand over a vowel."""
APOSTROPHES = "'’"
HYPHENS = "-‐‑"
LONGEST_CLITIC = 5
LONGEST_NUMBER = 27
"""Digits that are counted from the right; of longer runs, threes are cut from the left until this many remain, so that
the time stays linear."""

_LETTER = r"[\p{L}\p{M}]"
_BEFORE = r"[^\r\n\p{L}\p{M}\p{N}]?"
_DIGITS = {
    "threes": rf"\p{{N}}{{1,3}}(?=(?:\p{{N}}{{3}}){{0,{LONGEST_NUMBER // 3 - 1}}}(?!\p{{N}}))|\p{{N}}{{3}}",
    "single": r"\p{N}",
}

OTHER, JOINER, APOSTROPHE, HYPHEN, SLASH, LETTER, NUMBER, BLANK, SPACE, LINE_END = range(10)
"""Kinds of characters: signs up to `SLASH`, white space from `BLANK` (U+0020) on."""

_SPAN = 0x40000
"""Code points below it are looked up; those above are `OTHER`, but for variation selectors."""
_SELECTORS = (0xE0100, 0xE01F0)

Bytes = NDArray[np.uint8]


def pattern(digits: Digits = "threes") -> str:
    """The regular expression whose matches are the pieces; every text is a sequence of matches."""
    return "|".join(
        (
            rf"{_BEFORE}{_LETTER}{{1,{LONGEST_CLITIC}}}[{HYPHENS}](?={_LETTER})",
            rf"{_BEFORE}{_LETTER}+(?:[{APOSTROPHES}{JOINERS}]{_LETTER}+)*(?:[{APOSTROPHES}](?!\S))?",
            _DIGITS[digits],
            r" ?[^\s\p{L}\p{M}\p{N}]+[\r\n/]*",
            r"\s*[\r\n]+",
            r"\s+(?!\S)",
            r"\s+",
        )
    )


PATTERN = pattern()


@cache
def kinds() -> Bytes:
    """The kind of each code point below 0x40000, as `tokenizers` sees it; variation selectors come last."""
    from tokenizers import Regex, pre_tokenizers

    points = np.r_[0:0xD800, 0xE000:_SPAN, _SELECTORS[0] : _SELECTORS[1]]
    text = points.astype("<u4").tobytes().decode("utf-32-le")
    place = np.r_[0:0xD800, 0xE000:_SPAN, _SPAN : _SPAN + _SELECTORS[1] - _SELECTORS[0]]
    found = np.full(_SPAN + _SELECTORS[1] - _SELECTORS[0], OTHER, np.uint8)
    runs = pre_tokenizers.Split(Regex(r"[\p{L}\p{M}]+|\p{N}+|\s+"), "isolated").pre_tokenize_str(text)
    for kind, names in ((LETTER, r"[\p{L}\p{M}]"), (NUMBER, r"\p{N}"), (SPACE, r"\s")):
        split = pre_tokenizers.Split(Regex(names), "removed", invert=True)
        firsts = {piece for piece, _ in split.pre_tokenize_str("".join(run[0] for run, _ in runs))}
        for run, (start, end) in runs:
            if run[0] in firsts:
                found[place[start:end]] = kind
    for kind, signs in ((JOINER, JOINERS), (APOSTROPHE, APOSTROPHES), (HYPHEN, HYPHENS), (SLASH, "/")):
        found[[ord(sign) for sign in signs]] = kind
    found[ord(" ")] = BLANK
    found[[ord("\r"), ord("\n")]] = LINE_END
    return found


def pieces(data: bytes, digits: Digits = "threes") -> list[bytes]:
    """The pieces of a text in UTF-8; any bytes will do, and the pieces put together are the same bytes."""
    ends = piece_ends(classified(np.frombuffer(data, np.uint8), kinds()), digits == "threes").tolist()
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]


_INSIDE = 16
"""Added to the kind of a character's bytes after the first."""
_KIND = 15


@compiled
def classified(data: Bytes, kinds: Bytes) -> Bytes:
    """The kind of every byte of `data`: that of its character, 16 added after the character's first byte.

    `kinds` is `kinds()`. Bytes that are none of UTF-8 are signs.
    """
    found = np.empty(len(data), np.uint8)
    at, end = 0, len(data)
    while at < end:
        first = data[at]
        if first < 0x80:
            found[at] = kinds[first]
            at += 1
            continue
        size = 2 if first < 0xE0 else 3 if first < 0xF0 else 4
        if first < 0xC2 or first > 0xF4 or at + size > end:
            size = 1
        point = np.int64(first) & (0x7F >> size)
        for following in data[at + 1 : at + size]:
            if following & 0xC0 != 0x80:
                size = 1
            point = point << 6 | np.int64(following & 0x3F)
        kind = np.uint8(OTHER)
        if size == 1:
            pass
        elif point < _SPAN:
            kind = kinds[point]
        elif _SELECTORS[0] <= point < _SELECTORS[1]:
            kind = kinds[point - _SELECTORS[0] + _SPAN]
        found[at] = kind
        found[at + 1 : at + size] = kind + np.uint8(_INSIDE)
        at += size
    return found


@inlined
def _next(kinds: Bytes, at: int, end: int) -> int:
    """Where the character after the one at `at` begins."""
    at += 1
    while at < end and kinds[at] >= _INSIDE:
        at += 1
    return at


@compiled
def _word_end(kinds: Bytes, at: int, end: int) -> int:
    """Where the word whose letters begin at `at` ends."""
    begin, first = at, True
    while True:
        while at < end and kinds[at] & _KIND == LETTER:
            at += 1
        if at == end or not JOINER <= kinds[at] <= HYPHEN:
            return at
        after = _next(kinds, at, end)
        following = kinds[after] if after < end else np.uint8(LINE_END)
        if kinds[at] == HYPHEN:
            short = first and np.sum(kinds[begin : min(at, begin + 4 * LONGEST_CLITIC + 1)] < _INSIDE) <= LONGEST_CLITIC
            return after if short and following == LETTER else at
        if following != LETTER:
            return after if kinds[at] == APOSTROPHE and following >= BLANK else at
        at, first = after, False


@compiled
def _number_end(kinds: Bytes, at: int, end: int, threes: bool) -> int:
    """Where the digits that begin at `at` are cut."""
    number, place = 0, at
    while place < end and number <= LONGEST_NUMBER and kinds[place] == NUMBER:
        place = _next(kinds, place, end)
        number += 1
    keep = 1 if not threes else 3 if number > LONGEST_NUMBER else (number - 1) % 3 + 1
    for _ in range(keep):
        at = _next(kinds, at, end)
    return at


@compiled
def _space_end(kinds: Bytes, at: int, end: int) -> int:
    """Where the white space that begins at `at` is cut: after its last line end, or before its last blank."""
    begin, line_end, last = at, -1, at
    while at < end and kinds[at] & _KIND >= BLANK:
        last, at = at, _next(kinds, at, end)
        if kinds[last] == LINE_END:
            line_end = at
    if line_end >= 0:
        return line_end
    return at if at == end or last == begin else last


@compiled
def piece_end(kinds: Bytes, at: int, end: int, threes: bool) -> int:
    """Where the piece that begins at `at` ends, `at` < result <= `end`; `kinds` are `classified` bytes."""
    kind = kinds[at]
    if kind == LETTER:
        return _word_end(kinds, at, end)
    if kind == NUMBER:
        return _number_end(kinds, at, end, threes)
    place = _next(kinds, at, end)
    following = kinds[place] if place < end else np.uint8(LINE_END)
    if following == LETTER and kind != LINE_END:
        return _word_end(kinds, place, end)
    if kind >= BLANK and not (kind == BLANK and following <= SLASH):
        return _space_end(kinds, at, end)
    while place < end and kinds[place] & _KIND <= SLASH:
        place += 1
    while place < end and (kinds[place] == LINE_END or kinds[place] == SLASH):
        place += 1
    return place


@compiled
def piece_ends(kinds: Bytes, threes: bool) -> NDArray[np.int64]:
    """The end of every piece, in order; the last one is the length. `kinds` are `classified` bytes."""
    ends = np.empty(len(kinds), np.int64)
    at = found = 0
    while at < len(kinds):
        at = piece_end(kinds, at, len(kinds), threes)
        ends[found] = at
        found += 1
    return ends[:found].copy()
