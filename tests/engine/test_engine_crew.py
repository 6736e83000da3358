"""A crew: every task is done however many are at it, whoever dies; what cannot be done is set aside and told."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from openeurollm.engine import crew

SCRIPT = Path(__file__).with_name("crew_work.py")


class Crowd:
    """Processes that share a piece of work."""

    def __init__(self, folder):
        self.folder, self.members = folder, []
        (folder / "out").mkdir()
        (folder / "log").mkdir()

    def join(self, function, tasks=20, workers=1):
        command = [sys.executable, str(SCRIPT), str(self.folder), function, str(tasks), str(workers)]
        self.members.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        return self.members[-1]

    def said(self, most=60):
        """What each of them said at its end, and with which status it ended."""
        return [(member.communicate(timeout=most)[0].strip(), member.returncode) for member in self.members]

    def until(self, condition, most=60):
        ends = time.monotonic() + most
        while not condition():
            assert time.monotonic() < ends, "waited in vain"
            time.sleep(0.01)

    def attempts(self, number):
        return len((self.folder / "log" / str(number)).read_text().splitlines())

    @property
    def done(self):
        return {int(path.name): path.read_text() for path in (self.folder / "out").iterdir() if path.name.isdigit()}

    @property
    def leads(self):
        file = self.folder / "leads"
        return [int(line) for line in file.read_text().splitlines()] if file.exists() else []


@pytest.fixture
def crowd(tmp_path):
    made = Crowd(tmp_path)
    yield made
    for member in made.members:
        member.kill()
        member.wait()


ALL = {number: f"{number} ['ga', 'mt'] {1 / 3!r}" for number in range(20)}


@pytest.mark.parametrize("members", [1, 2, 4])
def test_every_task_is_done_once_however_many_share(crowd, members):
    for _ in range(members):
        crowd.join("write")
    assert crowd.said() == [("", 0)] * members
    assert crowd.done == ALL
    assert [crowd.attempts(number) for number in range(20)] == [2] * 20, "once in each of two passes"
    assert len(crowd.leads) == 1
    costs = [json.loads(path.read_text()) for path in (crowd.folder / "crew" / "costs").glob("*.json")]
    assert len(costs) == members - 1, "those who follow note what they cost; the stage's own meter has the lead"


def test_a_pool_in_each_process_works_too(crowd):
    for _ in range(2):
        crowd.join("write", workers=2)
    assert crowd.said() == [("", 0)] * 2
    assert crowd.done == ALL


def test_who_comes_when_all_is_over_goes_at_once(crowd):
    crowd.join("write")
    crowd.said()
    crowd.join("write")
    assert crowd.said()[1] == ("", 0)
    assert len(crowd.leads) == 1


def test_when_the_lead_is_killed_another_takes_it_and_all_is_done(crowd):
    members = {member.pid: member for member in (crowd.join("slow") for _ in range(3))}
    crowd.until(lambda: len(crowd.done) > 3)
    lead = members[crowd.leads[0]]
    os.kill(lead.pid, signal.SIGKILL)
    assert sorted(crowd.said()) == [("", -9), ("", 0), ("", 0)]
    assert len(crowd.leads) == 2
    assert crowd.done == ALL


def test_what_a_killed_follower_was_at_is_done_by_others(crowd):
    lead = crowd.join("slow")
    crowd.until(lambda: crowd.leads)
    follower = crowd.join("slow")
    crowd.until(lambda: any(str(follower.pid) in path.read_text() for path in (crowd.folder / "log").iterdir()))
    os.kill(follower.pid, signal.SIGKILL)
    assert crowd.said() == [("", 0), ("", -9)]
    assert crowd.leads == [lead.pid]
    assert crowd.done == ALL


def test_one_that_is_told_to_stop_frees_its_tasks_without_an_attempt_lost(crowd):
    crowd.join("slow", workers=2)
    crowd.until(lambda: len(crowd.done) > 3)
    crowd.members[0].send_signal(signal.SIGUSR1)
    assert crowd.said() == [("", 75)]
    crowd.members.clear()
    assert not list((crowd.folder / "work").glob("passes/*/failed/*"))
    crowd.join("slow")
    assert crowd.said() == [("", 0)]
    assert crowd.done == ALL


def test_a_task_that_fails_at_first_is_tried_again(crowd):
    crowd.join("fail_once")
    crowd.join("fail_once")
    assert crowd.said() == [("", 0)] * 2
    assert crowd.done == ALL


def test_a_task_that_always_fails_is_set_aside_and_tried_again_only_when_asked(crowd):
    crowd.join("refuse_three")
    crowd.join("refuse_three")
    for words, status in crowd.said():
        assert status == 1
        assert words.startswith(
            "Failure: first pass: 1 of 20 shards set aside after 3 attempts each; task 3: ValueError: it is the third; "
        )
    assert crowd.done == {number: text for number, text in ALL.items() if number != 3}
    assert crowd.attempts(3) == 3
    assert "raise ValueError" in (crowd.folder / "work" / "set-aside" / "first-pass.txt").read_text()
    (told,) = crew.progress(crowd.folder / "work")
    assert (told.title, told.number, told.done, told.running, told.aside, told.failed) == (
        "first pass",
        20,
        19,
        0,
        1,
        3,
    )

    crew.forgive(crowd.folder / "work")
    (crowd.folder / "mended").touch()
    (crowd.folder / "over.json").unlink()
    crowd.members.clear()
    crowd.join("refuse_three")
    assert crowd.said() == [("", 0)]
    assert crowd.done == ALL


def test_a_task_at_which_processes_are_killed_is_set_aside(crowd):
    crowd.join("die", workers=2)
    ((words, status),) = crowd.said()
    assert status == 1
    assert "1 of 20 shards set aside" in words and "task 2: its process died each time" in words
    assert set(crowd.done) == set(range(20)) - {2}


def test_a_task_that_kills_whoever_is_at_it_is_set_aside_before_it_kills_all(crowd):
    for _ in range(4):
        crowd.join("die")
    said = crowd.said()
    assert sorted(status for _, status in said) == [-9, -9, -9, 1]
    (words,) = [words for words, status in said if status == 1]
    assert "1 of 20 shards set aside" in words and "its process went silent" in words
    assert set(crowd.done) == set(range(20)) - {2}
    assert crowd.attempts(2) == 3


def test_a_lead_that_is_stopped_is_replaced_and_takes_no_part_when_it_comes_back(crowd):
    members = {member.pid: member for member in (crowd.join("slow") for _ in range(2))}
    crowd.until(lambda: len(crowd.done) > 3)
    lead = members[crowd.leads[0]]
    os.kill(lead.pid, signal.SIGSTOP)
    crowd.until(lambda: len(crowd.leads) == 2)
    os.kill(lead.pid, signal.SIGCONT)
    assert crowd.said() == [("", 0)] * 2
    assert crowd.done == ALL


def test_one_that_comes_back_when_the_stage_is_whole_and_cleared_away_says_nothing(crowd):
    lead = crowd.join("slow")
    crowd.until(lambda: crowd.leads)
    follower = crowd.join("slow")
    crowd.until(lambda: any(str(follower.pid) in path.read_text() for path in (crowd.folder / "log").iterdir()))
    os.kill(follower.pid, signal.SIGSTOP)
    assert lead.wait(60) == 0
    shutil.rmtree(crowd.folder / "work")
    os.kill(follower.pid, signal.SIGCONT)
    assert crowd.said() == [("", 0)] * 2
    assert not list((crowd.folder / "work").glob("passes/*"))


def test_all_that_is_unfinished_is_forgiven(crowd):
    """Processes that were killed with their job cost no attempt of the next one."""
    for _ in range(3):
        crowd.members.clear()
        member = crowd.join("slow")
        crowd.until(lambda: any((crowd.folder / "work").glob("passes/*/claims/*")))
        member.kill()
        member.wait()
        crew.forgive(crowd.folder / "work")
    (told,) = crew.progress(crowd.folder / "work")
    assert (told.running, told.aside, told.failed) == (0, 0, 0)


def test_a_damaged_file_of_tasks_is_bad_input(crowd):
    crowd.join("write")
    crowd.said()
    for damaged in (b"", b"[]", b"{", b'{"title": 5}\n', b"[" * 100_000):
        for file in (crowd.folder / "work").glob("passes/*/tasks.jsonl"):
            file.write_bytes(damaged)
        with pytest.raises(crew.BadInput, match="is damaged"):
            crew.progress(crowd.folder / "work")


def test_bad_input_is_told_by_all_and_not_tried_again(crowd):
    crowd.join("bad")
    crowd.join("bad")
    assert crowd.said() == [("BadInput: source 7 is no archive", 1)] * 2
    (told,) = crew.progress(crowd.folder / "work")
    assert told.failed == 1


def test_a_pass_that_is_whole_is_not_done_again(crowd):
    crowd.join("write")
    crowd.said()
    (crowd.folder / "over.json").unlink()
    crowd.join("write")
    assert [status for _, status in crowd.said()] == [0, 0]
    assert crowd.attempts(5) == 2


@pytest.mark.parametrize(
    "name",
    [
        "os:system",
        "openeurollm.ledger.files:remove",
        "openeurollm.corpus.gather:nothing",
        "openeurollm.corpus.gather:np",
        ":",
        "x" * 9_999,
    ],
)
def test_a_file_of_tasks_names_no_function_but_a_stages(name):
    with pytest.raises(crew.BadInput, match="is no work of a stage"):
        crew.work_on(crew._Numbered(name, 0, b'"true"'))


def test_a_sign_of_life_ends_with_the_process(tmp_path):
    code = """
import sys, pathlib, time
from openeurollm.engine.crew import Lease
Lease(pathlib.Path(sys.argv[1]), 0.2)
print(1, flush=True)
time.sleep(600)
"""
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "lease")], stdout=subprocess.PIPE)
    process.stdout.readline()
    before = (tmp_path / "lease").stat().st_mtime_ns
    ends = time.monotonic() + 30
    while (tmp_path / "lease").stat().st_mtime_ns == before:
        assert time.monotonic() < ends
    process.kill()
    process.wait()
    time.sleep(0.3)
    last = (tmp_path / "lease").stat().st_mtime_ns
    time.sleep(0.5)
    assert (tmp_path / "lease").stat().st_mtime_ns == last


def test_a_shell_that_is_killed_is_replaced_and_a_process_that_is_stopped_is_silent(tmp_path):
    code = """
import sys, pathlib, time
from openeurollm.engine.crew import Lease
lease = Lease(pathlib.Path(sys.argv[1]), 0.2)
print(lease._shell.pid, flush=True)
sys.stdin.read()
lease.end()
"""
    pipe = subprocess.PIPE
    file = tmp_path / "lease"
    process = subprocess.Popen([sys.executable, "-c", code, str(file)], stdin=pipe, stdout=pipe)
    shell = int(process.stdout.readline())

    def beats(most):
        before, ends = file.stat().st_mtime_ns, time.monotonic() + most
        while file.stat().st_mtime_ns == before:
            if time.monotonic() > ends:
                return False
        return True

    os.kill(shell, signal.SIGKILL)
    time.sleep(0.2)
    assert beats(30)
    os.kill(process.pid, signal.SIGSTOP)
    time.sleep(0.3)
    assert not beats(0.5)
    os.kill(process.pid, signal.SIGCONT)
    assert beats(30)
    process.communicate(timeout=30)
    assert process.returncode == 0 and not file.exists()
