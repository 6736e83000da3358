"""Letters as the identifier sees them: one code a letter, whatever its case, and the script it belongs to."""

import unicodedata
from functools import cache

import numpy as np
from numpy.typing import NDArray

from openeurollm.languages.scripts import script_of

SCRIPTS = ("Latn", "Cyrl", "Grek", "Geor", "Armn")
"""ISO 15924 codes of the scripts that the contract's languages are written in; the script table counts from 1."""
OTHER_SCRIPT = len(SCRIPTS) + 1
SPAN = 0x3000
"""Characters below it are looked up; the letters above it belong to scripts that no language of the contract uses."""
BOUNDARY = 1
"""Code of a word's edge; 0 is a character that is no letter."""
BITS = 10
"""Bits of a letter's code: a run of six letters is one 64-bit integer."""

_ALPHABETS = 0x590
"""Up to here every letter has a code of its own; the extended blocks above share those of their base letters."""


@cache
def tables() -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
    """Code and script of every character below `SPAN`: uint16 and uint8, both of length `SPAN`.

    A capital has its small letter's code, and so has a letter that Unicode keeps for other alphabets (`ἀ`, `ệ`) that
    of its base letter. Letters of scripts outside the contract share one code: they count for the script only.
    """
    codes = np.zeros(SPAN, np.uint16)
    scripts = np.zeros(SPAN, np.uint8)
    letters: dict[str, int] = {}
    for point in range(SPAN):
        character = chr(point)
        script = script_of(character)
        if script == "Zyyy":
            continue
        if script not in SCRIPTS:
            codes[point], scripts[point] = BOUNDARY, OTHER_SCRIPT
            continue
        small = character.lower()[0]
        if ord(small) >= _ALPHABETS and script != "Geor":
            small = unicodedata.normalize("NFD", small)[0]
        codes[point] = letters.setdefault(small, BOUNDARY + 1 + len(letters))
        scripts[point] = SCRIPTS.index(script) + 1
    if len(letters) + BOUNDARY + 1 > 1 << BITS:
        raise AssertionError("more letters than codes")
    return codes, scripts
