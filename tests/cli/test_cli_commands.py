"""Every command on a real run, as text and as JSON."""

import json
import re

import pytest
from typer.testing import CliRunner

from openeurollm.cli import app
from openeurollm.errors import BadInput
from openeurollm.ledger import FOLDERS

BUILT = ("corpus", "tokenizer", "model", "tuning", "evaluation")


def _text(*arguments):
    done = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def _json(*arguments):
    return json.loads(_text(*arguments, "--json"))


def _refused(*arguments):
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert isinstance(done.exception, BadInput), done.output
    return str(done.exception)


# run


@pytest.fixture
def again(tiny):
    """The command that made the run."""
    return ("run", tiny.file, "--runs", tiny.run.path.parent, "--workers", "1", "--until", "evaluation")


def test_a_second_run_says_that_there_is_nothing_to_do(tiny, again):
    assert _text(*again).splitlines()[0] == f"{tiny.run.path}: everything is built already, nothing to do"
    told = _json(*again)
    assert told["built"] == []
    assert [step["stage"] for step in told["steps"]] == list(BUILT)


def test_a_dry_run_says_what_would_be_built_why_and_at_what_cost(tiny, again):
    lines = _text(*again, "--dry-run", "--set", "model.compute=2e11").splitlines()
    table = {line.split()[0]: line for line in lines[1:]}
    assert "keep" in table["corpus"]
    assert re.search(r"build +\[model\] compute changed: 100000000000\.0 → 200000000000\.0", table["model"])
    assert re.search(r"build +model will be built, and it reads from there", table["tuning"])
    assert re.fullmatch(r"training: 2e\+11 FLOP, about 1 minutes here", lines[-1])


def test_a_dry_run_in_json_has_a_cost_only_where_a_model_is_trained(again):
    assert _json(*again, "--dry-run")["cost"] is None
    cost = _json(*again, "--dry-run", "--set", "seed=4")["cost"]
    assert cost["training_flop"] == 1e11
    assert cost["training_minutes"] == pytest.approx(2e11 / cost["training_flop_per_s"] / 60, abs=0.06)


def test_a_run_says_what_it_built(tiny, tmp_path):
    tiny.copy(tmp_path)
    command = ("run", tiny.file, "--runs", tmp_path, "--workers", "1", "--until", "evaluation")
    text = _text(*command, "--set", "evaluation.bootstrap=150")
    assert text.startswith(f"{tmp_path}/tiny: built evaluation\n")
    assert "Maltese" in text
    assert _json(*command, "--set", "evaluation.bootstrap=160")["built"] == ["evaluation"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--until", "modle"], "unknown stage `modle`; the stages are corpus"),
        (["--again", "modle"], "unknown stage `modle`"),
        (["--again", "modle", "--dry-run"], "unknown stage `modle`"),
        (["--on", "mars"], "unknown site `mars`"),
        (["--set", "tokenizer.vocabulry=900"], "unknown key `vocabulry` in [tokenizer], did you mean `vocabulary`?"),
        (["--set", "tokenizer"], "a setting has the form table.key=value"),
        (["--set", "parallel=/absent"], "parallel: /absent does not exist"),
    ],
)
def test_what_cannot_be_run_is_bad_input(again, arguments, message):
    assert message in _refused(*again[:6], *arguments)


# status


def test_status_has_counts_for_every_stage_and_they_add_up(tiny):
    told = _json("status", tiny.run.path)
    assert list(told["stages"]) == list(FOLDERS)
    assert {name: part["state"] for name, part in told["stages"].items()} == {
        name: "built" if name in BUILT else "missing" for name in FOLDERS
    }
    assert told["sums"]
    assert all(each["ok"] and each["left"] == each["right"] > 0 for each in told["sums"])

    corpus = told["stages"]["corpus"]
    assert sum(corpus["results"]["read"].values()) == sum(sum(part.values()) for part in corpus["counts"].values())
    kept = {tag: corpus["counts"][tag]["kept"] for tag in tiny.recipe.languages}
    for stage in BUILT:
        assert set(tiny.recipe.languages) <= set(told["stages"][stage]["counts"])
    assert {tag: part["encoded"] for tag, part in told["stages"]["model"]["counts"].items()} == kept
    learnt = told["stages"]["tokenizer"]["counts"]
    assert {tag: part["learnt"] + part["not_needed"] for tag, part in learnt.items()} == kept


def test_the_cost_of_a_run_is_that_of_its_stages(tiny):
    told = _json("status", tiny.run.path)
    for part in ("wall_seconds", "cpu_seconds"):
        costs = [stage["cost"][part] for stage in told["stages"].values() if stage["cost"]]
        assert told["cost"][part] == pytest.approx(sum(costs), abs=0.01)
    energy = told["cost"]["energy"]
    assert energy["low"] <= energy["kwh"] <= energy["high"]


def test_status_as_text_names_stages_sums_and_buckets(tiny):
    text = _text("status", tiny.run.path)
    assert re.search(r"^corpus +built", text, re.M)
    assert re.search(r"^release +missing", text, re.M)
    assert re.search(r"^ok +records read = records counted: (\d+) = \1$", text, re.M)
    assert "BAD" not in text
    assert re.search(r"^fr +0 +0 +\d+ +language_outside_contract", text, re.M)


def test_counts_that_do_not_add_up_are_told(tiny, tmp_path):
    folder = tiny.copy(tmp_path)
    path = folder.folder("corpus") / "record.json"
    record = json.loads(path.read_text("utf-8"))
    record["openeurollm"]["counts"]["mt"]["kept"] += 1
    path.write_text(json.dumps(record))
    assert not all(each["ok"] for each in _json("status", folder.path)["sums"])
    assert "BAD" in _text("status", folder.path)


def test_a_stage_that_was_killed_is_unfinished(tiny, tmp_path):
    folder = tiny.copy(tmp_path)
    folder.begin("evaluation", "key")
    assert _json("status", folder.path)["stages"]["evaluation"]["state"] == "unfinished"


def test_the_status_of_what_is_no_run_is_bad_input(tmp_path):
    assert "no run here" in _refused("status", tmp_path)


# corpus


def test_inspect_shows_why_documents_were_dropped(tiny):
    found = _json("corpus", "inspect", tiny.run.path, "--reason", "exact_duplicate")
    assert {row["language"] for row in found} == {"mt", "ga", "el", "ka"}
    text = _text("corpus", "inspect", tiny.run.path, "--language", "mt")
    assert "exact_duplicate" in text
    assert "kept" in text


def test_inspect_shows_documents_of_a_language_that_were_kept(tiny):
    found = _json("corpus", "inspect", tiny.run.path, "--language", "ka", "--reason", "kept")
    assert len(found) == tiny.run.need("corpus").counts["ka"]["kept"]
    assert {row["reason"] for row in found} == {"kept"}
    assert all(row["excerpt"] and row["id"] and row["licence"] for row in found)
    assert len(_json("corpus", "inspect", tiny.run.path, "--reason", "kept", "--number", "3")) == 3


@pytest.mark.parametrize("language", ["xx", "../corpus/mt", "*", "/"])
def test_inspect_names_the_languages_and_reasons_that_there_are(tiny, language):
    said = _refused("corpus", "inspect", tiny.run.path, "--language", language, "--reason", "kept")
    assert f"no record in {language}" in said
    assert ", ".join(tag for tag in tiny.run.need("corpus").counts) in said
    said = _refused("corpus", "inspect", tiny.run.path, "--language", "ka", "--reason", "not_a_page")
    assert said == "no record in ka has the reason not_a_page; there are: exact_duplicate, held_out, kept"


def test_inspect_says_what_became_of_a_document(tiny):
    (row,) = _json("corpus", "inspect", tiny.run.path, "--language", "ka", "--reason", "exact_duplicate")
    for what in (row["url"], row["url"].rstrip("/").partition("://")[2], row["id"], row["id"][:12]):
        assert _json("corpus", "inspect", tiny.run.path, "--find", what) == [row]
    text = _text("corpus", "inspect", tiny.run.path, "--find", row["id"])
    assert f"ka  exact_duplicate  Another document has the very same words. ({row['detail']})" in text
    assert "no record of nowhere" in _refused("corpus", "inspect", tiny.run.path, "--find", "nowhere.example/at-all")
    assert "one at a time" in _refused("corpus", "inspect", tiny.run.path, "--find", "x", "--language", "ka")


def test_inspect_adds_up_what_was_read(tiny):
    record = tiny.run.need("corpus")
    assert _json("corpus", "inspect", tiny.run.path) == {"counts": record.counts, "bytes": record.results["bytes"]}
    text = _text("corpus", "inspect", tiny.run.path)
    for tag, buckets in record.counts.items():
        (line,) = (line.split() for line in text.splitlines() if line.split()[:1] == [tag])
        assert str(sum(buckets.values())) in line
    assert "Another document has the very same words." in text


def test_inspect_writes_a_page(tiny, tmp_path):
    page = tmp_path / "pages" / "corpus.html"
    assert _text("corpus", "inspect", tiny.run.path, "--html", page) == f"{page}\n"
    assert "exact_duplicate" in page.read_text("utf-8")
    assert _json("corpus", "inspect", tiny.run.path, "--html", page) == {"page": str(page)}
    assert "is a folder" in _refused("corpus", "inspect", tiny.run.path, "--html", tmp_path)


def test_inspect_needs_a_corpus(tiny, tmp_path):
    folder = tiny.copy(tmp_path)
    (folder.folder("corpus") / "record.json").unlink()
    assert "corpus is not built" in _refused("corpus", "inspect", folder.path)


# tokenizer


def test_compare_puts_tokenizers_side_by_side(tiny):
    paths = (tiny.run.path, tiny.run.folder("tuning"))
    told = _json("tokenizer", "compare", *paths, "--parallel", tiny.home / "parallel")
    assert told["sentences"] == 32
    ours, same = told["tokenizers"]
    assert set(ours) >= {
        "name",
        "vocabulary",
        "mean",
        "worst",
        "worst_language",
        "max_min",
        "gini",
        "english",
        "languages",
    }
    assert {**ours, "name": ""} == {**same, "name": ""}
    assert len(ours["languages"]) == 43
    lines = _text("tokenizer", "compare", *paths, "--parallel", tiny.home / "parallel").splitlines()
    assert lines[0] == "tokens a sentence, over English and over the mean of all; 32 sentences"
    assert " ".join(lines[1].split()) == "language tiny / English / mean tuned / English / mean"
    assert f"({ours['worst_language']})" in lines[2]
    assert lines[45] == ""
    assert [line.split("  ")[0] for line in lines[47:]] == [
        "tokens in all",
        "mean",
        "worst",
        "max / min",
        "Gini",
        "tokens a word",
        "bytes a token",
        "words kept whole",
    ]


def test_compare_draws_and_measures_speed_when_asked(tiny, tmp_path):
    drawn = tmp_path / "who-pays.svg"
    command = ("tokenizer", "compare", tiny.run.path, "--parallel", tiny.home / "parallel", "--chart", drawn, "--speed")
    assert _json(*command)["tokenizers"][0]["mb_per_s"] > 0
    assert "Maltese" in drawn.read_text("utf-8")


def test_counts_and_a_tokenizer_are_made_from_a_folder_of_text(tiny, tmp_path):
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "mt.txt").write_text("il-ħobż tal-baħar fis-sema kollha xemx qamar\n" * 50, "utf-8")
    counts = tmp_path / "counts"
    assert _json("tokenizer", "count", "--data", tmp_path / "text", "--out", counts)[0]["language"] == "mt"
    made = ("--counts", counts, "--vocabulary", 300, "--out", tmp_path / "made")
    assert _json("tokenizer", "train", *made)["languages"] == 1
    parallel = ("--parallel", tiny.home / "parallel")
    assert _json("tokenizer", "compare", tmp_path / "made", *parallel)["tokenizers"][0]["vocabulary"] == 300
    assert "--vocabulary" in _refused("tokenizer", "train", "--counts", counts, "--vocabulary", 3, "--out", tmp_path)
    assert "--digits" in _refused("tokenizer", "count", "--data", tmp_path, "--out", counts, "--digits", "five")


def test_export_writes_what_compare_reads(tiny, tmp_path):
    files = _json("tokenizer", "export", tiny.run.path, "--out", tmp_path / "out")["files"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(file.split("/")[-1] for file in files)
    paths = (tiny.run.path, tmp_path / "out" / "tokenizer.tiktoken")
    ours, ranks = _json("tokenizer", "compare", *paths, "--parallel", tiny.home / "parallel")["tokenizers"]
    assert ours["languages"] == ranks["languages"]
    assert ours["vocabulary"] == ranks["vocabulary"]


def test_encode_takes_the_training_text_of_a_run(tiny, tmp_path):
    told = _json("tokenizer", "encode", tiny.run.path, "--out", tmp_path)
    assert {each["language"] for each in told} == {"mt", "ga", "el", "ka", "en", "sr-Latn"}
    assert all((tmp_path / each["language"] / "part-00000.npy").is_file() for each in told)
    assert "no Parquet files" in _refused("tokenizer", "encode", tiny.run.folder("tokenizer"), "--out", tmp_path)


def test_compare_refuses_what_is_no_tokenizer(tiny, tmp_path):
    assert "no tokenizer.json here" in _refused("tokenizer", "compare", tmp_path, "--parallel", tiny.home / "parallel")
    assert "no such folder" in _refused("tokenizer", "compare", tiny.run.path, "--parallel", tmp_path / "absent")


# evaluate


def test_evaluate_measures_a_folder_on_a_runs_text(tiny):
    command = ("evaluate", tiny.run.folder("tuning"), "--run", tiny.run.path, "--resamples", "100")
    told = _json(*command, "--languages", "mt,ka", "--parallel", tiny.home / "parallel")
    assert told["model"] == "tuned"
    for measure in ("bits_per_byte", "bits_per_sentence"):
        assert set(told["measures"][measure]) == {"mt", "ka"}
        assert all(value["low"] <= value["value"] <= value["high"] for value in told["measures"][measure].values())
    assert told["measures"]["language_consistency"]["mt"]["n"] == 2
    stage = json.loads((tiny.run.folder("evaluation") / "results.json").read_text("utf-8"))["models"][1]["measures"]
    for tag in ("mt", "ka"):
        assert told["measures"]["bits_per_sentence"][tag]["value"] == stage["bits_per_sentence"][tag]["value"]


def test_evaluate_as_text_has_a_line_a_language(tiny):
    command = (
        "evaluate",
        tiny.run.folder("model") / "base",
        "--parallel",
        tiny.home / "parallel",
        "--resamples",
        "100",
    )
    lines = _text(*command, "--languages", "mt,ka").splitlines()
    assert lines[0] == "base"
    assert lines[1].split("  ")[0] == "language"
    assert re.match(r"mt +\d+\.\d+ \(\d+\.\d+–\d+\.\d+\)", lines[2])
    assert lines[3].startswith("ka ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name --parallel DIR, --run RUN, or both"),
        (["--parallel", "/absent"], "no parallel text"),
        (["--run", "/absent"], "no run here"),
        (["--parallel", "{home}/parallel", "--languages", "xx"], "unknown language `xx`"),
    ],
)
def test_what_cannot_be_evaluated_is_bad_input(tiny, arguments, message):
    arguments = [argument.format(home=tiny.home) for argument in arguments]
    assert message in _refused("evaluate", tiny.run.folder("tuning"), *arguments)


def test_evaluate_refuses_what_is_no_model(tiny, tmp_path):
    assert "no model here" in _refused("evaluate", tmp_path, "--parallel", tiny.home / "parallel")


# languages


@pytest.mark.parametrize(("contract", "number"), [("eu24", 24), ("candidates", 9), ("europe", 43)])
def test_languages_lists_a_contract(contract, number):
    told = _json("languages", "--contract", contract)
    assert len(told) == number
    assert all(row["tag"] and row["name"] and row["scripts"] and row["countries"] and row["source"] for row in told)
    text = _text("languages", "--contract", contract)
    assert text.startswith(f"{contract}: {number} languages")
    assert len(text.splitlines()) == 5 + number
    assert all(row["speakers"] > 0 and row["speakers_source"] for row in told)


def test_languages_is_europe_when_none_is_named():
    assert _json("languages") == _json("languages", "--contract", "europe")
    assert "unknown language contract `mars`" in _refused("languages", "--contract", "mars")


def test_languages_are_named_in_any_language():
    assert {row["tag"]: row["name"] for row in _json("languages", "--contract", "eu24", "--in", "fi")}["mt"] == "malta"
    assert "მალტური" in _text("languages", "--contract", "eu24", "--in", "ka")
    assert "`klingon` is no language tag" in _refused("languages", "--in", "klingon")


# trace


def _words(tiny):
    from openeurollm.corpus.document import rows

    row = next(iter(rows(tiny.run.folder("corpus") / "mt" / "part-00000.parquet")))
    return row, " ".join(re.findall(r"\w+", row["text"])[:12])


def test_trace_names_the_document_that_holds_the_words(tiny, tmp_path, monkeypatch):
    """In the run, and in the release inside it, by whatever path."""
    row, words = _words(tiny)
    run = tiny.copy(tmp_path).path
    (span,) = _json("trace", run, words)
    assert span["words"] == 12
    assert span["documents"][0]["id"] == row["id"]
    text = _text("trace", run, words)
    assert row["url"] in text
    assert row["licence"] in text
    (run / "release").mkdir()
    assert _json("trace", run / "release", words) == [span]
    monkeypatch.chdir(run / "release")
    assert _json("trace", ".", words) == [span]


def test_trace_says_when_the_words_stand_nowhere(tiny):
    assert "no run of 7 words" in _text("trace", tiny.run.path, "nowhere", "--least", "7")
    assert _json("trace", tiny.run.path, "nowhere") == []


def test_trace_refuses_a_folder_without_a_corpus(tmp_path):
    assert "no training documents here" in _refused("trace", tmp_path, "words")


# plan


def test_plan_says_what_the_budget_takes(tiny):
    command = ("plan", tiny.file, "--flop-per-s", "1e9", "--watts", "360", "--euros-per-kwh", "7")
    told = _json(*command)
    model = told.pop("model")
    assert told == {"recipe": "tiny", "flop": 1e11, "flop_per_s": 1e9, "seconds": 100, "kwh": 0.01, "euros": 0.07}
    assert model["bits_per_byte"]["low"] < model["bits_per_byte"]["value"] < model["bits_per_byte"]["high"]
    text = _text(*command)
    assert "100 s" in text
    assert f"model: {model['parameters']:,} parameters" in text
    assert "0.0100 kWh" in text
    assert "0.07 euros" in text


def test_plan_measures_this_machine_when_no_speed_is_given(tiny):
    told = _json("plan", tiny.file)
    assert told["flop_per_s"] > 1e8
    assert told["kwh"] is told["euros"] is None
    assert "unknown, name --watts" in _text("plan", tiny.file)


@pytest.mark.parametrize(
    "figures", [["--flop-per-s", "0"], ["--flop-per-s", "nan"], ["--flop-per-s", "1", "--watts", "inf"]]
)
def test_plan_refuses_figures_that_are_none(tiny, figures):
    assert "above zero" in _refused("plan", tiny.file, *figures)
