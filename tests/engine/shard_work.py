"""Work that the tests of the engine give to worker processes, which import it by name."""

import os
import signal
import time
from pathlib import Path


def double(number):
    return 2 * number


def who(_number):
    time.sleep(0.2)
    return os.getpid()


def refuse(number):
    if number == 3:
        raise ValueError(f"shard {number} is bad")
    return number


def die(number):
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def linger(folder):
    """Leave one's process number and stay."""
    Path(folder, str(os.getpid())).touch()
    time.sleep(300)


def main(folder):
    """A run that is to be killed."""
    from openeurollm.engine import Engine, Reporter

    for _ in Engine(2, Reporter(quiet=True)).map("linger", linger, [folder] * 4):
        pass
