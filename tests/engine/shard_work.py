"""Work that the tests of the engine give to worker processes, which import it by name."""

import os
import signal
import time
from pathlib import Path

from openeurollm.errors import BadInput


def _note(item, what):
    """Add a line to what was noted of an item, a folder and a number; returns how often that was done before."""
    folder, number = item
    with open(Path(folder, str(number)), "a") as file:
        before = file.tell()
        file.write(f"{what}\n")
    return before


def double(item):
    _note(item, 2 * item[1])


def who(item):
    time.sleep(0.2)
    _note(item, os.getpid())


def refuse(item):
    _note(item, "at it")
    if item[1] == 3:
        raise ValueError("shard 3 is bad")


def fail_once(item):
    before = _note(item, "at it")
    if item[1] == 3 and not before:
        raise RuntimeError("not yet")


def end_with(item):
    what, number = item
    if number == 3:
        raise BadInput(what) if isinstance(what, str) else OSError(what, os.strerror(what))


def die(item):
    if item[1] == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    _note(item, "at it")


def _before(place):
    """How often this was called for a place before."""
    with open(place, "ab") as file:
        file.write(b".")
    return place.stat().st_size - 1


def die_once(place):
    """Die as the place's name says, the first time."""
    if _before(place) == 0:
        os.kill(os.getpid(), signal.Signals[place.name.split("-")[0]])


def fault_often(place):
    """Die of a fault seven times in all."""
    if _before(place) < 7:
        os.kill(os.getpid(), signal.SIGSEGV)


def linger(folder):
    """Leave one's process number and stay."""
    Path(folder, str(os.getpid())).touch()
    time.sleep(300)


def main(folder):
    """A run that is to be killed."""
    from openeurollm.engine import Engine, Reporter

    Engine(2, Reporter(quiet=True)).map("linger", linger, [folder] * 4)
