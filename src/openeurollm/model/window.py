"""What a training tells of itself: sums since the last line of metrics."""

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from openeurollm.model.numerics import Numerics
from openeurollm.model.shape import Shape


class Window:
    """Sums since the last line of metrics; `told` is what a checkpoint says of them."""

    every = 10
    """Steps between two lines."""

    def __init__(self, shape: Shape, numerics: Numerics, processes: int, told: Mapping[str, Any] | None = None) -> None:
        told = told or {"loss": 0.0, "tokens": 0, "nats": 0.0, "learnt": 0, "bytes": 0, "norm": 0.0, "steps": 0}
        self._flop = shape.flop_per_token
        self._matmul = numerics.matmul_flop_per_s * processes
        self._peak = numerics.peak_flop_per_s * processes if numerics.peak_flop_per_s else None
        self.words = ""
        self.loss: float = told["loss"]
        self.tokens: int = told["tokens"]
        self._nats: float = told["nats"]
        self._learnt: int = told["learnt"]
        self._bytes: int = told["bytes"]
        self._norm: float = told["norm"]
        self._steps: int = told["steps"]
        self._before: float = told.get("seconds", 0.0)
        self._began = self._lap = time.monotonic()
        self._ran, self._timed = 0.0, 0

    def asdict(self) -> dict[str, Any]:
        """What a checkpoint must hold for the next line to be the same after a crash."""
        return {
            "loss": self.loss,
            "tokens": self.tokens,
            "nats": self._nats,
            "learnt": self._learnt,
            "bytes": self._bytes,
            "norm": self._norm,
            "steps": self._steps,
            "seconds": self._seconds(),
        }

    def add(self, nats: float, learnt: int, size: int, norm: float) -> None:
        """A step: its summed loss, targets, the bytes they stand for, and the norm of its gradient."""
        self.tokens += learnt
        self._timed += learnt
        self._nats, self._learnt, self._bytes = self._nats + nats, self._learnt + learnt, self._bytes + size
        self._norm, self._steps = self._norm + norm, self._steps + 1

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the time of a block out of the speed: it goes to something else than training."""
        self._ran += time.monotonic() - self._lap
        yield
        self._lap = time.monotonic()

    def line(self, step: int, rate: float) -> dict[str, Any]:
        """The line of metrics for all that was added since the last one."""
        speed = self._timed / max(1e-9, self._ran + time.monotonic() - self._lap)
        self.loss = self._nats / max(1, self._learnt)
        bits = self._nats / math.log(2) / max(1, self._bytes)
        share = speed * self._flop / self._matmul
        peak = None if self._peak is None else speed * self._flop / self._peak
        of_peak = "" if peak is None else f", {100 * peak:.0f} % of peak"
        self.words = (
            f"loss {self.loss:.3f}, {bits:.3f} bits a byte, {speed:,.0f} tokens/s, "
            f"{100 * share:.0f} % of matmul{of_peak}"
        )
        norm = self._norm / max(1, self._steps)
        self._nats, self._learnt, self._bytes, self._norm, self._steps = 0.0, 0, 0, 0.0, 0
        self._lap, self._ran, self._timed = time.monotonic(), 0.0, 0
        return {
            "step": step,
            "loss": round(self.loss, 5),
            "bits_per_byte": round(bits, 5),
            "tokens": self.tokens,
            "rate": round(rate, 5),
            "gradient_norm": round(norm, 5),
            "seconds": self._seconds(),
            "tokens_per_s": round(speed, 1),
            "matmul_share": round(share, 4),
            "peak_share": None if peak is None else round(peak, 4),
        }

    def _seconds(self) -> float:
        return round(self._before + time.monotonic() - self._began, 2)
