"""Encoding: the ids of `tokenizers` for any text, whatever came before it; shards that are whole and read in place."""

import json
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizer_texts import BLOCKS, PARALLEL, TEXTS
from tokenizers import Tokenizer

from openeurollm.engine import Engine, Reporter
from openeurollm.errors import BadInput
from openeurollm.tokenizer import encode as room
from openeurollm.tokenizer import formats, shards
from openeurollm.tokenizer.encode import Encoder


@pytest.fixture(scope="module")
def both(small):
    theirs = Tokenizer.from_file(str(small))
    theirs.encode_special_tokens = True
    return Encoder(formats.read(small)), theirs


def _same(both, text):
    ours, theirs = both
    assert ours.encode(text).tolist() == theirs.encode(text, add_special_tokens=False).ids


@given(TEXTS)
def test_ids_are_those_of_tokenizers_for_any_text(both, text):
    _same(both, text)


@given(st.text("aeinrst", max_size=200) | st.text("ab", max_size=200) | st.text("ა", max_size=200))
def test_ids_are_those_of_tokenizers_for_long_words_of_few_letters(both, text):
    """Where many merges overlap: there the longest token is often the wrong one."""
    _same(both, text)


@pytest.mark.parametrize("path", sorted(PARALLEL.glob("*.txt")), ids=lambda path: path.stem)
def test_ids_are_those_of_tokenizers_in_every_language(both, path):
    text = path.read_text("utf-8")
    _same(both, text)
    _same(both, text.replace(" ", ""))


def test_ids_are_those_of_tokenizers_for_every_character(both):
    ours, theirs = both
    for start in BLOCKS:
        block = [chr(point) for point in range(start, start + 0x400) if not 0xD800 <= point < 0xE000]
        text = "".join(f"a{character}b {character}1{character} .{character}\n" for character in block)
        assert ours.encode(text).tolist() == theirs.encode(text, add_special_tokens=False).ids, hex(start)


@given(st.lists(st.text(max_size=20), max_size=8), st.none() | st.just(0))
def test_documents_in_one_buffer_are_encoded_each_by_itself(both, texts, close):
    ours, theirs = both
    raw = [text.encode() for text in texts]
    bounds = np.cumsum([0, *map(len, raw)])
    ids, places = ours.encode_buffer(np.frombuffer(b"".join(raw), np.uint8), bounds, -1 if close is None else close)
    expected = [theirs.encode(text, add_special_tokens=False).ids + ([] if close is None else [0]) for text in texts]
    assert [ids[start:end].tolist() for start, end in pairwise(places)] == expected


def test_more_pieces_than_the_table_holds_change_no_id(both):
    """The table is emptied several times over; what comes again afterwards has the same ids."""
    ours, _ = both
    words = [f"{letter}{number:x}q" for letter in "xyz" for number in range(room._SLOTS // 4)]
    text = " ".join(word.translate(str.maketrans("0123456789", "ghijklmnop")) for word in words)
    first = ours.encode(text)
    assert np.array_equal(ours.encode(text), first)
    _same(both, text[:100_000])
    _same(both, text[-100_000:])


@given(st.binary(max_size=80))
def test_bytes_that_are_no_utf8_are_encoded_and_kept(both, raw):
    ours, theirs = both
    ids, _ = ours.encode_buffer(np.frombuffer(raw, np.uint8), np.array([0, len(raw)]))
    tokens = _bytes(theirs)
    assert b"".join(tokens[number] for number in ids.tolist()) == raw


def _bytes(theirs, found={}):  # noqa: B006 - the tokens of the one tokenizer, told once
    if not found:
        letters = {letter: byte for byte, letter in enumerate(formats.alphabet())}
        special = theirs.get_added_tokens_decoder()
        for token, number in theirs.get_vocab().items():
            if number not in special:
                found[number] = bytes(letters[letter] for letter in token)
    return found


HOSTILE = ("a", "ab", "the international organisation of ", ".", " ", "\n", "7", "\u0301", "a'", "a-", " \u00a0", "ა")


@pytest.mark.parametrize("piece", HOSTILE)
def test_a_megabyte_without_an_end_has_the_ids_of_tokenizers(both, piece):
    _same(both, (piece * 1_000_000)[:1_000_000])
    _same(both, (piece.replace(" ", "") * 500_000)[:500_000])


def test_fifty_megabytes_of_one_word_take_memory_by_their_length(small):
    code = (
        "import random, resource, sys\n"
        "from pathlib import Path\n"
        "from openeurollm.tokenizer import formats\n"
        "from openeurollm.tokenizer.encode import Encoder\n"
        f"encoder = Encoder(formats.read(Path({str(small)!r})))\n"
        "encoder.encode('a b')\n"
        "text = random.Random(1).randbytes(25_000_000).hex().translate(str.maketrans('0123456789', 'ghijklmnop'))\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "ids = encoder.encode(text)\n"
        "print(len(ids), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    tokens, more = map(int, done.stdout.split())
    assert 20_000_000 < tokens < 50_000_000
    assert more * (1 if sys.platform == "darwin" else 1024) < 12 * 50_000_000


def test_a_tokenizer_of_another_pattern_is_bad_input(small):
    other = replace(formats.read(small), pattern=r"\w+|\W+")
    with pytest.raises(BadInput, match="another pattern"):
        Encoder(other)


@pytest.fixture
def corpus(tmp_path):
    """Three files of documents, as the corpus has them; one has long documents, one is empty."""
    documents = {"mt": ["Il-kelb", "", "<|endoftext|> ħafna\n"] * 200, "ka": ["ქართული " * 400_000, "ა"], "ga": []}
    for tag, texts in documents.items():
        (tmp_path / "corpus" / tag).mkdir(parents=True)
        table = pa.table({"text": pa.array(texts, pa.string()), "language": pa.array([tag] * len(texts), pa.string())})
        pq.write_table(table, tmp_path / "corpus" / tag / "part-0.parquet")
    return tmp_path / "corpus"


def _engine(workers=1):
    return Engine(workers, Reporter(quiet=True))


def test_shards_hold_the_ids_of_every_document(small, both, corpus, tmp_path):
    files = sorted(corpus.glob("*/*.parquet"))
    written = shards.encode(small, files, tmp_path / "out", _engine(2))
    assert [each["language"] for each in written] == [None, "ka", "mt"]
    for file, about in zip(files, written, strict=True):
        shard = shards.opened(tmp_path / "out" / file.parent.name / "part-0")
        texts = pq.read_table(file)["text"].to_pylist()
        assert about["documents"] == len(texts) == len(shard.bounds) - 1
        assert about["bytes"] == sum(len(text.encode()) for text in texts)
        assert about["tokens"] == len(shard.ids)
        assert isinstance(shard.ids, np.memmap)
        assert shard.ids.dtype == np.uint16
        for number in range(min(len(texts), 10)):
            expected = [*both[1].encode(texts[number], add_special_tokens=False).ids, 0]
            assert shard.document(number).tolist() == expected


def test_shards_are_the_same_bytes_with_any_number_of_workers(small, corpus, tmp_path):
    files = sorted(corpus.glob("*/*.parquet"))
    for workers in (1, 2):
        shards.encode(small, files, tmp_path / str(workers), _engine(workers))
    for path in sorted((tmp_path / "1").rglob("*.np*")):
        assert path.read_bytes() == (tmp_path / "2" / path.relative_to(tmp_path / "1")).read_bytes()


def test_whole_shards_are_kept_and_others_made_anew(small, corpus, tmp_path):
    files, out = sorted(corpus.glob("*/*.parquet")), tmp_path / "out"
    shards.encode(small, files, out, _engine())
    told = {path: path.stat().st_mtime_ns for path in out.rglob("*.npy")}
    (out / "ka" / "part-0.json").unlink()
    pq.write_table(pa.table({"text": ["other"], "language": ["mt"]}), corpus / "mt" / "part-0.parquet")
    written = shards.encode(small, files, out, _engine())
    kept = {path.parent.name for path, when in told.items() if path.stat().st_mtime_ns == when}
    assert kept == {"ga"}
    assert [each["documents"] for each in written] == [0, 2, 1]


def test_a_large_vocabulary_takes_four_bytes_an_id(small, corpus, tmp_path):
    raw = json.loads(small.read_text("utf-8"))
    raw["added_tokens"].append({**raw["added_tokens"][0], "id": 1 << 16, "content": "<|last|>"})
    (tmp_path / "wide.json").write_text(json.dumps(raw), "utf-8")
    shards.encode(tmp_path / "wide.json", [corpus / "mt" / "part-0.parquet"], tmp_path / "out", _engine())
    shards.encode(small, [corpus / "mt" / "part-0.parquet"], tmp_path / "narrow", _engine())
    wide, narrow = shards.opened(tmp_path / "out" / "part-0"), shards.opened(tmp_path / "narrow" / "part-0")
    assert (wide.ids.dtype, narrow.ids.dtype) == (np.uint32, np.uint16)
    assert np.array_equal(wide.ids, narrow.ids)


@pytest.mark.parametrize("broken", ["part-0.npy", "part-0.bounds.npy", "part-0.json"])
def test_a_shard_that_is_not_whole_is_bad_input(small, corpus, tmp_path, broken):
    shards.encode(small, [corpus / "mt" / "part-0.parquet"], tmp_path, _engine())
    with open(tmp_path / broken, "r+b") as file:
        file.truncate(file.seek(0, 2) // 2)
    with pytest.raises(BadInput, match="part-0"):
        shards.opened(tmp_path / "part-0")


@pytest.mark.parametrize("raw", [b"", b"PAR1", b"PAR1" + b"\xff" * 100 + b"PAR1"])
def test_a_file_that_is_no_parquet_is_bad_input_and_leaves_nothing(small, tmp_path, raw):
    (tmp_path / "x.parquet").write_bytes(raw)
    with pytest.raises(BadInput, match=r"x\.parquet: cannot be read as Parquet"):
        shards.encode(small, [tmp_path / "x.parquet"], tmp_path / "out", _engine())
    assert not list((tmp_path / "out").rglob("*.*"))


def test_files_that_cannot_be_encoded_are_refused(small, corpus, tmp_path):
    part = corpus / "mt" / "part-0.parquet"
    pq.write_table(pa.table({"words": ["a"]}), tmp_path / "x.parquet")
    for files, message in (
        ([], "no Parquet files"),
        ([tmp_path / "absent.parquet"], "no such file"),
        ([part, part], "same shard"),
        ([tmp_path / "x.parquet"], "no column `text`"),
    ):
        with pytest.raises(BadInput, match=message):
            shards.encode(small, files, tmp_path / "out", _engine())
