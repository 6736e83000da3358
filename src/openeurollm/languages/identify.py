"""Which language is this text. The one place that knows which identifier is used: py3langid for now.

py3langid knows 97 languages, Montenegrin not among them, and is weak between Bosnian, Croatian and Serbian in Latin
script and between Danish and the two Norwegians. Inside such a group the claim of the page or of the source decides;
across groups the text does.
"""

import unicodedata
from collections import Counter
from dataclasses import dataclass
from functools import cache
from typing import Any

import langcodes

UNKNOWN = "und"
_GROUPS = (frozenset({"bs", "hr", "sr-Latn", "cnr"}), frozenset({"nb", "nn", "da"}))
_MEMBERS = {"als": "sq", "azj": "az", "ekk": "et", "lvs": "lv"}
"""ISO 639-3 codes by which HPLT, FLORES and others name the standard language of a macrolanguage."""
_WINDOW = 700
"""Characters in each of the three windows (start, middle, end) that are read of a long text."""

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


@dataclass(frozen=True)
class Answer:
    """The identified `language` (BCP-47, `und` when there is nothing to go by), its `probability`, and the best
    three.
    """

    language: str
    probability: float
    top: tuple[tuple[str, float], ...]


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


def normal_tag(claim: str | None) -> str | None:
    """The project's tag for a language claim of a page or a data set (`sr-ME`, `nob_Latn`, `hr-HR`), or None."""
    if not claim or len(claim) > 40:
        return None
    try:
        parsed = langcodes.get(claim.replace("_", "-"))
    except (langcodes.LanguageTagError, ValueError):
        return None
    language, script, territory = parsed.language, parsed.script, parsed.territory
    if language in ("sr", "sh", "hbs"):
        if territory == "ME" and script != "Cyrl":
            return "cnr"
        return "sr-Latn" if script == "Latn" or language != "sr" else "sr-Cyrl" if script == "Cyrl" else "sr"
    language = _MEMBERS.get(language, "nb" if language in ("no", "nor") else language)
    return str(language) if language else None


def identify(text: str, claim: str | None = None) -> Answer:
    """Identify the language of `text`; `claim` is what its page or source says of itself (any usual tag).

    The claim decides only between languages that the identifier cannot tell apart.
    """
    sample = _windows(text)
    shares = scripts(sample)
    if not shares:
        return Answer(UNKNOWN, 0.0, ())
    script = next(iter(shares))
    ranked = _merge((_to_tag(label, script), p) for label, p in _rank(sample))
    label, probability = ranked[0]
    group = next((group for group in _GROUPS if label in group), None)
    claimed = normal_tag(claim)
    if claimed == "sr":
        claimed = "sr-Latn" if script == "Latn" else "sr-Cyrl"
    if group and claimed in group:
        label, probability = claimed, sum(p for tag, p in ranked if tag in group)
    return Answer(label, min(1.0, probability), tuple(ranked[:3]))


def _windows(text: str) -> str:
    if len(text) <= 3 * _WINDOW:
        return text
    middle = (len(text) - _WINDOW) // 2
    return " ".join((text[:_WINDOW], text[middle : middle + _WINDOW], text[-_WINDOW:]))


def _to_tag(label: str, script: str) -> str:
    if label == "sr":
        return "sr-Latn" if script == "Latn" else "sr-Cyrl"
    return "nb" if label == "no" else label


def _merge(ranked: Any) -> list[tuple[str, float]]:
    merged: dict[str, float] = {}
    for tag, probability in ranked:
        merged[tag] = merged.get(tag, 0.0) + probability
    return sorted(merged.items(), key=lambda item: -item[1])


@cache
def _model() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def _rank(text: str) -> list[tuple[str, float]]:
    return [(str(label), float(probability)) for label, probability in _model().rank(text)]
