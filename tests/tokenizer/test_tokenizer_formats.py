"""Formats: the same ids whichever library reads them, and refusals of what cannot be told by ranks."""

import json

import pytest
import tiktoken
from hypothesis import given
from tiktoken.load import load_tiktoken_bpe
from tokenizer_texts import BLOCKS, PARALLEL, TEXTS
from tokenizers import Tokenizer

from openeurollm.errors import BadInput
from openeurollm.tokenizer import SPECIAL, formats


@pytest.fixture(scope="module")
def both(small, tmp_path_factory):
    """The tokenizer as tiktoken reads what was written, and as the library it comes from has it."""
    folder = tmp_path_factory.mktemp("formats")
    formats.write_tiktoken(formats.read(small), folder, "small")
    settings = json.loads((folder / formats.SETTINGS).read_text("utf-8"))
    made = tiktoken.Encoding(mergeable_ranks=load_tiktoken_bpe(str(folder / formats.RANKS)), **settings)
    theirs = Tokenizer.from_file(str(small))
    theirs.encode_special_tokens = True
    return made, theirs, folder


def _same(both, text):
    made, theirs, _ = both
    ids = made.encode_ordinary(text)
    assert ids == theirs.encode(text, add_special_tokens=False).ids
    assert made.decode(ids) == text


@given(TEXTS)
def test_tiktoken_gives_the_same_ids_for_any_text(both, text):
    _same(both, text)


@pytest.mark.parametrize("path", sorted(PARALLEL.glob("*.txt")), ids=lambda path: path.stem)
def test_tiktoken_gives_the_same_ids_in_every_language(both, path):
    _same(both, path.read_text("utf-8"))


def test_tiktoken_gives_the_same_ids_for_every_character(both):
    """Both have tables of Unicode of their own: a letter that only one knows would be split another way."""
    made, theirs, _ = both
    for start in BLOCKS:
        block = [chr(point) for point in range(start, start + 0x400) if not 0xD800 <= point < 0xE000]
        text = "".join(f"a{character}b {character}1{character} .{character}\n" for character in block)
        assert made.encode_ordinary(text) == theirs.encode(text, add_special_tokens=False).ids, hex(start)


def test_special_tokens_keep_their_ids(both):
    made, theirs, _ = both
    assert made.n_vocab == theirs.get_vocab_size()
    for token, number in theirs.get_vocab().items():
        if token.startswith("<|"):
            assert made.encode(token, allowed_special="all") == [number]
    assert made.encode("<|pad|>", allowed_special="all") == [3]


def test_there_and_back_gives_the_same_file(both, small, tmp_path):
    _, _, folder = both
    back = formats.read(folder / formats.RANKS)
    assert back == formats.read(small)
    formats.write_huggingface(back, tmp_path / "tokenizer.json")
    assert json.loads((tmp_path / "tokenizer.json").read_text("utf-8")) == json.loads(small.read_text("utf-8"))


def test_every_merge_and_its_parts_are_tokens_and_every_token_has_one(small):
    """What a GGUF file needs: llama.cpp looks up the parts of a merge and what they make by their letters."""
    model = json.loads(small.read_text("utf-8"))["model"]
    by_id = [token for token, _ in sorted(model["vocab"].items(), key=lambda pair: pair[1])]
    assert sorted(model["vocab"].values()) == list(range(len(by_id)))
    for one, other in model["merges"]:
        assert {one, other, one + other} <= model["vocab"].keys()
        assert " " not in one + other  # stands between the two there
    made = ["".join(pair) for pair in model["merges"]]
    assert by_id[: 4 + 256] == [*SPECIAL, *sorted(formats.alphabet())]
    assert by_id[4 + 256 :] == made


def _with(small, **parts):
    return json.dumps({**json.loads(small.read_text("utf-8")), **parts})


def _model(small, **parts):
    return _with(small, model={**json.loads(small.read_text("utf-8"))["model"], **parts})


def _merges(small):
    return json.loads(small.read_text("utf-8"))["model"]["merges"]


HOSTILE = {
    "nothing": lambda small: "",
    "a list": lambda small: "[]",
    "an empty object": lambda small: "{}",
    "deep": lambda small: '{"model":' * 5_000,
    "a normalizer": lambda small: _with(small, normalizer={"type": "NFC"}),
    "another split": lambda small: _with(small, pre_tokenizer={"type": "Whitespace"}),
    "no bytes": lambda small: _model(small, vocab={"a": 0}, merges=[]),
    "ids that are words": lambda small: _model(small, vocab={"a": "x"}, merges=[]),
    "characters that are no bytes": lambda small: _model(small, vocab={"\u4e00": 0}, merges=[]),
    "a merge less": lambda small: _model(small, merges=_merges(small)[:-1]),
    "merges in another order": lambda small: _model(small, merges=_merges(small)[::-1]),
    "merges of three": lambda small: _model(small, merges=[["a", "b", "c"]]),
    "the same id twice": lambda small: _with(small, added_tokens=[{"id": 300, "content": "<|x|>"}]),
}


@pytest.mark.parametrize("made", HOSTILE.values(), ids=HOSTILE)
def test_what_cannot_be_told_by_ranks_is_bad_input_that_names_the_file(small, tmp_path, made):
    path = tmp_path / "tokenizer.json"
    path.write_text(made(small), "utf-8")
    with pytest.raises(BadInput, match=r"tokenizer\.json"):
        formats.read(path)


@pytest.mark.parametrize(
    "raw",
    [b"", b"\xff\n", b"YQ== x\n", b"YQ==\n", b"YQ== 1\n", b"!! 1\n", b"A" * 100_000, b"YQ== " + b"9" * 5000 + b"\n"],
)
def test_ranks_that_are_none_are_bad_input_that_names_the_file(both, tmp_path, raw):
    settings = (both[2] / formats.SETTINGS).read_text("utf-8")
    (tmp_path / formats.SETTINGS).write_text(settings, "utf-8")
    (tmp_path / formats.RANKS).write_bytes(raw)
    with pytest.raises(BadInput, match=r"tokenizer\.tiktoken"):
        formats.read(tmp_path / formats.RANKS)


@pytest.mark.parametrize(
    "raw", ["[]", "{}", '{"pat_str": 1, "special_tokens": {}}', '{"pat_str": "", "special_tokens": {"a": "b"}}']
)
def test_settings_that_are_none_are_bad_input(both, tmp_path, raw):
    (tmp_path / formats.RANKS).write_bytes((both[2] / formats.RANKS).read_bytes())
    (tmp_path / formats.SETTINGS).write_text(raw, "utf-8")
    with pytest.raises(BadInput, match=r"tiktoken\.json"):
        formats.read(tmp_path)


def test_a_folder_without_a_tokenizer_is_bad_input(tmp_path):
    with pytest.raises(BadInput, match=r"no tokenizer\.json"):
        formats.read(tmp_path)
