"""`openeurollm board` and `openeurollm report`."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

import openeurollm.cli.board  # noqa: F401 - registers the commands
from openeurollm.cli.frame import app
from openeurollm.errors import BadInput
from openeurollm.ledger import RunFolder

command = CliRunner()


def test_board_writes_a_page_here_and_prints_its_path(
    fake: Callable[..., RunFolder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = fake(), fake("corpus", "half")
    monkeypatch.chdir(tmp_path)
    result = command.invoke(app, ["board", str(first.path), str(second.path)], catch_exceptions=False)
    assert result.output == "board.html\n"
    html = (tmp_path / "board.html").read_text("utf-8")
    assert "Board of 2 runs" in html
    assert str(tmp_path) not in html


def test_board_prints_its_numbers_as_json(run: RunFolder, tmp_path: Path) -> None:
    out = tmp_path / "pages" / "one.html"
    result = command.invoke(app, ["board", str(run.path), "--out", str(out), "--json"], catch_exceptions=False)
    found = json.loads(result.output)
    assert found["page"] == str(out)
    assert found["runs"][0]["parameters"] == 3_412_992
    assert out.is_file()


def test_report_is_printed_or_written(run: RunFolder, tmp_path: Path) -> None:
    printed = command.invoke(app, ["report", str(run.path)], catch_exceptions=False).output
    out = tmp_path / "fake.md"
    said = command.invoke(app, ["report", str(run.path), "--out", str(out)], catch_exceptions=False).output
    assert said == f"{out}\n"
    assert out.read_text("utf-8") == printed
    assert printed.startswith("# A fake run\n")


@pytest.mark.parametrize("noun", ["board", "report"])
def test_bad_input_is_named(run: RunFolder, tmp_path: Path, noun: str) -> None:
    with pytest.raises(BadInput, match="no run here"):
        command.invoke(app, [noun, str(tmp_path)], catch_exceptions=False)
    with pytest.raises(BadInput, match="is a folder"):
        command.invoke(app, [noun, str(run.path), "--out", str(tmp_path)], catch_exceptions=False)
