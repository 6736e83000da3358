"""What pictures in SVG share: a ground for light pages and dark ones, and marks by which series are told apart."""

from collections.abc import Iterable
from html import escape

_LIGHT = ("#0b62a8", "#c2410c", "#0f7b5f", "#a21caf", "#8a6d00", "#475569")
_DARK = ("#63b3ff", "#ff9a5c", "#3ddc97", "#f0a6ff", "#ffd84d", "#b8c4d6")
"""Told apart with any colour vision, together with the shapes; a contrast of 4.5 and more on each ground."""
_SHAPES = (
    "M-4.6 0a4.6 4.6 0 1 0 9.2 0a4.6 4.6 0 1 0 -9.2 0z",
    "M-4.1 -4.1h8.2v8.2h-8.2z",
    "M0 -5.8L5.8 0L0 5.8L-5.8 0z",
    "M0 -5.4L5.3 4.2L-5.3 4.2z",
    "M0 5.4L5.3 -4.2L-5.3 -4.2z",
    "M-5 -1.7H-1.7V-5H1.7V-1.7H5V1.7H1.7V5H-1.7V1.7H-5z",
)
_STYLE = (
    ".p{{fill:{ground}}}.t{{fill:{ink}}}.s{{fill:{faint}}}.g{{stroke:{grid}}}.d{{stroke:{ground};stroke-width:1.2}}"
    ".l{{stroke:{line};stroke-width:2}}.f{{stroke:{ink};stroke-width:2;fill:none}}.b{{fill:{faint};opacity:.2}}"
    ".x{{fill:{ink};stroke:{ground}}}"
)


def picture(width: float, height: float, title: str, body: Iterable[str]) -> str:
    """An SVG of this size in pixels.

    Classes in the body: `t` text, `s` lesser text, `g` grid, `l` a bar between marks, `f` the line that matters, `b` a
    band around it, `x` a mark of its own; `line_of` gives that of a series.
    """
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" font-size="12.5" '
        f'font-family="system-ui, sans-serif"><title>{escape(title)}</title><style>{_style()}</style>'
        f'<rect class="p" width="100%" height="100%"/>{"".join(body)}</svg>\n'
    )


def mark(x: float, y: float, number: int, note: str = "") -> str:
    """The mark of a series at a place, with words that show over it; shapes and colours repeat after six."""
    kind = number % len(_SHAPES)
    title = f"<title>{escape(note)}</title>" if note else ""
    return f'<path class="d c{kind}" transform="translate({x:.1f} {y:.1f})" d="{_SHAPES[kind]}">{title}</path>'


def line_of(number: int) -> str:
    """The class of a series' lines."""
    return f"m{number % len(_SHAPES)}"


def _style() -> str:
    light = _STYLE.format(ground="#fff", ink="#1a202c", faint="#566073", grid="#e6e9ef", line="#cdd3dd")
    dark = _STYLE.format(ground="#12161d", ink="#e8ecf2", faint="#a3adbd", grid="#262d39", line="#3d4757")
    return f"{light}{_colours(_LIGHT)}@media(prefers-color-scheme:dark){{{dark}{_colours(_DARK)}}}"


def _colours(colours: Iterable[str]) -> str:
    return "".join(f".c{n}{{fill:{colour}}}.m{n}{{stroke:{colour};fill:none}}" for n, colour in enumerate(colours))
