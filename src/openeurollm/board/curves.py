"""Where the marks of the charts of a training go.

Along the axes places are shares of one of the plot; lines are drawn in thousandths of it. The templates do the rest.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from openeurollm.board import numbers
from openeurollm.board.charts import Tick, ticks
from openeurollm.board.facts import Facts, Learnt
from openeurollm.board.training import Training

Points = Sequence[tuple[float, float | None]]
"""Places across and values; a value that is None breaks the line."""

_WORDS = {"skipped": "step skipped", "rolled_back": "rolled back"}


@dataclass(frozen=True)
class Line:
    """A line; `kind` names its look, `value` is what it ends at, in words."""

    kind: str
    name: str
    path: str
    value: str = ""


@dataclass(frozen=True)
class Mark:
    """Something at a place of a curve: a measurement, or an event of the `kind`."""

    kind: str
    at: float
    up: float
    note: str


@dataclass(frozen=True)
class Curves:
    """Lines over a training, on a plot that is `height` pixels high."""

    title: str
    description: str
    lines: list[Line]
    across: list[Tick]
    up: list[Tick]
    across_label: str = ""
    up_label: str = ""
    height: int = 190
    dots: list[Mark] = field(default_factory=list)
    events: list[Mark] = field(default_factory=list)
    kinds: Mapping[str, str] = field(default_factory=dict)
    """Kind of event → its name and how often it happened."""


@dataclass(frozen=True)
class Small:
    """The curves of one language among those of all; without lines, `why` says the reason."""

    name: str
    tag: str
    value: str
    description: str
    lines: list[Line]
    why: str = ""


@dataclass(frozen=True)
class Multiples:
    """A small chart a language, all on the same scale; `grid` is where its lines of `labels` stand."""

    title: str
    description: str
    grid: list[Tick]
    charts: list[Small]


@dataclass(frozen=True)
class Axes:
    """From 0 to `last` across, from `low` to `high` up."""

    last: float
    low: float
    high: float

    def path(self, points: Points) -> str:
        """The points as an SVG path."""
        words, pen = [], "M"
        for x, value in points:
            if value is None:
                pen = "M"
                continue
            words.append(f"{pen}{1000 * self.across(x):.0f} {1000 * self.down(value):.0f}")
            pen = "L"
        return "".join(words)

    def across(self, x: float) -> float:
        """Where `x` is, as a share of the width."""
        return x / self.last

    def down(self, value: float) -> float:
        """Where a value is, as a share of the height from the top; above it for one that the plot cuts off."""
        return max(-1.0, (self.high - value) / (self.high - self.low))

    def up(self, most: int = 4) -> list[Tick]:
        """Ticks of the values."""
        return [Tick(self.down(value), numbers.tick(value)) for value in ticks(self.low, self.high, most)]

    def along(self, unit: str) -> tuple[list[Tick], str]:
        """Ticks across and the words beside them, in `tokens`, `flop` or `seconds`, or so many of them at once."""
        size, words = _UNITS[unit](self.last)
        return [Tick(self.across(value * size), numbers.tick(value)) for value in ticks(0, self.last / size, 4)], words

    def cut_off(self, *series: Points) -> str:
        """A sentence on values that are too large for the plot, where there are any."""
        highest = max((value for points in series for _, value in points if value is not None), default=0.0)
        if highest <= self.high:
            return ""
        return f" Values above {numbers.decimal(self.high)}, up to {numbers.decimal(highest)}, are cut off."


def fitted(series: Sequence[Points], most: int = 4, start: float = 0.03) -> Axes | None:
    """Axes that all the series fit, with about `most` ticks; None where no line has two values.

    Values in the `start` of the training, a share of it, do not stretch the scale: those of the first steps would
    flatten all others.
    """
    found = [(x, value) for points in series for x, value in points if value is not None]
    last = max((x for x, _ in found), default=0.0)
    if last <= 0 or not any(sum(value is not None for _, value in points) > 1 for points in series):
        return None
    low, high = min(value for _, value in found), max(value for x, value in found if x >= start * last)
    grid = ticks(low, high, most)
    low, high = min(low, grid[0]), max(high, grid[-1])
    room = 0.04 * (high - low) or max(1e-3, 0.05 * low)
    return Axes(last, max(0.0, low - room), high + room)


def _tokens(last: float) -> tuple[float, str]:
    for size, word in ((1e12, "trillion "), (1e9, "billion "), (1e6, "million "), (1e3, "thousand ")):
        if last >= 2 * size:
            return size, f"{word}tokens"
    return 1.0, "tokens"


def _flop(last: float) -> tuple[float, str]:
    size = 10.0 ** math.floor(math.log10(last))
    return size, f"{numbers.power(size)} floating-point operations"


def _seconds(last: float) -> tuple[float, str]:
    for size, word in ((86400.0, "days"), (3600.0, "hours"), (60.0, "minutes")):
        if last >= 2 * size:
            return size, f"{word} of training"
    return 1.0, "seconds of training"


_UNITS: Mapping[str, Callable[[float], tuple[float, str]]] = {"tokens": _tokens, "flop": _flop, "seconds": _seconds}
UNITS = tuple(_UNITS)
"""What a curve can be drawn over."""


def loss(facts: Facts, model: str) -> Curves | None:
    """Bits per byte of the text that is trained on and of held-out text, over the tokens of training."""
    found = facts.training[model]
    trained = _points(found.steps, "bits_per_byte")
    held_out = _points(found.held_out, "mean")
    axes = fitted([trained, held_out])
    if axes is None:
        return None
    across, label = axes.along("tokens")
    number = len({tag for each in found.held_out for tag in each["languages"]})
    lines = [
        Line(kind, name, axes.path(points), last(points))
        for kind, name, points in (
            ("trained", "text it trains on", trained),
            ("held-out", f"held-out text, mean over {number} languages", held_out),
        )
        if points
    ]
    return Curves(
        title=f"The {model} model learns",
        description=f"Bits that the {model} model needs for a byte; lower is better. {_told(lines, trained, held_out)}"
        f"{axes.cut_off(trained, held_out)}",
        lines=lines,
        across=across,
        up=axes.up(),
        across_label=label,
        up_label="bits per byte",
        dots=[
            Mark(
                "held-out",
                axes.across(x),
                axes.down(value),
                f"after {numbers.short(x)} tokens: {numbers.decimal(value)}",
            )
            for x, value in held_out
            if value is not None and value <= axes.high
        ],
        events=[Mark(each["event"], min(1.0, axes.across(each["tokens"])), 1.0, _event(each)) for each in found.events],
        kinds={kind: f"{_WORDS[kind]}, {numbers.count(times)}×" for kind, times in found.counted.items()},
    )


def _told(lines: Sequence[Line], *series: Points) -> str:
    values = [[value for _, value in points if value is not None] for points in series if points]
    return " ".join(
        f"{line.name[0].upper()}{line.name[1:]}: from {numbers.decimal(found[0])} to {numbers.decimal(found[-1])}."
        for line, found in zip(lines, values, strict=True)
        if found
    )


def _event(each: Mapping[str, Any]) -> str:
    reason = f": {each['reason'][:200]}" if each["reason"] else ""
    return f"step {numbers.count(each['step'])}, {_WORDS[each['event']]}{reason}"


def strips(facts: Facts, model: str) -> list[Curves]:
    """Learning rate and speed over the tokens of training, each in a low chart of its own."""
    found = facts.training[model]
    share = "".join(
        f", {numbers.percent(value)} of {of}"
        for value, of in (
            (found.matmul_share, "the speed of matrix products alone here"),
            (found.peak_share, "the peak that its maker states"),
        )
        if value is not None
    )
    speed = f"{numbers.count(found.tokens_per_s)} tokens a second at the median{share}." if found.tokens_per_s else ""
    return [
        chart
        for name, title, words in (
            ("rate", "Learning rate", "As a share of the highest."),
            ("tokens_per_s", "Speed", speed),
        )
        if (chart := _strip(found, name, title, words))
    ]


def _strip(found: Training, name: str, title: str, words: str) -> Curves | None:
    points = _points(found.steps, name)
    values = [value for _, value in points if value is not None]
    if len(values) < 2 or max(values) <= 0 or points[-1][0] <= 0:
        return None
    axes = Axes(points[-1][0], 0.0, 1.05 * max(values))
    top = ticks(0, max(values), 2)[-1]
    return Curves(
        title=title,
        description=words,
        lines=[Line("strip", title, axes.path(points))],
        across=[Tick(tick.at, "") for tick in axes.along("tokens")[0]],
        up=[Tick(axes.down(value), numbers.brief(value) if value > 100 else numbers.tick(value)) for value in (0, top)],
        height=44,
    )


def by_language(facts: Facts, model: str) -> Multiples | None:
    """Bits per byte of each language's held-out text over the training, the mean of all behind each."""
    rows = facts.learnt.get(model)
    if not rows:
        return None
    held_out = facts.training[model].held_out
    curves = {row.tag: of_language(facts, model, row.tag) for row in rows}
    mean = _points(held_out, "mean")
    axes = fitted([mean, *curves.values()], 3, start=0.1)
    if axes is None:
        return None
    behind = Line("mean", "mean", axes.path(mean))
    whole = Small("Mean", "", _from_to(mean), _spoken("the mean over languages", mean), [line("held-out", axes, mean)])
    charts = [
        Small(row.name, row.tag, _from_to(points), _spoken(row.name, points), [behind, line("own", axes, points)])
        if (points := curves[row.tag])
        else _blank(row)
        for row in rows
    ]
    return multiples(
        axes,
        "How each language is learnt",
        f"Bits per byte of held-out text of each language during the training of the {model} model, from the first "
        "measurement to the last; the faint line is the mean over languages.",
        [whole, *charts],
        [mean, *curves.values()],
    )


def _blank(row: Learnt) -> Small:
    return Small(row.name, row.tag, "", "", [], row.last.why)


def multiples(axes: Axes, title: str, words: str, charts: list[Small], series: Sequence[Points]) -> Multiples:
    """Small charts on the same axes, over tokens, with a description that says what the axes are."""
    grid = axes.up(3)
    scale = (
        f"All have the same scale: {numbers.decimal(axes.low)} to {numbers.decimal(axes.high)} bits per byte, lines "
        f"at {_listed([tick.label for tick in grid])}; across, 0 to {numbers.short(axes.last)} tokens."
    )
    return Multiples(title, f"{words} {scale}{axes.cut_off(*series)}", grid, charts)


def drawable(points: Iterable[tuple[float, float | None]]) -> Points:
    """The points, or none where no value is among them."""
    found = list(points)
    return found if any(value is not None for _, value in found) else []


def _points(entries: Sequence[Mapping[str, Any]], value: str) -> Points:
    return drawable((each["tokens"], each[value]) for each in entries)


def of_language(facts: Facts, model: str, tag: str) -> Points:
    """Bits a byte of a language's held-out text over the tokens of a training; none where it was not measured."""
    return drawable((each["tokens"], each["languages"].get(tag)) for each in facts.training[model].held_out)


def line(kind: str, axes: Axes, points: Points) -> Line:
    """A line without a name."""
    return Line(kind, "", axes.path(points))


def _ends(points: Points) -> tuple[float, float]:
    values = [value for _, value in points if value is not None]
    return values[0], values[-1]


def last(points: Points) -> str:
    """What a line ends at, in words."""
    return numbers.decimal(_ends(points)[1]) if points else ""


def _from_to(points: Points) -> str:
    return " → ".join(map(numbers.decimal, _ends(points))) if points else ""


def _spoken(name: str, points: Points) -> str:
    first, last = map(numbers.decimal, _ends(points)) if points else ("", "")
    return f"Bits per byte of {name}: from {first} to {last}"


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
