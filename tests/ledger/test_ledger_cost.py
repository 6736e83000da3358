"""What work cost, with what earlier attempts had cost before they were killed."""

import subprocess
import sys
import time

import pytest

from openeurollm.ledger import Meter, cores, host, read_json, spent, write_text

KILLED = (
    "import os, signal, sys; from pathlib import Path; from openeurollm.ledger import Meter\n"
    "with Meter(Path(sys.argv[1])):\n"
    "    os.kill(os.getpid(), signal.SIGKILL)"
)


def _work(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        sum(range(1000))


def test_work_costs_time_and_energy(tmp_path):
    began = time.monotonic()
    with Meter(tmp_path / "cost.json") as meter:
        _work(0.3)
    assert 0.3 <= meter.cost["wall_seconds"] <= time.monotonic() - began + 0.01
    assert meter.cost["cpu_seconds"] >= 0.29
    assert meter.cost["attempts"] == 1
    energy = meter.cost["energy"]
    assert 0 <= energy["low"] <= energy["kwh"] <= energy["high"]
    assert energy["method"]


def test_a_second_attempt_adds_to_the_first(tmp_path):
    with pytest.raises(ValueError), Meter(tmp_path / "cost.json") as first:
        _work(0.2)
        raise ValueError
    with Meter(tmp_path / "cost.json") as second:
        _work(0.2)
    assert second.cost["attempts"] == 2
    assert second.cost["wall_seconds"] >= first.cost["wall_seconds"] + 0.2
    assert second.cost["cpu_seconds"] >= first.cost["cpu_seconds"] + 0.19
    assert second.cost["energy"]["kwh"] >= first.cost["energy"]["kwh"]


def test_an_attempt_that_was_killed_is_counted(tmp_path):
    assert subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "cost.json")]).returncode == -9
    with Meter(tmp_path / "cost.json") as meter:
        pass
    assert meter.cost["attempts"] == 2


def test_energy_is_noted_while_the_work_goes_on(tmp_path):
    pytest.importorskip("codecarbon", reason="the package codecarbon is not installed")
    notes = tmp_path / "cost.json"
    assert spent(notes) is None
    with Meter(notes) as meter:
        until = time.monotonic() + 60
        while spent(notes) is None and time.monotonic() < until:
            _work(0.5)
        so_far = spent(notes)
        assert so_far is not None
        assert read_json(notes)["energy"]["method"].startswith("CodeCarbon")
    assert spent(notes) == meter.cost["energy"]["kwh"] >= so_far > 0


@pytest.mark.parametrize(
    "notes", ["", "{", "[1]", '{"energy": 7}', '{"energy": {"kwh": "1"}}', '{"energy": {"kwh": 0}}']
)
def test_energy_that_is_not_noted_is_unknown(tmp_path, notes):
    write_text(tmp_path / "cost.json", notes)
    assert spent(tmp_path / "cost.json") is None


@pytest.mark.parametrize("notes", ["", "{", "[1]"])
def test_notes_that_cannot_be_read_count_as_none(tmp_path, notes):
    write_text(tmp_path / "cost.json", notes)
    with Meter(tmp_path / "cost.json") as meter:
        pass
    assert meter.cost["attempts"] == 1


def test_the_machine_is_named():
    told = host()
    assert told["cores"] == cores() >= 1
    assert told["memory_bytes"] > 100_000_000
    assert told["python"].startswith(f"{sys.version_info.major}.{sys.version_info.minor}")
