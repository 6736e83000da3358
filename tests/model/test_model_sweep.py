"""The sweep: what is done is kept, what is cut off is made again, and the law comes out the same."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest

from openeurollm.engine import Engine, Reporter
from openeurollm.errors import BadInput
from openeurollm.ledger import RunFolder
from openeurollm.model import frontier
from openeurollm.model.law import bundled, read
from openeurollm.model.outlook import outlook
from openeurollm.model.shape import Text, law_of
from openeurollm.model.sweep import LENGTHS, grid, sweep
from openeurollm.recipe import Model

COMPUTE = 2.5e10
QUIET = Engine(1, Reporter(quiet=True))
SET = ("model.precision=fp32", "model.compile=false")


def _run(tiny, folder: Path) -> RunFolder:
    """The tiny run as it is before a model is trained."""
    shutil.copytree(tiny.run.path / "corpus", folder / "corpus")
    shutil.copytree(tiny.run.path / "tokenizer", folder / "tokenizer")
    shutil.copyfile(tiny.file, folder / "recipe.toml")
    return RunFolder(folder)


def _lines(file: Path):
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


@pytest.fixture(scope="module")
def swept(tiny, tmp_path_factory):
    """A sweep of six points that nothing disturbed, and what it told."""
    run = _run(tiny, tmp_path_factory.mktemp("sweep") / "tiny")
    out = run.path / "sweep"
    return run, out, sweep(tiny.change(*SET), run, QUIET, 6, COMPUTE, out)


def test_a_sweep_leaves_points_a_law_and_a_picture(swept):
    _, out, told = swept
    lines = _lines(out / "points.jsonl")
    assert len(lines) == len({line["key"] for line in lines}) == told["points"] == 6
    assert sum(line["flop"] for line in lines) < 1.5 * COMPUTE
    for number in (0, 3):
        short, middle, long = lines[number : number + 3]
        assert short["steps"] * 4 == middle["steps"] * 2 == long["steps"]
        assert short["loss"] > long["loss"]
        assert set(long["held_out"]) == {"mt", "ga", "el", "ka", "en", "sr-Latn"}
    assert sorted(path.name for path in out.iterdir()) == ["law.json", "points.jsonl", "sweep.svg"]


def test_its_law_predicts_its_own_points(swept):
    _, out, told = swept
    law = read(out / "law.json")
    for point in law.points:
        assert law.predict(point.size, point.text).value == pytest.approx(point.loss, rel=0.05)
    chosen = [each for each in told["choices"] if each["chosen"]]
    assert len(chosen) == 1
    assert chosen[0]["low"] < chosen[0]["bits_per_byte"] < chosen[0]["high"]
    assert len(told["choices"]) >= 3


def test_a_sweep_that_is_done_is_not_made_again(swept, tiny):
    run, out, told = swept
    before = (out / "points.jsonl").read_bytes(), (out / "points.jsonl").stat().st_mtime_ns
    assert sweep(tiny.change(*SET), run, QUIET, 6, COMPUTE, out) == told
    assert ((out / "points.jsonl").read_bytes(), (out / "points.jsonl").stat().st_mtime_ns) == before


def test_the_command_prints_what_the_budget_buys_and_what_its_neighbours_would(swept):
    run, out, told = swept
    words = [str(run.path), "--points", "6", "--compute", str(COMPUTE)]
    words += [word for setting in SET for word in ("--set", setting)]
    command = [sys.executable, "-m", "openeurollm", "model", "sweep", *words]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert lines[0].startswith("6 trainings: bits a byte = ")
    chosen = next(each for each in told["choices"] if each["chosen"])
    row = next(line.split() for line in lines if line.startswith("chosen"))
    assert row[1:4] == [str(chosen["layers"]), str(chosen["width"]), f"{chosen['parameters']:,}"]
    assert sum("–" in line for line in lines) == len(told["choices"])
    assert lines[-1].startswith(str(out / "law.json"))


def test_a_recipe_takes_the_law_of_its_sweep(swept, tiny):
    run, out, told = swept
    recipe = tiny.change(f"model.law={out / 'law.json'}")
    assert law_of(recipe.model) == read(out / "law.json") != bundled()
    ahead = outlook(recipe, run)
    chosen = next(each for each in told["choices"] if each["chosen"])
    assert (ahead.shape.layers, ahead.shape.width) == (chosen["layers"], chosen["width"])
    assert ahead.bits_per_byte.value == pytest.approx(chosen["bits_per_byte"], rel=0.02)


def test_a_sweep_that_was_killed_in_the_middle_ends_in_the_same_losses(swept, tiny, tmp_path):
    """Killed after its second point, with half a line at the end of the file, as a full disk leaves one."""
    run = _run(tiny, tmp_path / "tiny")
    points = run.path / "sweep" / "points.jsonl"
    words = ["model", "sweep", run.path, "--points", "6", "--compute", COMPUTE, "--workers", "1"]
    words += [word for setting in SET for word in ("--set", setting)]
    command = [sys.executable, "-m", "openeurollm", *map(str, words)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    while not points.is_file() or len(points.read_text("utf-8").splitlines()) < 2:
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = points.read_bytes()
    done = done[: done.rfind(b"\n") + 1]
    points.write_bytes(done + b'{"key": "cut o')
    again = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    _, out, told = swept
    assert points.read_bytes().startswith(done)
    losses = [line["held_out"] for line in _lines(points)]
    assert losses == [line["held_out"] for line in _lines(out / "points.jsonl")]
    assert json.loads(again.stdout)["law"] == told["law"]


def test_points_of_the_same_text_count_and_those_of_other_text_do_not(swept, tiny, tmp_path):
    run = _run(tiny, tmp_path / "tiny")
    out = tmp_path / "out"
    shutil.copytree(swept[1], out)
    lines = (out / "points.jsonl").read_text("utf-8")
    others = lines.replace('"data": "', '"data": "0').replace('"key": "', '"key": "0')
    (out / "points.jsonl").write_text(lines + others, "utf-8")
    told = sweep(tiny.change(*SET, "seed=4"), run, QUIET, 6, COMPUTE, out)
    assert told["points"] == 6 + 6
    assert len(_lines(out / "points.jsonl")) == 18
    assert not (run.path / "sweep").exists()


def test_the_grid_lies_around_the_size_that_is_expected_to_be_best():
    text, law = Text(1e12, 4, 3.0), bundled()
    for points in (6, 12, 24):
        found = grid(Model(context=256), 8192, text, 1e16, points)
        assert len(found) * len(LENGTHS) == points
        flop = [each.steps * each.batch * each.shape.flop_per_token for each in found]
        assert 0.5e16 < 1.375 * sum(flop) <= 1e16
        sizes = [law.best.best_size(each.steps * each.batch * 3.0) / each.shape.matrix_parameters for each in found]
        assert min(sizes) < 1.1 < max(sizes)
        assert all(each.steps % 8 == 0 for each in found)


def test_a_sweep_that_compute_does_not_pay_is_refused_with_what_does(tiny):
    text = Text(1e9, 4, 3.0)
    with pytest.raises(BadInput, match="does not pay for 12 points") as told:
        grid(Model(context=64), 800, text, 1e8, 12)
    least = float(str(told.value).partition("; ")[2].split()[0])
    assert grid(Model(context=64), 800, text, 1.01 * least, 12)
    with pytest.raises(BadInput, match="400 tokens, too few for a sweep"):
        grid(Model(context=64), 800, Text(400, 4, 3.0), 1e12, 12)


def test_without_corpus_or_tokenizer_it_says_how_to_build_them(tiny, tmp_path):
    run = RunFolder(tmp_path / "tiny")
    with pytest.raises(BadInput, match="corpus is not built; `openeurollm run` builds it"):
        sweep(tiny.recipe, run, QUIET, 6, COMPUTE, run.path / "sweep")
    shutil.copytree(tiny.run.path / "corpus", run.path / "corpus")
    with pytest.raises(BadInput, match="tokenizer is not built"):
        sweep(tiny.recipe, run, QUIET, 6, COMPUTE, run.path / "sweep")


@pytest.mark.parametrize("line", ["{}", "[]", "no JSON", '{"key": 1}', "[" * 50_000, '{"loss": 1e999}'])
def test_points_that_are_none_are_refused(tiny, tmp_path, line):
    run = _run(tiny, tmp_path / "tiny")
    (run.path / "sweep").mkdir()
    (run.path / "sweep" / "points.jsonl").write_text(line + "\n", "utf-8")
    with pytest.raises(BadInput, match=r"points\.jsonl"):
        sweep(tiny.recipe, run, QUIET, 6, COMPUTE, run.path / "sweep")


# ---- the picture


def test_the_picture_has_a_dot_a_training_and_the_forecast(swept):
    _, out, told = swept
    root = ElementTree.fromstring((out / "sweep.svg").read_text("utf-8"))
    titles = [title.text or "" for title in root.iter("{http://www.w3.org/2000/svg}title")]
    assert sum("bits a byte" in title for title in titles) == 6
    chosen = next(each for each in told["choices"] if each["chosen"])
    words = "".join(root.itertext())
    assert f"{chosen['layers']} layers of {chosen['width']}: {chosen['bits_per_byte']:.2f}" in words
    assert "prefers-color-scheme:dark" in words


@pytest.mark.parametrize("budget", [1e9, 1e13, 1e24])
def test_a_picture_can_be_drawn_of_any_budget(swept, budget):
    _, out, told = swept
    costs = [(10.0**power, 2 * 10.0**power) for power in range(4, 11)]
    drawn = frontier.chart(read(out / "law.json"), costs, {**told, "flop": budget})
    assert "nan" not in drawn
    ElementTree.fromstring(drawn)
