"""`openeurollm identify`: every format and unit, what is printed, and what cannot be read."""

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from openeurollm.cli import app
from openeurollm.errors import BadInput
from openeurollm.languages.batch import PART

PARALLEL = Path(__file__).resolve().parents[2] / "sample" / "parallel"
TAGS = ("el", "ka", "en", "fi")
TEXTS = [" ".join((PARALLEL / f"{tag}.txt").read_text("utf-8").splitlines()[:8]) for tag in TAGS]
PROGRAM = (sys.executable, "-c", "from openeurollm.cli import main; main()", "identify")


def _identify(*arguments, code=0):
    done = CliRunner().invoke(app, ["identify", *map(str, arguments)])
    assert done.exit_code == code, done.output
    return done


def _units(*arguments, code=0):
    return [json.loads(line) for line in _identify(*arguments, "--json", code=code).stdout.splitlines()]


def _process(*arguments, **more):
    return subprocess.run([*PROGRAM, *map(str, arguments)], capture_output=True, text=True, timeout=120, **more)


@pytest.fixture
def files(tmp_path):
    """The same four texts in every format."""
    (tmp_path / "a.txt").write_text("\n".join(TEXTS) + "\n", "utf-8")
    records = [{"id": tag, "text": text} for tag, text in zip(TAGS, TEXTS)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "a.parquet")
    return tmp_path


# units


def test_a_sentence_is_a_line_a_record_or_a_row(files):
    for name in ("a.txt", "a.jsonl", "a.parquet"):
        told = _units(files / name)
        assert [unit["language"] for unit in told] == list(TAGS)
        assert [unit["row" if name == "a.parquet" else "line"] for unit in told] == [1, 2, 3, 4]
        assert [unit.get("id") for unit in told] == ([None] * 4 if name == "a.txt" else list(TAGS))
        for unit in told:
            assert unit["file"] == str(files / name)
            assert unit["top"][0] == [unit["language"], unit["probability"]]
            assert 1 <= len(unit["top"]) <= 3
            assert 0 < unit["probability"] <= 1
            assert "cut" not in unit


def test_several_files_are_answered_in_their_order(files):
    told = _units(files / "a.parquet", files / "a.txt")
    assert [unit["language"] for unit in told] == [*TAGS, *TAGS]
    assert [unit["file"] for unit in told] == [str(files / "a.parquet")] * 4 + [str(files / "a.txt")] * 4


def test_a_document_is_a_record_or_a_whole_text_file(files):
    for name in ("a.jsonl", "a.parquet"):
        told = _units(files / name, "--by", "document")
        assert [(unit["language"], unit["id"]) for unit in told] == [(tag, tag) for tag in TAGS]
        assert [next(iter(unit["languages"])) for unit in told] == list(TAGS)
    (told,) = _units(files / "a.txt", "--by", "document")
    assert set(TAGS) <= set(told["languages"])
    assert sum(told["languages"].values()) == pytest.approx(1, abs=0.01)
    assert "line" not in told


def test_segments_are_the_stretches_of_one_language(files):
    body = (files / "a.txt").read_text("utf-8")
    told = _units(files / "a.txt", "--by", "segment")
    assert "".join(body[unit["start"] : unit["end"]] for unit in told) == body
    for tag, text in zip(TAGS, TEXTS):
        middle = body.index(text) + len(text) // 2
        assert next(unit for unit in told if unit["start"] <= middle < unit["end"])["language"] == tag
    assert {unit["id"] for unit in _units(files / "a.jsonl", "--by", "segment")} == set(TAGS)


def test_a_document_in_parts_is_answered_as_one(tmp_path):
    """Finnish for two parts, then a little Greek: one answer, and segments up to the end of the file."""
    finnish, greek = TEXTS[3] + "\n", TEXTS[0] + "\n"
    body = finnish * (2 * PART // len(finnish)) + greek * (PART // 2 // len(greek))
    (tmp_path / "a.txt").write_text(body, "utf-8")
    (tmp_path / "b.txt").write_text(TEXTS[1], "utf-8")
    long, short = _units(tmp_path / "a.txt", tmp_path / "b.txt", "--by", "document")
    assert (long["language"], short["language"]) == ("fi", "ka")
    assert list(long["languages"])[:2] == ["fi", "el"]
    assert 0.1 < long["languages"]["el"] < 0.4
    assert 0.6 < long["probability"] <= 1
    told = _units(tmp_path / "a.txt", "--by", "segment")
    assert (told[0]["start"], told[-1]["end"], told[-1]["language"]) == (0, len(body), "el")
    assert all(before["end"] == after["start"] for before, after in pairwise(told))


def test_a_line_of_megabytes_is_cut_and_says_so(tmp_path):
    (tmp_path / "a.txt").write_text(TEXTS[3] * (2 * PART // len(TEXTS[3])) + "\n" + TEXTS[0], "utf-8")
    long, short = _units(tmp_path / "a.txt")
    assert (long["language"], long["cut"]) == ("fi", True)
    assert (short["language"], short["line"]) == ("el", 2)


@pytest.mark.parametrize("by", ["sentence", "document", "segment"])
@pytest.mark.parametrize("content", ["", "a", "😀", "\n", "7\n\n", "\0", "a\u0300\n"], ids=ascii)
def test_what_says_little_is_answered(tmp_path, by, content):
    (tmp_path / "a.txt").write_text(content, "utf-8")
    told = _units(tmp_path / "a.txt", "--by", by)
    assert len(told) == {"sentence": len(content.splitlines()), "document": 1}.get(by, len(told))
    assert all(unit["language"] for unit in told)
    _identify(tmp_path / "a.txt", "--by", by)


@pytest.mark.parametrize("by", ["sentence", "document", "segment"])
def test_bytes_that_are_no_text_are_answered(tmp_path, by):
    (tmp_path / "noise.bin").write_bytes(bytes(range(256)) * 20)
    assert _units(tmp_path / "noise.bin", "--by", by)


# as text


def test_a_line_a_unit_and_a_summary(files, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    done = _identify(files / "a.txt")
    for line, tag, text in zip(done.stdout.splitlines(), TAGS, TEXTS, strict=True):
        language, probability, start = line.split("\t")
        assert language == tag
        assert probability == f"{float(probability):.2f}"
        assert 30 < len(start) <= 44
        assert text.startswith(start)
    assert done.stderr == "sentences: 4 (el 1, ka 1, en 1, fi 1)\n"


def test_a_mix_is_shown(files):
    shown = _identify(files / "a.txt", "--by", "document").stdout
    assert all(f"{tag} " in shown for tag in TAGS)
    assert " %; " in shown


def test_what_is_shown_cannot_move_the_cursor(tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "\x1b[2Jone\r\n\ttwo\u202e\x9b three\x07"}) + "\n")
    (line,) = _identify(tmp_path / "a.jsonl").stdout.splitlines()
    assert line.split("\t")[2] == "[2Jone two three"


# what cannot be read


def test_a_broken_line_is_told_the_others_are_answered_and_the_code_is_2(files):
    lines = (files / "a.jsonl").read_text("utf-8").splitlines()
    (files / "b.jsonl").write_text("\n".join([lines[0], "{", *lines[1:], '{"body": "x"}']), "utf-8")
    done = _identify(files / "b.jsonl", "--json", code=2)
    assert [json.loads(line)["language"] for line in done.stdout.splitlines()] == list(TAGS)
    first, second, summary = done.stderr.splitlines()
    assert first == f"error: {files / 'b.jsonl'}, line 2: not valid JSON"
    assert second == f"error: {files / 'b.jsonl'}, line 6: no field `text`; there are body"
    assert summary == "sentences: 4 (el 1, ka 1, en 1, fi 1); could not be read: 2"


def test_of_many_broken_lines_the_first_are_told(tmp_path):
    (tmp_path / "a.jsonl").write_text("{\n" * 5000)
    lines = _identify(tmp_path / "a.jsonl", code=2).stderr.splitlines()
    assert len(lines) == 11
    assert lines[-1] == "sentences: 0; could not be read: 5,000"


def test_a_broken_file_does_not_stop_the_next(files):
    (files / "b.parquet").write_text("hello")
    (files / "b.txt.gz").write_text("hello")
    told = _units(files / "b.parquet", files / "b.txt.gz", files / "a.txt", code=2)
    assert [unit["language"] for unit in told] == list(TAGS)


def test_another_field_can_be_named(files):
    (files / "b.jsonl").write_text(json.dumps({"body": TEXTS[0], "text": TEXTS[1]}), "utf-8")
    assert _units(files / "b.jsonl", "--field", "body")[0]["language"] == "el"
    assert "no column `body`; there are id, text" in _identify(files / "a.parquet", "--field", "body", code=2).stderr


@pytest.mark.parametrize(("name", "problem"), [("absent.txt", "no such file"), (".", "a folder; name the files")])
def test_a_file_that_is_none_stops_before_the_first_answer(files, name, problem):
    done = CliRunner().invoke(app, ["identify", str(files / "a.txt"), str(files / name)])
    assert isinstance(done.exception, BadInput)
    assert problem in str(done.exception)
    assert not done.stdout


# as a process


def test_standard_input_is_plain_text(files):
    done = _process("-", "--json", input="\n".join(TEXTS))
    assert [json.loads(line)["language"] for line in done.stdout.splitlines()] == list(TAGS)
    assert json.loads(done.stdout.splitlines()[1])["line"] == 2
    assert done.returncode == 0
    assert done.stderr == "sentences: 4 (el 1, ka 1, en 1, fi 1)\n"
    assert _process("-", input="").stderr == "sentences: 0\n"


def test_a_reader_that_stops_ends_it_in_silence(files):
    (files / "long.txt").write_text("\n".join(TEXTS * 5000), "utf-8")
    with subprocess.Popen(
        [*PROGRAM, str(files / "long.txt"), "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as started:
        assert json.loads(started.stdout.readline())["language"] == "el"
        started.stdout.close()
        assert started.stderr.read() == b""


def test_without_a_terminal_nothing_but_answers_is_written_to_standard_output(files):
    done = _process(files / "a.txt", env={**os.environ, "FORCE_COLOR": "1"})
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == list(TAGS)
