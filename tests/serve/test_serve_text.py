"""Whole letters only, and nothing beyond a stop string."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer

from openeurollm.serve.text import Letters, Stops

TEXT = "Žluťoučký kůň, άλφα, ქართული, Україна, 🇪🇺 — 7 %. " * 5


@pytest.fixture(scope="module")
def tokenizer(speaking: Path) -> Tokenizer:
    return Tokenizer.from_file(str(speaking / "tokenizer.json"))


def test_pieces_are_whole_letters_and_make_the_text(tokenizer: Tokenizer) -> None:
    letters = Letters(tokenizer)
    pieces = [letters.push(token) for token in tokenizer.encode(TEXT).ids]
    assert "".join(pieces) == TEXT
    assert not any("\ufffd" in piece for piece in pieces)
    assert max(map(len, pieces)) == 1


def test_bytes_that_are_no_letter_are_shown_as_such_and_hold_nothing_up(tokenizer: Tokenizer) -> None:
    def tokens(data: bytes) -> list[int]:
        alphabet = dict(zip(range(256), _bytes_to_letters(), strict=True))
        return [tokenizer.token_to_id(alphabet[byte]) for byte in data]

    letters = Letters(tokenizer)
    pieces = [letters.push(token) for token in tokens(b"a\x80\x80b\xc5\xe2\x82c\xc5")]
    assert "".join(pieces) == "a\ufffd\ufffdb\ufffd\ufffdc"
    assert pieces[3] == "\ufffdb"


def _bytes_to_letters() -> list[str]:
    """GPT-2's letters for bytes: printable ones stand for themselves, the others for letters from U+0100 on."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte) if byte in plain else chr(next(others)) for byte in range(256)]


def test_special_tokens_have_no_text(tokenizer: Tokenizer) -> None:
    letters = Letters(tokenizer)
    assert [letters.push(token) for token in (1, 0, 2)] == ["", "", ""]
    assert letters.push(tokenizer.token_to_id("a")) == "a"


@pytest.mark.parametrize(
    ("pieces", "stops", "told", "hit"),
    [
        (["one ", "two"], ["STOP"], "one two", False),
        (["one S", "TO", "P two"], ["STOP"], "one ", True),
        (["one S", "TO", "AST"], ["STOP"], "one STOAST", False),
        (["ababac", "x"], ["abac"], "ab", True),
        (["xyz"], ["z", "y"], "x", True),
        (["ends in ST"], ["STOP"], "ends in ST", False),
        (["STOP"], ["STOP"], "", True),
    ],
)
def test_text_ends_before_a_stop_string(pieces: list[str], stops: list[str], told: str, hit: bool) -> None:
    watch = Stops(stops)
    text = "".join(watch.push(piece) for piece in pieces)
    assert text + watch.rest() == told
    assert watch.hit is hit


def test_what_may_be_a_stop_string_is_held_back() -> None:
    watch = Stops(["\n\n"])
    assert [watch.push(piece) for piece in ("a", "\n", "b", "\n", "\n", "c")] == ["a", "", "\nb", "", "", ""]
