"""`openeurollm pack` and `transfer` as a user types them."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from openeurollm.cli import app
from openeurollm.errors import BadInput
from openeurollm.recipe import load, paths

QUICKSTART = Path(__file__).resolve().parents[2] / "recipes" / "quickstart.toml"


def _said(*arguments):
    done = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def _refused(*arguments):
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert isinstance(done.exception, BadInput), done.output
    return str(done.exception)


def test_the_packed_recipe_reads_the_packed_files_and_says_the_same(tmp_path):
    words = ("pack", QUICKSTART, "--on", "laptop", "--out", tmp_path / "pack", "--no-wheels", "--set", "seed=5")
    made = json.loads(_said(*words, "--json"))
    moved = shutil.copytree(tmp_path / "pack", tmp_path / "away")
    shutil.rmtree(tmp_path / "pack")
    before, after = load(QUICKSTART, ["seed=5"]), load(moved / "recipe.toml")
    for place, path in paths(before).items():
        there = paths(after)[place]
        assert there.is_relative_to(moved)
        assert subprocess.run(["diff", "-r", path, there]).returncode == 0
    raw = [each.model_dump() for each in (before, after)]
    for each in raw:
        each["parallel"] = each["tuning"]["conversations"] = each["sources"]["web"]["path"] = ""
    assert raw[0] == raw[1]
    assert (made["site"], made["wheels"], (moved / "install.sh").exists()) == ("laptop", {}, False)


def test_what_is_left_out_is_said(tmp_path):
    data = shutil.copytree(QUICKSTART.parents[1] / "sample" / "parallel", tmp_path / "parallel")
    (data / ".notes").write_text("")
    words = ("pack", QUICKSTART, "--on", "laptop", "--out", tmp_path / "pack", "--no-wheels")
    said = _said(*words, "--set", f"parallel={data}")
    assert said.startswith("left out: 'data/parallel/parallel/.notes': hidden\n")


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("--on", "lumi-g"), "has ROCm, for which common registries have no PyTorch: "),
        (("--on", "lumig"), "unknown site `lumig`; did you mean `lumi-g`?"),
        (("--on", "laptop", "--python", "3.9"), "--python takes 3.11 or newer"),
        (("--on", "laptop", "--set", "sources.web.path=https://a.example/x.warc.gz"), "is read over the network"),
        (("--on", "laptop", "--set", "sources.web.path=nowhere"), "nowhere does not exist"),
    ],
)
def test_what_cannot_be_packed_is_refused_before_anything_is_written(tmp_path, words, error):
    assert error in _refused("pack", QUICKSTART, "--out", tmp_path / "pack", *words)
    assert not (tmp_path / "pack").exists()


@pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed")
def test_a_transfer_says_what_it_did(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.toml").write_text("x" * 1000)
    first = json.loads(_said("transfer", tmp_path / "run", tmp_path / "there", "--json"))
    assert first["sent"] == {"files": 1, "bytes": 1000, "replaced": 0}
    assert (tmp_path / "there" / first["statement"]).is_file()
    said = _said("transfer", tmp_path / "run", tmp_path / "there")
    assert "everything is there already, 1 files with the same digests" in said
    (tmp_path / "run" / "link").symlink_to("recipe.toml")
    said = _said("transfer", tmp_path / "run", f"{tmp_path}/other/")
    assert (tmp_path / "other" / "run" / "recipe.toml").is_file()
    assert said.startswith("left out: 1 links ('link')\n")
    assert "1 of 1 files sent" in said


@pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed")
def test_an_error_is_one_line_and_an_exit_code(tmp_path):
    command = [sys.executable, "-c", "from openeurollm.cli import main; main()", "transfer", "nowhere", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        done.stderr
        == f"error: {tmp_path / 'nowhere'} and {tmp_path} lie in one another; a transfer needs two folders\n"
    )
