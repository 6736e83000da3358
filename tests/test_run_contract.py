"""What a recipe promises is held: every stage serves every language, and no share of the mixture collapses."""

import json
import re
import shutil

import pyarrow.parquet as pq
import pytest

from openeurollm.errors import BadInput, Failure
from openeurollm.ledger import NAME, RunFolder, read_json, write_json
from openeurollm.run import NAMES, plan, run

BUILT = NAMES[:5]
SMALL_FALL = ("mixture.temperature=1.0", "mixture.largest_fall=1.05")
"""By size of text, one language of the six has less than its sixth; how much less depends on the sample."""


@pytest.fixture
def folder(tiny, tmp_path):
    """A copy of the run, to be changed."""
    return tiny.copy(tmp_path)


def _edit(folder, stage, change):
    """Change what a stage reports, its outputs left as they are."""
    path = folder.folder(stage) / NAME
    record = read_json(path)
    change(record["openeurollm"]["results"])
    write_json(path, record)


def _refused(tiny, folder, *settings, error=Failure, until="evaluation"):
    """What the run says, which the dry run says too."""
    with pytest.raises(error) as found:
        run(tiny.change(*settings), folder, tiny.engine, until=until)
    return str(found.value)


# Every stage serves every language.


@pytest.mark.parametrize("stage", BUILT)
def test_every_stage_proves_that_it_serves_every_language(tiny, stage):
    contract = tiny.run.need(stage).results["contract"]
    assert contract["figures"]
    for figure in contract["figures"].values():
        assert list(figure) == list(tiny.recipe.languages)
        assert all(number > 0 for number in figure.values())
    assert contract["exceptions"] == {}


@pytest.fixture
def without_maltese(tiny, tmp_path):
    """The settings of a corpus that has text in every language but Maltese."""
    lines = []
    for part in sorted(tiny.run.folder("corpus").glob("*/[ph]*.parquet")):
        for row in pq.read_table(part, columns=["text", "language"]).to_pylist():
            if row["language"] != "mt":
                lines.append(json.dumps(row, ensure_ascii=False))
    (tmp_path / "text.jsonl").write_text("\n".join(lines), "utf-8")
    terms = "licence='CC0-1.0', publisher='x', date=2026, languages='per-document', obtained='x'"
    table = f"{{kind='jsonl', path='{tmp_path}/text.jsonl', {terms}}}"
    return f"sources={{text={table}}}"


def test_a_corpus_that_lacks_maltese_stops_the_run_which_goes_on_with_a_gap(tiny, tmp_path, without_maltese):
    folder = RunFolder(tmp_path / "new")
    said = _refused(tiny, folder, without_maltese, until="corpus")
    assert said == ("corpus: no text to train on for Maltese (mt); add a source, or list it in [gaps] with the reason")
    assert folder.record("corpus") is None
    run(tiny.change(without_maltese, "gaps.mt='no source yet'"), folder, tiny.engine, until="corpus")
    record = folder.need("corpus")
    assert record.results["contract"]["exceptions"] == {"mt": "no source yet"}
    assert record.cost["attempts"] == 2, "what was read for the first attempt is not read again"


def test_a_gap_that_closes_stops_a_run_that_is_built(tiny, tmp_path, without_maltese):
    folder = RunFolder(tmp_path / "new")
    run(tiny.change(without_maltese, "gaps.mt='no source yet'"), folder, tiny.engine, until="corpus")
    with pytest.raises(Failure, match=r"corpus: no text to train on for Maltese \(mt\)"):
        plan(tiny.change(without_maltese), folder, until="corpus")
    assert "Maltese (mt)" in _refused(tiny, folder, without_maltese, until="corpus")
    assert folder.need("corpus")


def test_a_record_without_its_proof_is_bad_input_that_names_it(tiny, folder):
    _edit(folder, "tokenizer", lambda results: results.pop("contract"))
    with pytest.raises(BadInput, match=r"tokenizer/record\.json: 'contract' cannot be used: field required"):
        plan(tiny.recipe, folder, until="tokenizer")
    _edit(folder, "tokenizer", lambda results: results.update(contract={"figures": {}, "exceptions": {}}))
    with pytest.raises(BadInput, match=r"tokenizer/record\.json: 'contract\.figures' cannot be used"):
        plan(tiny.recipe, folder, until="tokenizer")


# No share of the mixture collapses.


def test_a_fall_from_the_last_build_stops_the_run_before_training_until_it_is_accepted(tiny, folder):
    began = "model: share of the mixture fell by more than a factor of 1.05 since the last build: "
    for _ in range(2):  # the record that was replaced is not forgotten by the attempt that failed
        said = _refused(tiny, folder, *SMALL_FALL)
        assert said.startswith(began)
        assert said.endswith("; mend the mixture, or list the language in [mixture.falls] with the reason")
        assert folder.record("model") is None
        assert not (folder.folder("model") / "metrics.jsonl").exists()
    fallen = [tag for tag in tiny.recipe.languages if f"({tag}) from 16.7 % to " in said]
    assert fallen
    reasons = [f"mixture.falls.{tag}='few pages of {tag}'" for tag in fallen]
    run(tiny.change(*SMALL_FALL, *reasons), folder, tiny.engine, until="model")
    contract = folder.need("model").results["contract"]
    assert contract["exceptions"] == {tag: f"few pages of {tag}" for tag in fallen}
    assert not (folder.path / ".work").exists()


def test_a_language_in_a_gap_may_fall(tiny, folder):
    said = _refused(tiny, folder, *SMALL_FALL)
    gaps = [f"gaps.{tag}='little text'" for tag in tiny.recipe.languages if f"({tag})" in said]
    run(tiny.change(*SMALL_FALL, *gaps), folder, tiny.engine, until="model")


def test_a_fall_by_less_than_the_factor_is_none(tiny, folder):
    run(tiny.change("mixture.temperature=1.0"), folder, tiny.engine, until="model")


@pytest.fixture
def earlier(tiny, tmp_path):
    """A run whose mixture had three times the Maltese."""
    shutil.copytree(tiny.run.path, tmp_path / "earlier")
    folder = RunFolder(tmp_path / "earlier")
    _edit(folder, "model", lambda results: results["mixture"]["mt"].update(share=0.5))
    return folder


@pytest.mark.parametrize("built", [True, False])
def test_a_fall_from_a_run_that_the_recipe_names_stops_it(tiny, folder, earlier, built):
    if not built:
        shutil.rmtree(folder.folder("model"))
    setting = f"mixture.previous={earlier.path}"
    said = _refused(tiny, folder, setting)
    fell = f"model: share of the mixture fell by more than a factor of 2 since {earlier.path}: "
    assert re.match(re.escape(fell) + r"Maltese \(mt\) from 50 % to 16\.\d %; ", said)
    assert not built or folder.need("model"), "what is built stays"
    run(tiny.change(setting, "mixture.largest_fall=4"), folder, tiny.engine, until="model")
    run(tiny.change(setting, "mixture.falls.mt='half was machine-made'"), folder, tiny.engine, until="model")


def test_a_comparison_rebuilds_nothing(tiny, folder, earlier):
    settings = (f"mixture.previous={earlier.path}", "mixture.falls.mt='half was machine-made'")
    assert not any(step.build for step in plan(tiny.change(*settings), folder, until="evaluation"))


def test_an_earlier_mixture_that_cannot_be_read_is_told_before_any_work(tiny, tmp_path, earlier):
    setting = f"mixture.previous={earlier.path}"
    record = earlier.folder("model") / NAME
    whole = record.read_text("utf-8")
    cases = {
        "half": (lambda: record.write_text(whole[:99], "utf-8"), "model/record.json: not JSON"),
        "share": (lambda: _share(record, whole, "much"), "'mixture.mt.share' cannot be used"),
        "bound": (lambda: _share(record, whole, -1), "'mixture.mt.share' cannot be used"),
        "absent": (record.unlink, "model is not built"),
        "no run": (lambda: shutil.rmtree(earlier.path), "no run here"),
    }
    for break_, message in cases.values():
        break_()
        assert message in _refused(tiny, RunFolder(tmp_path / "new"), setting, error=BadInput)
        assert not (tmp_path / "new").exists()


def _share(record, whole, value):
    raw = json.loads(whole)
    raw["openeurollm"]["results"]["mixture"]["mt"]["share"] = value
    write_json(record, raw)


def test_a_last_build_whose_mixture_cannot_be_read_is_not_passed_over(tiny, folder):
    _edit(folder, "model", lambda results: results.pop("mixture"))
    for _ in range(2):
        said = _refused(tiny, folder, "mixture.temperature=1.0", error=BadInput)
        assert "the last record of the model" in said and "'mixture' cannot be used" in said
