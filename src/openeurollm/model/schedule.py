"""When a training does what: rows of each step, and the share of the full rates (WSD: warm up, stay, decay)."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Schedule:
    """A training of `total` rows, `rows` a step; the first `ramp` rows come in steps of a quarter, then half.

    Rates rise over the first `warmup` steps and fall over the last `decay` ones. The last step may be short.
    """

    total: int
    rows: int
    warmup: int = 0
    decay: int = 0
    ramp: int = 0

    @classmethod
    def of(cls, total: int, rows: int, warmup: float, decay: float, ramp: float = 0.0) -> "Schedule":
        """A schedule whose `warmup` and `decay` are shares of its steps, and `ramp` one of its rows."""
        steps = cls(total, rows, ramp=round(total * ramp)).steps
        return cls(total, rows, round(steps * warmup), round(steps * decay), round(total * ramp))

    def decayed(self, step: int, steps: int) -> "Schedule":
        """This schedule up to a step behind its ramp, after which the rates fall over so many steps."""
        return replace(self, total=self.span(step)[0] + steps * self.rows, decay=steps)

    @property
    def steps(self) -> int:
        """Number of steps."""
        quarters, halves, ramped = self._ramp()
        return quarters + halves + -(-(self.total - ramped) // self.rows)

    def span(self, step: int) -> tuple[int, int]:
        """First row of a step, and number of rows."""
        quarters, halves, ramped = self._ramp()
        if step < quarters:
            return step * (self.rows // 4), self.rows // 4
        if step < quarters + halves:
            return quarters * (self.rows // 4) + (step - quarters) * (self.rows // 2), self.rows // 2
        first = ramped + (step - quarters - halves) * self.rows
        return first, min(self.rows, self.total - first)

    def rate(self, step: int) -> float:
        """Share of the full rates in a step."""
        up = (step + 1) / self.warmup if step < self.warmup else 1.0
        falling = step - (self.steps - self.decay)
        down = (self.decay - falling) / self.decay if self.decay and falling >= 0 else 1.0
        return min(up, down)

    def _ramp(self) -> tuple[int, int, int]:
        """Steps of a quarter and of half the rows, and the rows they take together."""
        quarter, half = self.rows // 4, self.rows // 2
        if not quarter:
            return 0, 0, 0
        quarters, halves = self.ramp // 2 // quarter, self.ramp // 2 // half
        return quarters, halves, quarters * quarter + halves * half
