"""Training lowers the loss, and ends in the same bits however often it is killed."""

import json
import math
import os
import resource
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch

from openeurollm.engine import Reporter
from openeurollm.errors import BadInput, Failure, Stopped
from openeurollm.model.checkpoint import steps_in
from openeurollm.model.data import Batch
from openeurollm.model.decoder import Decoder
from openeurollm.model.distributed import World
from openeurollm.model.held_out import HeldOut
from openeurollm.model.numerics import Numerics
from openeurollm.model.optimizer import Muon, orthogonal
from openeurollm.model.schedule import Schedule
from openeurollm.model.shape import Shape
from openeurollm.model.trainer import Training, prepare, train
from openeurollm.recipe import Model

SHAPE = Shape(vocabulary=64, layers=2, width=32, heads=2, key_value_heads=1, head=16, feed_forward=64, context=16)
NUMERICS = Numerics("fp32", False, False, "fp32", 1e11, 5e10, None)
QUIET = Reporter(quiet=True)
WORLD = World(parts=4)
ROWS = 8


class Killed(BaseException):
    """Stands for what ends a process in the middle of a step."""


def _counting(first, number):
    """Rows in which the next number follows from the last, so that the loss can go to nought."""
    starts = np.stack([np.random.default_rng([5, place]).integers(4, 64, 1) for place in range(first, first + number)])
    ids = 4 + (starts - 4 + np.arange(17)) % 60
    return Batch(ids[:, :-1], ids[:, 1:])


def _training(steps=40, killed_at=None, stopped_at=None, poisoned=(), **settings):
    def take(first, number):
        step = first // ROWS
        if step == killed_at:
            raise Killed
        if step == stopped_at:
            os.kill(os.getpid(), signal.SIGTERM)
        batch = _counting(first, number)
        if step in poisoned:
            batch.targets[:] = 4 + np.random.default_rng(step).integers(0, 60, batch.targets.shape)
        return batch

    sizes = np.ones(64, np.int64)
    documents = {"mt": [np.arange(4, 60)], "ga": [np.arange(60, 4, -1), np.arange(30, 40)]}
    chosen = Training(
        title="count",
        take=take,
        schedule=Schedule.of(steps * ROWS, ROWS, 0.1, 0.5),
        rates=Model(),
        factor=1.0,
        checkpoint_steps=7,
        keep_steps=None,
        bytes_of_tokens=sizes,
        numerics=NUMERICS,
        micro=64,
        fingerprint="text",
        held_out=HeldOut(documents, 16, 64, sizes),
        held_out_times=2,
    )
    return replace(chosen, **settings)


@pytest.fixture(autouse=True)
def _prepared():
    prepare(1)


def _train(folder, decoder=None, **settings):
    decoder = decoder or Decoder(SHAPE, 1)
    training = _training(**settings)
    told = train(decoder, training, folder, folder / "kept", folder / "metrics.jsonl", QUIET, WORLD)
    return decoder, told


def _lines(folder):
    clocked = ("seconds", "tokens_per_s", "matmul_share")
    lines = map(json.loads, (folder / "metrics.jsonl").read_text("utf-8").splitlines())
    return [{key: value for key, value in line.items() if key not in clocked} for line in lines]


def _metrics(folder):
    return [line for line in _lines(folder) if "loss" in line]


def _same(one, other):
    return all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in one.state_dict().items())


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted training and what it told."""
    folder = tmp_path_factory.mktemp("whole")
    prepare(1)
    decoder, told = _train(folder)
    return decoder, told, _lines(folder)


def test_training_lowers_the_loss(whole):
    _, told, lines = whole
    metrics = [line for line in lines if "loss" in line]
    assert [line["step"] for line in metrics] == [10, 20, 30, 40]
    assert metrics[0]["loss"] < math.log(64)
    losses = [line["loss"] for line in metrics]
    assert losses == sorted(losses, reverse=True)
    assert told["final_loss"] == metrics[-1]["loss"] < 0.5
    assert told["tokens"] == metrics[-1]["tokens"] == 40 * 8 * 16


def test_bits_per_byte_are_nats_over_the_bytes_that_were_learnt(whole):
    """Every token of this vocabulary stands for one byte."""
    for line in whole[2]:
        if "loss" in line:
            assert line["bits_per_byte"] == pytest.approx(line["loss"] / math.log(2), abs=1e-4)


def test_held_out_text_is_measured_before_on_the_way_and_at_the_end(whole):
    """Counting up is what is learnt; counting down is not."""
    decoder, told, lines = whole
    found = [line for line in lines if "held_out" in line]
    assert [line["step"] for line in found] == [0, 20, 40]
    assert found[0]["held_out"]["mt"] == pytest.approx(math.log2(64), abs=0.05)
    assert found[2]["held_out"]["mt"] < 0.7 < 3 < found[2]["held_out"]["ga"]
    assert told["held_out"] == {"first": found[0]["held_out"], "last": found[2]["held_out"]}
    ids, bits = torch.arange(4, 60), 0.0
    with torch.no_grad():
        before = torch.cat([ids[-1:], ids[:-1]])
        for start in range(0, len(ids), 16):
            logits = decoder(before[None, start : start + 16])[0]
            bits += float(torch.nn.functional.cross_entropy(logits, ids[start : start + 16], reduction="sum"))
    assert found[2]["held_out"]["mt"] == pytest.approx(bits / math.log(2) / len(ids), abs=1e-4)


def test_training_the_real_sample_lowered_its_loss(tiny):
    lines = [json.loads(line) for line in (tiny.run.folder("model") / "metrics.jsonl").read_text().splitlines()]
    results = tiny.run.need("model").results
    learnt = [line for line in lines if "loss" in line]
    assert learnt[0]["loss"] > 1.3 * learnt[-1]["loss"]
    assert learnt[-1]["loss"] == results["final_loss"]
    assert learnt[-1]["tokens"] == results["tokens"]
    assert all(line["tokens_per_s"] > 0 and line["matmul_share"] > 0 for line in learnt)
    assert results["tokens"] == sum(part["tokens"] for part in results["mixture"].values())
    assert results["filled"] > 0.8
    assert all(results["held_out"]["last"][tag] < results["held_out"]["first"][tag] for tag in results["mixture"])


@pytest.mark.parametrize("killed_at", [[3], [7], [8], [14, 26], [39], [10, 20, 30]], ids=str)
def test_a_killed_training_ends_in_the_same_bits(tmp_path, whole, killed_at):
    for step in killed_at:
        with pytest.raises(Killed):
            _train(tmp_path, killed_at=step)
    decoder, told = _train(tmp_path)
    assert _same(decoder, whole[0])
    assert told == whole[1]
    assert _lines(tmp_path) == whole[2]


DAMAGES = (
    *("empty", "half", "a byte less", "more", "absent", "header bomb", "pickle", "another file", "no position"),
    *("empty position", "deep position", "huge position", "position of another kind"),
)


def _damages(folder):
    weights = next(folder.glob("*.safetensors"))
    raw = weights.read_bytes()
    position = folder / "position.json"
    return {
        "empty": lambda: weights.write_bytes(b""),
        "half": lambda: weights.write_bytes(raw[: len(raw) // 2]),
        "a byte less": lambda: weights.write_bytes(raw[:-1]),
        "more": lambda: weights.write_bytes(raw + b"0"),
        "absent": weights.unlink,
        "header bomb": lambda: weights.write_bytes((1 << 62).to_bytes(8, "little") + raw[8:]),
        "pickle": lambda: weights.write_bytes((b"cos\nsystem\n(S'touch pwned'\ntR." + raw)[: len(raw)]),
        "another file": lambda: (folder / "data.pkl").write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR."),
        "no position": position.unlink,
        "empty position": lambda: position.write_text(""),
        "deep position": lambda: position.write_text("[" * 100_000),
        "huge position": lambda: os.truncate(position, 1 << 30),
        "position of another kind": lambda: position.write_text('{"step": "x", "files": []}'),
    }


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("which", ["the last", "both"])
def test_damaged_checkpoints_are_told_and_passed_over(tmp_path, whole, damage, which):
    with pytest.raises(Killed):
        _train(tmp_path, killed_at=20)
    folders = sorted((tmp_path / "checkpoints").iterdir())
    assert [folder.name for folder in folders] == ["step-00000007", "step-00000014"]
    for folder in folders[-1:] if which == "the last" else folders:
        _damages(folder)[damage]()
    decoder, _ = _train(tmp_path)
    assert _same(decoder, whole[0])
    assert _lines(tmp_path) == whole[2]


def test_a_checkpoint_of_another_shape_is_bad_input(tmp_path):
    with pytest.raises(Killed):
        _train(tmp_path, killed_at=20)
    with pytest.raises(BadInput, match=r"step-00000014: does not fit this training: "):
        _train(tmp_path, Decoder(replace(SHAPE, width=48, heads=3), 1))
    with pytest.raises(BadInput, match=r"step-00000014: does not fit this training: "):
        _train(tmp_path, Decoder(replace(SHAPE, layers=3), 1))


def test_other_text_than_that_of_the_checkpoint_is_refused(tmp_path, whole):
    with pytest.raises(Killed):
        _train(tmp_path, killed_at=20)
    with pytest.raises(BadInput, match="count: the text is not that of the checkpoint at step 14; put the old text"):
        _train(tmp_path, fingerprint="other text")
    decoder, _ = _train(tmp_path)
    assert _same(decoder, whole[0])


def test_other_threads_go_on_and_the_record_says_so(tmp_path):
    with pytest.raises(Killed):
        _train(tmp_path, killed_at=20)
    prepare(2)
    _, told = _train(tmp_path)
    assert told["resumed"] == [{"step": 14, "threads": 1}]


def test_a_half_written_line_of_metrics_is_dropped(tmp_path, whole):
    with pytest.raises(Killed):
        _train(tmp_path, killed_at=15)
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 20, "loss": 1.2')
    _train(tmp_path)
    assert _lines(tmp_path) == whole[2]


def test_a_few_bad_steps_are_left_out(tmp_path):
    """Targets without sense once counting is learnt; the gradient of their high loss is not followed."""
    _, told = _train(tmp_path, steps=120, poisoned=(90, 91, 100))
    events = [line for line in _lines(tmp_path) if "event" in line]
    assert [(line["step"], line["event"]) for line in events] == [(91, "skipped"), (92, "skipped"), (101, "skipped")]
    assert (told["skipped"], told["rolled_back"]) == (3, 0)
    assert _metrics(tmp_path)[-1]["loss"] < 0.2


def test_many_bad_steps_send_it_back_and_a_kill_changes_nothing(tmp_path):
    bad = {"steps": 120, "poisoned": range(90, 100)}
    decoder, told = _train(tmp_path / "whole", **bad)
    events = [(line["step"], line["event"]) for line in _lines(tmp_path / "whole") if "event" in line]
    assert events == [(84, "rolled_back"), (99, "skipped"), (100, "skipped")]
    assert (told["skipped"], told["rolled_back"]) == (10, 1)
    assert _metrics(tmp_path / "whole")[-1]["loss"] < 0.2
    with pytest.raises(Killed):
        _train(tmp_path / "killed", killed_at=110, **bad)
    other, again = _train(tmp_path / "killed", **bad)
    assert _same(decoder, other)
    assert again == told
    assert _lines(tmp_path / "killed") == _lines(tmp_path / "whole")


def test_losses_that_stay_no_numbers_are_a_failure_that_says_what_to_do(tmp_path):
    decoder = Decoder(SHAPE, 1)
    with torch.no_grad():
        decoder.lm_head.weight[0, 0] = math.nan
    with pytest.raises(Failure, match=r"count: losses or gradients are no numbers, .* from step 0 on; lower its rates"):
        _train(tmp_path, decoder)
    assert _metrics(tmp_path) == []


def test_a_weight_that_is_no_number_is_a_failure(tmp_path):
    """The embedding of a token that no batch holds, so that the loss does not tell."""
    decoder = Decoder(SHAPE, 1)
    with torch.no_grad():
        decoder.model.embed_tokens.weight[0, 0] = math.nan
    with pytest.raises(Failure, match="weights are no numbers after the last step"):
        _train(tmp_path, decoder, steps=2)


def test_a_training_asked_to_stop_goes_on_to_the_same_bits(tmp_path, whole):
    """By a file, which whoever put it there takes away, and by a signal; whose handler is the one before thereafter."""
    before = signal.getsignal(signal.SIGTERM)
    (tmp_path / "stop").touch()
    for step in (1, 2):
        with pytest.raises(Stopped, match=f"count: stopped after step {step} of 40; run again to go on"):
            _train(tmp_path)
    (tmp_path / "stop").unlink()
    with pytest.raises(Stopped, match=r"count: stopped after step 1\d of 40"):
        _train(tmp_path, stopped_at=14)
    assert signal.getsignal(signal.SIGTERM) is before
    decoder, _ = _train(tmp_path)
    assert _same(decoder, whole[0])
    assert _lines(tmp_path) == whole[2]


def test_how_often_it_checkpoints_does_not_change_the_result(tmp_path, whole):
    decoder, _ = _train(tmp_path, checkpoint_steps=1)
    assert _same(decoder, whole[0])


def test_some_checkpoints_are_kept_for_ever(tmp_path):
    _train(tmp_path, checkpoint_steps=5, keep_steps=10)
    assert steps_in(tmp_path / "kept") == [10, 20, 30, 40]
    assert steps_in(tmp_path / "checkpoints") == [25, 35]


def test_a_checkpoint_that_has_no_folder_is_told_and_the_training_goes_on(tmp_path, whole):
    said = []
    reporter = Reporter(quiet=True)
    reporter.say = said.append
    (tmp_path / "checkpoints").write_text("a file where the folder should be")
    decoder = Decoder(SHAPE, 1)
    train(decoder, _training(), tmp_path, tmp_path / "kept", tmp_path / "metrics.jsonl", reporter, WORLD)
    assert _same(decoder, whole[0])
    assert "the checkpoint could not be written: " in said[0]
    assert "training goes on with those before it" in said[0]


def test_a_disk_that_is_full_in_the_middle_of_a_checkpoint_is_told_and_the_training_goes_on(tmp_path, whole):
    """No file may grow beyond 20 kB, so that the tensors end where they do on a full disk: after their beginning."""
    said = []
    reporter = Reporter(quiet=True)
    reporter.say = said.append
    decoder = Decoder(SHAPE, 1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        train(decoder, _training(), tmp_path, tmp_path / "kept", tmp_path / "metrics.jsonl", reporter, WORLD)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert _same(decoder, whole[0])
    assert "the checkpoint could not be written: " in said[0]
    assert "File too large" in said[0]
    assert "training goes on with those before it" in said[0]
    assert list((tmp_path / "checkpoints").iterdir()) == []


# Muon.


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


@pytest.mark.parametrize(("rows", "columns"), [(96, 16), (16, 96)])
def test_muons_updates_come_to_have_even_rows_and_the_size_of_orthogonal_ones(rows, columns):
    generator = torch.Generator().manual_seed(rows)
    weights = torch.nn.Parameter(torch.zeros(rows, columns))
    muon = Muon([weights], rate=1.0)
    gradient = torch.randn(rows, columns, generator=generator) * torch.linspace(0.1, 3, rows)[:, None]
    for _ in range(60):
        before, weights.grad = weights.detach().clone(), gradient
        muon.step()
    update = before - weights.detach()
    assert update.norm(dim=1).std() < 0.03 * update.norm(dim=1).mean()
    assert update.norm() == pytest.approx(rows**0.5, rel=0.03)  # tall ones are scaled by the root of their proportions


def test_muon_stands_a_row_that_never_learns():
    weights = torch.nn.Parameter(torch.ones(4, 8))
    muon = Muon([weights], rate=0.1)
    for _ in range(3_000):
        weights.grad = torch.zeros(4, 8)
        muon.step()
    assert torch.equal(weights, torch.ones(4, 8))


def test_no_gradient_gives_no_update():
    assert torch.equal(orthogonal(torch.zeros(1, 4, 8)), torch.zeros(1, 4, 8))
