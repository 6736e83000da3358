"""Text in a close language made from a neighbour's by rule, where the neighbour has much and the language little."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

_CYRILLIC = "абвгдђежзијклљмнњопрстћуфхцчџш"
_LATIN = (*"abvgdđežzijkl", "lj", *"mn", "nj", *"oprstćufhcč", "dž", "š")
_TO_LATIN = str.maketrans(
    dict(zip(_CYRILLIC, _LATIN, strict=True))
    | {small.upper(): latin.capitalize() for small, latin in zip(_CYRILLIC, _LATIN, strict=True)}
)
_PAIRS = sorted(zip(_LATIN, _CYRILLIC, strict=True), key=lambda pair: -len(pair[0]))
_WORD = re.compile(r"[^\W\d_]+")
_LONGEST_STEM = 9

BOSNIAN_STEMS = {
    "opštin": "općin",
    "takođe": "također",
    "uopšte": "uopće",
    "opšte": "opće",
    "opšti": "opći",
    "opšta": "opća",
    "opštu": "opću",
    "istorij": "historij",
    "istoričar": "historičar",
    "nedelj": "sedmic",
    "nedjelj": "sedmic",
    "hleb": "hljeb",
    "bezbedn": "sigurn",
    "bezbjedn": "sigurn",
    "vazduh": "zrak",
    "saopšt": "saopć",
    "avgust": "august",
    "regulis": "regulir",
    "informis": "informir",
    "definis": "definir",
    "organizuj": "organizir",
    "kritikov": "kritizir",
    "sveštenik": "svećenik",
    "obezbed": "osigur",
    "obezbjed": "osigur",
    "spoljn": "vanjsk",
    "hrišćan": "kršćan",
    "uticaj": "utjecaj",
    "supšt": "supst",
}
"""Serbian stems and what standard Bosnian writes for them."""


def to_latin(text: str) -> str:
    """Serbian in Latin script from Cyrillic, letter for letter (`Његош` → `Njegoš`)."""
    return text.translate(_TO_LATIN)


def to_cyrillic(text: str) -> str:
    """Serbian in Cyrillic from Latin script; `lj`, `nj` and `dž` are taken to be one letter each."""
    for latin, small in _PAIRS:
        for written, letter in ((latin, small), (latin.capitalize(), small.upper()), (latin.upper(), small.upper())):
            text = text.replace(written, letter)
    return text


def words(texts: Iterable[str]) -> Counter[str]:
    """How often each word occurs, in small letters."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(_WORD.findall(text.lower()))
    return counts


def ijekavian_words(ekavian: Mapping[str, int], ijekavian: Mapping[str, int]) -> dict[str, str]:
    """Ekavian words and their ijekavian forms (`reka`, `rijeka`), found by comparing two vocabularies.

    A word counts when changing one `e` to `ije` or `je` gives a word that the other vocabulary has four times as often
    as the word itself.
    """
    found = {}
    for word, count in ekavian.items():
        if count < 3 or len(word) < 3:
            continue
        forms = [
            word[: at.start()] + long + word[at.end() :] for at in re.finditer("e", word) for long in ("ije", "je")
        ]
        best = max(forms, key=lambda form: ijekavian.get(form, 0), default="")
        if ijekavian.get(word, 0) * 4 < ijekavian.get(best, 0):
            found[word] = best
    return found


def bosnian(ijekavian: Mapping[str, str]) -> Callable[[str], str]:
    """A function that makes Serbian text in Latin script ijekavian and gives it Bosnian stems."""

    def replace(match: re.Match[str]) -> str:
        word = match.group()
        small = word.lower()
        changed = ijekavian.get(small, small)
        for length in range(min(len(changed), _LONGEST_STEM), 3, -1):
            stem = BOSNIAN_STEMS.get(changed[:length])
            if stem is not None:
                changed = stem + changed[length:]
                break
        if changed == small:
            return word
        return changed if word.islower() else changed.upper() if word.isupper() else changed.capitalize()

    return lambda text: _WORD.sub(replace, text)


def montenegrin(text: str) -> str:
    """Ijekavian text with the two letters that only Montenegrin has: `ś` for `sj` and `ź` for `zj`."""
    for plain, letter in (("sj", "ś"), ("zj", "ź"), ("Sj", "Ś"), ("Zj", "Ź")):
        text = text.replace(plain, letter)
    return text
