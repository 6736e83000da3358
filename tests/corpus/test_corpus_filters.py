"""Filters: each drops what it is there for, and no page of the sample."""

import tomllib

import pytest
from archives import PROSE, SAMPLE

from openeurollm.corpus import filters
from openeurollm.languages import languages
from openeurollm.recipe import Corpus


def test_lengths_are_counted_in_characters(limits):
    assert filters.too_short_or_long("ħ" * 199, limits) == "too_short"
    assert filters.too_short_or_long("ħ" * 200, limits) == ""
    assert filters.too_short_or_long("ħ" * 1_000_001, limits) == "too_long"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (PROSE, ""),
        ("12.30 – 14.00, 15.30 – 17.00; " * 20, "few_letters"),
        ("{}()[];=<>!&|" * 9 + "if else", "few_letters"),
        ("\n".join(["Read more about this", "Share"] * 9 + [PROSE]), "repeated_lines"),
        ("Buy this wonderful kettle now and get a second one for nothing at all. " * 6, "repeated_words"),
        (PROSE + PROSE, "repeated_words"),
        ("a " * 300, "repeated_words"),
        ("word", ""),
    ],
)
def test_what_is_unlike_prose_is_dropped_for_its_reason(text, reason, limits):
    assert filters.unlike_prose(text, limits) == reason


def test_marks_and_letters_of_every_script_are_letters():
    assert filters.letter_share("ი ж ὦ ֆ ħ") == 1.0
    assert filters.letter_share("e\u0301e\u0301") == 1.0
    assert filters.letter_share("ab 12") == 0.5
    assert filters.letter_share("  \n") == 0.0


def test_repetition_is_a_share_between_nothing_and_all():
    assert filters.repeated_line_share("a\nb\na\n\nb") == pytest.approx(0.5)
    assert filters.repeated_line_share("") == 0.0
    assert filters.repeated_word_share(" ".join(map(str, range(300)))) == 0.0
    assert filters.repeated_word_share("one two three " * 50) == 1.0
    assert filters.repeated_word_share("") == 0.0


def test_the_script_must_be_the_languages_own(limits):
    assert filters.wrong_script("Ово је ћирилица", "sr-Cyrl", limits) == ""
    assert filters.wrong_script("Ово је ћирилица", "sr-Latn", limits) == "wrong_script"
    assert filters.wrong_script("Ελληνικά with a few Latin words beside it", "el", limits) == "wrong_script"
    assert filters.wrong_script("", "el", limits) == "wrong_script"


@pytest.mark.parametrize("tag", languages())
def test_no_page_of_the_sample_is_dropped(tag, limits):
    for page in tomllib.loads((SAMPLE / "pages" / f"{tag}.toml").read_text("utf-8"))["page"]:
        assert filters.too_short_or_long(page["text"], limits) == ""
        assert filters.unlike_prose(page["text"], limits) == "", page["slug"]
        assert filters.wrong_script(page["text"], tag, limits) == "", page["slug"]


def test_the_recipe_moves_the_limits():
    assert filters.unlike_prose(PROSE + PROSE, Corpus(max_repeated_word_share=1)) == ""
    assert filters.too_short_or_long("word", Corpus(min_characters=1)) == ""
