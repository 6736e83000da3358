"""Compiled code cuts text where the regular expression does, and gives every byte back."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Regex, pre_tokenizers

from openeurollm.languages import declaration, languages
from openeurollm.tokenizer.pretokenizer import PATTERN, classified, kinds, pattern, piece_ends, pieces

SIGNS = "abcdefé'’·-‑ \n\r\t\u00a0\u0301/1٣9.,(жՀ՞ü_\U000e0100\U0001f600"


def _by_the_expression(text, digits):
    split = pre_tokenizers.Split(Regex(pattern(digits)), "isolated")
    return [text[start:end] for _, (start, end) in split.pre_tokenize_str(text)]


def _ours(text, digits):
    return [piece.decode() for piece in pieces(text.encode(), digits)]


@pytest.mark.parametrize("digits", ["threes", "single"])
@given(text=st.text(st.sampled_from(SIGNS), max_size=80) | st.text())
@example(text="it’s 1234567 'ta' tal-\u200dfamilja x-\n \r\n  y")
def test_the_pieces_are_those_of_the_expression(digits, text):
    assert _ours(text, digits) == _by_the_expression(text, digits)


@pytest.mark.parametrize("seed", [None, 1, 2])
def test_of_all_of_unicode_too_in_any_order(seed):
    points = np.r_[0:0xD800, 0xE000:0x110000]
    if seed is not None:
        points = np.random.default_rng(seed).permutation(points)
    text = points.astype("<u4").tobytes().decode("utf-32-le")
    assert _ours(text, "threes") == _by_the_expression(text, "threes")


@pytest.mark.parametrize("tag", languages())
def test_and_of_every_language(tag):
    text = "\n".join(declaration(tag)) or f"no declaration in {tag}"
    assert _ours(text, "threes") == _by_the_expression(text, "threes")


@given(st.binary(max_size=200))
@example(b"\xc2")
@example(b"a\xe2\x80'\xf5\xff\xc0\x80\xed\xa0\x80")
def test_any_bytes_come_back(data):
    found = pieces(data)
    assert b"".join(found) == data
    assert all(found)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a d’fhág col·legi l’homme", ["a", " d’fhág", " col·legi", " l’homme"]),
        ("ta' l-Unjoni tal-Belt", ["ta'", " l-", "Unjoni", " tal-", "Belt"]),
        ("an t-uisce, 'tá'.", ["an", " t-", "uisce", ",", " '", "tá", "'."]),
        ("п'ять ինչո՞ւ სახლი", ["п'ять", " ինչո՞ւ", " სახლი"]),
        ("nineteenth-century", ["nineteenth", "-century"]),
        ("e\u0301te\u0301 na\u0308chste", ["e\u0301te\u0301", " na\u0308chste"]),
        ("1 12 123 1234 1234567", ["1", " ", "12", " ", "123", " ", "1", "234", " ", "1", "234", "567"]),
        ("if x:\n        y = 1\n\n    z", ["if", " x", ":\n", "       ", " y", " =", " ", "1", "\n\n", "   ", " z"]),
        ("\tb  \r\n", ["\tb", "  \r\n"]),
    ],
)
def test_pieces_are_what_a_reader_expects(text, expected):
    assert _ours(text, "threes") == expected


def test_single_digits():
    assert _ours("a 1234", "single") == ["a", " ", "1", "2", "3", "4"]


@pytest.mark.parametrize("length", range(1, 70))
def test_digits_are_cut_from_the_right_up_to_a_length(length):
    found = _ours("9" * length, "threes")
    assert found == _by_the_expression("9" * length, "threes")
    if length <= 27:
        assert [len(piece) for piece in found[1:]] == [3] * (len(found) - 1)


@pytest.mark.parametrize("unit", ["9", " ", "a", "\n", "'", "a-", "a'", " \u00a0", "."])
def test_long_runs_of_one_sign_are_cut_in_one_pass(unit):
    data = np.frombuffer((unit * 2_000_000).encode(), np.uint8)
    ends = piece_ends(classified(data, kinds()), True)
    assert ends[-1] == len(data)


def test_the_expression_that_has_a_name_is_that_of_threes():
    assert pattern("threes") == PATTERN
    assert pattern("single") != PATTERN
