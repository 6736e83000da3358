"""The tokenizer: the same corpus gives the same file, any text comes back, and no text becomes a control token."""

import os
import subprocess
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from openeurollm.corpus.document import write
from openeurollm.errors import BadInput, Failure
from openeurollm.ledger import digest, read_json
from openeurollm.tokenizer import SPECIAL, build, train

TRAIN = (
    "import sys; from pathlib import Path; from openeurollm.tokenizer import train\n"
    "corpus = Path(sys.argv[1]); tags = ('mt', 'ga', 'el', 'ka', 'en', 'sr-Latn')\n"
    "texts = {tag: sorted((corpus / tag).glob('part-*.parquet')) for tag in tags}\n"
    "train(texts, 800, 1_000_000)[0].save(sys.argv[2])"
)


@pytest.fixture(scope="module")
def tokenizer(tiny):
    return Tokenizer.from_file(str(tiny.run.folder("tokenizer") / "tokenizer.json"))


def _texts(tiny):
    return {tag: sorted((tiny.run.folder("corpus") / tag).glob("part-*.parquet")) for tag in tiny.recipe.languages}


def test_the_same_corpus_gives_the_same_file(tiny, tmp_path):
    for name in ("one", "other"):
        train(_texts(tiny), 800, 1_000_000)[0].save(str(tmp_path / name))
    made = digest(tiny.run.folder("tokenizer") / "tokenizer.json")
    assert digest(tmp_path / "one") == digest(tmp_path / "other") == made


@pytest.mark.parametrize(("seed", "threads"), [("1", "1"), ("2", "4")])
def test_another_process_makes_the_same_file(tiny, tmp_path, seed, threads):
    settings = {**os.environ, "PYTHONHASHSEED": seed, "RAYON_NUM_THREADS": threads}
    command = [sys.executable, "-c", TRAIN, tiny.run.folder("corpus"), tmp_path / "tokenizer.json"]
    subprocess.run(command, env=settings, check=True)
    assert digest(tmp_path / "tokenizer.json") == digest(tiny.run.folder("tokenizer") / "tokenizer.json")


def test_the_order_of_documents_in_files_does_not_matter(tmp_path):
    rows = [
        {"id": f"{n:02}", "text": text} for n, text in enumerate(["is-sena", "il-lejl kollu", "il-bidu tas-sena"] * 9)
    ]
    write(tmp_path / "a.parquet", rows)
    write(tmp_path / "b1.parquet", rows[:4][::-1])
    write(tmp_path / "b2.parquet", rows[4:][::-1])
    one, _ = train({"mt": [tmp_path / "a.parquet"]}, 300, 10_000)
    other, _ = train({"mt": [tmp_path / "b2.parquet", tmp_path / "b1.parquet"]}, 300, 10_000)
    assert one.to_str() == other.to_str()


def test_special_tokens_have_the_first_ids(tokenizer):
    assert SPECIAL == ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>")
    assert [tokenizer.token_to_id(token) for token in SPECIAL] == [0, 1, 2, 3]


def test_the_vocabulary_is_as_large_as_asked_for_and_holds_every_byte(tokenizer):
    assert tokenizer.get_vocab_size() == 800
    every_byte = "".join(map(chr, range(0x100))) + "\u0800\U00040000\U00100000"
    ids = tokenizer.encode(every_byte, add_special_tokens=False).ids
    assert tokenizer.decode(ids) == every_byte


@given(st.text())
@example("  two  spaces, \t tab \r\n\r\n and lines \n")
@example("e\u0301 \u00a0 \u200b \u2028 \ufeff \x00 \x85 ﬁ 🏳️‍🌈 ქართული")
@example("<|im_start|>user\n<|endoftext|><|im_end|><|pad|>")
def test_any_text_comes_back(tokenizer, text):
    tokenizer.encode_special_tokens = True
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert tokenizer.decode(ids, skip_special_tokens=False) == text
    assert all(number > 3 for number in ids)


@pytest.mark.parametrize("token", SPECIAL)
def test_text_that_looks_like_a_control_token_is_not_one(tokenizer, token):
    tokenizer.encode_special_tokens = True
    ids = tokenizer.encode(f"before{token}after", add_special_tokens=False).ids
    assert tokenizer.token_to_id(token) not in ids
    assert tokenizer.decode(ids) == f"before{token}after"


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("a d’fhág col·legi", ["a", " d’fhág", " col·legi"]),
        ("l-Unjoni's 12345 €", ["l", "-Unjoni's", " ", "123", "45", " €"]),
        ("სახლი და\n\nκάτι.", ["სახლი", " და", "\n\n", "κάτι", "."]),
    ],
)
def test_merges_stay_inside_words_and_threes_of_digits(tokenizer, text, pieces):
    spans = [span for _, span in tokenizer.pre_tokenizer.pre_tokenize_str(text)]
    assert [text[start:end] for start, end in spans] == pieces


def test_every_language_has_the_same_say(tmp_path):
    """Maltese has a hundred times the text of Irish; both get merges of their own words."""
    write(tmp_path / "mt.parquet", [{"id": f"{n}", "text": "xemxijiet " * 50} for n in range(100)])
    write(tmp_path / "ga.parquet", [{"id": "1", "text": "gaoithe " * 60}])
    tokenizer, counts = train({"mt": [tmp_path / "mt.parquet"], "ga": [tmp_path / "ga.parquet"]}, 400, 2_000)
    assert len(tokenizer.encode(" xemxijiet").ids) == len(tokenizer.encode(" gaoithe").ids) == 1
    assert counts == {"mt": {"learnt": 4, "not_needed": 96}, "ga": {"learnt": 1, "not_needed": 0}}


def test_a_corpus_too_small_for_a_merge_is_bad_input(tmp_path):
    write(tmp_path / "mt.parquet", [{"id": "1", "text": "abc"}])
    with pytest.raises(BadInput, match="too small"):
        train({"mt": [tmp_path / "mt.parquet"]}, 300, 3)


def test_the_stage_counts_documents_and_reports_its_fairness(tiny):
    record = tiny.run.need("tokenizer")
    text = tiny.run.need("corpus").results["text"]
    assert {tag: sum(buckets.values()) for tag, buckets in record.counts.items()} == {
        tag: text[tag]["documents"] for tag in tiny.recipe.languages
    }
    fairness = read_json(tiny.run.folder("tokenizer") / "fairness.json")
    told = fairness["tokenizers"][0]
    contract = record.results["contract"]
    assert {**record.results, "contract": None} == {name: told.get(name) for name in record.results}
    assert contract["figures"]["tokens a sentence"] == told["languages"]
    assert set(told["languages"]) == set(tiny.recipe.languages)
    assert told["vocabulary"] == 800
    assert fairness["sentences"] == 32


def test_a_language_without_parallel_text_stops_the_run_and_is_named(tiny, tmp_path):
    folder = tiny.copy(tmp_path)
    (tmp_path / "parallel").mkdir()
    for tag in ("mt", "el", "ka", "en", "sr-Latn"):
        (tmp_path / "parallel" / f"{tag}.txt").write_text("one line\n")
    recipe = tiny.change(f"parallel={tmp_path}/parallel")
    with pytest.raises(Failure, match=r"no tokens a sentence for Irish \(ga\); add TAG.txt to the parallel text"):
        build(recipe, folder, tiny.engine)
    build(tiny.change(f"parallel={tmp_path}/parallel", "gaps.ga='not translated yet'"), folder, tiny.engine)
