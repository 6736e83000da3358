"""Identification: the text decides, a claim only between languages that cannot be told apart."""

import time
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openeurollm.languages import UNKNOWN, identify, languages, normal_tag, script_of, scripts

PAGES = Path(__file__).resolve().parents[2] / "sample" / "pages"
ALIKE = ({"bs", "hr", "sr-Latn", "cnr"}, {"nb", "nn", "da"})
TAGS = tuple(languages())


def _texts(tag):
    return [page["text"] for page in tomllib.loads((PAGES / f"{tag}.toml").read_text("utf-8"))["page"]]


def _group(tag):
    return next((group for group in ALIKE if tag in group), {tag})


@pytest.mark.parametrize("tag", TAGS)
def test_every_page_of_the_sample_is_in_the_language_it_claims(tag):
    for number, text in enumerate(_texts(tag), 1):
        answer = identify(text, tag)
        assert answer.language == tag, f"page {number}"
        assert answer.probability >= 0.5, f"page {number}"


@pytest.mark.parametrize("tag", TAGS)
def test_a_wrong_claim_wins_only_among_languages_that_are_alike(tag):
    text = _texts(tag)[0]
    for claim in (*TAGS, None, "ru", "ja", "x" * 10_000):
        language = identify(text, claim).language
        assert language == claim if claim in _group(tag) else language in _group(tag), claim


def test_serbian_takes_its_script_from_the_text():
    latin, cyrillic = _texts("sr-Latn")[0], _texts("sr-Cyrl")[0]
    assert identify(latin, "sr").language == "sr-Latn"
    assert identify(cyrillic, "sr").language == "sr-Cyrl"
    assert identify(cyrillic, "sr-Latn").language == "sr-Cyrl"
    assert identify(latin, "sr-ME").language == "cnr"


def test_an_answer_holds_the_best_three():
    answer = identify(_texts("ga")[0])
    assert len(answer.top) == 3
    assert [p for _, p in answer.top] == sorted((p for _, p in answer.top), reverse=True)
    assert 0 < answer.probability <= 1


@pytest.mark.parametrize("text", ["", " \n\t", "1234 5678", "😀" * 1000, "\0" * 100, "§ 12.3 – (4) …", "\u200e\u200f"])
def test_what_holds_no_letter_is_of_no_language(text):
    assert identify(text, "mt").language == UNKNOWN
    assert identify(text).probability == 0


@pytest.mark.parametrize(
    "text", ["a", "ა", "日", "é", "\ud800", "abc \ud800 def", "ﷺ", bytes(range(256)).decode("latin-1")]
)
def test_odd_text_is_answered(text):
    assert identify(text).language


@pytest.mark.parametrize("piece", ["a", "日", " ", "hello world ", "\xff\0", "ža "])
def test_a_line_of_a_million_characters_costs_no_more_than_a_page(piece):
    identify("warm")
    began = time.process_time()
    identify(piece * (1_000_000 // len(piece)))
    assert time.process_time() - began < 1


@given(st.text(max_size=300), st.none() | st.text(max_size=50))
@settings(max_examples=100, deadline=None)
def test_no_text_and_no_claim_break_it(text, claim):
    assert isinstance(identify(text, claim).language, str)


@pytest.mark.parametrize(
    ("claim", "tag"),
    [
        ("sr-ME", "cnr"), ("sr_ME", "cnr"), ("sr-Latn-ME", "cnr"), ("sr-Cyrl-ME", "sr-Cyrl"), ("cnr_Latn", "cnr"),
        ("srp_Cyrl", "sr-Cyrl"), ("srp_Latn", "sr-Latn"), ("sr-Latn-RS", "sr-Latn"), ("sr", "sr"), ("sh", "sr-Latn"),
        ("hbs", "sr-Latn"), ("hr-HR", "hr"), ("hrv_Latn", "hr"), ("bs-BA", "bs"), ("no", "nb"), ("nor", "nb"),
        ("nob_Latn", "nb"), ("nn-NO", "nn"), ("nno_Latn", "nn"), ("en-US", "en"), ("EN_us", "en"), ("eng_Latn", "en"),
        ("de-AT", "de"), ("deu", "de"), ("ger", "de"), ("mo", "ro"), ("ell_Grek", "el"), ("ekk_Latn", "et"),
        ("lvs_Latn", "lv"), ("als_Latn", "sq"), ("azj_Latn", "az"), ("hye_Armn", "hy"), ("cym_Latn", "cy"),
        ("pt-BR", "pt"), ("ca-valencia", "ca"), ("ja", "ja"),
    ],
)  # fmt: skip
def test_claims_of_pages_and_data_sets_become_our_tags(claim, tag):
    assert normal_tag(claim) == tag


@pytest.mark.parametrize("tag", TAGS)
def test_our_own_tags_stay_as_they_are(tag):
    assert normal_tag(tag) == tag


@pytest.mark.parametrize(
    "claim",
    [None, "", "-", "_", "e", "en-", "*", "1", "en, de", "日本語", "sr@latin", "\0", "\ud800", "a" * 10_000, "en\n"],
)
def test_garbage_claims_nothing(claim):
    assert normal_tag(claim) is None


@given(st.text(max_size=60))
@settings(max_examples=200, deadline=None)
def test_a_claim_is_a_tag_or_nothing(claim):
    tag = normal_tag(claim)
    assert tag is None or tag


def test_scripts_are_shares_of_letters():
    assert scripts("abc где") == {"Latn": 0.5, "Cyrl": 0.5}
    assert scripts("12 …") == {}
    assert (script_of("ა"), script_of("Ω"), script_of("ֆ"), script_of("7"), script_of("ऄ")) == (
        "Geor", "Grek", "Armn", "Zyyy", "Deva",
    )  # fmt: skip
