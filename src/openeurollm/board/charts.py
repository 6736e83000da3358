"""Where the marks of each chart go. The templates draw them; nothing here is markup.

Charts by language have one row a language. Across they are measured in percent of the chart, so that the letters keep
their size on a narrow screen; down they are measured in pixels.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from openeurollm.board import numbers
from openeurollm.board.facts import Cell, Facts, Fate, LanguageFacts

LEFT = 35.0
"""Percent of the width that the names of the languages take."""
ROW = 18
TOP = 22
BOTTOM = 24
_MOST_REASONS = 6
_UNITS = ((1e12, "TB", "terabytes"), (1e9, "GB", "gigabytes"), (1e6, "MB", "megabytes"), (1e3, "kB", "kilobytes"))


@dataclass(frozen=True)
class Tick:
    """A line of the grid at `at` percent (a share of one, on a curve), with its label."""

    at: float
    label: str


@dataclass(frozen=True)
class Bar:
    """A bar from the left edge of the plot; `note` is what a pointer shows, `value` what stands beside it."""

    name: str
    y: int
    width: float
    value: str
    note: str


@dataclass(frozen=True)
class Bars:
    """Horizontal bars by language, the longest first; `mean` is where the line of the mean stands."""

    title: str
    description: str
    unit: str
    height: int
    bars: list[Bar]
    ticks: list[Tick]
    plot: float
    mean: Tick | None
    absent: list[str]


@dataclass(frozen=True)
class Point:
    """A value with its interval, in percent across."""

    at: float
    low: float
    high: float
    note: str


@dataclass(frozen=True)
class Dots:
    """A row of the chart of intervals."""

    name: str
    y: int
    base: Point | None
    tuned: Point | None
    value: str


@dataclass(frozen=True)
class Intervals:
    """Values with whiskers by language, the lowest first."""

    title: str
    description: str
    height: int
    rows: list[Dots]
    ticks: list[Tick]
    plot: float
    absent: list[str]


@dataclass(frozen=True)
class Segment:
    """A piece of a stacked bar; `kind` numbers its colour."""

    kind: int
    at: float
    width: float
    note: str


@dataclass(frozen=True)
class Stack:
    """One stacked bar."""

    name: str
    y: int
    segments: list[Segment]
    value: str


@dataclass(frozen=True)
class Stacks:
    """Stacked bars by language; `kinds` names the colours."""

    title: str
    description: str
    height: int
    stacks: list[Stack]
    kinds: list[str]
    ticks: list[Tick]
    plot: float


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers (1, 2, 2.5 or 5 times a power of ten) that span `low` to `high` inside it, at most about `most`."""
    if high - low <= 1e-9 * max(abs(high), 1e-9):
        return [low]
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]


def text(facts: Facts) -> Bars | None:
    """Training text per language, in the unit that fits the largest."""
    most = max((row.text.value or 0.0 for row in facts.by_language), default=0.0)
    scale, unit, word = next(each for each in _UNITS if most >= 10 * each[0] or each is _UNITS[-1])
    return _bars(
        facts,
        "Text per language",
        f"Training text kept for each language, in {word}",
        unit,
        lambda row: row.text,
        lambda value: value / scale,
        lambda value: numbers.tenths(value / scale),
    )


def mixture(facts: Facts) -> Bars | None:
    """Shares of the training mixture, each with the epochs that it takes of the language's text."""
    found = _bars(
        facts,
        "Share of the training mixture",
        "Share of each language in what the base model was trained on, in percent of script-corrected bytes of text, "
        "and how many times its text was read (epochs)",
        "%",
        lambda row: row.share,
        lambda value: 100 * value,
        numbers.percent,
        room=21,
    )
    epochs = {row.name: row.epochs.value for row in facts.by_language}
    return found and replace(found, bars=[_with_epochs(bar, epochs[bar.name]) for bar in found.bars])


def _with_epochs(bar: Bar, epochs: float | None) -> Bar:
    if epochs is None:
        return bar
    times = numbers.decimal(epochs, 1)
    return replace(bar, value=f"{bar.value} · {times}×", note=f"{bar.note}, its text read {times} times")


def tokens(facts: Facts) -> Bars | None:
    """Tokens that the run's tokenizer needs for a parallel sentence."""
    mean = facts.tokenizers[0]["mean"] if facts.tokenizers else None
    return _bars(
        facts,
        "Tokens a sentence: who pays what",
        "Tokens that the same sentences take in each language, on average; fewer is cheaper",
        "tokens",
        lambda row: row.tokens_a_sentence,
        lambda value: value,
        lambda value: numbers.decimal(value, 1),
        mean,
    )


def _bars(
    facts: Facts,
    title: str,
    description: str,
    unit: str,
    column: Callable[[LanguageFacts], Cell],
    scaled: Callable[[float], float],
    worded: Callable[[float], str],
    mean: float | None = None,
    room: int = 13,
) -> Bars | None:
    found = [(row, value) for row in facts.by_language if (value := column(row).value) is not None]
    most = max((scaled(value) for _, value in found), default=0.0)
    if most <= 0:
        return None
    plot = 100 - LEFT - room
    found.sort(key=lambda pair: -pair[1])
    top = TOP if mean is not None else 6
    return Bars(
        title=title,
        description=f"{description}; {len(found)} languages, {_range(found, worded)}.",
        unit=unit,
        height=top + ROW * len(found) + BOTTOM,
        bars=[
            Bar(
                row.name,
                top + ROW * place,
                plot * scaled(value) / most,
                worded(value),
                f"{row.name}: {worded(value)}{'' if unit == '%' else ' ' + unit}",
            )
            for place, (row, value) in enumerate(found)
        ],
        ticks=[Tick(LEFT + plot * value / most, numbers.tick(value)) for value in ticks(0, most, 4)],
        plot=plot,
        mean=Tick(LEFT + plot * min(scaled(mean) / most, 1.0), f"mean {worded(mean)}") if mean is not None else None,
        absent=_absent(facts, column),
    )


def _range(found: Sequence[tuple[LanguageFacts, float]], worded: Callable[[float], str]) -> str:
    (most, high), (least, low) = found[0], found[-1]
    if worded(low) == worded(high):
        return f"each {worded(low)}"
    return f"from {worded(low)} ({least.name}) to {worded(high)} ({most.name})"


def _absent(facts: Facts, column: Callable[[LanguageFacts], Cell]) -> list[str]:
    return [f"{row.name} ({cell.why})" for row in facts.by_language if (cell := column(row)).value is None]


def bits(facts: Facts) -> Intervals | None:
    """Bits per byte with intervals, of the base and the tuned model."""
    rows = [row for row in facts.by_language if _bits(row)]
    ends = [end for row in rows for cell in _bits(row) for end in _ends(cell)]
    if not ends:
        return None
    low, high = min(ends), max(ends)
    low, high = (low - 0.5, high + 0.5) if low == high else (low, high)
    plot = 100 - LEFT - 21
    rows.sort(key=lambda row: _bits(row)[-1].value or 0.0)

    def across(value: float) -> float:
        return LEFT + 1 + (plot - 2) * (value - low) / (high - low)

    def point(name: str, cell: Cell) -> Point | None:
        if cell.value is None:
            return None
        start, end = _ends(cell)
        note = f"{name}: {numbers.decimal(cell.value)} ({numbers.decimal(start)}–{numbers.decimal(end)}) bits per byte"
        return Point(across(cell.value), across(start), across(end), note)

    return Intervals(
        title="Bits per byte, with 95 % intervals",
        description=f"Bits the model needs for a byte of held-out text, in {len(rows)} languages; lower is better. "
        f"Hollow circles are the base model, filled squares the tuned one. The scale starts at {numbers.decimal(low)}.",
        height=6 + 22 * len(rows) + BOTTOM,
        rows=[
            Dots(
                row.name,
                6 + 22 * place,
                point(f"{row.name}, base", row.base_bits_per_byte),
                point(f"{row.name}, tuned", row.tuned_bits_per_byte),
                " → ".join(numbers.decimal(cell.value) for cell in _bits(row) if cell.value is not None),
            )
            for place, row in enumerate(rows)
        ],
        ticks=[Tick(across(value), numbers.tick(value)) for value in ticks(low, high, 4)],
        plot=plot,
        absent=_absent(facts, lambda row: row.base_bits_per_byte),
    )


def _bits(row: LanguageFacts) -> list[Cell]:
    return [cell for cell in (row.base_bits_per_byte, row.tuned_bits_per_byte) if cell.value is not None]


def _ends(cell: Cell) -> tuple[float, float]:
    value = cell.value or 0.0
    low = value if cell.low is None else cell.low
    return min(low, value), max(value if cell.high is None else cell.high, value)


def fates(facts: Facts) -> Stacks | None:
    """Where the documents of each language went: kept, held out, dropped for the commonest reasons."""
    met = [fate for fate in _few(facts) if fate.read]
    if not met:
        return None
    common = list(facts.reasons)[:_MOST_REASONS]
    rest = len(facts.reasons) > len(common)
    kinds = ["kept", "held out", *(f"dropped: {reason.replace('_', ' ')}" for reason in common)]
    met.sort(key=lambda fate: -(fate.kept + fate.held_out) / fate.read)
    plot = 100 - LEFT - 13
    return Stacks(
        title="Where the documents went",
        description="Share of the documents read in each language that were kept, held out for evaluation, or dropped; "
        f"{numbers.count(facts.documents_read or 0)} documents in all.",
        height=6 + ROW * len(met) + BOTTOM,
        stacks=[
            Stack(fate.name, 6 + ROW * place, _segments(fate, common, kinds, plot), numbers.brief(fate.read))
            for place, fate in enumerate(met)
        ],
        kinds=[*kinds, "dropped: other reasons"] if rest else kinds,
        ticks=[Tick(LEFT + plot * share, numbers.tick(100 * share)) for share in (0, 0.25, 0.5, 0.75, 1)],
        plot=plot,
    )


def _few(facts: Facts) -> list[Fate]:
    """The languages of the contract, what is undetermined, and all other languages as one."""
    promised = {row.tag for row in facts.by_language}
    near = [fate for fate in facts.fates if fate.tag in promised or fate.tag == "und"]
    far = [fate for fate in facts.fates if fate not in near]
    dropped: dict[str, int] = {}
    for fate in far:
        for reason, number in fate.dropped.items():
            dropped[reason] = dropped.get(reason, 0) + number
    if not far:
        return near
    read, kept, held_out = (sum(getattr(fate, part) for fate in far) for part in ("read", "kept", "held_out"))
    return [*near, Fate("mul", "other languages", read, kept, held_out, dropped)]


def _segments(fate: Fate, common: Sequence[str], kinds: Sequence[str], plot: float) -> list[Segment]:
    known = [fate.kept, fate.held_out, *(fate.dropped.get(reason, 0) for reason in common)]
    parts = [*zip(kinds, known, strict=True), ("dropped: other reasons", fate.read - sum(known))]
    segments, at = [], LEFT
    for kind, (name, number) in enumerate(parts):
        width = plot * number / fate.read
        if number:
            note = f"{fate.name}, {name}: {numbers.count(number)} of {numbers.count(fate.read)}"
            segments.append(Segment(min(kind, 8), at, width, note))
        at += width
    return segments
