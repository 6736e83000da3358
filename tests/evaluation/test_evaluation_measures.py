"""Measures: numbers with honest intervals, a check on the measuring, and no language without a number or a reason."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openeurollm.corpus.document import rows, write
from openeurollm.errors import BadInput, Failure
from openeurollm.evaluation import build, measures
from openeurollm.evaluation.checks import held_out_in_training
from openeurollm.evaluation.material import Material, read_parallel, read_questions
from openeurollm.evaluation.model import Model
from openeurollm.languages import identify
from openeurollm.ledger import read_json


def _pairs(n, seed=1):
    """Bits and bytes of `n` documents that cost about two bits a byte."""
    generator = np.random.default_rng(seed)
    sizes = generator.integers(500, 5_000, n)
    return [(float(size * cost), int(size)) for size, cost in zip(sizes, generator.normal(2, 0.3, n), strict=True)]


def _value(pairs):
    return sum(bits for bits, _ in pairs) / sum(size for _, size in pairs)


# Intervals.


def test_an_interval_contains_the_value_and_shrinks_with_the_number_of_documents():
    spans = []
    for n in (10, 100, 1_000, 10_000):
        found = measures.interval(_value(_pairs(n)), _pairs(n), 300, 1)
        assert found["low"] < found["value"] < found["high"]
        assert found["n"] == n
        spans.append(found["high"] - found["low"])
    assert spans == sorted(spans, reverse=True)
    assert spans[1] / spans[3] == pytest.approx(10, rel=0.3)


def test_an_interval_has_the_width_that_theory_gives():
    """For equal sizes the ratio is a mean, whose 95 % interval is 1.96 standard errors either way."""
    pairs = [(cost, 1.0) for cost in np.random.default_rng(0).normal(2, 0.3, 400)]
    found = measures.interval(_value(pairs), pairs, 2_000, 1)
    half = 1.96 * np.std([cost for cost, _ in pairs]) / 20
    assert found["low"] == pytest.approx(found["value"] - half, abs=0.004)
    assert found["high"] == pytest.approx(found["value"] + half, abs=0.004)


def test_ninety_five_of_a_hundred_intervals_hold_the_truth():
    hits = 0
    for seed in range(100):
        pairs = _pairs(60, seed)
        found = measures.interval(_value(pairs), pairs, 200, seed)
        hits += found["low"] <= 2 <= found["high"]
    assert 88 <= hits <= 100


@given(st.lists(st.tuples(st.floats(1, 1e6), st.floats(1, 1e6)), min_size=1, max_size=30), st.integers(0, 2**31 - 1))
def test_an_interval_depends_on_nothing_but_its_seed(pairs, seed):
    one, other = (measures.interval(_value(pairs), pairs, 100, seed) for _ in range(2))
    assert one == other
    assert one["low"] <= one["high"]


def test_one_document_gives_an_interval_of_no_width():
    found = measures.interval(2.0, [(20.0, 10.0)], 100, 1)
    assert (found["low"], found["value"], found["high"]) == (2.0, 2.0, 2.0)


# Measures of a real model.


@pytest.fixture(scope="module")
def model(tiny):
    return Model(tiny.run.folder("model") / "base")


def test_bits_per_byte_are_bits_over_bytes(model):
    documents = [f"Din hija sentenza numru {n}." for n in range(12)]
    scored = model.score(documents)
    found = measures.bits_per_byte(model, documents, 200, 1)
    assert found["value"] == pytest.approx(sum(s.bits for s in scored) / sum(s.bytes for s in scored), abs=1e-4)
    assert found["low"] < found["value"] < found["high"]
    assert (found["n"], found["unit"]) == (12, "document")


def test_few_documents_are_resampled_by_paragraph(model):
    found = measures.bits_per_byte(model, ["Wieħed.\n\nTnejn.\nTlieta.", "Erbgħa."], 200, 1)
    assert (found["n"], found["unit"]) == (4, "paragraph")


def test_bits_per_sentence_are_their_mean(model):
    sentences = ["Wieħed tnejn.", "Tlieta.", "Erbgħa ħamsa sitta."]
    found = measures.bits_per_sentence(model, sentences, 200, 1)
    assert found["value"] == pytest.approx(sum(s.bits for s in model.score(sentences)) / 3, abs=1e-4)
    assert found["unit"] == "sentence"


def test_an_answer_counts_when_it_is_in_the_language_of_the_question(tiny):
    tuned = Model(tiny.run.folder("tuning"))
    questions = read_questions(tiny.run.folder("tuning") / "held-out.jsonl", tiny.recipe.languages)
    found = {tag: measures.language_consistency(tuned, tag, asked) for tag, asked in questions.items()}
    for tag, asked in questions.items():
        languages = [identify(answer, claim=tag).language for answer in tuned.answers(asked, 48)]
        assert found[tag] == {"value": languages.count(tag) / len(asked), "n": len(asked)}
    told = read_json(tiny.run.folder("evaluation") / "results.json")["models"][1]["measures"]
    assert told["language_consistency"] == found
    assert {value["value"] for value in found.values()} <= {0, 0.5, 1}


# The stage.


def test_every_language_has_every_number(tiny):
    results = read_json(tiny.run.folder("evaluation") / "results.json")
    assert [part["model"] for part in results["models"]] == ["base", "tuned"]
    for part in results["models"]:
        for measure in ("bits_per_byte", "bits_per_sentence"):
            assert set(part["measures"][measure]) == set(tiny.recipe.languages)
            for found in part["measures"][measure].values():
                assert 0 < found["low"] <= found["value"] <= found["high"]
                assert found["n"] > 0
    base, tuned = (part["measures"] for part in results["models"])
    assert "language_consistency" not in base
    assert {found["n"] for found in tuned["language_consistency"].values()} == {2}
    assert results["checks"]["held_out_in_training"] == {
        "documents": 6,
        "overlapping": 0,
        "set_aside": 0,
        "found": [],
    }
    assert all(value["n"] == 32 for value in base["bits_per_sentence"].values())


def test_the_numbers_are_those_of_the_held_out_text(tiny, model):
    path = tiny.run.folder("corpus") / "ka" / "held-out.parquet"
    text = [text for _, text in Material("ka", path, tiny.recipe.evaluation.held_out_bytes).documents()]
    assert sum(len(document.encode()) for document in text) <= 2_000
    found = measures.bits_per_byte(model, text, 100, tiny.recipe.seed)
    told = read_json(tiny.run.folder("evaluation") / "results.json")["models"][0]["measures"]
    assert told["bits_per_byte"]["ka"] == found


def test_coverage_says_that_all_is_measured(tiny):
    coverage = read_json(tiny.run.folder("evaluation") / "coverage.json")
    assert set(coverage) == {"bits_per_byte", "bits_per_sentence", "language_consistency"}
    assert all(state == "measured" for states in coverage.values() for state in states.values())


@pytest.fixture
def without_irish(tiny, tmp_path):
    """The parallel text without Irish."""
    (tmp_path / "parallel").mkdir()
    for path in (tiny.home / "parallel").glob("*.txt"):
        if path.stem != "ga":
            (tmp_path / "parallel" / path.name).write_text(path.read_text("utf-8"), "utf-8")
    return f"parallel={tmp_path}/parallel"


def test_a_gap_is_listed_with_its_reason(tiny, tmp_path, without_irish):
    folder = tiny.copy(tmp_path)
    build(tiny.change(without_irish, "gaps.ga='not translated yet'"), folder, tiny.engine)
    coverage = read_json(folder.folder("evaluation") / "coverage.json")
    assert coverage["bits_per_sentence"]["ga"] == "not translated yet"
    assert coverage["bits_per_sentence"]["mt"] == coverage["bits_per_byte"]["ga"] == "measured"


def test_a_language_without_a_number_and_a_reason_stops_the_run(tiny, tmp_path, without_irish):
    with pytest.raises(Failure, match=r"no bits per sentence for Irish \(ga\)"):
        build(tiny.change(without_irish), tiny.copy(tmp_path), tiny.engine)


# Held-out text must not be in the training corpus.


def _plant(folder, tag, text):
    path = folder.folder("corpus") / tag / "part-00000.parquet"
    write(path, [*rows(path), {**next(iter(rows(path))), "id": "planted", "text": text}])


def _held_out(folder, tag):
    return next(iter(rows(folder.folder("corpus") / tag / "held-out.parquet")))


def _looked(tiny, folder, work):
    return held_out_in_training(folder.folder("corpus"), tiny.recipe.languages, tiny.engine, work / "search")


def test_a_clean_corpus_has_no_copies(tiny, tmp_path):
    found = _looked(tiny, tiny.run, tmp_path)
    assert found == {"documents": 6, "overlapping": 0, "found": []}


@pytest.mark.parametrize(
    "planted",
    [
        lambda text: text,
        lambda text: f"Another page begins. {text} And ends.",
        lambda text: text.upper().replace(" ", "  "),
        lambda text: text[: round(0.7 * len(text))],
    ],
    ids=["as it is", "inside a page", "other case and spaces", "the larger part"],
)
@pytest.mark.parametrize("tag", ["mt", "ka"])
def test_a_planted_copy_is_found(tiny, tmp_path, tag, planted):
    folder = tiny.copy(tmp_path)
    _plant(folder, tag, planted(_held_out(folder, tag)["text"]))
    found = _looked(tiny, folder, tmp_path)
    assert found["overlapping"] == 1
    assert found["found"] == [{"id": _held_out(folder, tag)["id"], "language": tag}]


def test_a_copy_that_lies_in_two_files_is_found(tiny, tmp_path):
    folder = tiny.copy(tmp_path)
    found = _held_out(folder, "mt")
    half = len(found["text"]) // 2
    for number, text in enumerate((found["text"][: half + 200], found["text"][half - 200 :]), 1):
        path = folder.folder("corpus") / "mt" / f"part-{number:05d}.parquet"
        write(path, [{**found, "id": f"planted {number}", "text": text[: round(0.7 * len(text))]}])
    assert _looked(tiny, folder, tmp_path)["found"] == [{"id": found["id"], "language": "mt"}]


def test_a_quoted_sentence_is_no_copy(tiny, tmp_path):
    folder = tiny.copy(tmp_path)
    _plant(folder, "mt", " ".join(_held_out(folder, "mt")["text"].split()[:20]))
    assert _looked(tiny, folder, tmp_path)["overlapping"] == 0


def test_a_copy_is_set_aside_and_its_blank_has_a_reason(tiny, tmp_path):
    folder = tiny.copy(tmp_path)
    copied = _held_out(folder, "el")
    _plant(folder, "el", copied["text"])
    counts, _ = build(tiny.recipe, folder, tiny.engine)
    assert counts["el"] == {"scored": 0, "in_training": 1, "not_needed": 0}
    results = read_json(folder.folder("evaluation") / "results.json")
    check = results["checks"]["held_out_in_training"]
    assert (check["documents"], check["set_aside"]) == (5, 1)
    assert check["found"] == [{"id": copied["id"], "language": "el"}]
    assert all("el" not in model["measures"]["bits_per_byte"] for model in results["models"])
    coverage = read_json(folder.folder("evaluation") / "coverage.json")
    assert coverage["bits_per_byte"]["el"] == "every held-out document stands in the training text"
    assert coverage["bits_per_sentence"]["el"] == "measured"


# What is read.


def test_held_out_text_is_cut_at_a_line_end(tmp_path):
    path = tmp_path / "mt" / "held-out.parquet"
    write(path, [{"id": "1", "text": "wieħed\ntnejn\ntlieta"}, {"id": "2", "text": "x"}])
    assert Material("mt", path, 10_000).documents() == [("1", "wieħed\ntnejn\ntlieta"), ("2", "x")]
    assert Material("mt", path, 15).documents() == [("1", "wieħed\ntnejn")]
    assert Material("mt", path, 4).documents() == [("1", "wie")]
    assert Material("mt", path, 10_000, ("1",)).documents() == [("2", "x")]
    assert Material("ga", path.parent / "absent", 10_000).documents() == []


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "no parallel text"),
        ({"mt": b"\xff\xfe"}, "not UTF-8"),
        ({"mt": b"\n\n"}, "holds no sentence"),
        ({"mt": b"a\nb\n", "ga": b"a\n"}, "same number of sentences"),
    ],
)
def test_parallel_text_that_cannot_be_used_is_bad_input(tmp_path, files, message):
    for tag, raw in files.items():
        (tmp_path / f"{tag}.txt").write_bytes(raw)
    with pytest.raises(BadInput, match=message):
        read_parallel(tmp_path, ("mt", "ga"))


def test_blank_lines_are_no_sentences(tmp_path):
    (tmp_path / "mt.txt").write_text("wieħed\n\ntnejn\n", "utf-8")
    assert read_parallel(tmp_path, ("mt", "ga")) == {"mt": ["wieħed", "tnejn"]}


@pytest.mark.parametrize("line", ["{", "[]", "{}", '{"language": "mt", "messages": []}'])
def test_an_invalid_question_is_bad_input_that_names_the_line(tmp_path, line):
    good = json.dumps({"language": "mt", "messages": [{"role": "user", "content": "Kif int?"}]})
    (tmp_path / "held-out.jsonl").write_text(f"{good}\n{line}\n")
    with pytest.raises(BadInput, match="line 2 is no conversation"):
        read_questions(tmp_path / "held-out.jsonl", ("mt",))
