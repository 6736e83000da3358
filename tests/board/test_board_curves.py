"""Curves of training: what is drawn where, over what, and what is left out."""

import json
import math
import re
from dataclasses import replace

import pytest
from fake_run import GAP, SERVED, TAGS, metrics
from hypothesis import given
from hypothesis import strategies as some

from openeurollm.board import comparison, curves, facts
from openeurollm.board.training import training
from openeurollm.ledger import RunFolder
from openeurollm.ledger.metrics import Event, HeldOut, Metrics, Step


def places(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"[ML](-?\d+) (-?\d+)", path)]


def test_the_curve_ends_where_the_training_does(run: RunFolder) -> None:
    chart = curves.loss(facts(run), "base")
    assert chart is not None
    trained, held_out = chart.lines
    assert places(trained.path)[-1][0] == 1000
    assert places(held_out.path)[0][0] == 0
    assert held_out.name == f"held-out text, mean over {len(SERVED) - 1} languages"
    assert [mark.kind for mark in chart.events] == ["skipped", "skipped", "rolled_back"]
    assert [mark.at for mark in chart.events] == sorted(mark.at for mark in chart.events)
    assert "the gradient's norm of 91.2" in chart.events[1].note


def test_the_first_steps_do_not_flatten_the_rest() -> None:
    steps = [Step(step=n, tokens=n, loss=1.0, bits_per_byte=9.0 if n < 3 else 2.0 - n / 100) for n in range(1, 101)]
    axes = curves.fitted([[(step.tokens, step.bits_per_byte) for step in steps]])
    assert axes is not None
    assert axes.high < 2.2
    assert axes.cut_off([(1, 9.0)]) == " Values above 2.01, up to 9.00, are cut off."
    assert axes.cut_off([(1, 2.0)]) == ""


def test_a_training_that_ran_away_breaks_the_line() -> None:
    axes = curves.Axes(4.0, 0.0, 1.0)
    assert axes.path([(0, 1.0), (1, None), (2, 0.5), (4, 0.0)]) == "M0 0M500 500L1000 1000"


@given(
    some.lists(
        some.tuples(
            some.floats(0, 1e20, allow_subnormal=False), some.none() | some.floats(0, 1e30, allow_subnormal=False)
        ),
        max_size=20,
    )
)
def test_what_is_drawn_is_on_the_plot_or_above_it(points: list[tuple[float, float | None]]) -> None:
    axes = curves.fitted([points])
    if axes is None:
        assert sum(value is not None for _, value in points) < 2 or all(x == 0 for x, v in points if v is not None)
        return
    assert all(0 <= x <= 1000 and -1000 <= y <= 1000 for x, y in places(axes.path(points)))
    assert all(math.isfinite(tick.at) and -0.01 <= tick.at <= 1.01 for tick in (*axes.up(), *axes.along("tokens")[0]))


@pytest.mark.parametrize(
    ("unit", "last", "words", "labels"),
    [
        ("tokens", 819_200, "thousand tokens", ["0", "250", "500", "750"]),
        ("tokens", 24.6e6, "million tokens", ["0", "10", "20"]),
        ("flop", 3.01e13, "10¹³ floating-point operations", ["0", "1", "2", "3"]),
        ("seconds", 5400, "minutes of training", ["0", "25", "50", "75"]),
        ("seconds", 90_000, "hours of training", ["0", "10", "20"]),
    ],
)
def test_the_unit_across_fits_the_training(unit: str, last: float, words: str, labels: list[str]) -> None:
    ticks, said = curves.Axes(last, 0, 1).along(unit)
    assert said == words
    assert [tick.label for tick in ticks] == labels


def test_every_language_has_its_place_in_the_order_of_the_contract(run: RunFolder) -> None:
    found = curves.by_language(facts(run), "base")
    assert found is not None
    mean, *charts = found.charts
    assert mean.name == "Mean"
    assert [chart.tag for chart in charts] == list(TAGS)
    assert {chart.tag for chart in charts if chart.why} == {GAP, "az"}
    assert all((chart.lines == []) == bool(chart.why) for chart in charts)


def test_long_trainings_are_thinned_and_short_ones_kept() -> None:
    steps = [Step(step=n, tokens=8 * n, loss=2.0 + n % 2, bits_per_byte=1.0) for n in range(1, 10_001)]
    held_out = [HeldOut(step=n, tokens=8 * n, held_out={"mt": 5.0 - n / 2500}) for n in range(0, 10_001, 10)]
    events = [Event(step=n, event="skipped") for n in range(1, 501)]
    found = training(Metrics(steps, held_out, events))
    assert len(found.steps) == 400
    assert found.steps[-1]["step"] == 10_000
    assert {round(step["loss"], 3) for step in found.steps} == {2.48, 2.52}
    assert len(found.held_out) == 80
    assert (found.held_out[0]["step"], found.held_out[-1]["step"]) == (0, 10_000)
    assert found.ends("mt") == (5.0, 1.0)
    assert found.counted == {"skipped": 500}
    assert len(found.events) == 100


def test_what_was_measured_has_the_time_of_its_step() -> None:
    steps = [Step(step=n, tokens=n, loss=1.0, seconds=seconds) for n, seconds in ((10, 5.0), (20, 9.0), (30, 11.0))]
    held_out = [HeldOut(step=n, tokens=n, held_out={"mt": 1.0}) for n in (0, 15, 30)]
    found = training(Metrics(steps, held_out))
    assert [each["seconds"] for each in found.held_out] == [0.0, 9.0, 11.0]
    assert training(Metrics([], held_out[:1])).held_out[0]["seconds"] == 0.0


def test_runs_compare_over_operations_where_they_tell_of_them(run: RunFolder) -> None:
    found = facts(run)
    half = replace(found, folder="half", flop=(found.flop or 0.0) / 2)
    unknown = replace(found, folder="unknown", flop=None)
    for chart in comparison.trainings([found, half, unknown]):
        whole, shorter = (places(line.path)[-1][0] for line in chart["flop"].lines)
        assert (whole, shorter) == (1000, 500)
        assert "Without a curve: unknown." in chart["flop"].description
        assert len(chart["tokens"].lines) == len(chart["seconds"].lines) == 3


def test_one_run_that_measured_is_not_compared_by_language(run: RunFolder) -> None:
    found = facts(run)
    assert comparison.by_language([found, replace(found, training={}, learnt={})]) is None
    assert comparison.trainings([replace(found, training={}, learnt={})] * 2) == []


def test_the_fake_metrics_are_lines_that_the_trainer_could_write() -> None:
    assert all(json.loads(json.dumps(line))["step"] >= 0 for line in metrics("model"))
