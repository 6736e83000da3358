"""The pool: every item once, errors that name what was lost, and no worker that outlives its run."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from shard_work import die, die_once, double, end_with, fail_once, fault_often, refuse, who

from openeurollm.engine import Engine, Reporter
from openeurollm.errors import BadInput, Failure
from openeurollm.ledger import cores

QUIET = Reporter(quiet=True)


def noted(folder):
    """What shards noted in a folder, as (item, what) in order."""
    return sorted((int(path.name), path.read_text()) for path in folder.iterdir() if path.name.isdigit())


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("number", [0, 1, 23])
def test_every_item_is_done_once(workers, number, tmp_path):
    Engine(workers, QUIET).map("doubling", double, [(tmp_path, item) for item in range(number)])
    assert noted(tmp_path) == [(item, f"{2 * item}\n") for item in range(number)]


def test_as_many_processes_are_at_work_as_asked_for(tmp_path):
    Engine(2, QUIET).map("who", who, [(tmp_path, item) for item in range(8)])
    processes = {text for _, text in noted(tmp_path)}
    assert len(processes) == 2
    assert f"{os.getpid()}\n" not in processes


def test_one_worker_is_this_process(tmp_path):
    Engine(1, QUIET).map("who", who, [(tmp_path, item) for item in range(2)])
    assert {text for _, text in noted(tmp_path)} == {f"{os.getpid()}\n"}


def test_an_engine_uses_the_cores_it_may():
    assert Engine().workers == cores() >= 1
    assert Engine().site == "laptop"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_shard_that_fails_is_tried_three_times_and_set_aside_while_the_others_go_on(workers, tmp_path):
    engine = Engine(workers, QUIET, work=tmp_path / "work")
    with pytest.raises(Failure) as error:
        engine.map("refusing all", refuse, [(tmp_path, item) for item in range(8)])
    told = tmp_path / "work" / "set-aside" / "refusing-all.txt"
    assert str(error.value) == (
        f"refusing all: 1 of 8 shards set aside after 3 attempts each; ({tmp_path!r}, 3): ValueError: shard 3 is bad; "
        f"all are in {told}; finished shards are kept, run again to try these again"
    )
    assert "raise ValueError" in told.read_text()
    assert noted(tmp_path) == [(item, "at it\n" * (3 if item == 3 else 1)) for item in range(8)]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_shard_that_fails_at_first_is_done_in_the_end(workers, tmp_path):
    Engine(workers, QUIET).map("failing once", fail_once, [(tmp_path, item) for item in range(8)])
    assert noted(tmp_path) == [(item, "at it\nat it\n" if item == 3 else "at it\n") for item in range(8)]


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("what", "kind"), [("no such archive", BadInput), (errno.ENOSPC, OSError), (errno.EROFS, OSError)]
)
def test_bad_input_and_an_error_of_the_machine_end_the_work_as_they_are(workers, what, kind, tmp_path):
    with pytest.raises(kind) as error:
        Engine(workers, QUIET).map("ending", end_with, [(what, item) for item in range(8)])
    assert (error.value.errno if kind is OSError else str(error.value)) == what


def test_a_shard_at_which_processes_always_die_is_set_aside(tmp_path):
    with pytest.raises(
        Failure, match=r"1 of 3 shards .*, 3\): its process died each time \(killed, or out of memory\)"
    ):
        Engine(2, QUIET).map("dying", die, [(tmp_path, item) for item in range(3, 6)])
    assert [item for item, _ in noted(tmp_path)] == [4, 5]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSEGV])
def test_a_shard_whose_process_dies_is_tried_again_alone(tmp_path, how):
    items = [Path(tmp_path, f"{how.name}-{number}") for number in range(6)]
    Engine(2, QUIET).map("dying once", die_once, items)
    assert [item.stat().st_size for item in items] == [2] * 6


def test_a_process_that_dies_of_its_own_fault_is_tried_until_it_comes_through(tmp_path):
    items = [tmp_path / "one", tmp_path / "other"]
    Engine(2, QUIET).map("faults", fault_often, items)
    assert [item.stat().st_size for item in items] == [8, 8]


def _alive(process):
    try:
        return "Z" not in Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_workers_end_when_their_run_is_killed(tmp_path):
    run = subprocess.Popen(
        [sys.executable, "-c", "import sys, shard_work; shard_work.main(sys.argv[1])", str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        stderr=subprocess.DEVNULL,
    )
    ends = time.monotonic() + 120
    while len(list(tmp_path.iterdir())) < 2:
        assert run.poll() is None and time.monotonic() < ends
        time.sleep(0.05)
    workers = [int(path.name) for path in tmp_path.iterdir()]
    assert all(map(_alive, workers))
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    while any(map(_alive, workers)):
        assert time.monotonic() < ends, "a worker outlived its run"
        time.sleep(0.05)
