"""A run folder belongs to one process at a time, and keeps what a killed attempt had finished."""

import os
import signal
import subprocess
import sys

import pytest

from openeurollm.errors import BadInput, Failure
from openeurollm.ledger import FOLDERS, Record, RunFolder, open_run, outputs, write_text

HOLD = (
    "import sys, time; from pathlib import Path; from openeurollm.ledger import RunFolder\n"
    "with RunFolder(Path(sys.argv[1])).locked():\n"
    "    print('held', flush=True); time.sleep(60)"
)


@pytest.fixture
def holder(tmp_path):
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_process_is_refused_and_told_who_holds_the_run(tmp_path, holder):
    with pytest.raises(Failure, match=f"process {holder.pid}"), RunFolder(tmp_path).locked():
        pass


def test_kill_9_releases_the_lock(tmp_path, holder):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with RunFolder(tmp_path).locked():
        pass


def test_an_error_releases_the_lock(tmp_path):
    with pytest.raises(ValueError), RunFolder(tmp_path).locked():
        raise ValueError
    with RunFolder(tmp_path).locked():
        pass


def test_an_attempt_with_the_same_key_finds_what_the_killed_one_left(tmp_path):
    run = RunFolder(tmp_path)
    run.begin("corpus", "key")
    write_text(run.folder("corpus") / "half", "x")
    write_text(run.work("corpus") / "scratch", "x")
    write_text(run.work("corpus") / ".file.4711.part", "x")
    run.begin("corpus", "key")
    assert (run.folder("corpus") / "half").is_file()
    assert (run.work("corpus") / "scratch").is_file()
    assert not (run.work("corpus") / ".file.4711.part").exists()


def test_an_attempt_with_another_key_begins_anew(tmp_path):
    run = RunFolder(tmp_path)
    run.begin("corpus", "key")
    write_text(run.folder("corpus") / "mt" / "half", "x")
    write_text(run.work("corpus") / "scratch", "x")
    run.begin("corpus", "another key")
    assert list(run.folder("corpus").iterdir()) == []
    assert [path.name for path in run.work("corpus").iterdir()] == ["key"]


def test_an_attempt_whose_folder_was_removed_begins_anew(tmp_path):
    run = RunFolder(tmp_path)
    run.begin("corpus", "key")
    write_text(run.work("corpus") / "done.json", "x")
    run.folder("corpus").rmdir()
    run.begin("corpus", "key")
    assert run.folder("corpus").is_dir()
    assert not (run.work("corpus") / "done.json").exists()


def test_building_the_model_anew_keeps_the_tuned_model_beside_it(tmp_path):
    run = RunFolder(tmp_path)
    for stage in ("model", "tuning"):
        run.begin(stage, "key")
        write_text(run.folder(stage) / "weights", stage)
        run.end(stage, Record(stage=stage, parameters={}, inputs={}, outputs=outputs(run.folder(stage))))
    run.begin("model", "another key")
    assert run.record("model") is None
    assert not (run.folder("model") / "weights").exists()
    assert run.need("tuning").outputs.keys() == {"weights"}


def test_a_finished_stage_leaves_no_scratch(tmp_path):
    run = RunFolder(tmp_path)
    run.begin("board", "key")
    run.end("board", Record(stage="board", parameters={}, inputs={}, outputs={}))
    assert run.need("board").stage == "board"
    assert not run.work("board").exists()


def test_the_record_that_is_replaced_is_kept_until_the_stage_is_whole(tmp_path):
    run = RunFolder(tmp_path)
    for seed in (1, 2):
        run.begin("board", f"key {seed}")
        assert run.record("board") is None
        assert (run.replaced("board") is None) == (seed == 1)
        run.begin("board", "another key")
        run.begin("board", "another key")
        assert seed == 1 or run.replaced("board").parameters == {"seed": 1}
        run.end("board", Record(stage="board", parameters={"seed": seed}, inputs={}, outputs={}))
        assert run.replaced("board") is None
    assert list((tmp_path / ".work").iterdir()) == []


def test_a_missing_stage_is_bad_input_that_says_what_builds_it(tmp_path):
    for stage in FOLDERS:
        with pytest.raises(BadInput, match=f"{stage} is not built; `openeurollm run` builds it"):
            RunFolder(tmp_path).need(stage)


def test_a_folder_that_is_no_run_is_bad_input(tmp_path):
    with pytest.raises(BadInput, match="no run here"):
        open_run(tmp_path)
    with pytest.raises(BadInput, match="no run here"):
        open_run(tmp_path / "absent")
