"""Numbers in words: one way to write each kind of quantity, in the page and in the report."""

import math

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_SPACE = "\N{NO-BREAK SPACE}"


def count(number: float) -> str:
    """A whole number: `12,345`."""
    return f"{number:,.0f}"


def short(number: float) -> str:
    """A large number in words: `3.41 million`; below a million as it is."""
    for unit, word in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if number >= unit:
            return f"{_figures(number / unit)}{_SPACE}{word}"
    return count(number)


def brief(number: float) -> str:
    """A whole number where there is little room: `12,345`, `3.41 M`, `7 G`."""
    for unit, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if number >= unit:
            return f"{_figures(number / unit)}{_SPACE}{letter}"
    return count(number)


def decimal(number: float, places: int = 2) -> str:
    """A number with fixed decimals: `1.52`."""
    return f"{number:,.{places}f}"


def tenths(number: float) -> str:
    """A number with one decimal: `31.4`."""
    return decimal(number, 1)


def kilobytes(number: float) -> str:
    """Bytes as kilobytes of a thousand, without the unit: `12.3`, `1,234`."""
    return f"{number / 1000:,.1f}" if number < 1e6 else f"{number / 1000:,.0f}"


def size(number: float) -> str:
    """Bytes with the unit that fits: `4.5 MB`."""
    for unit, word in ((1e15, "PB"), (1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if number >= unit:
            return f"{_figures(number / unit)}{_SPACE}{word}"
    return f"{number:.0f}{_SPACE}bytes"


def percent(share: float) -> str:
    """A share of one: `2.3 %`."""
    return f"{100 * share:.1f}{_SPACE}%"


def span(seconds: float) -> str:
    """A stretch of time: `0.4 s`, `12 s`, `3 min 12 s`, `2 h 05 min`, `3 d 4 h`."""
    if seconds < 10:
        return f"{seconds:.1f}{_SPACE}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, days = minutes // 60, minutes // 1440
    if minutes == 0:
        return f"{rest}{_SPACE}s"
    if hours == 0:
        return f"{minutes}{_SPACE}min{_SPACE}{rest:02d}{_SPACE}s"
    if days == 0:
        return f"{hours}{_SPACE}h{_SPACE}{minutes % 60:02d}{_SPACE}min"
    return f"{days}{_SPACE}d{_SPACE}{hours % 24}{_SPACE}h"


def energy(kwh: float) -> str:
    """Energy with the unit that fits: `0.45 Wh`, `12.3 Wh`, `1.23 kWh`, `4.5 MWh`."""
    amount, unit = (kwh * 1000, "Wh") if kwh < 1 else (kwh, "kWh") if kwh < 1000 else (kwh / 1000, "MWh")
    return f"{_figures(amount)}{_SPACE}{unit}"


def scientific(number: float) -> str:
    """A very large number: `3.0 × 10¹³`."""
    if number == 0:
        return "0"
    mantissa, _, exponent = f"{number:.1e}".partition("e")
    return f"{mantissa}{_SPACE}×{_SPACE}10{str(int(exponent)).translate(_SUPERSCRIPTS)}"


def power(number: float) -> str:
    """A power of ten: `10¹³`."""
    return f"10{str(round(math.log10(number))).translate(_SUPERSCRIPTS)}"


def tick(number: float) -> str:
    """A label on an axis: as short as it can be."""
    return short(number) if number >= 1e6 else f"{number:,.10g}"


def _figures(amount: float) -> str:
    """Three figures that mean something, two below one."""
    return f"{amount:,.0f}" if amount >= 100 else f"{amount:.3g}" if amount >= 1 else f"{amount:.2g}"
