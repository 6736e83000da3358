"""A picture of who pays what: a row a language, a dot a tokenizer, in SVG for light and dark pages."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from openeurollm.languages import languages, name
from openeurollm.ledger.pictures import line_of, mark, picture

_LEFT, _PLOT, _RIGHT, _ROW, _LEGEND = 178, 520, 62, 19, 21
_STEPS = (1, 2, 5, 10)


def chart(tokenizers: Sequence[Mapping[str, Any]], title: str = "Tokens a parallel sentence") -> str:
    """What `compare` found of some tokenizers as SVG.

    Languages are in the order of what they pay with the first one, the dearest on top; its figures stand on the right.
    A dashed line is the mean over languages. Shapes and colours repeat after six.
    """
    costs = tokenizers[0]["languages"]
    tags = sorted(costs, key=lambda tag: (-costs[tag], tag))
    most = max(max(each["languages"].values()) for each in tokenizers)
    step = _step(most)
    scale = _PLOT / (most * 1.02)
    top = 50 + _LEGEND * len(tokenizers)
    foot = top + _ROW * len(tags)
    ticks = [step * number for number in range(int(most // step) + 1)]
    body = [
        f'<text class="t" x="12" y="26" font-size="16" font-weight="600">{escape(title)}</text>',
        *(_legend(number, each) for number, each in enumerate(tokenizers)),
        *(_tick(_LEFT + value * scale, top - 6, foot, f"{value:g}") for value in ticks),
        *(_mean(_LEFT + each["mean"] * scale, top - 6, foot, number) for number, each in enumerate(tokenizers)),
        *(_row(tag, top + _ROW * (place + 0.5), tokenizers, scale) for place, tag in enumerate(tags)),
    ]
    return picture(_LEFT + _PLOT + _RIGHT, foot + 30, title, body)


def _step(most: float) -> float:
    """The least of 1, 2, 5, 10, 20 … that has at most eight steps up to `most`."""
    power = 10 ** math.floor(math.log10(most / 8))
    return float(next(step * power for step in _STEPS if step * power * 8 >= most))


def _legend(number: int, found: Mapping[str, Any]) -> str:
    y = 50 + _LEGEND * number
    told = f"{found['vocabulary']:,} tokens; mean {found['mean']:.1f}, worst {found['worst']:.1f} in"
    told += f" {_name(found['worst_language'])}, largest over smallest {found['max_min']:.2f}"
    return (
        f"{mark(20, y, number)}"
        f'<text x="34" y="{y + 4}"><tspan class="t" font-weight="600">{escape(str(found["name"]))}</tspan>'
        f'<tspan class="s" dx="8">{escape(told)}</tspan></text>'
    )


def _tick(x: float, top: float, foot: float, label: str) -> str:
    return (
        f'<line class="g" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{foot}"/>'
        f'<text class="s" x="{x:.1f}" y="{foot + 17}" text-anchor="middle">{label}</text>'
    )


def _mean(x: float, top: float, foot: float, number: int) -> str:
    return f'<line class="{line_of(number)}" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{foot}" stroke-dasharray="3 4"/>'


def _row(tag: str, y: float, tokenizers: Sequence[Mapping[str, Any]], scale: float) -> str:
    costs = [each["languages"][tag] for each in tokenizers]
    places = [_LEFT + cost * scale for cost in costs]
    note = "; ".join(f"{each['name']} {cost:.1f}" for each, cost in zip(tokenizers, costs, strict=True))
    dots = "".join(mark(places[number], y, number) for number in reversed(range(len(places))))
    return (
        f"<g><title>{escape(f'{_name(tag)}: {note}')}</title>"
        f"{_text(_LEFT - 12, y, _name(tag))}"
        f'<line class="l" x1="{min(places):.1f}" x2="{max(places):.1f}" y1="{y:.1f}" y2="{y:.1f}"/>{dots}'
        f"{_text(_LEFT + _PLOT + _RIGHT - 12, y, f'{costs[0]:.1f}')}</g>"
    )


def _text(x: float, y: float, text: str) -> str:
    return f'<text class="t" x="{x}" y="{y + 4.5:.1f}" text-anchor="end">{escape(text)}</text>'


def _name(tag: str) -> str:
    return name(tag) if tag in languages() else tag
