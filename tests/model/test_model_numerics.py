"""Type of products and compilation: chosen by measurement, kept, and the same bits every time."""

import os
import subprocess
import sys

import pytest
import torch
from torch.nn import functional as F

from openeurollm.model import float8, numerics
from openeurollm.model.decoder import Decoder
from openeurollm.model.numerics import Numerics
from openeurollm.model.shape import Shape
from openeurollm.recipe import Model

SHAPE = Shape(300, 2, 64, 4, 2, 16, 96, 32)


def _decoder(seed=0):
    decoder = Decoder(SHAPE, seed)
    with torch.no_grad():
        for parameter in decoder.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.1, generator=torch.Generator().manual_seed(seed))
    return decoder


def _numerics(precision="fp32", compiled=False, recompute=False):
    return Numerics(precision, compiled, recompute, "", 1e9, 5e8, None)


def _step(decoder, chosen, rows=4):
    """The loss and all gradients of a step."""
    ids = torch.arange(rows * 32).view(rows, 32) * 7 % 300
    pieces = (torch.arange(32) // 12).expand(rows, -1)
    with chosen.autocast():
        loss = decoder.losses(ids, ids.flip(1), pieces)
    return [loss.detach(), *torch.autograd.grad(loss, list(decoder.parameters()))]


def test_what_the_recipe_says_is_done():
    decoder = _decoder()
    for precision in ("fp32", "bf16"):
        chosen = numerics.choose(Model(precision=precision, compile=False, recompute=True), decoder, 1e18)
        assert (chosen.precision, chosen.compiled, chosen.recompute) == (precision, False, True)
        assert chosen.words.startswith(f"{precision} (GFLOP/s measured: fp32 ")
        assert chosen.words.endswith(", not compiled")


def test_the_faster_type_is_chosen(monkeypatch):
    speeds = {"fp32": 100e9, "bf16": 20e9}
    monkeypatch.setattr(numerics, "matmul_speed", speeds.get)
    monkeypatch.setattr(numerics, "device", lambda: torch.device("cpu"))
    chosen = numerics.choose(Model(), _decoder(), 1e9)
    assert (chosen.precision, chosen.matmul_flop_per_s, chosen.dtype) == ("fp32", 100e9, torch.float32)
    assert chosen.words == "fp32 (GFLOP/s measured: fp32 100, bf16 20), not compiled"
    speeds["bf16"] = 400e9
    chosen = numerics.choose(Model(), _decoder(), 1e9)
    assert (chosen.precision, chosen.matmul_flop_per_s, chosen.dtype) == ("bf16", 400e9, torch.bfloat16)
    assert numerics.training_speed() == chosen.training_flop_per_s == 85e9
    speeds["bf16"] = 160e9
    assert numerics.training_speed() == 80e9


def test_a_long_training_is_compiled_and_a_short_one_is_not():
    assert not numerics.choose(Model(), _decoder(), 1e9).compiled
    assert numerics.choose(Model(), _decoder(), 1e18).compiled
    assert numerics.choose(Model(compile=True), _decoder(), 1e9).compiled


def test_without_a_compiler_nothing_is_compiled_and_that_is_said(tmp_path):
    lines = (
        "import sys; sys.path.insert(0, 'tests/model'); import test_model_numerics as here",
        "chosen = here.numerics.choose(here.Model(compile=True), here._decoder(), 1e18)",
        "print(chosen.compiled, chosen.words)",
    )
    lacking = {**os.environ, "CXX": "/no/compiler", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    told = subprocess.run([sys.executable, "-c", "\n".join(lines)], env=lacking, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    assert told.stdout.startswith("False ")
    assert "not compiled (" in told.stdout
    assert "compiler" in told.stdout


def test_a_decision_comes_back_from_a_record():
    chosen = numerics.choose(Model(), _decoder(), 1e9)
    assert Numerics.of(chosen.asdict()) == chosen


@pytest.mark.parametrize(
    ("precision", "compiled"), [("fp32", False), ("bf16", False), ("fp8", False), ("fp32", True), ("fp8", True)]
)
def test_the_same_bits_every_time_and_nearly_those_of_float32(precision, compiled):
    chosen = _numerics(precision, compiled)
    steps = []
    for _ in range(2):
        decoder = _decoder()
        names = list(decoder.state_dict())
        chosen.prepare(decoder)
        assert list(decoder.state_dict()) == names
        steps.append(_step(decoder, chosen))
    assert all(torch.equal(*pair) for pair in zip(*steps, strict=True))
    plain = _step(_decoder(), _numerics())
    near = {"fp32": 1e-5, "bf16": 0.02, "fp8": 0.3}[precision]
    for one, other in zip(steps[0], plain, strict=True):
        assert (one - other).norm() <= near * other.norm()
    if precision != "fp32":
        assert any(not torch.equal(*pair) for pair in zip(steps[0], plain, strict=True))


@pytest.mark.parametrize("precision", ["fp32", "fp8"])
def test_what_is_compiled_for_one_layer_serves_all(precision):
    torch.compiler.reset()
    compiled = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    chosen, decoder = _numerics(precision, compiled=True, recompute=True), _decoder()
    chosen.prepare(decoder)
    _step(decoder, chosen)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == compiled + 1 < compiled + SHAPE.layers


def test_other_numbers_of_rows_and_held_out_text_go_through_a_compiled_decoder():
    chosen, decoder = _numerics(compiled=True), _decoder()
    chosen.prepare(decoder)
    for rows in (4, 3, 1):
        for one, other in zip(_step(decoder, chosen, rows), _step(_decoder(), _numerics(), rows), strict=True):
            torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
    ids = torch.arange(9)[None]
    assert torch.equal(decoder.nats(ids, ids), _decoder().nats(ids, ids))


def test_a_released_decoder_computes_as_before():
    decoder, ids = _decoder(), torch.arange(32)[None]
    with torch.no_grad():
        before = decoder(ids)
        chosen = _numerics("fp8", compiled=True, recompute=True)
        chosen.prepare(decoder)
        assert not torch.equal(decoder(ids), before)
        numerics.release(decoder)
        assert torch.equal(decoder(ids), before)
    assert not decoder.recompute


@pytest.mark.parametrize("sizes", [(4, 16, 64, 48), (1, 32, 16, 16), (3, 5, 24, 40)])
def test_products_in_eight_bits(sizes):
    """Also of sizes that the kernel does not take."""
    rows, length, inputs, outputs = sizes
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(rows, length, inputs, generator=generator).mul_(1e-3).requires_grad_()
    weight = torch.randn(outputs, inputs, generator=generator).mul_(100).requires_grad_()
    slope = torch.randn(rows, length, outputs, generator=generator) * 1e-6
    found = float8.product(x, weight)
    wanted = F.linear(x, weight)
    assert (found - wanted).norm() < 0.06 * wanted.norm()
    gradients = (torch.autograd.grad(y, (x, weight), slope) for y in (found, wanted))
    for one, other in zip(*gradients, strict=True):
        assert one.dtype == torch.float32
        assert (one - other).norm() < 0.1 * other.norm()


def test_a_product_of_nothing_is_nothing():
    """Zeros, such as a new output projection has, have no largest number to be scaled by."""
    assert not float8.product(torch.zeros(16, 16), torch.ones(16, 16)).any()


def test_the_speed_of_products_is_measured():
    """Within a factor of a thousand of any machine this can run on."""
    assert 1e8 < numerics.matmul_speed() < 1e14
    assert 1e7 < numerics.training_speed() < 1e15
