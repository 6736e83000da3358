"""Progress: on standard error, a line now and then where there is no terminal, nothing when quiet."""

import os
import re
import subprocess
import sys
import time

import pytest

from openeurollm.engine import Reporter
from openeurollm.engine.progress import left


def test_a_line_every_ten_seconds_where_there_is_no_terminal(capsys):
    with Reporter().task("read and clean", 4) as task, Reporter().task("nothing", 0) as nothing:
        task.advance()
        assert capsys.readouterr() == ("", "")
        time.sleep(10.1)
        task.advance("3 pages")
        task.advance()
        nothing.update(0)
    out, told = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"  read and clean: 50 % 3 pages, 2\d s left\n  nothing: 100 %\n", told)


@pytest.mark.parametrize(
    ("done", "seconds", "said"),
    [
        (50, 4, ""),
        (20, 60, ""),
        (100, 60, ""),
        (60, 30, "30 s left"),
        (60, 90, "1 min left"),
        (60, 5400, "1 h 30 min left"),
        (21, 3600, "3 d 7 h left"),
        (99, 3600, "46 s left"),
    ],
)
def test_the_time_left_follows_from_what_was_done_here(done, seconds, said):
    assert left(100, done, 20, seconds) == said


def test_nothing_is_said_when_quiet(capsys):
    reporter = Reporter(quiet=True)
    reporter.say("hello")
    with reporter.task("work", 1) as task:
        task.advance()
    assert capsys.readouterr() == ("", "")


def test_what_is_said_goes_to_standard_error(capsys):
    Reporter().say("[bold]corpus[/bold]: not built yet")
    assert capsys.readouterr() == ("", "corpus: not built yet\n")


SHOW = """
from openeurollm.engine import Reporter
with Reporter().task("read and clean", 2) as task:
    task.update(1, "half of it")
    task.advance("all of it")
"""


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
def test_a_terminal_shows_a_bar_and_what_is_being_done():
    ours, theirs = os.openpty()
    done = subprocess.run([sys.executable, "-c", SHOW], stderr=theirs, env={**os.environ, "TERM": "xterm"}, timeout=60)
    os.close(theirs)
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    assert done.returncode == 0
    assert "read and clean" in shown
    assert "100 %" in shown
    assert "all of it" in shown
