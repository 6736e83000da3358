"""The tokenizer: the same corpus gives the same file, any text comes back, and no text becomes a control token."""

import os
import subprocess
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from openeurollm.corpus.document import write
from openeurollm.engine import Engine, Reporter
from openeurollm.errors import BadInput, Failure
from openeurollm.ledger import digest, read_json
from openeurollm.recipe import Tokenizer as Limits
from openeurollm.tokenizer import SPECIAL, build, count_files, count_folder, load, read_counts, train
from openeurollm.tokenizer import write as write_files
from openeurollm.tokenizer.counts import count_texts
from openeurollm.tokenizer.counts import write as save

TRAIN = (
    "import sys; from pathlib import Path; from openeurollm.engine import Engine, Reporter\n"
    "from openeurollm.recipe import Tokenizer; from openeurollm.tokenizer import count_files, parallel, train\n"
    "corpus, out = Path(sys.argv[1]), Path(sys.argv[2]); tags = ('mt', 'ga', 'el', 'ka', 'en', 'sr-Latn')\n"
    "limits, engine = Tokenizer(vocabulary=800), Engine(int(sys.argv[4]), Reporter(quiet=True))\n"
    "texts = {tag: sorted((corpus / tag).glob('part-*.parquet')) for tag in tags}\n"
    "if __name__ == '__main__':\n"
    "    tables = count_files(texts, limits, out.parent / 'counts', engine)\n"
    "    train(tables, parallel(Path(sys.argv[3]), tags), limits).tokenizer.save(str(out))"
)


@pytest.fixture(scope="module")
def tokenizer(tiny):
    return Tokenizer.from_file(str(tiny.run.folder("tokenizer") / "tokenizer.json"))


def _tables(**texts):
    return {tag.replace("_", "-"): count_texts(tag.replace("_", "-"), text) for tag, text in texts.items()}


def _train(development=None, *, vocabulary=400, reserved=0, **texts):
    return train(_tables(**texts), development or {}, Limits(vocabulary=vocabulary, reserved=reserved))


def _cost(trained, text):
    return len(trained.tokenizer.encode(text).ids)


@pytest.mark.parametrize(("seed", "threads"), [("1", "1"), ("2", "2")])
def test_the_same_corpus_gives_the_same_file(tiny, tmp_path, seed, threads):
    script = tmp_path / "script.py"
    script.write_text(TRAIN)
    settings = {**os.environ, "PYTHONHASHSEED": seed, "NUMBA_NUM_THREADS": threads}
    arguments = (tiny.run.folder("corpus"), tmp_path / "tokenizer.json", tiny.recipe.parallel, threads)
    subprocess.run([sys.executable, script, *map(str, arguments)], env=settings, check=True)
    assert digest(tmp_path / "tokenizer.json") == digest(tiny.run.folder("tokenizer") / "tokenizer.json")


def test_neither_the_order_of_documents_nor_the_number_of_files_matters(tmp_path):
    rows = [
        {"id": f"{n:02}", "text": text} for n, text in enumerate(["is-sena", "il-lejl kollu", "il-bidu tas-sena"] * 9)
    ]
    write(tmp_path / "a.parquet", rows)
    write(tmp_path / "b1.parquet", rows[:4][::-1])
    write(tmp_path / "b2.parquet", rows[4:][::-1])
    limits, engine = Limits(vocabulary=300), Engine(1, Reporter(quiet=True))
    one = count_files({"mt": [tmp_path / "a.parquet"]}, limits, tmp_path / "one", engine)
    other = count_files({"mt": [tmp_path / "b2.parquet", tmp_path / "b1.parquet"]}, limits, tmp_path / "other", engine)
    assert train(one, {}, limits).merges == train(other, {}, limits).merges
    assert one["mt"].digest == other["mt"].digest


def test_a_run_that_goes_on_counts_nothing_twice(tmp_path):
    write(tmp_path / "a.parquet", [{"id": "1", "text": "is-sena"}])
    limits, engine = Limits(), Engine(1, Reporter(quiet=True))
    before = count_files({"mt": [tmp_path / "a.parquet"]}, limits, tmp_path / "counts", engine)
    made = next((tmp_path / "counts").rglob("*.parquet"))
    age = made.stat().st_mtime_ns
    assert count_files({"mt": [tmp_path / "a.parquet"]}, limits, tmp_path / "counts", engine)["mt"].digest == (
        before["mt"].digest
    )
    assert made.stat().st_mtime_ns == age


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


def test_reserved_tokens_follow_the_special_ones(tiny):
    tokenizer = load(tiny.run.folder("tokenizer"))
    names = [tokenizer.id_to_token(number) for number in range(15)]
    assert names[4:6] == ["<|tool_call|>", "<|tool_result|>"]
    assert names[6:14] == [f"<|reserved_{number}|>" for number in range(8)]
    assert names[14] == "\u0100", "the byte 0 follows"
    assert tokenizer.encode("<|reserved_3|>").ids == [9]
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(tiny.run.folder("tokenizer"))
    assert theirs.encode("<|tool_call|> tá", add_special_tokens=False) == tokenizer.encode("<|tool_call|> tá").ids
    assert (theirs.eos_token_id, theirs.pad_token_id) == (0, 3)


@pytest.mark.parametrize("longest", [1, 2, 3])
def test_runs_of_digits_have_slots_whatever_the_text(longest):
    limits = Limits(vocabulary=1_600, digit_runs=longest, reserved=0)
    trained = train(_tables(mt=["xemx qamar " * 50]), {}, limits)
    for length in (1, 2, 3):
        costs = {_cost(trained, f"{number:0{length}}") for number in range(10**length)}
        assert costs == {1 if length <= longest else 2 if longest > 1 else length}


def test_every_language_has_the_same_say():
    """Maltese has much more text, and words enough for all merges; Irish gets its own all the same."""
    words = "xemxijiet qamar baħar ħobż ilma art sema nar"
    trained = _train(mt=[f"{words} " * 20] * 100, ga=["gaoithe " * 90], vocabulary=300)
    assert _cost(trained, " gaoithe") == 1
    assert _cost(trained, f" {words}") > 8
    told = trained.told["languages"]
    assert told["ga"]["weight"] > 50 > 1 == told["mt"]["weight"]


def test_a_language_with_very_little_text_is_named_and_counts_no_more_often_than_allowed():
    trained = _train(mt=["xemxijiet " * 50] * 1000, ga=["gaoithe"])
    told = trained.told["languages"]
    assert (told["ga"]["little_text"], told["mt"]["little_text"]) == (True, False)
    assert told["ga"]["weight"] == 100


def test_the_rounds_raise_what_is_dear(tmp_path):
    """Irish pays more for its sentence than Maltese, so its words weigh more in the next round."""
    words = [f"{a}{b}{c}" for a in "bcdf" for b in "aeiou" for c in "gjkl"]
    mt, ga = " ".join(words[:10] * 40), " ".join(words * 5)
    development = {"mt": [" ".join(words[:10])], "ga": [" ".join(words[:40:4])]}
    trained = _train(development, mt=[mt], ga=[ga], vocabulary=300)
    first, *_, last = trained.told["rounds"]
    assert first["tokens a sentence"]["ga"] > first["tokens a sentence"]["mt"]
    assert last["weights"]["ga"] / last["weights"]["mt"] > first["weights"]["ga"] / first["weights"]["mt"]
    assert last["tokens a sentence"]["ga"] <= first["tokens a sentence"]["ga"]
    for tag, sentences in development.items():
        assert _cost(trained, sentences[0]) == last["tokens a sentence"][tag], "the same as the library counts"


def test_counts_of_code_get_their_share(tmp_path):
    code = ["def function(self):\n    return self.value\n" * 20]
    save(tmp_path / "code.counts", count_texts("code", code))
    text = {"mt": ["il-ħobż u l-ilma tal-baħar fis-sema kollha xemx qamar kwiekeb " * 2_000]}
    plain = _train(**text, vocabulary=300)
    table = {"code": {"path": tmp_path / "code.counts", "share": 0.4}}
    mixed = train(_tables(**text), {}, Limits(vocabulary=300, reserved=0, tables=table))
    assert _cost(mixed, code[0]) < _cost(plain, code[0])
    assert mixed.told["tables"]["code"]["share"] == 0.4
    with pytest.raises(BadInput, match="not a table of counts"):
        (tmp_path / "code.counts").write_text("code")
        train(_tables(**text), {}, Limits(tables=table))


def test_a_corpus_too_small_for_a_merge_is_bad_input():
    with pytest.raises(BadInput, match="too small"):
        _train(mt=["a"])
    with pytest.raises(BadInput, match="too small"):
        _train(mt=[])


def test_a_vocabulary_without_room_is_bad_input():
    with pytest.raises(BadInput, match="a vocabulary of 400 has no room for merges beside 256 bytes, 0 runs of digits"):
        _train(mt=["xemx"], vocabulary=400, reserved=138)
    assert _train(mt=["xemx"], vocabulary=400, reserved=137).told["merges"] == 1


def test_text_in_the_wrong_script_is_bad_input_that_names_the_language():
    with pytest.raises(BadInput, match=r"text in Greek \(el\) is 25 % in its script and 75 % in Latn"):
        _train(el=["αβγ abcdefghi"], mt=["xemx qamar"])


def test_text_in_a_folder_is_enough_to_train_on(tmp_path):
    (tmp_path / "mt.txt").write_text("il-ħobż tal-baħar fis-sema kollha xemx qamar\n" * 50, "utf-8")
    (tmp_path / "ga.jsonl").write_text('{"text": "an ghaoth aduaidh"}\n' * 50, "utf-8")
    engine = Engine(1, Reporter(quiet=True))
    limits = Limits(vocabulary=300)
    tables = count_folder(tmp_path, limits, tmp_path / "counts", engine)
    assert tables.keys() == {"mt", "ga"}
    write_files(train(tables, {}, limits), tmp_path / "out")
    assert load(tmp_path / "out").get_vocab_size() == 300
    with pytest.raises(BadInput, match="no files named TAG"):
        count_folder(tmp_path / "out", limits, tmp_path / "other", engine)


def test_counts_of_several_sites_add_up(tmp_path):
    engine, limits = Engine(1, Reporter(quiet=True)), Limits(vocabulary=300)
    text = "il-ħobż tal-baħar fis-sema kollha xemx qamar\n"
    for site, times in (("here", 30), ("there", 20), ("all", 50)):
        (tmp_path / site).mkdir()
        (tmp_path / site / "mt.txt").write_text(text * times, "utf-8")
        count_folder(tmp_path / site, limits, tmp_path / f"{site}.counts", engine)
    two = read_counts([tmp_path / "here.counts", tmp_path / "there.counts"])["mt"]
    one = read_counts([tmp_path / "all.counts"])["mt"]
    assert two.counts.tolist() == one.counts.tolist() and two.words == one.words
    assert train({"mt": two}, {}, limits).merges == train({"mt": one}, {}, limits).merges
    with pytest.raises(BadInput, match="no counts here"):
        read_counts([tmp_path / "here"])
    (tmp_path / "all.counts" / "mt").rename(tmp_path / "all.counts" / "ga")
    with pytest.raises(BadInput, match="counts of 'mt', not of ga"):
        read_counts([tmp_path / "all.counts"])


def test_the_stage_counts_documents_and_reports_its_fairness(tiny):
    record = tiny.run.need("tokenizer")
    text = tiny.run.need("corpus").results["text"]
    assert {tag: sum(buckets.values()) for tag, buckets in record.counts.items()} == {
        tag: text[tag]["documents"] for tag in tiny.recipe.languages
    }
    fairness = read_json(tiny.run.folder("tokenizer") / "fairness.json")
    told = fairness["tokenizers"][0]
    contract = record.results["contract"]
    training = read_json(tiny.run.folder("tokenizer") / "training.json")
    shown = {
        name: record.results[name] for name in ("vocabulary", "mean", "worst", "worst_language", "max_min", "gini")
    }
    assert shown == {name: told[name] for name in shown}
    assert record.results["counts"] == training["counts"]
    assert len(training["rounds"]) == tiny.recipe.tokenizer.rounds + 1
    assert {tag: round(cost, 3) for tag, cost in training["rounds"][-1]["tokens a sentence"].items()} == told[
        "languages"
    ]
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
    with pytest.raises(Failure, match=r"no tokens a sentence for Irish \(ga\); add a source of text, or TAG.txt"):
        build(recipe, folder, tiny.engine)
    build(tiny.change(f"parallel={tmp_path}/parallel", "gaps.ga='not translated yet'"), folder, tiny.engine)


def test_the_card_says_how_it_was_trained_and_what_each_language_pays(tiny):
    card = (tiny.run.folder("tokenizer") / "README.md").read_text("utf-8")
    training = read_json(tiny.run.folder("tokenizer") / "training.json")
    fairness = read_json(tiny.run.folder("tokenizer") / "fairness.json")["tokenizers"][0]
    assert training["counts"] in card
    for tag, cost in fairness["languages"].items():
        assert f"({tag}) | {cost:.1f} | {training['languages'][tag]['weight']:.2f} |" in card
    assert "on which the weights were set" in card


def test_a_recipe_can_ask_for_parity():
    text = {
        "mt": ["il-ħobż u l-ilma tal-baħar fis-sema kollha " * 500],
        "ga": ["an ghaoth aduaidh agus an ghrian " * 5],
    }
    development = {"mt": ["ħobż"], "ga": ["an ghaoth aduaidh agus an ghrian"]}
    limits = Limits(vocabulary=300, reserved=0, rounds=0, most_repeats=1)
    fair = Limits(**{**limits.model_dump(), "parity": {"share": 1.0, "window": 0}})
    plain, levelled = (train(_tables(**text), development, each).told["rounds"][-1] for each in (limits, fair))
    assert levelled["tokens a sentence"]["ga"] < plain["tokens a sentence"]["ga"]
