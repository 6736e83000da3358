"""Training lowers the loss, and ends in the same bits however often it is killed."""

import json
import math
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch

from openeurollm.engine import Reporter
from openeurollm.errors import Failure, Stopped
from openeurollm.model.decoder import Decoder
from openeurollm.model.distributed import World
from openeurollm.model.optimizer import orthogonal, schedule
from openeurollm.model.shape import Shape
from openeurollm.model.trainer import Training, prepare, train
from openeurollm.recipe import Model

SHAPE = Shape(vocabulary=64, layers=2, width=32, heads=2, key_value_heads=1, head=16, feed_forward=64, context=16)
QUIET = Reporter(quiet=True)


class Killed(BaseException):
    """Stands for what ends a process in the middle of a step."""


def _training(steps=40, checkpoint_steps=7, killed_at=None, stopped_at=None, rates=None, factor=1.0):
    """Learn to count: the next number follows from the last, so the loss can go to nought."""

    def batch(step):
        if step == killed_at:
            raise Killed
        if step == stopped_at:
            os.kill(os.getpid(), signal.SIGTERM)
        starts = np.random.default_rng([5, step]).integers(4, 64, (8, 1))
        ids = 4 + (starts - 4 + np.arange(17)) % 60
        return ids[:, :-1], ids[:, 1:]

    sizes = np.ones(64, np.int64)
    return Training("count", batch, steps, rates or Model(), factor, 0.1, 0.5, checkpoint_steps, 4, sizes)


@pytest.fixture(autouse=True)
def _prepared():
    prepare(1)


def _train(folder, **settings):
    decoder = Decoder(SHAPE, 1)
    told = train(decoder, _training(**settings), folder, folder / "metrics.jsonl", QUIET, World())
    return decoder, told


def _metrics(folder):
    clocked = ("seconds", "tokens_per_s", "matmul_share")
    lines = map(json.loads, (folder / "metrics.jsonl").read_text("utf-8").splitlines())
    return [{key: value for key, value in line.items() if key not in clocked} for line in lines]


def _same(one, other):
    return all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in one.state_dict().items())


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted training and what it told."""
    folder = tmp_path_factory.mktemp("whole")
    prepare(1)
    decoder, told = _train(folder)
    return decoder, told, _metrics(folder)


def test_training_lowers_the_loss(whole):
    _, told, metrics = whole
    assert [line["step"] for line in metrics] == [10, 20, 30, 40]
    assert metrics[0]["loss"] < math.log(64)
    losses = [line["loss"] for line in metrics]
    assert losses == sorted(losses, reverse=True)
    assert told["final_loss"] == metrics[-1]["loss"] < 0.5
    assert told["tokens"] == metrics[-1]["tokens"] == 40 * 8 * 16


def test_bits_per_byte_are_nats_over_the_bytes_that_were_learnt(whole):
    """Every token of this vocabulary stands for one byte."""
    for line in whole[2]:
        assert line["bits_per_byte"] == pytest.approx(line["loss"] / math.log(2), abs=1e-4)


def test_training_the_real_sample_lowered_its_loss(tiny):
    lines = [json.loads(line) for line in (tiny.run.folder("model") / "metrics.jsonl").read_text().splitlines()]
    assert lines[0]["loss"] > 1.3 * lines[-1]["loss"]
    assert lines[-1]["loss"] == tiny.run.need("model").results["final_loss"]
    assert lines[-1]["tokens"] == tiny.run.need("model").results["tokens"]
    assert all(line["tokens_per_s"] > 0 and line["matmul_share"] > 0 for line in lines)


@pytest.mark.parametrize("killed_at", [[3], [7], [8], [14, 26], [39], [10, 20, 30]], ids=str)
def test_a_killed_training_ends_in_the_same_bits(tmp_path, whole, killed_at):
    for step in killed_at:
        with pytest.raises(Killed):
            _train(tmp_path, killed_at=step)
    decoder, told = _train(tmp_path)
    assert _same(decoder, whole[0])
    assert {**told, "matmul_flop_per_s": 0} == {**whole[1], "matmul_flop_per_s": 0}
    assert _metrics(tmp_path) == whole[2]


@pytest.mark.parametrize("left", [0, 1, 8, 500, 0.5, -1], ids=str)
def test_a_truncated_checkpoint_is_ignored(tmp_path, whole, left):
    with pytest.raises(Killed):
        _train(tmp_path, killed_at=20)
    path = tmp_path / "checkpoint.safetensors"
    raw = path.read_bytes()
    path.write_bytes(raw[: round(left * len(raw)) if isinstance(left, float) else left])
    decoder, _ = _train(tmp_path)
    assert _same(decoder, whole[0])
    assert _metrics(tmp_path) == whole[2]


def test_a_half_written_line_of_metrics_is_dropped(tmp_path, whole):
    with pytest.raises(Killed):
        _train(tmp_path, killed_at=15)
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 20, "loss": 1.2')
    _train(tmp_path)
    assert _metrics(tmp_path) == whole[2]


def test_a_loss_that_is_no_number_is_a_failure_that_says_what_to_do(tmp_path):
    """Nothing can be learnt of the next number, and rates without measure make each guess worse."""

    def batch(step):
        ids = np.random.default_rng(step).integers(4, 64, (8, 17))
        return ids[:, :-1], ids[:, 1:]

    training = replace(_training(), batch=batch, factor=1e36)
    with pytest.raises(Failure, match=r"count: the loss at step \d+ is (nan|inf); lower its rates"):
        train(Decoder(SHAPE, 1), training, tmp_path, tmp_path / "metrics.jsonl", QUIET, World())
    assert all(math.isfinite(line["loss"]) for line in _metrics(tmp_path))


def test_a_weight_that_is_no_number_is_a_failure(tmp_path):
    """The embedding of a token that no batch holds, so that the loss does not tell."""
    decoder = Decoder(SHAPE, 1)
    with torch.no_grad():
        decoder.model.embed_tokens.weight[0, 0] = math.nan
    with pytest.raises(Failure, match="weights are no numbers after the last step"):
        train(decoder, _training(steps=2), tmp_path, tmp_path / "metrics.jsonl", QUIET, World())


def test_a_training_asked_to_stop_goes_on_to_the_same_bits(tmp_path, whole):
    """By a file, which whoever put it there takes away, and by a signal; whose handler is the one before thereafter."""
    before = signal.getsignal(signal.SIGTERM)
    (tmp_path / "stop").touch()
    for step in (1, 2):
        with pytest.raises(Stopped, match=f"count: stopped after step {step} of 40; run again to go on"):
            _train(tmp_path)
    (tmp_path / "stop").unlink()
    with pytest.raises(Stopped, match="count: stopped after step 14 of 40"):
        _train(tmp_path, stopped_at=12)
    assert signal.getsignal(signal.SIGTERM) is before
    decoder, _ = _train(tmp_path)
    assert _same(decoder, whole[0])
    assert _metrics(tmp_path) == whole[2]


def test_asked_to_stop_in_its_last_step_it_ends(tmp_path, whole):
    decoder, _ = _train(tmp_path, stopped_at=39)
    assert _same(decoder, whole[0])


def test_how_often_it_checkpoints_does_not_change_the_result(tmp_path, whole):
    decoder, _ = _train(tmp_path, checkpoint_steps=1)
    assert _same(decoder, whole[0])


# The schedule and Muon.


def test_the_rate_rises_stays_and_falls():
    factors = [schedule(step, 100, 0.1, 0.5) for step in range(100)]
    assert factors[:10] == pytest.approx([0.1 * n for n in range(1, 11)])
    assert factors[10:50] == [1.0] * 40
    assert factors[50:] == pytest.approx([1 - n / 50 for n in range(50)])
    assert 0 < factors[-1] < 0.05


@pytest.mark.parametrize(("warmup", "decay"), [(0.0, 0.0), (0.0, 1.0), (0.9, 0.9), (0.03, 0.5)])
@pytest.mark.parametrize("steps", [1, 2, 3, 50])
def test_the_rate_is_never_nought_nor_above_one(steps, warmup, decay):
    factors = [schedule(step, steps, warmup, decay) for step in range(steps)]
    assert all(0 < factor <= 1 for factor in factors)
    if decay == warmup == 0:
        assert set(factors) == {1.0}


@pytest.mark.parametrize(("rows", "columns"), [(64, 192), (192, 64), (64, 64), (32, 64), (16, 16)])
def test_muons_updates_are_nearly_orthogonal(rows, columns):
    """Gradients of any size whose singular values lie a factor of ten apart."""
    generator = torch.Generator().manual_seed(rows)
    left, _, right = torch.linalg.svd(torch.randn(4, rows, columns, generator=generator), full_matrices=False)
    sizes = torch.tensor([1e-5, 0.1, 1.0, 1e4])[:, None, None]
    matrices = sizes * (left * torch.linspace(0.1, 1, min(rows, columns))) @ right
    made = orthogonal(matrices)
    values = torch.linalg.svdvals(made)
    assert made.shape == matrices.shape
    assert values.min() > 0.6
    assert values.max() < 1.3


def test_muons_updates_point_where_the_gradient_does():
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(1, 32, 64, generator=generator)
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    assert torch.nn.functional.cosine_similarity(orthogonal(matrix).flatten(), (left @ right).flatten(), dim=0) > 0.98


def test_no_gradient_gives_no_update():
    assert torch.equal(orthogonal(torch.zeros(1, 4, 8)), torch.zeros(1, 4, 8))
