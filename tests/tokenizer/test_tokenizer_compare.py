"""Comparing tokenizers: every format counts the same, and what is no tokenizer is refused in a line."""

import base64
import json
import os
import subprocess
import sys
from xml.etree import ElementTree

import pytest
import sentencepiece
from tokenizer_texts import PARALLEL
from tokenizers import Tokenizer

from openeurollm.errors import BadInput
from openeurollm.tokenizer import formats
from openeurollm.tokenizer.compare import compare, opened
from openeurollm.tokenizer.dots import chart


@pytest.fixture(scope="module")
def folder(small, tmp_path_factory):
    """The same tokenizer in three formats, and a model of SentencePiece."""
    folder = tmp_path_factory.mktemp("compare")
    read = formats.read(small)
    (folder / "hf").mkdir()
    (folder / "hf" / "tokenizer.json").write_bytes(small.read_bytes())
    formats.write_tiktoken(read, folder / "tt", "small")
    ordered = sorted(read.tokens, key=read.tokens.__getitem__)
    tokens = [{"rank": rank, "token_bytes": base64.b64encode(token).decode()} for rank, token in enumerate(ordered)]
    more = [{"rank": len(tokens), "token_bytes": base64.b64encode(b"beyond the size").decode()}]
    config = {"pattern": read.pattern, "default_vocab_size": len(tokens) + 4, "default_num_special_tokens": 4}
    (folder / "tekken.json").write_text(json.dumps({"config": config, "vocab": tokens + more}))
    sentencepiece.SentencePieceTrainer.train(
        input=[str(path) for path in sorted(PARALLEL.glob("*.txt"))],
        model_prefix=str(folder / "sp"),
        vocab_size=1000,
        model_type="bpe",
        byte_fallback=True,
        character_coverage=0.99,
        minloglevel=2,
    )
    return folder


@pytest.fixture(scope="module")
def found(folder):
    names = [folder / "hf", folder / "tt", folder / "tekken.json", folder / "sp.model"]
    return compare(names, PARALLEL, speed=True)


def test_the_same_tokenizer_costs_the_same_in_every_format(found):
    ours, ranks, tekken, _ = found["tokenizers"]
    assert [each["name"] for each in found["tokenizers"]] == ["hf", "tt", "tekken.json", "sp.model"]
    for each in (ranks, tekken):
        assert {**each, "name": "hf", "mb_per_s": ours["mb_per_s"]} == ours
    assert found["sentences"] == len((PARALLEL / "mt.txt").read_text("utf-8").splitlines())


def test_figures_of_a_language_are_those_counted_by_hand(found, folder):
    ours, tokenizer = found["tokenizers"][0], Tokenizer.from_file(str(folder / "hf" / "tokenizer.json"))
    lines = (PARALLEL / "mt.txt").read_text("utf-8").splitlines()
    tokens = sum(len(tokenizer.encode(line).ids) for line in lines)
    assert ours["languages"]["mt"] == pytest.approx(tokens / len(lines), abs=1e-3)
    assert ours["fertility"]["mt"] == pytest.approx(tokens / len(" ".join(lines).split()), abs=2e-3)
    assert ours["bytes_a_token"]["mt"] == pytest.approx(len("".join(lines).encode()) / tokens, abs=2e-3)
    english, mean = ours["languages"]["en"], ours["mean"]
    assert ours["premium"]["mt"]["english"] == pytest.approx(ours["languages"]["mt"] / english, abs=2e-3)
    assert ours["premium"]["mt"]["mean"] == pytest.approx(ours["languages"]["mt"] / mean, abs=2e-3)
    assert ours["premium"]["en"]["english"] == 1


def test_words_kept_whole_are_told_as_they_stand_in_text(folder, tmp_path):
    """`il` is one token after a blank here, `bandiera` is not; SentencePiece puts the blank before a text by itself."""
    (tmp_path / "mt.txt").write_text("il il, il bandiera\n", "utf-8")
    for each in compare([folder / "hf", folder / "tt", folder / "sp.model"], tmp_path)["tokenizers"]:
        assert each["whole_words"] == {"mt": 0.75}, each["name"]


def test_text_without_words_and_without_english_has_no_share_and_no_premium_over_english(folder, tmp_path):
    (tmp_path / "mt.txt").write_text("12 -\n", "utf-8")
    found = compare([folder / "hf"], tmp_path)["tokenizers"][0]
    assert found["whole_words"] == {"mt": None}
    assert found["premium"] == {"mt": {"english": None, "mean": 1.0}}
    assert found["english"] is None
    assert "mb_per_s" not in found


def test_control_tokens_in_text_are_plain_text(folder):
    for name in ("hf", "tt", "tekken.json"):
        assert len(opened(str(folder / name)).ids("<|im_end|>")) > 3


def test_tokenizers_of_one_name_are_numbered(folder):
    names = [each["name"] for each in compare([folder / "hf", folder / "hf"], PARALLEL)["tokenizers"]]
    assert names == ["hf 1", "hf 2"]


def test_an_encoding_that_is_not_in_the_cache_is_not_fetched(tmp_path):
    """In a process of its own, in which every way to the network is closed."""
    code = (
        "import socket, sys\n"
        "def closed(*_): sys.exit('went online')\n"
        "socket.socket.connect = closed\n"
        "socket.getaddrinfo = closed\n"
        "from openeurollm.cli import main\n"
        f"sys.argv[1:] = ['tokenizer', 'compare', 'o200k_base', '--parallel', {str(PARALLEL)!r}]\n"
        "main()\n"
    )
    environment = {**os.environ, "TIKTOKEN_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: o200k_base: tiktoken does not have it on this machine; fetch it once")
    assert len(done.stderr.splitlines()) == 1


def _tekken(**parts):
    config = {"pattern": "\\w+", "default_vocab_size": 256, "default_num_special_tokens": 0}
    vocabulary = [{"rank": byte, "token_bytes": base64.b64encode(bytes([byte])).decode()} for byte in range(256)]
    return json.dumps({"config": config | parts.pop("config", {}), "vocab": vocabulary, **parts}).encode()


HOSTILE = {
    "no text": ("x.json", b"\xff\xfe"),
    "deep": ("x.json", b"[" * 200_000),
    "a pattern that is none": ("tekken.json", _tekken(config={"pattern": "("})),
    "less than the bytes": ("tekken.json", _tekken(config={"default_vocab_size": 200})),
    "a negative size": ("tekken.json", _tekken(config={"default_num_special_tokens": 10**9})),
    "no base64": ("tekken.json", _tekken(vocab=[{"token_bytes": "!"}])),
    "entries that are none": ("tekken.json", _tekken(vocab=[1] * 256)),
    "a pattern that never ends": ("tekken.json", _tekken(config={"pattern": "(?:(a|a)*)*b"})),
    "no model": ("x.model", b""),
    "rubbish for a model": ("x.model", b"\x0a\xff\xff\xff\xff\x0f" * 50),
    "a pickle": ("x.bin", b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94."),
    "ranks without settings": ("x.tiktoken", b"YQ== 0\n"),
}


@pytest.mark.parametrize(("name", "raw"), HOSTILE.values(), ids=HOSTILE)
def test_what_is_no_tokenizer_is_bad_input_of_one_line(tmp_path, name, raw):
    (tmp_path / name).write_bytes(raw)
    if name == "tekken.json" and b"(a|a)" in raw:  # it is one, but matches nothing of the text
        (tmp_path / "mt.txt").write_text("a" * 40 + "\n")
        with pytest.raises(BadInput, match=r"makes no token|cannot encode"):
            compare([tmp_path / name], tmp_path)
        return
    with pytest.raises(BadInput) as refusal:
        compare([tmp_path / name], PARALLEL)
    assert str(tmp_path) in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", ["absent", "a\0b", "x" * 5000, ""])
def test_a_name_of_nothing_is_bad_input(name):
    with pytest.raises(BadInput):
        compare([name], PARALLEL)


def test_a_file_too_large_for_a_tokenizer_is_not_read(tmp_path):
    with open(tmp_path / "tokenizer.json", "wb") as file:
        file.truncate(formats.MAX_BYTES + 1)
    with pytest.raises(BadInput, match="too large"):
        compare([tmp_path], PARALLEL)


def test_the_chart_has_a_row_a_language_dearest_first_and_a_dot_a_tokenizer(found):
    root = ElementTree.fromstring(chart(found["tokenizers"]))  # our own file
    rows = root.findall("{http://www.w3.org/2000/svg}g")
    costs = found["tokenizers"][0]["languages"]
    assert [float(row[-1].text) for row in rows] == [round(cost, 1) for cost in sorted(costs.values(), reverse=True)]
    assert all(len(row.findall("{http://www.w3.org/2000/svg}path")) == 4 for row in rows)
    text = "".join(root.itertext())
    assert "Serbian (Latin)" in text
    assert "sp.model" in text


@pytest.mark.parametrize("name", ["<b>&\"'", "]]>", "</style>"])
def test_a_hostile_name_stays_text_in_the_chart(name, found):
    drawn = chart([{**found["tokenizers"][0], "name": name, "languages": {"mt": 2.0, "<&>": 1.0}}], name)
    assert name in "".join(ElementTree.fromstring(drawn).itertext())  # our own file
