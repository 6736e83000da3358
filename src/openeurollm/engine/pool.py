"""Work on this machine: a pool of processes that takes one shard at a time."""

import errno
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Generic, TypeVar

from openeurollm.engine.progress import Reporter
from openeurollm.errors import BadInput, Failure
from openeurollm.ledger import cores, write_text

Item = TypeVar("Item")
Function = Callable[[Item], Any]
"""Work on a shard: importable, with its outcome in files that it writes whole or not at all."""

ATTEMPTS = 3
"""How often a shard is tried before it is set aside."""
_FAULTS = (-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS, -signal.SIGILL, -signal.SIGFPE)
"""How a process ends that died of its own fault."""
_MOST_FAULTS = 1_000
_MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE)
"""Errors of the system that every other shard would meet as well."""


@dataclass(frozen=True)
class Trouble:
    """Why a shard could not be done: in words, with its traceback; `error` is what ends the whole stage at once, and
    `final` says that it was tried often enough.
    """

    words: str
    traceback: str = ""
    error: Exception | None = None
    final: bool = False


def _end_with_parent() -> None:
    """Let this worker end when the run that started it is killed; by itself it would wait for work for ever."""
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # the warning before a time limit is for the run, which then stops us

    def watch() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _try(function: Function[Item], item: Item) -> Trouble | None:
    try:
        function(item)
    except BadInput as error:
        return Trouble(str(error), error=BadInput(str(error)))
    except OSError as error:
        same = OSError(error.errno, error.strerror, error.filename) if error.errno in _MACHINE else None
        return Trouble(f"{type(error).__name__}: {error}", traceback.format_exc(), same)
    except Exception as error:
        words = str(error) if isinstance(error, Failure) else f"{type(error).__name__}: {error}"
        return Trouble(words, traceback.format_exc())
    return None


# Spawned, not forked: threads of numerical libraries do not survive a fork.
_SPAWN = multiprocessing.get_context("spawn")


class Pool(Generic[Item]):
    """Processes that work on shards; one that dies is replaced, and what was at work is tried again alone."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._executor: ProcessPoolExecutor | None = None
        self._size = 0

    def outcomes(
        self, function: Function[Item], take: Callable[[], Item | None], most: int, ahead: int = 1
    ) -> Iterator[tuple[Item, Trouble | None]]:
        """Call `function` on what `take` gives until that is None, and yield each item with its trouble or None.

        `most` is how many items there may be; `ahead` of them wait beside those at work.
        """
        if self.workers == 1 or most <= 1:
            while (item := take()) is not None:
                yield item, _try(function, item)
            return
        lost: list[Item] = []
        running: dict[Future[Trouble | None], Item] = {}
        more = True
        while more or running:
            executor = self._processes(min(self.workers, most))
            while more and not lost and len(running) < self._size + ahead:
                item = take()
                if item is None:
                    more = False
                    break
                try:
                    running[executor.submit(_try, function, item)] = item
                except BrokenProcessPool:
                    lost.append(item)
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                item = running.pop(future)
                try:
                    yield item, future.result()
                except BrokenProcessPool:
                    lost.append(item)
            if lost:
                lost += running.values()
                running.clear()
                self.close()
                for item in lost:
                    yield item, _alone(function, item)
                lost.clear()

    def _processes(self, size: int) -> ProcessPoolExecutor:
        if self._executor is None or self._size < size:
            self.close()
            self._executor, self._size = ProcessPoolExecutor(size, _SPAWN, _end_with_parent), size
        return self._executor

    def close(self, kill: bool = False) -> None:
        """Let the processes end; with `kill` at once, whatever they are at."""
        executor, self._executor = self._executor, None
        if executor is None:
            return
        if kill:
            for process in list((executor._processes or {}).values()):
                process.kill()
        executor.shutdown(wait=True, cancel_futures=True)


def _alone(function: Function[Item], item: Item) -> Trouble | None:
    """Work on an item in a process of its own, again and again while that process dies of its own fault.

    A function that notes what it is at can leave that out the next time. A process that is killed from outside (for
    memory, most often) is tried three times in all.
    """
    faults = kills = 0
    while True:
        receiver, sender = _SPAWN.Pipe(duplex=False)
        process = _SPAWN.Process(target=_send, args=(function, item, sender))
        process.start()
        sender.close()
        try:
            trouble: Trouble | None = receiver.recv()
        except EOFError:
            process.join()
            faults, kills = faults + (process.exitcode in _FAULTS), kills + (process.exitcode not in _FAULTS)
            if faults == _MOST_FAULTS or kills == ATTEMPTS:
                return Trouble("its process died each time (killed, or out of memory)", final=True)
            continue
        process.join()
        return trouble


def _send(function: Function[Item], item: Item, sender: Connection) -> None:
    _end_with_parent()
    sender.send(_try(function, item))


def slug(title: str) -> str:
    """A title as a name of files."""
    return "".join(letter if letter.isalnum() else "-" for letter in title)


@dataclass(frozen=True)
class Engine:
    """Runs the shards of a stage in `workers` processes and tells `reporter` how far it is."""

    workers: int = field(default_factory=cores)
    reporter: Reporter = field(default_factory=Reporter)
    site: str = "laptop"
    work: Path | None = None
    """The scratch space of the stage at work, where the tracebacks of shards that are set aside go."""
    gpus: int = 0
    """Devices that this process holds."""
    costs: Path | None = None
    """Where other processes of the same stage note what they cost."""

    def map(self, title: str, function: Function[Item], items: Sequence[Item]) -> None:
        """Call `function` on every item, in any order; what it makes it leaves in files.

        `function` must be importable and must write its output whole or not at all. A shard that fails is tried three
        times in all, then set aside while the others go on. Raises `Failure` that names shards set aside; `BadInput`
        and errors of the machine, such as a full disk, end the work at once.
        """
        waiting = list(reversed(list(enumerate(items))))
        tried = [0] * len(items)
        aside: dict[int, Trouble] = {}
        pool: Pool[tuple[int, Item]] = Pool(self.workers)
        with self.reporter.task(title, len(items)) as task:
            try:
                while waiting:
                    found = pool.outcomes(
                        _Numbered(function), lambda: waiting.pop() if waiting else None, len(items), pool.workers
                    )
                    for (number, item), trouble in found:
                        if trouble is None:
                            task.advance()
                            continue
                        if trouble.error is not None:
                            raise trouble.error
                        tried[number] += 1
                        if tried[number] < ATTEMPTS and not trouble.final:
                            waiting.insert(0, (number, item))
                        else:
                            aside[number] = trouble
            finally:
                pool.close()
        if aside:
            raise set_aside(
                title, [(str(items[number]), aside[number]) for number in sorted(aside)], len(items), self.work
            )

    def confirm(self) -> None:
        """Called before a stage is told to be whole; an engine that has lost it to another raises."""


@dataclass(frozen=True)
class _Numbered(Generic[Item]):
    """A function of shards that bear their number."""

    function: Function[Item]

    def __call__(self, item: tuple[int, Item]) -> None:
        self.function(item[1])


def set_aside(title: str, aside: Sequence[tuple[str, Trouble]], number: int, work: Path | None) -> Failure:
    """The error of a pass that could not do some of `number` shards; their tracebacks go below `work`."""
    name, first = aside[0]
    where = ""
    if work is not None:
        file = work / "set-aside" / f"{slug(title)}.txt"
        write_text(file, "\n".join(f"{name}: {trouble.words}\n{trouble.traceback}" for name, trouble in aside))
        where = f"; all are in {file}"
    error = Failure(
        f"{title}: {len(aside)} of {number} shards set aside after {ATTEMPTS} attempts each; {name}: {first.words}"
        f"{where}; finished shards are kept, run again to try these again"
    )
    error.add_note(first.traceback)
    return error
