"""Fairness: numbers that a person can work out by hand, and refusals of what is no tokenizer and no parallel text."""

import json
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from openeurollm.errors import BadInput
from openeurollm.tokenizer import load, measure, parallel
from openeurollm.tokenizer.compare import compare


def _toy():
    """A tokenizer that makes one token of every word."""
    tokenizer = Tokenizer(models.WordLevel({"?": 0, "a": 1}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer


@pytest.fixture
def lines(tmp_path):
    folder = tmp_path / "parallel"
    folder.mkdir()
    for tag, text in {"en": "a a\na a\n", "mt": "a a a\na a a a a\n", "ga": "a a a a a a\na a a a a a\n"}.items():
        (folder / f"{tag}.txt").write_text(text, "utf-8")
    return folder


@pytest.fixture
def toy(tmp_path):
    path = tmp_path / "toy" / "tokenizer.json"
    path.parent.mkdir()
    _toy().save(str(path))
    return path


def test_the_numbers_are_those_worked_out_by_hand(lines):
    """Two, four and six tokens a sentence: Gini's coefficient is 16 / (2 · 9 · 4) = 2/9."""
    assert measure("toy", _toy(), parallel(lines)) == {
        "name": "toy",
        "vocabulary": 2,
        "mean": 4.0,
        "worst": 6.0,
        "worst_language": "ga",
        "max_min": 3.0,
        "gini": 0.2222,
        "english": 2.0,
        "languages": {"en": 2.0, "ga": 6.0, "mt": 4.0},
    }


def test_without_english_there_is_no_figure_for_it():
    assert measure("toy", _toy(), {"mt": ["a"]})["english"] is None


@given(st.lists(st.integers(1, 60), min_size=1, max_size=12))
def test_gini_is_half_the_relative_mean_difference_and_lies_below_one(costs):
    found = measure("toy", _toy(), {f"t{n}": ["a " * cost] for n, cost in enumerate(costs)})
    pairs = fmean(abs(one - other) for one in costs for other in costs)
    assert found["gini"] == pytest.approx(pairs / (2 * fmean(costs)), abs=1e-4)
    assert 0 <= found["gini"] < 1
    assert found["max_min"] >= 1
    assert (found["gini"] == 0) == (len(set(costs)) == 1) == (found["max_min"] == 1)


def test_compare_puts_several_beside_each_other(tiny, toy, lines):
    found = compare([toy.parent, tiny.run.path, tiny.run.folder("tokenizer") / "tokenizer.json"], lines)
    assert found["sentences"] == 2
    assert [each["name"] for each in found["tokenizers"]] == ["toy", "tiny", "tokenizer.json"]
    assert found["tokenizers"][0]["languages"] == {"en": 2.0, "ga": 6.0, "mt": 4.0}
    assert found["tokenizers"][1]["languages"] == found["tokenizers"][2]["languages"]


def test_padding_and_truncation_set_in_a_file_do_not_count(toy, lines):
    """Many published tokenizers are saved with both; padded, every sentence would cost as much as the longest."""
    tokenizer = _toy()
    tokenizer.enable_padding(length=50)
    tokenizer.enable_truncation(1)
    tokenizer.save(str(toy))
    assert compare([toy], lines)["tokenizers"][0]["languages"] == {"en": 2.0, "ga": 6.0, "mt": 4.0}


@pytest.mark.parametrize("name", ["absent", "empty"])
def test_a_folder_without_a_tokenizer_is_bad_input(tmp_path, lines, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match=r"no tokenizer\.json here"):
        compare([tmp_path / name], lines)


def _with(**parts):
    return json.dumps({**json.loads(_toy().to_str()), **parts})


SPLIT = {"type": "Split", "behavior": "Isolated", "invert": False}
HOSTILE = {
    "nothing": "",
    "a list": "[]",
    "an empty object": "{}",
    "deep": '{"model":' * 5_000,
    "a bomb of brackets": "[" * 200_000,
    "not UTF-8": b"\xff\xfe",
    "a regular expression that is none": _with(pre_tokenizer={**SPLIT, "pattern": {"Regex": "("}}),
    "a normalizer that panics": _with(normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA"}),
    "a normalizer that panics later": _with(
        normalizer={"type": "Replace", "pattern": {"Regex": ""}, "content": "x" * 1000},
        pre_tokenizer={"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
    ),
    "words it does not know": _with(model={"type": "WordLevel", "vocab": {"b": 0}, "unk_token": "?"}),
    "no tokens at all": _with(model={"type": "BPE", "vocab": {}, "merges": []}),
}


@pytest.mark.parametrize("raw", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_tokenizer_is_bad_input_that_names_it(toy, lines, raw):
    toy.write_bytes(raw if isinstance(raw, bytes) else raw.encode())
    with pytest.raises(BadInput, match="tokenizer"):
        compare([toy], lines)


def test_lines_that_do_not_match_are_bad_input_that_names_the_short_file(toy, lines):
    (lines / "mt.txt").write_text("a\n")
    with pytest.raises(BadInput, match=r"same number of lines; mt\.txt has 1"):
        compare([toy], lines)


@pytest.mark.parametrize(
    ("raw", "message"), [(b"\xff\xfe\n\n", "not UTF-8"), (b"\n\n", r"ga\.txt has nothing"), (b"", r"ga\.txt has 0")]
)
def test_a_file_that_is_no_text_is_bad_input(toy, lines, raw, message):
    (lines / "ga.txt").write_bytes(raw)
    with pytest.raises(BadInput, match=message):
        compare([toy], lines)


def test_a_folder_without_parallel_text_is_bad_input(toy, tmp_path):
    with pytest.raises(BadInput, match="no such folder"):
        compare([toy], tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match=r"no files named TAG\.txt"):
        compare([toy], tmp_path / "empty")


def test_only_the_languages_asked_for_are_read(lines):
    assert parallel(lines, ["mt", "xx"]).keys() == {"mt"}


def test_load_takes_a_file_a_folder_and_a_run(tiny):
    folder = tiny.run.folder("tokenizer")
    assert load(folder / "tokenizer.json").to_str() == load(folder).to_str() == load(tiny.run.path).to_str()
