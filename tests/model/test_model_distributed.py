"""Several processes train one model: the same bits for any number of them, stopped, killed and started again."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from openeurollm.ledger import digest
from openeurollm.model.distributed import World, start
from openeurollm.recipe import Model, parts

SCRIPT = Path(__file__).parent / "together.py"
SETTINGS = (
    *("model.batch_tokens=2048", "model.parts=4", "model.compute=1.7e10"),
    *("tuning.batch_tokens=2048", "tuning.epochs=1"),
)


def _folder(tiny, place):
    """A copy of the run whose model is yet to be made."""
    folder = tiny.copy(place)
    folder.begin("model", "a key")
    folder.begin("tuning", "a key")
    return folder


def _train(tiny, folder, processes, torchrun=False, settings=(), **environment):
    """What each process tells or how it failed, by rank; None of one that was killed."""
    out = folder.path / "told"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if torchrun else []
    command = [sys.executable, *launcher, str(SCRIPT), "0" if torchrun else str(processes)]
    command += [str(tiny.file), str(folder.path), str(out), *SETTINGS, *settings]
    subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1", **environment}, check=True, timeout=120)
    files = [out / f"{rank}.json" for rank in range(processes)]
    return [json.loads(file.read_text()) if file.is_file() else None for file in files]


def _rows(folder, processes):
    """The rows of the base model's training that the processes took, in order."""
    files = [folder.path / "told" / f"{rank}.rows" for rank in range(processes)]
    return sorted(int(line) for file in files for line in file.read_text().splitlines())


def _curve(folder, stage):
    clocked = ("seconds", "tokens_per_s", "matmul_share")
    lines = map(json.loads, (folder.folder(stage) / "metrics.jsonl").read_text("utf-8").splitlines())
    return [{key: value for key, value in line.items() if key not in clocked} for line in lines]


def _made(folder):
    """What must not depend on the number of processes."""
    base = digest(folder.folder("model") / "base" / "model.safetensors")
    tuned = digest(folder.folder("tuning") / "model.safetensors")
    return base, tuned, _curve(folder, "model"), _curve(folder, "tuning")


@pytest.fixture(scope="module")
def alone(tiny, tmp_path_factory):
    """What one process makes."""
    folder = _folder(tiny, tmp_path_factory.mktemp("alone"))
    _train(tiny, folder, 1)
    return _made(folder)


@pytest.mark.parametrize(("processes", "torchrun"), [(2, False), (4, True)])
def test_several_processes_make_the_same_model_as_one(tiny, tmp_path, alone, processes, torchrun):
    folder = _folder(tiny, tmp_path)
    told = _train(tiny, folder, processes, torchrun)
    assert _made(folder) == alone
    assert all(each == told[0] for each in told)
    assert [results["processes"] for _, results in told[0]] == [processes, processes]
    assert _rows(folder, processes) == [*range(25 * 32)]


def test_a_training_that_a_process_is_told_to_stop_goes_on_to_the_same_model(tiny, tmp_path, alone):
    folder = _folder(tiny, tmp_path)
    told = _train(tiny, folder, 2, SIGNAL=f"1 7 {signal.SIGTERM:d}")
    assert len(told) == 2
    assert all(re.fullmatch(r"Stopped: .* stopped after step [4-9] of 25; run again to go on", each) for each in told)
    _train(tiny, folder, 1)
    assert _made(folder) == alone


def test_the_death_of_a_process_ends_the_others_and_is_made_good(tiny, tmp_path, alone):
    folder = _folder(tiny, tmp_path)
    told = _train(tiny, folder, 4, SIGNAL=f"1 20 {signal.SIGKILL:d}")
    assert told.pop(1) is None
    assert [words[:49] for words in told] == ["Lost: another process of the training has ended ("] * 3
    _train(tiny, folder, 2)
    assert _made(folder) == alone


# Sharded weights.


@pytest.fixture(scope="module", params=[(2, 2), (4, 2), (3, 1)], ids=["sharded", "hybrid", "data parallel"])
def sharded(request, tiny, tmp_path_factory):
    """Processes and how many of them share one copy; and what an uninterrupted training of them makes."""
    folder = _folder(tiny, tmp_path_factory.mktemp("sharded"))
    processes, shard = request.param
    told = _train(tiny, folder, processes, settings=(f"model.sharding={shard}",))
    return processes, shard, folder, told


def test_sharded_weights_learn_what_replicated_ones_do(sharded, alone, tiny):
    processes, shard, folder, told = sharded
    assert all(each == told[0] for each in told)
    assert told[0][0][1]["layout"] == {"processes": processes, "shard": shard}
    assert _rows(folder, processes) == [*range(25 * 32)]
    for mine, other in zip(_curve(folder, "model"), alone[2], strict=True):
        if "loss" in mine:
            assert mine["loss"] == pytest.approx(other["loss"], abs=2e-3)
            assert mine["gradient_norm"] == pytest.approx(other["gradient_norm"], rel=1e-2)
            assert mine["tokens"] == other["tokens"]
        else:
            assert mine["held_out"] == pytest.approx(other["held_out"], abs=2e-3)


def test_a_killed_sharded_training_ends_in_the_same_bits(sharded, tiny, tmp_path):
    processes, shard, whole, _ = sharded
    folder = _folder(tiny, tmp_path)
    _train(tiny, folder, processes, settings=(f"model.sharding={shard}",), SIGNAL=f"1 20 {signal.SIGKILL:d}")
    assert not (folder.folder("model") / "base").exists()
    told = _train(tiny, folder, processes, settings=(f"model.sharding={shard}",))
    assert _made(folder) == _made(whole)
    assert told[0][0][1]["resumed"] == []


def test_another_layout_goes_on_from_a_checkpoint_with_the_same_batches(tiny, tmp_path, alone):
    folder = _folder(tiny, tmp_path)
    _train(tiny, folder, 2, settings=("model.sharding=2",), SIGNAL=f"1 20 {signal.SIGKILL:d}")
    told = _train(tiny, folder, 1)
    assert told[0][0][1]["resumed"] == [{"step": 15, "threads": 1, "processes": 2, "shard": 2}]
    assert _rows(folder, 1) == [*range(15 * 32, 25 * 32)]
    last = [line["loss"] for line in _curve(folder, "model") if "loss" in line][-1]
    assert last == pytest.approx([line["loss"] for line in alone[2] if "loss" in line][-1], abs=2e-3)


def test_processes_that_cannot_be_grouped_are_refused_in_one_line(tiny, tmp_path):
    folder = _folder(tiny, tmp_path)
    for words in _train(tiny, folder, 3, settings=("model.sharding=2",)):
        assert words == "BadInput: [model] sharding = 2: 3 processes are no multiple of that"


# The tree.


def _numbers(seed):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=50).astype(np.float32))


@given(st.sampled_from([1, 2, 4, 8]), st.integers(0, 1_000))
def test_a_sum_along_the_tree_is_that_of_its_halves(number, seed):
    world = World(parts=number)
    total = world.sum(lambda part: [_numbers([seed, part])])[0]
    if number > 1:
        half = World(parts=number // 2)
        left = half.sum(lambda part: [_numbers([seed, part])])[0]
        right = half.sum(lambda part: [_numbers([seed, part + number // 2])])[0]
        assert torch.equal(total, left + right)
    exact = sum(_numbers([seed, part]).double() for part in range(number))
    assert torch.allclose(total.double(), exact, atol=1e-5)


@given(st.integers(1, 5_000), st.integers(16, 5_000))
def test_a_step_has_a_power_of_two_of_parts_each_with_rows(rows, length):
    found = parts(Model(context=length), rows * length)
    assert found in (1, 2, 4, 8)
    assert found <= rows
    assert found == 1 or rows * length >= 4_096 * found
    assert found == 8 or rows * length < max(length, 4_096) * 2 * found
    assert parts(Model(context=length, parts=16), rows * length) == 16


def test_without_torchrun_there_is_a_world_of_one(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with start() as world:
        assert (world.first, world.size, world.from_first(0.1)) == (True, 1, 0.1)
