"""Filters that hold for every language: length, letters, script, repetition. Each names the bucket it drops into.

The repetition measures follow Gopher (Rae et al. 2021, table A1), taken over words as Unicode has them.
"""

import re
from collections import Counter

from openeurollm.languages import languages, scripts
from openeurollm.recipe import Corpus

_WORD = re.compile(r"\w+")
_RUN = 10


def too_short_or_long(text: str, limits: Corpus) -> str:
    """`too_short`, `too_long` or an empty string."""
    if len(text) < limits.min_characters:
        return "too_short"
    return "too_long" if len(text) > limits.max_characters else ""


def unlike_prose(text: str, limits: Corpus) -> str:
    """`few_letters`, `repeated_lines`, `repeated_words` or an empty string."""
    if letter_share(text) < limits.min_letter_share:
        return "few_letters"
    if repeated_line_share(text) > limits.max_repeated_line_share:
        return "repeated_lines"
    if repeated_word_share(text) > limits.max_repeated_word_share:
        return "repeated_words"
    return ""


def wrong_script(text: str, tag: str, limits: Corpus) -> str:
    """`wrong_script` where too few of the letters are in a script of the language, else an empty string."""
    shares = scripts(text)
    own = sum(shares.get(script, 0.0) for script in languages()[tag].scripts)
    return "wrong_script" if own < limits.min_script_share else ""


def letter_share(text: str) -> float:
    """Share of the characters other than white space that are letters or combining marks."""
    solid = letters = 0
    for character, count in Counter(text).items():
        if not character.isspace():
            solid += count
            letters += count * (character.isalpha() or ord(character) in range(0x300, 0x370))
    return letters / solid if solid else 0.0


def repeated_line_share(text: str) -> float:
    """Share of the characters in lines that stand in the text more than once, the first time not counted."""
    seen: set[str] = set()
    total = repeated = 0
    for line in filter(None, text.split("\n")):
        total += len(line)
        repeated += len(line) if line in seen else 0
        seen.add(line)
    return repeated / total if total else 0.0


def repeated_word_share(text: str) -> float:
    """Share of the words that lie in a run of ten words which stands in the text more than once."""
    words = _WORD.findall(text.lower())
    first: dict[tuple[str, ...], int] = {}
    covered = bytearray(len(words))
    for start in range(len(words) - _RUN + 1):
        earlier = first.setdefault(tuple(words[start : start + _RUN]), start)
        if earlier != start:
            covered[start : start + _RUN] = covered[earlier : earlier + _RUN] = b"\1" * _RUN
    return sum(covered) / len(words) if words else 0.0
