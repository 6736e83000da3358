"""The trainings of several runs in one chart, over tokens, operations or time, and language by language."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from openeurollm.board.curves import (
    UNITS,
    Curves,
    Line,
    Multiples,
    Points,
    Small,
    drawable,
    fitted,
    last,
    line,
    multiples,
    of_language,
)
from openeurollm.board.facts import Facts
from openeurollm.board.training import Training
from openeurollm.languages import languages

COLOURS = 8
"""Runs that have a colour of their own."""


def trainings(runs: Sequence[Facts]) -> list[Mapping[str, Curves]]:
    """Curves of the base models of several runs: held-out text in the languages that all measure, and the text they
    train on. Each is there by what it is drawn over, `tokens`, `flop` or `seconds`, where a run tells of it.
    """
    among = shared(runs)
    charts = [
        _compared(
            runs,
            "Held-out text, runs compared",
            f"Mean over the {len(among)} languages whose held-out text all of them measured.",
            lambda found: [{**each, "value": _mean(each["languages"], among)} for each in found.held_out],
        ),
        _compared(
            runs,
            "Text they train on, runs compared",
            "On the text that each run trains on.",
            lambda found: [{**each, "value": each["bits_per_byte"]} for each in found.steps],
        ),
    ]
    return [chart for chart in charts if chart]


def shared(runs: Sequence[Facts]) -> frozenset[str]:
    """Languages whose held-out text was measured in the training of every run that measured any."""
    sets = [
        frozenset(tag for tag, bits in found.held_out[-1]["languages"].items() if bits is not None)
        for facts in runs
        if (found := facts.training.get("base")) and found.held_out
    ]
    return frozenset.intersection(*sets) if sets else frozenset()


def _mean(values: Mapping[str, float | None], among: frozenset[str]) -> float | None:
    found = [bits for tag in among if (bits := values.get(tag)) is not None]
    return sum(found) / len(found) if found and len(found) == len(among) else None


def _compared(
    runs: Sequence[Facts], title: str, words: str, values: Callable[[Training], Sequence[Mapping[str, Any]]]
) -> Mapping[str, Curves]:
    charts = {unit: _over(unit, runs, title, words, values) for unit in UNITS}
    return {unit: chart for unit, chart in charts.items() if chart}


def _over(
    unit: str, runs: Sequence[Facts], title: str, words: str, values: Callable[[Training], Sequence[Mapping[str, Any]]]
) -> Curves | None:
    series = [_spent(unit, facts, values(facts.training["base"])) if "base" in facts.training else [] for facts in runs]
    axes = fitted(series)
    if axes is None:
        return None
    across, label = axes.along(unit)
    pairs = list(zip(runs, series, strict=True))
    lines = [
        Line(f"r{number % COLOURS}", facts.folder, axes.path(points), last(points))
        for number, (facts, points) in enumerate(pairs)
        if points
    ]
    ends = ", ".join(f"{line.name} {line.value}" for line in lines)
    absent = ", ".join(facts.folder for facts, points in pairs if not points)
    without = f" Without a curve: {absent}." if absent else ""
    return Curves(
        title=title,
        description=f"Bits per byte; lower is better. {words} At the end: {ends}.{without}{axes.cut_off(*series)}",
        lines=lines,
        across=across,
        up=axes.up(),
        across_label=label,
        up_label="bits per byte",
    )


def _spent(unit: str, facts: Facts, points: Sequence[Mapping[str, Any]]) -> Points:
    """The points over what the training had taken by then; none where that is not known."""
    if unit == "tokens":
        return drawable((each["tokens"], each["value"]) for each in points)
    if unit == "seconds":
        return drawable((each["seconds"], each["value"]) for each in points if each["seconds"] is not None)
    if facts.flop is None or not facts.training_tokens:
        return []
    return drawable((each["tokens"] * facts.flop / facts.training_tokens, each["value"]) for each in points)


def by_language(runs: Sequence[Facts]) -> Multiples | None:
    """Held-out text of each language over the training of several runs, a line each."""
    measured = [(number, facts) for number, facts in enumerate(runs) if facts.learnt.get("base")]
    names = {row.tag: row.name for _, facts in measured for row in facts.learnt["base"]}
    curves = {
        tag: [(number, of_language(facts, "base", tag)) for number, facts in measured]
        for tag in sorted(names, key=list(languages()).index)
    }
    axes = fitted([points for found in curves.values() for _, points in found], 3, start=0.1)
    if axes is None or len(measured) < 2:
        return None
    charts = []
    for tag, found in curves.items():
        drawn = [(number, points) for number, points in found if points]
        ends = [f"{runs[number].folder} {last(points)}" for number, points in drawn]
        lines = [line(f"r{number % COLOURS}", axes, points) for number, points in drawn]
        why = "" if drawn else "measured in no run"
        value = " · ".join(last(points) for _, points in drawn[:3]) + (" …" if len(drawn) > 3 else "")
        charts.append(Small(names[tag], tag, value, f"{names[tag]}, at the end: {', '.join(ends)}", lines, why))
    return multiples(
        axes,
        "Each language, runs compared",
        "Bits per byte of held-out text in training, a line a run, with what each ends at in the order of the runs.",
        charts,
        [points for found in curves.values() for _, points in found],
    )
