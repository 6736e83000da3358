"""The language contract: which languages a run promises to serve, read from `languages.toml`."""

import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import langcodes

from openeurollm.errors import BadInput


@dataclass(frozen=True)
class Language:
    """One language of the contract.

    `tag` is BCP-47 (`sr-Latn` and `sr-Cyrl` are two languages), `scripts` are ISO 15924 codes, `countries` ISO 3166
    codes, `status` one of official, candidate, neighbour; `source` and `date` say where the status is laid down.
    `speakers` is about how many have it as their first language, `speakers_source` who counted them.
    """

    tag: str
    scripts: tuple[str, ...]
    countries: tuple[str, ...]
    status: str
    source: str
    date: str
    speakers: int
    speakers_source: str

    @property
    def name(self) -> str:
        """Its name in English."""
        return name(self.tag)

    @property
    def autonym(self) -> str:
        """Its name in the language itself."""
        return name(self.tag, self.tag)


@cache
def _data() -> dict[str, Any]:
    return tomllib.loads(resources.files(__package__).joinpath("languages.toml").read_text("utf-8"))


@cache
def languages() -> dict[str, Language]:
    """Every language the project knows, by tag, in the order of the contract."""
    status = _data()["status"]
    return {
        tag: Language(
            tag,
            tuple(entry["scripts"]),
            tuple(entry["countries"]),
            entry["status"],
            status[entry["status"]]["source"],
            status[entry["status"]]["date"],
            entry["speakers"],
            entry["speakers_source"],
        )
        for tag, entry in _data()["languages"].items()
    }


def contracts() -> dict[str, tuple[str, ...]]:
    """The named contracts, each a tuple of tags."""
    return {
        name: tuple(tag for tag, language in languages().items() if language.status in statuses)
        for name, statuses in _data()["contracts"].items()
    }


def contract(name: str | Sequence[str]) -> tuple[str, ...]:
    """The tags that a recipe's `languages` names: a contract, or a list of tags.

    Raises `BadInput` for an unknown contract or tag, an empty list, or a tag named twice.
    """
    if isinstance(name, str):
        if name not in contracts():
            raise BadInput(f"unknown language contract `{name}`; there are: {', '.join(contracts())}")
        return contracts()[name]
    tags = tuple(name)
    unknown = [tag for tag in tags if tag not in languages()]
    if unknown:
        raise BadInput(f"unknown language `{unknown[0]}`; `openeurollm languages` lists them")
    if not tags or len(set(tags)) != len(tags):
        raise BadInput("`languages` must name at least one language, and none twice")
    return tags


def script_bytes(tag: str) -> float:
    """Bytes of UTF-8 that the language's script needs to say what Latin script says in one.

    Shares of a mixture are divided by it, so that a script of two or three bytes a letter gets as much text.
    """
    return float(_data()["scripts"][languages()[tag].scripts[0]]["bytes"])


@cache
def name(tag: str, locale: str = "en") -> str:
    """The name of a language in the language `locale`, both BCP-47, as Unicode CLDR has it.

    A language that CLDR does not know (Montenegrin) is named as in `languages.toml`: in `locale` if that is there, else
    in English. For a locale that CLDR has no names in, the closest by CLDR's own matching answers: Serbian in Latin
    script for Montenegrin. Raises `BadInput` for what is no language tag, or a locale that no other comes close to.
    """
    from babel import Locale, UnknownLocaleError
    from babel.localedata import locale_identifiers

    for given in (tag, locale):
        if not langcodes.tag_is_valid(given):
            raise BadInput(f"`{given}` is no language tag (BCP-47), such as mt or sr-Latn")
    closest = langcodes.closest_supported_match(locale, locale_identifiers())
    if closest is None:
        raise BadInput(f"there are no names of languages in `{locale}`; try en")
    ours: dict[str, str] = _data()["languages"].get(tag, {}).get("names", {})
    if ours:
        return ours.get(locale, ours["en"])
    try:
        return str(Locale.parse(tag, sep="-").get_display_name(closest))
    except UnknownLocaleError:
        return str(Locale.parse(closest).languages.get(tag, tag))


def named(tags: Iterable[str]) -> str:
    """Languages as a message names them: `Maltese (mt), Irish (ga)`."""
    return ", ".join(f"{languages()[tag].name} ({tag})" for tag in tags)
