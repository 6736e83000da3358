"""A training over several processes: `together.py PROCESSES RECIPE RUN OUT SETTING…`.

Each process builds the base model and tunes it, and writes what both tell, or how it failed, to `OUT/RANK.json`. As
many processes as asked for are forked, and nothing but the training itself holds them together; with 0 this is one of
those that torchrun started. `SIGNAL="RANK STEP NUMBER"` makes the process of this rank send itself a signal when it
takes rows of a step.
"""

import json
import os
import socket
import sys
from pathlib import Path

from openeurollm.engine import Engine, Reporter
from openeurollm.errors import BadInput, Failure, Stopped
from openeurollm.ledger import RunFolder
from openeurollm.model import build, data, tuning
from openeurollm.recipe import load


class Signalling(data.Rows):
    """Rows of which some come with a signal; `OUT/RANK.rows` names those that were taken."""

    out = Path()

    def take(self, first, number):
        rank, at, signal = os.environ.get("SIGNAL", "none 0 0").split()
        if rank == os.environ["RANK"] and first <= int(at) * ROWS < first + ROWS:
            os.kill(os.getpid(), int(signal))
        with open(self.out / f"{os.environ['RANK']}.rows", "a") as rows:
            rows.writelines(f"{place}\n" for place in range(first, first + number))
        return super().take(first, number)


ROWS = 32
"""Of a step."""


def work(recipe, run, out, *settings):
    data.Rows, Signalling.out = Signalling, Path(out)
    arguments = load(Path(recipe), settings), RunFolder(Path(run)), Engine(1, Reporter(quiet=True))
    try:
        told = [build(*arguments), tuning.build(*arguments)]
    except (BadInput, Failure, Stopped) as error:
        told = f"{type(error).__name__}: {error}"
    (Path(out) / f"{os.environ['RANK']}.json").write_text(json.dumps(told))


def fork(processes, *arguments):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    os.environ |= {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    running = []
    for rank in range(processes):
        running.append(os.fork())
        if not running[-1]:
            os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            work(*arguments)
            os._exit(0)
    for process in running:
        os.waitpid(process, 0)


if __name__ == "__main__":
    if int(sys.argv[1]):
        fork(int(sys.argv[1]), *sys.argv[2:])
    else:
        work(*sys.argv[2:])
