"""In which type products are made, and whether kernels are compiled: measured on the device, recorded, and kept."""

import os
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import torch

from openeurollm.model.decoder import Decoder
from openeurollm.recipe import Model

torch.set_flush_denormal(True)
"""Numbers below 1e-38 are zero: the tails of a softmax made products twenty times as slow. Threads inherit this when
they start, so it is said before the first product."""

_PEAKS = {
    "B200": 2250e12,
    "GB200": 2500e12,
    "GH200": 989e12,
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "A100": 312e12,
    "A40": 149.7e12,
    "A10": 125e12,
    "L40S": 362e12,
    "L40": 181e12,
    "L4": 121e12,
    "MI355": 2500e12,
    "MI325": 1307e12,
    "MI300": 1307e12,
    "MI250": 191.5e12,
    "RTX 4090": 165.2e12,
    "RTX 3090": 71e12,
}
"""Dense bfloat16 FLOP a second by what the makers call the device, one die of an MI250X; from their data sheets."""

_PAYS = 300.0
"""Seconds of training from which compiling pays."""


@dataclass(frozen=True)
class Numerics:
    """How the decoder computes. `matmul_flop_per_s` is a plain product's speed in this precision on the device,
    `peak_flop_per_s` its maker's figure for bfloat16, None where it is not known.
    """

    precision: str
    compiled: bool
    recompute: bool
    words: str
    matmul_flop_per_s: float
    peak_flop_per_s: float | None

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> "Numerics":
        """From what `asdict` made."""
        return cls(**told)

    def asdict(self) -> dict[str, Any]:
        """As plain values, for records."""
        return asdict(self)

    @property
    def dtype(self) -> torch.dtype:
        """The type in which weights are gathered and products made; `fp8` is inside of its own layers."""
        return torch.float32 if self.precision == "fp32" else torch.bfloat16

    def prepare(self, decoder: Decoder) -> None:
        """Set the device and the decoder to this, in place; before its weights are sharded."""
        decoder.recompute = self.recompute
        if self.compiled:
            for layer in decoder.model.layers:
                layer.forward = torch.compile(layer.forward)

    def autocast(self) -> AbstractContextManager[Any]:
        """To be open around the decoder's forward."""
        return nullcontext() if self.dtype == torch.float32 else torch.autocast(device().type, self.dtype)


def choose(model: Model, decoder: Decoder, flop: float) -> Numerics:
    """What the recipe says, and where it says `auto` what is fastest on this device for so many `flop` of training."""
    speeds = {precision: matmul_speed(precision) for precision in ("fp32", "bf16")}
    precision = max(speeds, key=lambda each: speeds[each]) if model.precision == "auto" else model.precision
    expected = flop / (0.5 * speeds.get(precision, speeds["bf16"]))
    lacks = _compiler_missing()
    compiled = (expected > _PAYS if model.compile == "auto" else model.compile) and not lacks
    other = ", ".join(f"{name} {speed / 1e9:,.0f}" for name, speed in speeds.items())
    words = f"{precision} (measured, in GFLOP/s: {other}), {'compiled' if compiled else 'not compiled'}{lacks}"
    return Numerics(precision, compiled, model.recompute, words, speeds.get(precision, speeds["bf16"]), peak())


def device() -> torch.device:
    """The accelerator where there is one, else the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def matmul_speed(precision: str = "fp32") -> float:
    """FLOP a second of a plain product of two large matrices on the device; best of several."""
    where = device()
    size = 8192 if where.type == "cuda" else 1024
    kind = torch.float32 if precision == "fp32" else torch.bfloat16
    one, other = (torch.rand(size, size, device=where).to(kind) for _ in range(2))
    return 2 * size**3 / _seconds(lambda: one @ other)


def peak() -> float | None:
    """The device's bfloat16 FLOP a second by its maker's data sheet, None where it is not known."""
    if device().type == "cpu":
        return None
    name = torch.cuda.get_device_name()
    return next((flop for known, flop in _PEAKS.items() if known in name), None)


def _seconds(work: Callable[[], Any]) -> float:
    best = float("inf")
    for _ in range(20):
        began = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    return best


def _compiler_missing() -> str:
    """What compiling lacks, in words; empty where it lacks nothing."""
    if shutil.which(os.environ.get("CXX", "g++")) is None:
        return " (there is no C++ compiler)"
    return ""
