"""The numbers of a training: its steps, held-out text measured on the way, and what the trainer did about spikes."""

import statistics
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from openeurollm.ledger.metrics import HeldOut, Metrics, Step

_POINTS = 400
"""About how many points a curve of steps has; each stands for an equal stretch."""
_MEASUREMENTS = 80
"""Most measurements on held-out text that are kept, evenly spaced, the first and the last among them."""
_EVENTS = 100
"""Most events that are told one by one; all are counted."""
_MEANS = ("loss", "bits_per_byte", "gradient_norm", "tokens_per_s", "matmul_share", "peak_share")


@dataclass(frozen=True)
class Training:
    """A training in numbers.

    `steps` are those of `Step`, with the loss, speed and shares as means over a stretch. `held_out` has `step`,
    `tokens`, `seconds`, bits a byte by language as `languages`, and their `mean`. `events` has `step`, `tokens`,
    `event` and `reason`; `counted` is how often each kind happened. `tokens_per_s`, `matmul_share` and `peak_share` are
    medians.
    """

    steps: list[Mapping[str, Any]]
    held_out: list[Mapping[str, Any]]
    events: list[Mapping[str, Any]]
    counted: Mapping[str, int] = field(default_factory=dict)
    tokens_per_s: float | None = None
    matmul_share: float | None = None
    peak_share: float | None = None

    def ends(self, tag: str) -> tuple[float | None, float | None]:
        """Bits a byte of a language's held-out text, measured first and last; None where it was not."""
        found = [bits for each in self.held_out if (bits := each["languages"].get(tag)) is not None]
        return (found[0], found[-1]) if found else (None, None)


def training(metrics: Metrics) -> Training:
    """The numbers of a training from its metrics, thinned to what curves need."""
    return Training(
        steps=_stretches(metrics.steps),
        held_out=[_measured(each, metrics.steps) for each in _thinned(metrics.held_out)],
        events=[{**event.model_dump(), "tokens": _at(event.step, metrics.steps)} for event in metrics.events[:_EVENTS]],
        counted=dict(Counter(event.event for event in metrics.events)),
        tokens_per_s=_median(metrics.steps, "tokens_per_s"),
        matmul_share=_median(metrics.steps, "matmul_share"),
        peak_share=_median(metrics.steps, "peak_share"),
    )


def _stretches(steps: Sequence[Step]) -> list[Mapping[str, Any]]:
    """The last step of each of at most `_POINTS` equal stretches, with means over the stretch."""
    width = max(1, -(-len(steps) // _POINTS))
    points: list[Mapping[str, Any]] = []
    for start in range(0, len(steps), width):
        stretch = steps[start : start + width]
        means = {name: _mean([getattr(step, name) for step in stretch]) for name in _MEANS}
        points.append({**stretch[-1].model_dump(), **means})
    return points


def _mean(values: Sequence[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return sum(found) / len(found) if found else None


def _median(steps: Sequence[Step], name: str) -> float | None:
    found = [value for step in steps if (value := getattr(step, name)) is not None]
    return statistics.median(found) if found else None


def _thinned(held_out: Sequence[HeldOut]) -> Sequence[HeldOut]:
    if len(held_out) <= _MEASUREMENTS:
        return held_out
    last = _MEASUREMENTS - 1
    return [held_out[number * (len(held_out) - 1) // last] for number in range(_MEASUREMENTS)]


def _measured(one: HeldOut, steps: Sequence[Step]) -> Mapping[str, Any]:
    return {
        "step": one.step,
        "tokens": one.tokens,
        "seconds": 0.0 if one.step == 0 else _next(one.step, steps).seconds if steps else None,
        "mean": one.mean(),
        "languages": dict(one.held_out),
    }


def _at(step: int, steps: Sequence[Step]) -> int:
    """Tokens trained on at a step."""
    return _next(step, steps).tokens if steps else 0


def _next(step: int, steps: Sequence[Step]) -> Step:
    """The first line that tells of a step, or the last line there is."""
    return steps[min(bisect_left(steps, step, key=lambda one: one.step), len(steps) - 1)]
