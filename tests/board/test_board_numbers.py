"""How numbers are written, and where marks of charts go."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
from fake_run import SERVED
from hypothesis import given
from hypothesis import strategies as some

from openeurollm.board import charts, facts, numbers
from openeurollm.ledger import RunFolder


@pytest.mark.parametrize(
    ("function", "number", "written"),
    [
        (numbers.count, 12345, "12,345"),
        (numbers.short, 999_999, "999,999"),
        (numbers.short, 3_412_992, "3.41 million"),
        (numbers.short, 999_700_000, "1,000 million"),
        (numbers.short, 7e9, "7 billion"),
        (numbers.short, 4.2e15, "4,200 trillion"),
        (numbers.brief, 45_678, "45,678"),
        (numbers.brief, 12_345_678, "12.3 M"),
        (numbers.kilobytes, 12_345, "12.3"),
        (numbers.size, 999, "999 bytes"),
        (numbers.size, 4_500_000, "4.5 MB"),
        (numbers.percent, 0.0234, "2.3 %"),
        (numbers.span, 0, "0.0 s"),
        (numbers.span, 59.6, "1 min 00 s"),
        (numbers.span, 3599.9, "1 h 00 min"),
        (numbers.span, 7_500, "2 h 05 min"),
        (numbers.span, 100_000, "1 d 3 h"),
        (numbers.energy, 0.00041, "0.41 Wh"),
        (numbers.energy, 0.4, "400 Wh"),
        (numbers.energy, 1234.0, "1.23 MWh"),
        (numbers.scientific, 3.01e13, "3.0 × 10¹³"),
        (numbers.scientific, 0, "0"),
        (numbers.power, 1e13, "10¹³"),
        (numbers.tick, 2.5, "2.5"),
        (numbers.tick, 0.1 + 0.2, "0.3"),
    ],
)
def test_numbers_in_words(function: Callable[[float], str], number: float, written: str) -> None:
    assert function(number).replace("\N{NO-BREAK SPACE}", " ") == written


@given(some.floats(0, 1e30), some.floats(0, 1e30))
def test_ticks_lie_on_the_axis_and_are_few(one: float, other: float) -> None:
    low, high = sorted((one, other))
    found = charts.ticks(low, high)
    margin = 1e-6 * (high - low)
    assert 1 <= len(found) <= 7
    assert found == sorted(found)
    assert all(math.isfinite(tick) and low - margin <= tick <= high + margin for tick in found)


def test_bars_are_in_proportion_and_the_longest_comes_first(run: RunFolder) -> None:
    found = facts(run)
    chart = charts.text(found)
    assert chart is not None
    text = {row.name: row.text.value or 0.0 for row in found.by_language}
    widths = [bar.width for bar in chart.bars]
    assert widths == sorted(widths, reverse=True)
    for bar in chart.bars:
        assert bar.width == pytest.approx(chart.plot * text[bar.name] / max(text.values()))


def test_whiskers_span_the_interval_and_hold_the_value(run: RunFolder) -> None:
    chart = charts.bits(facts(run))
    assert chart is not None
    assert len(chart.rows) == len(SERVED)
    for row in chart.rows:
        for point in (row.base, row.tuned):
            assert point is not None
            assert charts.LEFT <= point.low < point.at < point.high <= charts.LEFT + chart.plot
    assert [name.partition(" (")[0] for name in chart.absent] == ["Montenegrin"]


def test_stacks_fill_the_bar(run: RunFolder) -> None:
    chart = charts.fates(facts(run))
    assert chart is not None
    for stack in chart.stacks:
        assert sum(part.width for part in stack.segments) == pytest.approx(chart.plot)
    assert [stack.name for stack in chart.stacks][-2:] == ["undetermined", "other languages"]


def test_there_is_no_chart_without_numbers(fake: Callable[..., RunFolder]) -> None:
    empty = facts(fake("recipe"))
    assert charts.text(empty) is charts.mixture(empty) is charts.tokens(empty) is None
    assert charts.bits(empty) is charts.fates(empty) is None
    assert empty.training == empty.learnt == {}


@pytest.mark.parametrize(("times", "unit"), [(1, "kB"), (1e3, "MB"), (1e7, "GB"), (1e10, "TB")])
def test_the_unit_of_text_fits_the_largest_run(run: RunFolder, times: float, unit: str) -> None:
    found = facts(run)
    rows = [replace(row, text=replace(row.text, value=times * (row.text.value or 0.0))) for row in found.by_language]
    chart = charts.text(replace(found, by_language=rows))
    assert chart is not None
    assert chart.unit == unit
    assert max(len(bar.value) for bar in chart.bars) <= 8
