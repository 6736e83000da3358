"""A picture of a sweep: loss over compute for each size, the best of each budget, and the recipe's own."""

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from openeurollm.ledger.pictures import line_of, mark, picture
from openeurollm.model.law import Estimate, Law, Point

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _FOOT = 760, 460, 62, 26, 104, 52
_STEPS = 60

Place = Callable[[float], float]


def chart(law: Law, costs: Sequence[tuple[float, float]], told: Mapping[str, Any]) -> str:
    """The sweep as SVG: a colour a size.

    `costs` are sizes in parameters with the FLOP that a byte of text costs them; `told` is what `sweep` returns.
    """
    budget, chosen = told["flop"], next(each for each in told["choices"] if each["chosen"])
    flops = [point.flop for point in law.points]
    low, high = min(flops) / 1.6, max(*flops, budget) * 2.2
    front = [(flop, _frontier(law, costs, flop)) for flop in np.geomspace(low, high, _STEPS)]
    losses = [point.loss for point in law.points]
    top = max(losses) * 1.04
    bottom = min(*losses, chosen["low"], *(best.low for _, best in front)) * 0.97
    x = _scale(math.log(low), math.log(high), _LEFT, _WIDTH - _RIGHT)
    y = _scale(math.log(bottom), math.log(top), _HEIGHT - _FOOT, _TOP)
    sizes = sorted({point.size for point in law.points})
    body = [
        _text(12, 26, "Bits per byte on held-out text over training compute", "t", 'font-size="16" font-weight="600"'),
        _text(12, 46, _words(law), "s"),
        *_legend(sizes),
        *_axes((low, high), (bottom, top), x, y),
        f'<path class="b" d="{_band(front, x, y)}"/>',
        f'<path class="f" stroke-dasharray="7 4" d="{_line([(flop, best.value) for flop, best in front], x, y)}"/>',
        *(_curve(law, size, number, (low, high), (bottom, top), x, y) for number, size in enumerate(sizes)),
        *(_dot(point, sizes.index(point.size), x, y) for point in law.points),
        _forecast(budget, chosen, x, y),
    ]
    return picture(_WIDTH, _HEIGHT, "Bits per byte over compute", body)


def _frontier(law: Law, costs: Sequence[tuple[float, float]], flop: float) -> Estimate:
    """The lowest loss that a budget buys, over sizes between the usual ones."""
    sizes = np.geomspace(costs[0][0], costs[-1][0], 200)
    known, paid = np.log(np.array(costs)).T
    each = np.exp(np.interp(np.log(sizes), known, paid))
    texts = flop / each
    best = int(np.argmin(law.best.loss(sizes, texts)))
    return law.predict(float(sizes[best]), float(texts[best]))


def _words(law: Law) -> str:
    best = law.best
    return (
        f"{len(law.points)} trainings; loss = {best.floor:.2f} + {_power(best.a)} / N^{best.alpha:.2f} + "
        f"{_power(best.b)} / D^{best.beta:.2f}, N parameters that multiply, D bytes of text"
    )


def _power(value: float) -> str:
    return f"{value:,.3g}" if value < 1e5 else f"{value:.1e}"


def _scale(low: float, high: float, first: float, last: float) -> Place:
    return lambda value: first + (math.log(value) - low) / (high - low) * (last - first)


def _text(x: float, y: float, words: str, kind: str, more: str = "") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" {more}>{escape(words)}</text>'


def _legend(sizes: Sequence[float]) -> list[str]:
    found, x = [], 20.0
    for number, size in enumerate(sizes):
        words = f"{size / 1e6:.2g} M" if size < 1e9 else f"{size / 1e9:.2g} B"
        found += [mark(x, 66, number), _text(x + 10, 70, words, "t")]
        x += 74
    line = f'<line class="f" stroke-dasharray="7 4" x1="{x:.0f}" x2="{x + 26:.0f}" y1="66" y2="66"/>'
    return [*found, line, _text(x + 32, 70, "best for the compute, 95 % interval", "t")]


def _axes(flops: tuple[float, float], losses: tuple[float, float], x: Place, y: Place) -> list[str]:
    found = []
    for power in range(math.ceil(math.log10(flops[0])), math.floor(math.log10(flops[1])) + 1):
        at = x(10.0**power)
        found.append(f'<line class="g" x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP - 8}" y2="{_HEIGHT - _FOOT}"/>')
        tick = f"1e{power}<title>10^{power} FLOP</title>"
        found.append(f'<text class="s" x="{at:.1f}" y="{_HEIGHT - _FOOT + 18}" text-anchor="middle">{tick}</text>')
    span = losses[1] - losses[0]
    step = next(step for step in (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 100, 1e9) if span / step <= 8)
    for number in range(math.ceil(losses[0] / step), math.floor(losses[1] / step) + 1):
        at = y(number * step)
        found.append(f'<line class="g" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        found.append(_text(_LEFT - 10, at + 4.5, f"{number * step:g}", "s", 'text-anchor="end"'))
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    found.append(_text(middle, _HEIGHT - 12, "training compute, FLOP", "s", 'text-anchor="middle"'))
    return [*found, _text(12, _TOP - 14, "bits a byte", "s")]


def _line(places: Sequence[tuple[float, float]], x: Place, y: Place) -> str:
    return "M" + "L".join(f"{x(flop):.1f} {y(loss):.1f}" for flop, loss in places)


def _band(front: Sequence[tuple[float, Estimate]], x: Place, y: Place) -> str:
    lows = [(flop, best.low) for flop, best in front]
    highs = [(flop, min(best.high, 1e9)) for flop, best in reversed(front)]
    return _line([*lows, *highs], x, y) + "z"


def _curve(
    law: Law, size: float, number: int, flops: tuple[float, float], losses: tuple[float, float], x: Place, y: Place
) -> str:
    """A size's curve where it stays on the picture; repeated text, which is worth less, bends none of them."""
    a_flop = max(point.text / point.flop for point in law.points if point.size == size)
    found = [(flop, float(law.best.loss(size, flop * a_flop))) for flop in np.geomspace(*flops, _STEPS)]
    inside = [(flop, loss) for flop, loss in found if losses[0] <= loss <= losses[1]]
    return f'<path class="{line_of(number)}" stroke-width="1.4" d="{_line(inside, x, y)}"/>' if inside else ""


def _dot(point: Point, number: int, x: Place, y: Place) -> str:
    words = f"{point.size:,.0f} parameters, {point.text / 1e6:,.3g} MB of text, {point.flop:.2g} FLOP: {point.loss:.3f}"
    return mark(x(point.flop), y(point.loss), number, f"{words} bits a byte")


def _forecast(budget: float, chosen: Mapping[str, Any], x: Place, y: Place) -> str:
    """A diamond at the recipe's budget with the interval of the prediction, and what is predicted."""
    at, loss = x(budget), y(chosen["bits_per_byte"])
    words = f"{chosen['layers']} layers of {chosen['width']}: {chosen['bits_per_byte']:.2f}"
    interval = f"({chosen['low']:.2f}–{chosen['high']:.2f}) at {budget:.2g} FLOP"
    top, foot = y(chosen["high"]), y(chosen["low"])
    side = min(at + 60, _WIDTH - _RIGHT)
    return (
        f'<line class="g" stroke-dasharray="2 3" x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP + 32}" y2="{top:.1f}"/>'
        f'<path class="f" d="M{at:.1f} {top:.1f}V{foot:.1f}M{at - 5:.1f} {top:.1f}h10M{at - 5:.1f} {foot:.1f}h10"/>'
        f'<path class="x" transform="translate({at:.1f} {loss:.1f})" d="M0 -7.5L7.5 0L0 7.5L-7.5 0z"/>'
        + _text(side, _TOP + 10, words, "t", 'text-anchor="end" font-weight="600"')
        + _text(side, _TOP + 26, interval, "s", 'text-anchor="end"')
    )
