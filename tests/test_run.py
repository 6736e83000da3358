"""The conductor: what is built is left alone, a change rebuilds what depends on it, kill -9 costs time and no bits."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

from openeurollm.errors import BadInput, Failure
from openeurollm.ledger import RunFolder, digest
from openeurollm.recipe import load
from openeurollm.run import NAMES, STAGES, plan, run, to_toml

COMMAND = Path(sys.executable).parent / "openeurollm"
BUILT = ("corpus", "tokenizer", "model", "tuning", "evaluation")


@pytest.fixture(scope="module")
def finished(tiny, tmp_path_factory):
    """The run with its release and its board."""
    folder = tiny.copy(tmp_path_factory.mktemp("finished"))
    run(tiny.recipe, folder, tiny.engine)
    return folder


@pytest.fixture
def folder(finished, tmp_path):
    """A copy of the finished run, to be changed."""
    shutil.copytree(finished.path, tmp_path / "tiny")
    return RunFolder(tmp_path / "tiny")


def _rebuilt(steps):
    return [step.stage for step in steps if step.build]


def _digests(folder, stages=BUILT):
    return {f"{stage}/{name}": sha for stage in stages for name, sha in folder.need(stage).outputs.items()}


def _state(folder):
    return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.path.rglob("*") if path.is_file()}


# What is built is left alone.


def test_a_second_run_builds_nothing_and_touches_nothing(tiny, folder):
    before = _state(folder)
    began = time.monotonic()
    steps = run(tiny.recipe, folder, tiny.engine)
    assert time.monotonic() - began < 10
    assert [(step.stage, step.build, step.why) for step in steps] == [(name, False, "built") for name in NAMES]
    after = _state(folder)
    assert {path for path in before if before[path] != after.get(path)} <= {
        folder.path / "recipe.toml",
        folder.path / ".lock",
        folder.path / ".digests.json",
    }
    assert not (folder.path / ".work").exists()


def test_the_dry_run_of_nothing_built_names_every_stage(tiny, tmp_path):
    steps = plan(tiny.recipe, RunFolder(tmp_path / "new"))
    assert _rebuilt(steps) == list(NAMES)
    assert steps[0].why == "not built yet"
    assert steps[1].why == "corpus will be built, and it reads from there"
    assert steps[4].why == "corpus and tokenizer and model and tuning will be built, and it reads from there"
    assert not (tmp_path / "new").exists()


def test_the_dry_run_stops_where_it_is_told(tiny, finished):
    assert [step.stage for step in plan(tiny.recipe, finished, until="model")] == ["corpus", "tokenizer", "model"]


def test_the_same_inputs_at_another_place_change_nothing(tiny, finished, tmp_path):
    shutil.copyfile(tiny.home / "chat.jsonl", tmp_path / "other.jsonl")
    shutil.copytree(tiny.home / "parallel", tmp_path / "lines")
    recipe = tiny.change(f"tuning.conversations={tmp_path}/other.jsonl", f"parallel={tmp_path}/lines")
    assert _rebuilt(plan(recipe, finished)) == []


# A change rebuilds what depends on it.

AFTER = {name: NAMES[place:] for place, name in enumerate(NAMES)}
CHANGES = [
    ("sources.web.licence='CC-BY-4.0'", AFTER["corpus"], "[sources.web] licence changed: CC0-1.0 → CC-BY-4.0"),
    ("corpus.min_characters=150", AFTER["corpus"], "[corpus] min_characters changed: 200 → 150"),
    ("gaps.mt='no text'", AFTER["evaluation"], "[gaps] mt changed: None → no text"),
    ("languages=['mt','ga','el','ka','en']", AFTER["corpus"], "languages changed: "),
    ("tokenizer.vocabulary=900", AFTER["tokenizer"], "[tokenizer] vocabulary changed: 800 → 900"),
    ("mixture.temperature=0.5", AFTER["model"], "[mixture] temperature changed: 0.0 → 0.5"),
    ("model.compute=9e10", AFTER["model"], "[model] compute changed: 100000000000.0 → 90000000000.0"),
    (
        "model.shape={layers=1,width=32,heads=2,key_value_heads=1,feed_forward=64}",
        AFTER["model"],
        "[model] shape changed: None → {",
    ),
    ("seed=4", AFTER["model"], "seed changed: 3 → 4"),
    ("tuning.rate=0.2", AFTER["tuning"], "[tuning] rate changed: 0.3 → 0.2"),
    ("tuning.held_out=1", AFTER["tuning"], "[tuning] held_out changed: 2 → 1"),
    ("evaluation.bootstrap=200", AFTER["evaluation"], "[evaluation] bootstrap changed: 100 → 200"),
    ("release.title='Other'", AFTER["release"], "[release] title changed: Tiny → Other"),
]


@pytest.mark.parametrize(("setting", "stages", "why"), CHANGES, ids=[change[0].partition("=")[0] for change in CHANGES])
def test_a_changed_parameter_rebuilds_exactly_what_depends_on_it(tiny, finished, setting, stages, why):
    steps = plan(tiny.change(setting), finished)
    assert _rebuilt(steps) == list(stages)
    first = next(step for step in steps if step.build)
    assert first.why.startswith(why)
    assert all("will be built, and it reads from there" in step.why for step in steps if step.build and step != first)


def test_every_table_of_the_recipe_is_some_stages(tiny):
    """A value that no stage depends on would change without anything being built."""
    read = {table for stage in STAGES for table in stage.tables} | {path for stage in STAGES for path in stage.paths}
    assert set(type(tiny.recipe).model_fields) <= read | {"languages"}


@pytest.mark.parametrize(
    ("name", "edit", "stages", "why"),
    [
        (
            "chat.jsonl",
            lambda path: path.write_text(path.read_text("utf-8") + "\n", "utf-8"),
            AFTER["tuning"],
            "changed",
        ),
        (
            "parallel/mt.txt",
            lambda path: path.write_text("x\n" * 32),
            AFTER["corpus"],
            "parallel/mt.txt changed",
        ),
        ("parallel/xx.txt", lambda path: path.write_text("x\n"), AFTER["corpus"], "parallel/xx.txt is new"),
        ("parallel/az.txt", lambda path: path.unlink(), AFTER["corpus"], "parallel/az.txt is gone"),
        (
            "web.warc.gz",
            lambda path: path.write_bytes(path.read_bytes()[:-9]),
            AFTER["corpus"],
            "sources/web/path changed",
        ),
    ],
)
def test_a_changed_input_rebuilds_what_reads_it(tiny, finished, tmp_path, name, edit, stages, why):
    home = tmp_path / "home"
    shutil.copytree(tiny.home, home, ignore=shutil.ignore_patterns("runs"))
    edit(home / name)
    steps = plan(load(home / "tiny.toml"), finished)
    assert _rebuilt(steps)[: len(stages)] == list(stages)
    assert why in next(step.why for step in steps if step.build)


def test_a_new_rate_of_tuning_leaves_the_base_model_alone(tiny, folder):
    recipe = tiny.change("tuning.rate=0.2")
    before, foretold = _digests(folder), plan(recipe, folder)
    steps = run(recipe, folder, tiny.engine)
    assert _rebuilt(steps) == _rebuilt(foretold) == ["tuning", "evaluation", "release", "board"]
    after = _digests(folder)
    assert {name.partition("/")[0] for name in before if before[name] != after[name]} == {"tuning", "evaluation"}
    assert after["tuning/model.safetensors"] != before["tuning/model.safetensors"]
    assert after["model/base/model.safetensors"] == before["model/base/model.safetensors"]
    assert _rebuilt(run(recipe, folder, tiny.engine)) == []


def test_a_change_that_leaves_the_outputs_equal_stops_there(tiny, folder):
    """Both say more text than there is, so the tokenizer comes out the same."""
    recipe = tiny.change("tokenizer.bytes_per_language=1100000")
    before = _digests(folder)
    steps = run(recipe, folder, tiny.engine)
    assert _rebuilt(steps) == ["tokenizer"]
    assert _digests(folder) == before


def test_a_training_that_comes_out_the_same_stops_there(tiny, folder):
    recipe = tiny.change("tuning.checkpoint_steps=3")
    before = _digests(folder)
    assert _rebuilt(run(recipe, folder, tiny.engine)) == ["tuning"]
    assert _digests(folder) == before


# What was lost is built again.


@pytest.mark.parametrize(
    ("stage", "name", "damage"),
    [
        ("corpus", "mt/held-out.parquet", "is missing"),
        ("tokenizer", "tokenizer.json", "has changed"),
        ("model", "base/model.safetensors", "has changed"),
        ("tuning", "config.json", "is missing"),
        ("evaluation", "results.json", "has changed"),
    ],
)
def test_a_lost_or_corrupted_output_is_built_again_and_nothing_else(tiny, folder, stage, name, damage):
    before, path = _digests(folder), folder.folder(stage) / name
    if damage == "is missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    steps = run(tiny.recipe, folder, tiny.engine)
    assert _rebuilt(steps) == [stage]
    assert next(step.why for step in steps if step.build) == f"its file {name} {damage}"
    assert _digests(folder) == before


def test_a_lost_record_builds_the_stage_again(tiny, folder):
    (folder.folder("tokenizer") / "record.json").unlink()
    assert [(step.stage, step.why) for step in plan(tiny.recipe, folder, until="tokenizer") if step.build] == [
        ("tokenizer", "not built yet")
    ]


def test_a_broken_record_stops_the_run_and_names_it(tiny, folder):
    (folder.folder("tokenizer") / "record.json").write_text("{")
    with pytest.raises(BadInput, match=r"tokenizer/record\.json"):
        run(tiny.recipe, folder, tiny.engine)


def test_asked_for_again_a_stage_is_built_again(tiny, folder):
    assert _rebuilt(plan(tiny.recipe, folder, again=["tokenizer"]))[0] == "tokenizer"
    before, finished = _digests(folder), folder.need("tokenizer").finished
    time.sleep(1.1)
    steps = run(tiny.recipe, folder, tiny.engine, again=["tokenizer"])
    assert [(step.stage, step.why) for step in steps if step.build] == [("tokenizer", "asked for again")]
    assert folder.need("tokenizer").finished > finished
    assert _digests(folder) == before


def test_scratch_that_a_kill_left_after_the_record_goes(tiny, folder):
    (folder.work("model") / "tokens").mkdir(parents=True)
    assert _rebuilt(run(tiny.recipe, folder, tiny.engine)) == []
    assert not (folder.path / ".work").exists()


# What cannot be done is said before any work.


@pytest.mark.parametrize("what", [{"until": "modle"}, {"again": ["modle"]}, {"until": "corpus", "again": ["modle"]}])
def test_an_unknown_stage_is_bad_input_that_lists_the_stages(tiny, tmp_path, what):
    for act in (
        lambda: plan(tiny.recipe, RunFolder(tmp_path / "new"), **what),
        lambda: run(tiny.recipe, RunFolder(tmp_path / "new"), tiny.engine, **what),
    ):
        with pytest.raises(BadInput, match="unknown stage `modle`; the stages are corpus, tokenizer, model, tuning"):
            act()
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("setting", "what"),
    [
        ("sources.web.path", "sources/web/path"),
        ("parallel", "parallel"),
        ("tuning.conversations", "tuning/conversations"),
    ],
)
def test_a_path_that_is_not_there_is_told_before_any_work(tiny, tmp_path, setting, what):
    recipe = tiny.change(f"{setting}={tmp_path}/absent")
    with pytest.raises(BadInput, match=f"{what}: .*absent does not exist"):
        run(recipe, RunFolder(tmp_path / "new"), tiny.engine)
    with pytest.raises(BadInput, match=f"{what}: .*absent does not exist"):
        plan(recipe, RunFolder(tmp_path / "new"))
    assert not (tmp_path / "new").exists()


def test_what_is_not_asked_for_need_not_be_there(tiny, tmp_path):
    recipe = tiny.change(f"tuning.conversations={tmp_path}/absent")
    assert [step.stage for step in plan(recipe, RunFolder(tmp_path / "new"), until="model")][-1] == "model"


def test_a_run_that_is_held_is_refused(tiny, folder):
    with folder.locked():
        done = subprocess.run(
            [COMMAND, "run", tiny.file, "--runs", folder.path.parent], capture_output=True, text=True, timeout=60
        )
    assert done.returncode == 1
    assert f"another run (process {os.getpid()}) is at work in this folder" in done.stderr
    assert "Traceback" not in done.stderr


# The resolved recipe.


def test_the_resolved_recipe_is_written_and_reads_back(tiny, finished):
    assert load(finished.path / "recipe.toml") == tiny.recipe
    assert tomllib.loads((finished.path / "recipe.toml").read_text("utf-8"))["mixture"]["max_epochs"] == 40.0


@pytest.mark.parametrize("text", ["plain", 'quo"te', "back\\slash", "line\nend", "tab\t", "ქართული", "[x]\n# no", " "])
def test_any_text_in_a_recipe_comes_back(tiny, tmp_path, text):
    recipe = tiny.recipe.model_copy(update={"gaps": {"mt": text, "sr-Latn": text}})
    (tmp_path / "recipe.toml").write_text(to_toml(recipe), "utf-8")
    assert load(tmp_path / "recipe.toml") == recipe


# kill -9.


def _metrics(folder, stage="model"):
    try:
        lines = (folder.folder(stage) / "metrics.jsonl").read_text("utf-8").splitlines()
        return [json.loads(line) for line in lines if line.endswith("}")]
    except FileNotFoundError:
        return []


def _step(folder):
    return max((line["step"] for line in _metrics(folder)), default=0)


POINTS = {
    "in the corpus": lambda run: (run.work("corpus") / "refined").is_dir(),
    "before the first checkpoint": lambda run: _step(run) >= 10,
    "after a checkpoint": lambda run: any((run.work("model") / "checkpoints").glob("step-*")) and _step(run) >= 20,
    "between checkpoints": lambda run: _step(run) >= 50,
    "in the tuning": lambda run: any((run.work("tuning") / "checkpoints").glob("step-*")),
}


def _kill_at(command, folder, point):
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        while not POINTS[point](folder):
            assert process.poll() is None, f"it ended before it could be killed {point}: {process.stderr.read()}"
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL


def test_kill_9_at_any_moment_and_again_gives_the_same_bits(tiny, tmp_path):
    folder = RunFolder(tmp_path / "tiny")
    command = [COMMAND, "run", tiny.file, "--runs", tmp_path, "--workers", "1", "--until", "evaluation", "--json"]
    for point in POINTS:
        _kill_at(command, folder, point)
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["built"] == ["tuning", "evaluation"]

    assert _digests(folder) == _digests(tiny.run)
    parquet = {path.relative_to(tiny.run.path) for path in tiny.run.path.rglob("*.parquet")}
    files = {*parquet, *map(Path, ("tokenizer/tokenizer.json", "model/base/model.safetensors"))}
    assert len(files) > 14
    assert {file: digest(folder.path / file) for file in files} == {
        file: digest(tiny.run.path / file) for file in files
    }

    for stage in ("model", "tuning"):
        told = [
            [
                {key: line[key] for key in ("step", "loss", "bits_per_byte", "tokens", "rate")}
                for line in _metrics(run, stage)
                if "loss" in line
            ]
            for run in (folder, tiny.run)
        ]
        assert told[0] == told[1]
        ours, theirs = ({**run.need(stage).results, "matmul_flop_per_s": 0} for run in (folder, tiny.run))
        assert ours == theirs
    assert folder.need("corpus").cost["attempts"] == 2
    assert folder.need("model").cost["attempts"] == 4
    assert folder.need("tuning").cost["attempts"] == 2
    assert not (folder.path / ".work").exists()


def test_an_attempt_with_another_recipe_does_not_go_on_with_what_was_killed(tiny, tmp_path):
    """The killed attempt's checkpoint is of another training; the result is that of a run that was never killed."""
    folder = tiny.copy(tmp_path)
    command = [COMMAND, "run", tiny.file, "--runs", tmp_path, "--workers", "1", "--until", "model"]
    _kill_at([*command, "--set", "model.muon_rate=0.03"], folder, "after a checkpoint")
    steps = run(tiny.recipe, folder, tiny.engine, until="model")
    assert _rebuilt(steps) == ["model"]
    assert _digests(folder, ("model",)) == _digests(tiny.run, ("model",))


def test_a_failed_stage_is_not_taken_for_built(tiny, tmp_path):
    """Rates that blow the training up; what was finished stays, and the right rates build the rest."""
    folder = tiny.copy(tmp_path)
    with pytest.raises(Failure, match="lower its rates"):
        run(tiny.change("tuning.rate=1e35"), folder, tiny.engine, until="tuning")
    assert folder.record("tuning") is None
    assert folder.record("model") is not None
    assert _rebuilt(run(tiny.recipe, folder, tiny.engine, until="tuning")) == ["tuning"]
    assert _digests(folder, ("tuning",)) == _digests(tiny.run, ("tuning",))
