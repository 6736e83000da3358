"""Planning: what a budget in FLOP buys on a machine of known speed, and what the jobs of a run cost at a site."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from openeurollm.plan.jobs import Forecast, forecast, total

__all__ = ["Forecast", "Plan", "forecast", "plan", "total"]

JOULES_A_KWH = 3.6e6


@dataclass(frozen=True)
class Plan:
    """What a training costs: seconds, kWh and euros (`None` where no power or price is known)."""

    flop: float
    flop_per_s: float
    seconds: float
    kwh: float | None
    euros: float | None

    def asdict(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def plan(flop: float, flop_per_s: float, watts: float | None = None, euros_per_kwh: float | None = None) -> Plan:
    """Time, energy and money for a training of `flop` operations at `flop_per_s` sustained.

    `watts` is the power of the whole machine under load. Raises `ValueError` for a speed that is not above zero, and
    for a figure that is not finite.
    """
    if not (flop_per_s > 0 and all(map(math.isfinite, (flop, flop_per_s, watts or 0.0, euros_per_kwh or 0.0)))):
        raise ValueError("the speed must be above zero, and every figure a finite number")
    seconds = flop / flop_per_s
    kwh = watts * seconds / JOULES_A_KWH if watts is not None else None
    return Plan(
        flop, flop_per_s, seconds, kwh, kwh * euros_per_kwh if kwh is not None and euros_per_kwh is not None else None
    )
