"""Metrics of a training: three kinds of lines, half-written ones, and lines of strangers."""

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from openeurollm.errors import BadInput
from openeurollm.ledger import metrics
from openeurollm.ledger.metrics import Event, HeldOut, Metrics, Step, read_metrics

STEP = {"step": 10, "loss": 4.0, "bits_per_byte": 2.0, "tokens": 1000, "seconds": 3.5}
HELD_OUT = {"step": 10, "tokens": 1000, "held_out": {"mt": 2.5, "el": 1.5}}
EVENT = {"step": 7, "event": "skipped", "reason": "the loss is no number"}


def written(folder: Path, *lines: Any, end: str = "\n") -> Path:
    path = folder / "metrics.jsonl"
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(texts) + end, "utf-8")
    return path


def test_three_kinds_of_lines_are_told_apart(tmp_path):
    found = read_metrics(written(tmp_path, {**HELD_OUT, "step": 0, "tokens": 0}, EVENT, STEP, HELD_OUT))
    assert found.steps == [Step(**STEP)]
    assert found.held_out == [HeldOut(**{**HELD_OUT, "step": 0, "tokens": 0}), HeldOut(**HELD_OUT)]
    assert found.events == [Event(**EVENT)]
    assert found.held_out[0].mean() == 2.0
    assert found.held_out[0].mean(frozenset({"el", "mt", "ka"})) == 2.0
    assert found.held_out[0].mean(frozenset({"el"})) == 1.5
    assert found.held_out[0].mean(frozenset({"ka"})) is None


def test_other_kinds_other_keys_and_empty_lines_are_passed_over(tmp_path):
    others = ({"step": 3, "heat": 40}, {**EVENT, "event": "cooled"}, {**EVENT, "event": ["skipped"]}, {}, "", " ")
    path = written(tmp_path, *others, {**STEP, "heat": [40]})
    assert read_metrics(path) == Metrics([Step(**STEP)])


@pytest.mark.parametrize("torn", ["{", json.dumps(STEP)[:-1], json.dumps(STEP), '{"step": 20, "lo', "\x00\x00"])
def test_a_last_line_that_is_being_written_is_passed_over(tmp_path, torn):
    assert read_metrics(written(tmp_path, STEP, torn, end="")).steps == [Step(**STEP)]


def test_what_was_done_over_again_counts_once(tmp_path):
    def step(number: int, loss: float) -> dict[str, Any]:
        return {"step": number, "loss": loss, "tokens": 100 * number}

    def held_out(number: int, bits: float) -> dict[str, Any]:
        return {"step": number, "tokens": 100 * number, "held_out": {"mt": bits}}

    back = {"step": 30, "event": "rolled_back", "reason": "spike"}
    before = (held_out(0, 4.0), step(10, 5.0), held_out(10, 3.0), step(20, 4.0), held_out(20, 2.8), step(30, 99.0))
    found = read_metrics(written(tmp_path, *before, held_out(30, 9.0), back, step(20, 4.1), held_out(20, 2.7)))
    assert [(one.step, one.loss) for one in found.steps] == [(10, 5.0), (20, 4.1)]
    assert [(one.step, one.mean()) for one in found.held_out] == [(0, 4.0), (10, 3.0), (20, 2.7)]
    assert [one.event for one in found.events] == ["rolled_back"]


@pytest.mark.parametrize("loss", ["NaN", "Infinity", "1e400", "3e38"])
def test_a_training_that_ran_away_has_no_number(tmp_path, loss):
    line = f'{{"step": 1, "tokens": 5, "loss": {loss}, "gradient_norm": {loss}}}'
    held_out = f'{{"step": 1, "tokens": 5, "held_out": {{"mt": {loss}, "el": 2.0}}}}'
    found = read_metrics(written(tmp_path, line, held_out))
    assert found.steps == [Step(step=1, tokens=5, loss=None)]
    assert found.held_out[0].held_out == {"mt": None, "el": 2.0}
    assert found.held_out[0].mean() == 2.0


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        "7",
        "null",
        "[" * 50_000,
        '{"loss":' * 10_000,
        '{"step": 1, "tokens": 5}}',
        {**STEP, "step": -1},
        {**STEP, "step": 10**19},
        '{"step": ' + "9" * 5000 + "}",
        {**STEP, "tokens": None},
        {**STEP, "loss": "much"},
        {**STEP, "loss": -1.0},
        {"loss": 1.0},
        {**HELD_OUT, "held_out": [1.0]},
        {**HELD_OUT, "held_out": {"mt": "much"}},
        {**HELD_OUT, "held_out": {str(number): 1.0 for number in range(1001)}},
        {**EVENT, "reason": ["hot"]},
        '{"step": 1, "event": "skipped", "reason": "\\ud800"}',
        '{"step": 1, "heat": "' + "x" * metrics.MAX_LINE + '"}',
    ],
)
def test_what_is_no_line_of_metrics_is_refused_by_file_and_line(tmp_path, line):
    path = written(tmp_path, STEP, line)
    with pytest.raises(BadInput, match=re.escape(f"{path}, line 2: ")):
        read_metrics(path)


def test_a_link_a_missing_file_and_too_many_lines_are_refused(tmp_path, monkeypatch):
    with pytest.raises(BadInput, match="no such file"):
        read_metrics(tmp_path / "metrics.jsonl")
    path = written(tmp_path, STEP, STEP, STEP)
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(BadInput, match="is a link"):
        read_metrics(tmp_path / "link")
    monkeypatch.setattr(metrics, "MAX_LINES", 2)
    with pytest.raises(BadInput, match="over 2 lines"):
        read_metrics(path)


@given(some.binary(max_size=300))
def test_any_bytes_are_read_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("any") / "metrics.jsonl"
    path.write_bytes(content)
    try:
        found = read_metrics(path)
    except BadInput as error:
        assert str(path) in str(error)
    else:
        assert all(step.loss is None or math.isfinite(step.loss) for step in found.steps)
