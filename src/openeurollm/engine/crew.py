"""A crew: processes on any number of machines that share the shards of a stage through its scratch space.

Every element of a job array runs the same program. One of them holds the *lead*: it runs the stage, whose passes it
publishes as files of tasks; all of them, the lead as well, claim shards and work on them. Nothing but a common file
system is needed. Who is alive is told by leases, files that are touched again and again: when the holder of the lead or
of a claim is silent for too long, somebody else takes it over. Shards write whole files, so that two at the same shard,
which a late sign of life can bring about, do no harm.

    SCRATCH/passes/NAME/tasks.jsonl      the function, then a task a line; `whole` when all is done
    SCRATCH/passes/NAME/claims/00042     who is at work on task 42
    SCRATCH/passes/NAME/done/WHO         the numbers that one of the crew has finished
    SCRATCH/passes/NAME/failed/00042-1   why the first attempt failed
    SCRATCH/passes/NAME/aside/00042      why task 42 was set aside
    LEASES/WHO, LEASES/lead              signs of life
"""

import contextlib
import hashlib
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import TypeAdapter

from openeurollm.engine.pool import ATTEMPTS, Engine, Function, Item, Pool, Trouble, set_aside, slug
from openeurollm.errors import BadInput, Failure, Lost
from openeurollm.ledger import Meter, read_json, write_json, write_text

_ROOMS = ("openeurollm.corpus.", "openeurollm.tokenizer.", "openeurollm.model.", "openeurollm.evaluation.")
"""Where functions come from that a file of tasks may name."""
_LEAD, _CURRENT = "lead", "current"
_BEAT = """
while [ -e "$1" ] && read -r _ _ state _ < "/proc/$2/stat"; do
  case $state in [ZX]) exit ;; [Tt]) ;; *) touch -c "$1" ;; esac
  sleep "$3"
done
"""
"""Touches a file while a process lives and is not stopped, for a shell."""


class _Replaced(Exception):
    """Another has taken the lead from this process, which was silent for too long."""


class Lease:
    """A sign of life at `path`, touched four times in `seconds` for as long as this process lives and is not stopped.

    A shell beside this process touches it, since long compiled work can hold up every thread of Python. A shell that
    is killed is replaced.
    """

    def __init__(self, path: Path, seconds: float) -> None:
        self.path, self._pause = path, seconds / 4
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        self._ended = threading.Event()
        self._shell = self._start()
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._thread.start()

    def _start(self) -> subprocess.Popen[bytes]:
        null = subprocess.DEVNULL
        words = ["/bin/sh", "-c", _BEAT, "lease", str(self.path), str(os.getpid()), f"{self._pause:g}"]
        return subprocess.Popen(words, stdin=null, stdout=null, stderr=null, start_new_session=True)

    def _keep(self) -> None:
        while True:
            self._shell.wait()
            if self._ended.wait(self._pause):
                return
            with contextlib.suppress(OSError):  # no room for another process now
                self._shell = self._start()

    def end(self) -> None:
        """Give it up."""
        self._ended.set()
        self.path.unlink(missing_ok=True)
        if self._shell.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._shell.pid, signal.SIGKILL)  # the shell and its `sleep`
        self._thread.join()


@dataclass(frozen=True)
class Crew(Engine):
    """One of the processes that share a stage. `leases` is the folder of the signs of life, `lease` how many seconds
    somebody silent counts as alive, `who` this process's name.
    """

    leases: Path = Path()
    lease: float = 60.0
    who: str = field(default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}-{time.time_ns() // 1000 % 10**9}")

    def alive(self, who: str) -> bool:
        """Did this one give a sign of life of late."""
        if not who:
            return False
        try:
            seen = (self.leases / who).stat().st_mtime
            return (self.leases / self.who).stat().st_mtime - seen < self.lease
        except FileNotFoundError:
            return False

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """Be one of the crew while the block lasts."""
        lease = Lease(self.leases / self.who, self.lease)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                if self.leads():
                    (self.leases / _LEAD).unlink(missing_ok=True)
            lease.end()

    def leads(self) -> bool:
        """Does this process hold the lead."""
        return _told(self.leases / _LEAD) == self.who

    def take_lead(self) -> bool:
        """Take the lead if nobody holds it, or its holder is silent; says whether this process has it now."""
        return _claim(self.leases / _LEAD, self)

    def map(self, title: str, function: Function[Item], items: Sequence[Item]) -> None:
        """Publish the items as a pass, work on it with whoever is there, and return when all of it is done.

        The function must stand in a stage's room and take one annotated parameter, a dataclass of plain values (no
        sets, whose order is by chance).
        """
        if not items:
            return
        assert self.work is not None
        self.confirm()
        current = _publish(self.work / "passes", title, function, items)
        if not (current.folder / "whole").is_file():
            write_text(self.leases / _CURRENT, current.folder.name)
            self._share(current, leads=True)
        aside = current.aside()
        if aside:
            bad = next((trouble for _, trouble in aside if trouble.error is not None), None)
            raise bad.error if bad and bad.error else set_aside(title, aside, len(items), self.work)

    def confirm(self) -> None:
        """Raises where another has taken the lead meanwhile: the stage is that one's to build."""
        if not self.leads():
            raise _Replaced

    def follow(self, over: Path) -> None:
        """Work on the passes that the lead publishes until the stage is `over` or nobody leads."""
        assert self.work is not None
        assert self.costs is not None
        pause = 0.02
        with Meter(self.costs / f"{self.who}.json", self.gpus):
            while not over.is_file() and self.alive(_told(self.leases / _LEAD)):
                name = _told(self.leases / _CURRENT)
                folder = self.work / "passes" / name
                if name and (folder / "tasks.jsonl").is_file() and not (folder / "whole").is_file():
                    with _while_it_is_there(folder):
                        self._share(_Pass(folder), leads=False)
                    pause = 0.02
                time.sleep(pause)
                pause = min(1.0, 1.5 * pause)

    def _share(self, current: "_Pass", leads: bool) -> None:
        """Claim tasks and work on them until the pass is whole; a follower leaves when nobody leads any more."""
        pool: Pool[_Numbered] = Pool(self.workers)
        done, claims = current.done_by(self.who), _Claims(current, self)
        shown = 0
        with self.reporter.task(current.title, current.number) as progress:
            try:
                pause = 0.02
                while not (current.folder / "whole").is_file():
                    for item, trouble in pool.outcomes(work_on, claims.take, current.number):
                        claims.mine.discard(item.number)
                        pause = 0.02
                        if trouble is None:
                            done.write(f"{item.number}\n".encode())
                        elif not current.is_there():
                            return
                        else:
                            current.failed(item.number, trouble, self.who)
                            _end(trouble)
                        shown += 1
                        progress.update(shown if not leads else max(shown, current.finished), "")
                    if leads:
                        self.confirm()
                    if leads and current.settled():
                        write_text(current.folder / "whole", "")
                    elif not leads and not self.alive(_told(self.leases / _LEAD)):
                        return
                    else:
                        time.sleep(pause)
                        pause = min(1.0, self.lease / 4, 1.5 * pause)
            except BaseException:
                pool.close(kill=True)
                claims.release()
                raise
            finally:
                pool.close()
                done.close()


def together(crew: Crew, over: Path, build: Callable[[Crew], None]) -> None:
    """Build something with all who call this at the same time: one of them runs `build`, the others work on its passes.

    Where that one falls silent another runs it. It ends for all when `over`, a file that says how it went, is written.
    Raises `BadInput` or `Failure` where `build` did, in whichever process.
    """
    with crew.at_work():
        while not over.is_file():
            if crew.take_lead():
                _lead(crew, over, build)
            else:
                crew.follow(over)
    told = read_json(over)
    if told["words"]:
        raise (BadInput if told["bad_input"] else Failure)(told["words"])


def _lead(crew: Crew, over: Path, build: Callable[[Crew], None]) -> None:
    """Run `build` and write how it went, unless another has taken the lead meanwhile: then it is for that one to say,
    and what went wrong here came of two at the same work.
    """
    try:
        told = _outcome(build, crew)
        crew.confirm()
        write_json(over, told)
    except Exception:
        if crew.leads():
            raise
        crew.reporter.say("  another process has taken the lead")


def _outcome(build: Callable[[Crew], None], crew: Crew) -> dict[str, Any]:
    try:
        build(crew)
    except (BadInput, Failure) as error:
        return _words(error)
    return {"words": "", "bad_input": False}


@contextlib.contextmanager
def noted(over: Path) -> Iterator[None]:
    """Note in the file `over` why the block ended badly, for those who ask for it later; who finds it there need not
    try again.
    """
    try:
        yield
    except Lost:
        raise
    except (BadInput, Failure) as error:
        write_json(over, _words(error))
        raise


def _words(error: BadInput | Failure) -> dict[str, Any]:
    return {"words": str(error), "bad_input": isinstance(error, BadInput)}


@contextlib.contextmanager
def _while_it_is_there(folder: Path) -> Iterator[None]:
    """Work on a pass by one that does not lead: when the stage is whole the pass is removed, which is no error."""
    try:
        yield
    except FileNotFoundError:
        if (folder / "tasks.jsonl").is_file():
            raise


def _end(trouble: Trouble) -> None:
    """An error of this machine ends this process's part; bad input is told by the one who leads."""
    if isinstance(trouble.error, OSError):
        raise trouble.error


@dataclass(frozen=True)
class _Numbered:
    """A task of a pass as it stands in the pass's file: its number and its JSON."""

    function: str
    number: int
    json: bytes


def work_on(task: _Numbered) -> None:
    """Read the task and do it."""
    function, kind = _function(task.function)
    function(kind.validate_json(task.json))


def _function(name: str) -> tuple[Any, TypeAdapter[Any]]:
    """The function of this name, `module:function`, and the type of its parameter; raises `BadInput` where it is none
    of a stage's.
    """
    module, _, attribute = name.partition(":")
    found = getattr(import_module(module), attribute, None) if f"{module}.".startswith(_ROOMS) else None
    if found is None or getattr(found, "__module__", "") != module:
        raise BadInput(
            f"a file of tasks names `{name[:100]}`, which is no work of a stage; remove the run's .work folder"
        )
    (kind, *_) = (hint for parameter, hint in get_type_hints(found).items() if parameter != "return")
    return found, TypeAdapter(kind)


def _publish(passes: Path, title: str, function: Any, items: Sequence[Any]) -> "_Pass":
    """Write the file of tasks of a pass, where it is not there already."""
    name = f"{function.__module__}:{function.__qualname__}"
    _, kind = _function(name)
    lines = [kind.dump_json(item) for item in items]
    told = hashlib.sha256(b"\n".join([name.encode(), *lines])).hexdigest()
    folder = passes / f"{slug(title)}-{told[:12]}"
    if not (folder / "tasks.jsonl").is_file():
        for part in ("claims", "done", "failed", "aside"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        head = json.dumps({"title": title, "function": name, "names": [str(item)[:200] for item in items]})
        write_text(folder / "tasks.jsonl", "\n".join([head, *(line.decode() for line in lines)]) + "\n")
    return _Pass(folder)


class _Pass:
    """A pass as its files have it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        head, *self.tasks = (folder / "tasks.jsonl").read_bytes().split(b"\n")[:-1] or [b""]
        try:
            told = json.loads(head)
            self.title, self.function = str(told["title"]), str(told["function"])
            self.names = [str(name) for name in told["names"]]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise BadInput(f"{folder / 'tasks.jsonl'} is damaged; remove the run's .work folder") from None
        self.number = len(self.tasks)
        self.finished = 0

    def is_there(self) -> bool:
        """Is it still wanted: not removed with the scratch space of a stage that is whole."""
        return (self.folder / "tasks.jsonl").is_file()

    def done_by(self, who: str) -> Any:
        """The open file in which one of the crew notes what it has finished."""
        return open(self.folder / "done" / who, "ab", buffering=0)  # a line is one write: whole or absent

    def done(self) -> set[int]:
        """The numbers of finished tasks."""
        found: set[int] = set()
        for file in sorted((self.folder / "done").iterdir()):
            found.update(int(line) for line in file.read_bytes().split(b"\n")[:-1] if line.isdigit())
        self.finished = len(found)
        return found

    def settled(self) -> bool:
        """Is every task finished or set aside, or one refused as bad input."""
        if any(trouble.error for _, trouble in self.aside()):
            return True
        return len(self.finished_or_aside()) >= self.number

    def finished_or_aside(self) -> set[int]:
        """The numbers of tasks that nobody need try any more."""
        return self.done() | _numbers(self.folder / "aside")

    def failed(self, number: int, trouble: Trouble, who: str) -> None:
        """Note a failed attempt; after the last one, and for bad input at once, set the task aside, else free it if it
        is `who` that holds it.
        """
        before = len(list((self.folder / "failed").glob(f"{number:05d}-*")))
        told = {
            "words": trouble.words,
            "traceback": trouble.traceback,
            "bad_input": isinstance(trouble.error, BadInput),
        }
        write_json(self.folder / "failed" / f"{number:05d}-{before + 1}", {**told, "who": who})
        if before + 1 >= ATTEMPTS or trouble.final or told["bad_input"]:
            write_json(self.folder / "aside" / f"{number:05d}", told)
        elif _told(self.folder / "claims" / f"{number:05d}") == who:
            (self.folder / "claims" / f"{number:05d}").unlink(missing_ok=True)

    def aside(self) -> list[tuple[str, Trouble]]:
        """The tasks that were set aside, each with its trouble."""
        found = []
        for number in sorted(_numbers(self.folder / "aside")):
            told = read_json(self.folder / "aside" / f"{number:05d}")
            error = BadInput(told["words"]) if told["bad_input"] else None
            found.append((self.names[number], Trouble(told["words"], told["traceback"], error)))
        return found


class _Claims:
    """Claims tasks of a pass one by one, beginning somewhere of its own so that few want the same."""

    def __init__(self, current: _Pass, crew: Crew) -> None:
        self._pass, self._crew = current, crew
        self._free: list[int] = []
        self.mine: set[int] = set()

    def take(self) -> _Numbered | None:
        """A task that nobody else is at, or None where there is none now."""
        while True:
            if not self._free and not self._look():
                return None
            number = self._free.pop()
            claimed = _claim(self._pass.folder / "claims" / f"{number:05d}", self._crew, self._lost)
            if claimed and not (self._pass.folder / "aside" / f"{number:05d}").exists():
                self.mine.add(number)
                return _Numbered(self._pass.function, number, self._pass.tasks[number])

    def release(self) -> None:
        """Free the tasks that are claimed and not finished."""
        for number in self.mine:
            (self._pass.folder / "claims" / f"{number:05d}").unlink(missing_ok=True)

    def _look(self) -> bool:
        """Look for tasks that nobody has claimed, or, where there are none, whose holder is silent."""
        claimed = _numbers(self._pass.folder / "claims")
        self._free = sorted(set(range(self._pass.number)) - claimed, reverse=True)
        if self._free or claimed:
            settled = self._pass.finished_or_aside()
            self._free = [number for number in self._free if number not in settled]
            self._free = self._free or [number for number in claimed - settled if self._silent(number)]
        begin = int.from_bytes(hashlib.sha256(self._crew.who.encode()).digest()[:4]) % max(1, len(self._free))
        self._free = self._free[begin:] + self._free[:begin]
        return bool(self._free)

    def _silent(self, number: int) -> bool:
        holder = _told(self._pass.folder / "claims" / f"{number:05d}")
        return holder != self._crew.who and not self._crew.alive(holder)

    def _lost(self, path: Path, holder: str) -> None:
        self._pass.failed(int(path.name), Trouble(f"its process went silent ({holder})"), self._crew.who)


def _numbers(folder: Path) -> set[int]:
    """The numbers of the tasks that have a file here; what is being written has another name."""
    return {int(path.name) for path in folder.iterdir() if path.name.isdigit()}


def _told(path: Path) -> str:
    """The text of a small file, or nothing where it is not there."""
    try:
        return path.read_text("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return ""


def _claim(path: Path, crew: Crew, lost: Any = None) -> bool:
    """Make `path`, which says who holds something, this one's own if nobody has it or its holder is silent.

    It is written beside its place and linked there, so that it is never seen empty; the link fails where it exists.
    """
    own = path.with_name(f".{path.name}.{crew.who}")
    own.write_text(crew.who, "utf-8")
    try:
        os.link(own, path)
        return True
    except FileExistsError:
        holder = _told(path)
        if holder == crew.who:
            return True
        if not holder or crew.alive(holder):
            return False
    finally:
        own.unlink(missing_ok=True)
    stale = path.with_name(f".{path.name}.{crew.who}.silent")
    try:
        path.rename(stale)  # one of those who find it silent succeeds
    except FileNotFoundError:
        return False
    if _told(stale) != holder:  # somebody else was faster, and holds it by now: give it back
        with contextlib.suppress(FileExistsError):
            os.link(stale, path)
    elif lost is not None:
        lost(path, holder)
    stale.unlink(missing_ok=True)
    return False  # it is free now; ask again


@dataclass(frozen=True)
class Progress:
    """How far a pass is: tasks in all, finished, at work, and set aside, and attempts that failed."""

    title: str
    number: int
    done: int
    running: int
    aside: int
    failed: int


def progress(work: Path) -> list[Progress]:
    """The passes of a stage in the order in which they began, from its scratch space `work`."""
    found = []
    for folder in (file.parent for file in (work / "passes").glob("*/tasks.jsonl")):
        with contextlib.suppress(FileNotFoundError):  # the stage is whole now
            current, began = _Pass(folder), (folder / "tasks.jsonl").stat().st_mtime
            done, aside = current.done(), _numbers(folder / "aside")
            running = len(_numbers(folder / "claims") - done - aside)
            told = Progress(current.title, current.number, len(done), running, len(aside), _count(folder / "failed"))
            found.append((began, told))
    return [told for _, told in sorted(found, key=lambda pair: pair[0])]


def _count(folder: Path) -> int:
    return sum(not path.name.startswith(".") for path in folder.iterdir())


def forgive(work: Path) -> None:
    """Let all that is not finished of a stage at which nobody is at work be tried as if for the first time."""
    for file in (work / "passes").glob("*/tasks.jsonl"):
        folder, done = file.parent, _Pass(file.parent).done()
        if _numbers(folder / "aside"):
            (folder / "whole").unlink(missing_ok=True)
        for path in [*folder.glob("aside/*"), *folder.glob("failed/*"), *folder.glob("claims/*")]:
            if path.parent.name != "claims" or not path.name.isdigit() or int(path.name) not in done:
                path.unlink(missing_ok=True)


def somebody(leases: Path, seconds: float) -> str | None:
    """The name of somebody who gave a sign of life in `leases` in the last `seconds`, if there is one."""
    now = time.time()
    names = (path for path in leases.glob("*") if path.is_file() and path.name not in (_LEAD, _CURRENT))
    return next((path.name for path in names if path.suffix != ".json" and now - path.stat().st_mtime < seconds), None)
