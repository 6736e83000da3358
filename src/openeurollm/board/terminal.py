"""A training on the terminal: its latest figures, a small curve, and every language."""

from collections.abc import Sequence

from openeurollm.board import numbers
from openeurollm.board.curves import drawable, fitted
from openeurollm.board.training import Training

_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""Bits of a braille letter's dots, by row and column."""


def figures(found: Training) -> list[tuple[str, str]]:
    """The latest figures, named."""
    step, held_out = found.steps[-1] if found.steps else {}, found.held_out
    rows = [
        ("step", _told(step.get("step"), numbers.count)),
        ("tokens", _told(step.get("tokens"), numbers.count)),
        ("loss", _told(step.get("loss"), numbers.decimal, "nats a token", 3)),
        ("bits per byte", _told(step.get("bits_per_byte"), numbers.decimal, "of the text it trains on", 3)),
        ("held-out text", _from_to([each["mean"] for each in held_out])),
        ("learning rate", _told(step.get("rate"), numbers.decimal, "of the highest")),
        ("gradient norm", _told(step.get("gradient_norm"), numbers.decimal)),
        ("speed", _told(step.get("tokens_per_s"), numbers.count, "tokens a second")),
        ("share of matmul", _told(step.get("matmul_share"), numbers.percent, "of the speed of matrix products here")),
        ("share of peak", _told(step.get("peak_share"), numbers.percent, "of what the maker says")),
        ("time", _told(step.get("seconds"), numbers.span)),
    ]
    rows += [(kind.replace("_", " "), numbers.count(times)) for kind, times in found.counted.items()]
    rows += [("last event", _event(found))] if found.events else []
    return [(name, words) for name, words in rows if words]


def line(found: Training) -> str:
    """The latest figures in one line; empty where there are none yet."""
    if not found.steps:
        return ""
    step = found.steps[-1]
    parts = (
        f"step {numbers.count(step['step'])}",
        _told(step["loss"], numbers.decimal, "nats a token", 3),
        _told(step["bits_per_byte"], numbers.decimal, "bits a byte", 3),
        _told(step["tokens_per_s"], numbers.count, "tokens/s"),
        f"held-out {numbers.decimal(found.held_out[-1]['mean'], 3)}"
        if found.held_out and found.held_out[-1]["mean"] is not None
        else "",
    )
    return ", ".join(filter(None, parts))


def curve(found: Training, width: int = 60, height: int = 8) -> list[str]:
    """Lines of text with bits per byte over tokens, `width` letters wide; none where there is nothing to draw."""
    points = drawable((each["tokens"], each["bits_per_byte"]) for each in found.steps)
    axes = fitted([points])
    if axes is None:
        return []
    cells = [[0] * width for _ in range(height)]
    for x, value in points:
        if value is not None and axes.low <= value <= axes.high:
            across = min(int(axes.across(x) * 2 * width), 2 * width - 1)
            down = min(int(axes.down(value) * 4 * height), 4 * height - 1)
            cells[down // 4][across // 2] |= _DOTS[down % 4][across % 2]
    ends = {0: numbers.decimal(axes.high), height - 1: numbers.decimal(axes.low)}
    drawn = [
        f"{ends.get(number, ''):>6} {''.join(chr(0x2800 + cell) for cell in row)}" for number, row in enumerate(cells)
    ]
    last = f"{numbers.short(axes.last)} tokens"
    return ["bits per byte of the text it trains on", *drawn, f"{'':6} 0{last:>{width - 1}}"]


def languages(found: Training, tags: Sequence[str]) -> list[str]:
    """A cell a language with what it ended at, or a dash where nothing was measured; none where nothing was at all."""
    if not found.held_out:
        return []
    width = max(map(len, tags), default=0)
    ends = [found.ends(tag)[1] for tag in tags]
    return [
        f"{tag:{width}} {'–' if bits is None else numbers.decimal(bits):>5}"
        for tag, bits in zip(tags, ends, strict=True)
    ]


def _told(value: float | None, words: object, unit: str = "", *rest: int) -> str:
    if value is None or not callable(words):
        return ""
    return f"{words(value, *rest)} {unit}".rstrip()


def _from_to(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return ""
    return (
        f"{numbers.decimal(known[-1], 3)} bits per byte, mean over languages; {numbers.decimal(known[0], 3)} at first"
    )


def _event(found: Training) -> str:
    last = found.events[-1]
    reason = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in last["reason"][:200])
    why = f": {reason}" if reason else ""
    return f"step {numbers.count(last['step'])}, {last['event'].replace('_', ' ')}{why}"
