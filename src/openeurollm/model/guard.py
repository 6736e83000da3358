"""Steps that would harm a model: gradients that are no numbers or far too large are left out, and where they go on, the
training goes back and passes over the batches that led there.

What it decides follows from the losses and gradients alone, so that a training that was interrupted decides the same.
"""

import math
from collections import deque
from statistics import median
from typing import Any, Literal

from openeurollm.errors import Failure

Verdict = Literal["update", "skipped", "rolled_back"]

_SEEN = 128
"""Steps whose losses and norms are remembered."""
_LEAST = 32
"""Steps that must be seen before one can stand out."""
_NORM = 10.0
"""A gradient this many times as long as the median one stands out, where its loss does too: by this many times the
median distance from the median loss, and at least by `_NATS`."""
_SPREAD, _NATS = 8.0, 0.5
_IN_A_ROW = 8
"""Steps left out one after another, after which the training goes back."""
_TIMES = 3
"""Times that it goes back."""


class Guard:
    """Judges steps by their mean loss in nats and the norm of their gradient."""

    def __init__(self, title: str, told: dict[str, Any] | None = None) -> None:
        told = told or {}
        self._title = title
        self._losses = deque[float](told.get("losses", ()), _SEEN)
        self._norms = deque[float](told.get("norms", ()), _SEEN)
        self._row: list[int] = list(told.get("row", ()))
        self.skipped: int = told.get("skipped", 0)
        self.rolled_back: int = told.get("rolled_back", 0)
        self.avoided: set[int] = {step for first, last in told.get("avoided", ()) for step in range(first, last)}
        self._ranges: list[list[int]] = [list(pair) for pair in told.get("avoided", ())]

    @property
    def first(self) -> int:
        """The first of the steps that are being left out, one after another."""
        return self._row[0]

    def asdict(self) -> dict[str, Any]:
        """What a checkpoint must hold for the same decisions."""
        return {
            "losses": list(self._losses),
            "norms": list(self._norms),
            "row": self._row,
            "skipped": self.skipped,
            "rolled_back": self.rolled_back,
            "avoided": self._ranges,
        }

    def judge(self, step: int, loss: float, norm: float) -> tuple[Verdict, str]:
        """What becomes of a step, and why."""
        why = self._why(loss, norm)
        if not why:
            self._losses.append(loss)
            self._norms.append(norm)
            self._row = []
            return "update", ""
        self._row.append(step)
        self.skipped += 1
        return ("rolled_back" if len(self._row) >= _IN_A_ROW else "skipped"), why

    def go_back(self, to: int, here: "Guard") -> None:
        """Take over from a guard at step `to`'s checkpoint what it knew, to pass over the steps that stood out.

        Raises `Failure` where the training has gone back too often, or there is no step to go back to.
        """
        first = self._row[0]
        if not to or self.rolled_back >= _TIMES:
            raise Failure(
                f"{self._title}: losses or gradients are no numbers, or far too large, from step {first} on; lower "
                f"its rates in the recipe"
            )
        ranges = [*self._ranges, [max(to, first - _IN_A_ROW), self._row[-1] + 1]]
        skipped, rolled_back = self.skipped, self.rolled_back + 1
        self.__dict__ |= Guard(self._title, {**here.asdict(), "avoided": ranges}).__dict__
        self.skipped, self.rolled_back, self._row = skipped, rolled_back, []

    def _why(self, loss: float, norm: float) -> str:
        if not math.isfinite(loss):
            return f"the loss is {loss}"
        if not math.isfinite(norm):
            return f"the gradient's norm is {norm}"
        if len(self._norms) < _LEAST:
            return ""
        middle = median(self._losses)
        usual = max(_NATS, _SPREAD * median(abs(each - middle) for each in self._losses))
        long = _NORM * median(self._norms)
        if loss > middle + usual and norm > long:
            return f"the loss is {loss:.3f}, usually {middle:.3f}, the gradient {norm / long * _NORM:.0f} times as long"
        return ""
