"""In which type products are made and whether kernels are compiled: measured on the device, recorded, and kept."""

import re
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from openeurollm.errors import BadInput
from openeurollm.model import float8
from openeurollm.model.decoder import Decoder
from openeurollm.recipe import Model

_PEAKS = {
    "GB200": 2500e12,
    "B200": 2250e12,
    "GH200": 989e12,
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "A100": 312e12,
    "A40": 149.7e12,
    "A10": 125e12,
    "L40S": 362e12,
    "L40": 181e12,
    "L4": 121e12,
    "RTX 4090": 165.2e12,
    "RTX 3090": 71e12,
    "MI325X": 1307e12,
    "MI300X": 1307e12,
    "MI300A": 981e12,
    "MI250X": 191.5e12,
}
"""Dense bfloat16 FLOP a second of devices whose names have these words, from the data sheets of NVIDIA (half of what
they give with sparsity) and AMD (of a die, since a die of an MI250X is a device), as of November 2026."""
_CLEARLY = 1.5
"""Products in bfloat16 must be so many times as fast, for casts take time as well."""
_WORTH = 1.1
"""And those in eight bits, casts included, so many times: they are less exact."""
_PAYS = 300.0
"""Seconds of training from which compiling pays: it takes 10 to 30 and makes a step a sixth faster."""
_VARIANTS = 64
"""Of a layer, that are compiled at most: by shapes and types, in all trainings of a process."""
_SHARE, _SHARE_OF_FP32 = 0.5, 0.85
"""What a training makes of the speed of products in its precision, and, in bfloat16, what a processor makes at most of
that in float32: what is not a product takes as long as before, `benchmarks/training.py`."""
_POSITIONS = 8192
"""Rows of the products that are measured in eight bits."""


@dataclass(frozen=True)
class Numerics:
    """How the decoder computes. `matmul_flop_per_s` is the speed of a plain product in this precision on the device,
    `training_flop_per_s` what a training is likely to do, a forecast, and `peak_flop_per_s` the maker's figure for
    bfloat16, None where it is not known.
    """

    precision: str
    compiled: bool
    recompute: bool
    words: str
    matmul_flop_per_s: float
    training_flop_per_s: float
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
        """The type in which weights are gathered for products."""
        return torch.float32 if self.precision == "fp32" else torch.bfloat16

    def prepare(self, decoder: Decoder) -> None:
        """Set the decoder to this, in place and before its weights are sharded; `release` takes it back.

        Layers are compiled one by one, for training alone: what one compiles serves all, but another length or number
        of rows, as held-out text has, takes as long again. Parameters keep their names.
        """
        decoder.recompute = self.recompute
        if self.precision == "fp8":
            for linear in _linears(decoder):
                linear.__class__ = float8.Linear
        if self.compiled:
            torch._inductor.config.deterministic = True
            torch._dynamo.config.recompile_limit = _VARIANTS
            for layer in decoder.model.layers:
                vars(layer)["forward"] = partial(_forward, torch.compile(layer.forward), layer.forward)

    def autocast(self) -> AbstractContextManager[Any]:
        """To be open around the decoder's forward."""
        return nullcontext() if self.dtype == torch.float32 else torch.autocast(device().type, self.dtype)


def release(decoder: Decoder) -> None:
    """Let the decoder compute in float32, step by step, as it did when it was made."""
    decoder.recompute = False
    for layer in decoder.model.layers:
        vars(layer).pop("forward", None)
    for linear in _linears(decoder):
        linear.__class__ = nn.Linear


def choose(model: Model, decoder: Decoder, flop: float) -> Numerics:
    """What the recipe says, and where it says `auto` what is fastest here for a training of so many `flop`.

    Raises `BadInput` where the recipe wants eight bits of a device that has no such products.
    """
    speeds = _speeds()
    if model.precision == "fp8" and not _has_float8():
        raise BadInput('[model] precision = "fp8" is not for this device; `auto` chooses what is')
    precision: str = _fastest(speeds) if model.precision == "auto" else model.precision
    speed = _training_speed(precision, speeds)
    wished = flop / speed > _PAYS if model.compile == "auto" else model.compile
    lacking = _no_compiler() if wished else ""
    compiled = wished and not lacking
    if model.precision == "auto" and precision == "bf16" and compiled and _float8_pays(decoder):
        precision = "fp8"
    told = ", ".join(f"{name} {each / 1e9:,.0f}" for name, each in speeds.items())
    words = f"{precision} (GFLOP/s measured: {told}), {'compiled' if compiled else 'not compiled'}{lacking}"
    product = speeds["fp32" if precision == "fp32" else "bf16"]
    return Numerics(precision, compiled, model.recompute, words, product, speed, peak())


def device() -> torch.device:
    """The accelerator where there is one, else the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def matmul_speed(precision: str = "fp32") -> float:
    """FLOP a second of a plain product of two large matrices on the device; best of several."""
    size = 8192 if device().type == "cuda" else 1024
    dtype = torch.float32 if precision == "fp32" else torch.bfloat16
    one, other = (torch.rand(size, size, device=device()).to(dtype) for _ in range(2))
    return 2 * size**3 / _seconds(lambda: one @ other)


def training_speed() -> float:
    """FLOP a second that a training is likely to do on the device: a forecast from plain products."""
    speeds = _speeds()
    return _training_speed(_fastest(speeds), speeds)


def peak() -> float | None:
    """The device's bfloat16 FLOP a second by its maker's data sheet, None where it is not known."""
    name = torch.cuda.get_device_name() if device().type == "cuda" else ""
    return next((flop for known, flop in _PEAKS.items() if re.search(rf"\b{known}\b", name)), None)


def _speeds() -> dict[str, float]:
    return {precision: matmul_speed(precision) for precision in ("fp32", "bf16")}


def _fastest(speeds: Mapping[str, float]) -> str:
    return "bf16" if speeds["bf16"] > _CLEARLY * speeds["fp32"] else "fp32"


def _training_speed(precision: str, speeds: Mapping[str, float]) -> float:
    if precision == "fp32":
        return _SHARE * speeds["fp32"]
    at_most = _SHARE_OF_FP32 * speeds["fp32"] if device().type == "cpu" else float("inf")
    return min(_SHARE * speeds["bf16"], at_most)


def _linears(decoder: Decoder) -> list[nn.Linear]:
    return [module for module in decoder.model.layers.modules() if isinstance(module, nn.Linear)]


def _forward(compiled: Callable[..., Tensor], plain: Callable[..., Tensor], *inputs: Tensor | None) -> Tensor:
    return (compiled if torch.is_grad_enabled() else plain)(*inputs)


def _has_float8() -> bool:
    one = torch.ones(16, 16, device=device())
    try:
        return bool(float8.product(one, one).isfinite().all())
    except RuntimeError:
        return False


def _float8_pays(decoder: Decoder) -> bool:
    """Whether a layer's products and those of its gradient are faster in eight bits, with casts, which are compiled."""
    if device().type == "cpu" or not _has_float8():
        return False
    shapes = [linear.weight.shape for linear in decoder.model.layers[0].modules() if isinstance(linear, nn.Linear)]
    products: list[Callable[[Tensor, Tensor], Tensor]] = [F.linear, torch.compile(float8.product)]
    plain, short = (sum(_both_ways(product, shape) for shape in shapes) for product in products)
    return plain > _WORTH * short


def _both_ways(product: Callable[[Tensor, Tensor], Tensor], shape: torch.Size) -> float:
    """Seconds of a product of activations with a weight of this shape, and of its gradients."""
    x = torch.rand(_POSITIONS, shape[1], device=device(), dtype=torch.bfloat16, requires_grad=True)
    weight = torch.rand(shape, device=device(), dtype=torch.bfloat16, requires_grad=True)

    def work() -> None:
        y = product(x, weight)
        torch.autograd.grad(y, (x, weight), torch.ones_like(y))

    return _seconds(work)


def _seconds(work: Callable[[], Any]) -> float:
    """Of one run; the best of twenty."""
    best = float("inf")
    for _ in range(20):
        began = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    return best


def _no_compiler() -> str:
    """Why nothing can be compiled here, in words; empty where it works, which is tried."""
    try:
        torch.compile(lambda x: x.sin() + 1)(torch.ones(64, device=device()))
    except (RuntimeError, ImportError, OSError) as error:
        return (
            f" (torch.compile fails here: {type(error).__name__}; a C++ compiler and Python's headers may be missing)"
        )
    return ""
