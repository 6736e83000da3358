"""One of a crew: `python crew_work.py FOLDER FUNCTION TASKS [WORKERS]` shares two passes with all who do the same."""

import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from openeurollm.engine import Crew, Reporter, crew
from openeurollm.errors import BadInput, Failure, Stopped

crew._ROOMS = ("crew_work.",)  # what a crew may be told to do is a stage's work; here it is this file's


@dataclass(frozen=True)
class Task:
    folder: Path
    number: int
    names: tuple[str, ...] = ()
    share: float | None = None

    def __str__(self) -> str:
        return f"task {self.number}"

    @property
    def out(self):
        return self.folder / "out" / f"{self.number}"

    def note(self):
        with open(self.folder / "log" / f"{self.number}", "ab", buffering=0) as file:
            file.write(b"%d\n" % os.getpid())


def write(task: Task) -> None:
    task.note()
    time.sleep(0.02)
    part = task.out.with_suffix(f".{os.getpid()}")
    part.write_text(f"{task.number} {sorted(task.names)} {task.share!r}")
    part.rename(task.out)


def slow(task: Task) -> None:
    time.sleep(0.3)
    write(task)


def refuse_three(task: Task) -> None:
    task.note()
    if task.number == 3 and not (task.folder / "mended").exists():
        raise ValueError("it is the third")
    write(task)


def fail_once(task: Task) -> None:
    if task.number % 5 == 0 and not (task.folder / "log" / f"{task.number}").exists():
        task.note()
        raise RuntimeError("at first")
    write(task)


def bad(task: Task) -> None:
    if task.number == 7:
        raise BadInput("source 7 is no archive")
    write(task)


def die(task: Task) -> None:
    task.note()
    if task.number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    write(task)


def main() -> int:
    import crew_work

    folder, function, number = Path(sys.argv[1]), getattr(crew_work, sys.argv[2]), int(sys.argv[3])
    workers = int(sys.argv[4]) if len(sys.argv) > 4 else 1
    signal.signal(signal.SIGUSR1, lambda *_: sys.exit(75))
    leases = folder / "crew"
    one = Crew(workers, Reporter(quiet=True), "tests", folder / "work", 0, leases / "costs", leases, 1.0)

    def build(each: Crew) -> None:
        (folder / "leads").open("a").write(f"{os.getpid()}\n")
        names = ("ga", "mt")
        for title in ("first pass", "second pass"):
            each.map(title, function, [Task(folder, n, names, 1 / 3) for n in range(number)])
            (folder / f"{title} done").touch()

    try:
        crew.together(one, folder / "over.json", build)
    except (BadInput, Failure, Stopped) as error:
        print(f"{type(error).__name__}: {error}", flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    sys.exit(main())
