"""The Universal Declaration of Human Rights as the package gflanguages carries it: excerpts, not the same in each
language.
"""

from functools import cache
from typing import Any

from openeurollm.languages.contract import languages


@cache
def _known() -> Any:
    from gflanguages import LoadLanguages

    return LoadLanguages()


def declaration(tag: str) -> tuple[str, ...]:
    """The packaged paragraphs of the Declaration in a language, about 1,400 characters; empty where there are none.

    Which paragraphs are packaged differs between languages, so they are no parallel text.
    """
    entry = _known().get(f"{tag.partition('-')[0]}_{languages()[tag].scripts[0]}")
    if entry is None or not entry.HasField("sample_text"):
        return ()
    sample = entry.sample_text
    parts = (sample.specimen_48, sample.specimen_36, sample.specimen_32, sample.specimen_21, sample.specimen_16)
    lines = dict.fromkeys(line.strip() for part in parts for line in part.split("\n") if line.strip())
    return tuple(line for line in lines if not any(line != other and line in other for other in lines))
