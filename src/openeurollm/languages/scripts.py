"""Which script a letter and a text are in."""

import unicodedata
from collections import Counter
from functools import cache

_SCRIPTS = {
    "LATIN": "Latn",
    "CYRILLIC": "Cyrl",
    "GREEK": "Grek",
    "GEORGIAN": "Geor",
    "ARMENIAN": "Armn",
    "ARABIC": "Arab",
    "HEBREW": "Hebr",
    "CJK": "Hani",
    "HANGUL": "Hang",
    "HIRAGANA": "Hira",
    "KATAKANA": "Kana",
    "DEVANAGARI": "Deva",
    "THAI": "Thai",
}


@cache
def script_of(character: str) -> str:
    """ISO 15924 code of a letter's script; `Zyyy` for what is no letter, `Zzzz` for a script not told apart here."""
    if not character.isalpha():
        return "Zyyy"
    return _SCRIPTS.get(unicodedata.name(character, "").split(" ")[0].split("-")[0], "Zzzz")


def scripts(text: str) -> dict[str, float]:
    """Share of each script among the letters of `text`; empty where there are none."""
    letters: Counter[str] = Counter()
    for character, count in Counter(text).items():
        script = script_of(character)
        if script != "Zyyy":
            letters[script] += count
    total = sum(letters.values())
    return {script: count / total for script, count in letters.most_common()}
