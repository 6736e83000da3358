"""The contract: every language the project promises, with all that later stages ask of it."""

import re
import unicodedata

import langcodes
import pytest

from openeurollm.errors import BadInput
from openeurollm.languages import contract, contracts, declaration, languages, name, script_bytes, scripts

EU24 = ["bg", "hr", "cs", "da", "nl", "en", "et", "fi", "fr", "de", "el", "hu"]
EU24 += ["ga", "it", "lv", "lt", "mt", "pl", "pt", "ro", "sk", "sl", "es", "sv"]
CANDIDATES = ["sq", "bs", "ka", "mk", "cnr", "sr-Cyrl", "sr-Latn", "tr", "uk"]
NEIGHBOURS = ["ca", "eu", "gl", "is", "nb", "nn", "lb", "cy", "hy", "az"]


def test_the_contracts_name_the_languages_of_the_charter_and_no_others():
    assert contract("eu24") == tuple(EU24)
    assert sorted(contract("candidates")) == sorted(CANDIDATES)
    assert sorted(contract("europe")) == sorted(EU24 + CANDIDATES + NEIGHBOURS)
    assert set(languages()) == set(contract("europe"))
    assert set(contracts()) == {"eu24", "candidates", "europe"}


@pytest.mark.parametrize("tag", EU24 + CANDIDATES + NEIGHBOURS)
def test_every_language_has_all_its_fields(tag):
    language = languages()[tag]
    assert language.tag == tag
    assert langcodes.tag_is_valid(tag)
    assert language.name and language.name[0].isupper()
    assert language.autonym == unicodedata.normalize("NFC", language.autonym)
    assert language.scripts and all(re.fullmatch("[A-Z][a-z]{3}", script) for script in language.scripts)
    assert language.countries and all(re.fullmatch("[A-Z]{2}", country) for country in language.countries)
    assert language.status == ("official" if tag in EU24 else "candidate" if tag in CANDIDATES else "neighbour")
    assert len(language.source) > 20
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", language.date)
    assert 50_000 < language.speakers < 500_000_000
    assert len(language.speakers_source) > 8


@pytest.mark.parametrize("tag", EU24 + CANDIDATES + NEIGHBOURS)
def test_a_language_writes_its_own_name_in_its_own_script(tag):
    assert next(iter(scripts(languages()[tag].autonym))) == languages()[tag].scripts[0]


@pytest.mark.parametrize(
    ("tag", "locale", "said"),
    [
        ("mt", "en", "Maltese"),
        ("mt", "mt", "Malti"),
        ("mt", "ka", "მალტური"),
        ("ka", "el", "Γεωργιανά"),
        ("el", "ka", "ბერძნული"),
        ("fi", "fi", "suomi"),
        ("sr-Latn", "en", "Serbian (Latin)"),
        ("sr-Cyrl", "sr-Cyrl", "српски (ћирилица)"),
        ("nn", "nb", "norsk nynorsk"),
        ("ru", "fi", "venäjä"),
        ("mt", "en-IE", "Maltese"),
        ("mt", "cnr", "malteški"),
        ("cnr", "en", "Montenegrin"),
        ("cnr", "cnr", "crnogorski"),
        ("cnr", "fi", "Montenegrin"),
    ],
)
def test_a_language_has_a_name_in_any_language(tag, locale, said):
    assert name(tag, locale) == said


@pytest.mark.parametrize("locale", EU24 + CANDIDATES + NEIGHBOURS)
def test_every_language_has_a_name_of_its_own_in_every_language(locale):
    """Montenegrin, which CLDR lacks, has its English one; CLDR calls Welsh by its English name in Dutch and Maltese."""
    names = {tag: name(tag, locale) for tag in languages()}
    assert len(set(names.values())) == len(names)
    english = [tag for tag, said in names.items() if said == name(tag)]
    if locale != "en":
        assert set(english) - {"cy"} == ({"cnr"} if locale != "cnr" else set())


@pytest.mark.parametrize(
    ("tag", "locale", "message"),
    [
        ("xx", "en", "`xx` is no language tag (BCP-47), such as mt or sr-Latn"),
        ("mt", "../en", "`../en` is no language tag (BCP-47), such as mt or sr-Latn"),
        ("mt", "tlh", "there are no names of languages in `tlh`; try en"),
    ],
)
def test_what_has_no_name_is_refused_in_words(tag, locale, message):
    with pytest.raises(BadInput) as error:
        name(tag, locale)
    assert str(error.value) == message


def test_tags_with_a_script_are_written_in_that_script():
    assert languages()["sr-Latn"].scripts == ("Latn",)
    assert languages()["sr-Cyrl"].scripts == ("Cyrl",)


def test_names_and_autonyms_tell_languages_apart():
    names = [language.name for language in languages().values()]
    assert len(set(names)) == len(names)


def test_scripts_of_more_bytes_a_letter_get_more_bytes():
    assert script_bytes("mt") == 1.0
    assert all(1.4 < script_bytes(tag) < 3 for tag in ("bg", "el", "ka", "hy", "sr-Cyrl"))
    assert script_bytes("sr-Latn") < script_bytes("sr-Cyrl")


def test_a_recipe_may_list_tags_in_its_own_order():
    assert contract(["mt", "ga"]) == ("mt", "ga")


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("erope", "unknown language contract `erope`; there are: eu24, candidates, europe"),
        ("", "unknown language contract ``; there are: eu24, candidates, europe"),
        (["mt", "xx"], "unknown language `xx`; `openeurollm languages` lists them"),
        (["sr"], "unknown language `sr`; `openeurollm languages` lists them"),
        ([], "`languages` must name at least one language, and none twice"),
        (["mt", "mt"], "`languages` must name at least one language, and none twice"),
    ],
)
def test_what_is_no_contract_is_refused_in_words(named, message):
    with pytest.raises(BadInput) as error:
        contract(named)
    assert str(error.value) == message


@pytest.mark.parametrize("tag", EU24 + CANDIDATES + NEIGHBOURS)
def test_the_declaration_is_in_the_script_of_its_language_and_says_nothing_twice(tag):
    paragraphs = declaration(tag)
    assert len(set(paragraphs)) == len(paragraphs)
    assert all(paragraph == paragraph.strip() and paragraph for paragraph in paragraphs)
    for paragraph in paragraphs:
        assert scripts(paragraph).get(languages()[tag].scripts[0], 0) > 0.95


def test_the_declaration_is_there_in_all_but_a_few_languages():
    lacking = [tag for tag in languages() if not declaration(tag)]
    assert len(lacking) <= 3, lacking
