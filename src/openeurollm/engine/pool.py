"""Work on this machine: a pool of processes that takes one shard at a time."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from typing import TypeVar

from openeurollm.engine.progress import Reporter
from openeurollm.errors import Failure
from openeurollm.ledger import cores

Item = TypeVar("Item")
Result = TypeVar("Result")


def _end_with_parent() -> None:
    """Let this worker end when the run that started it is killed; by itself it would wait for work for ever."""

    def watch() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@dataclass(frozen=True)
class Engine:
    """Runs shards in `workers` processes and tells `reporter` how far it is."""

    workers: int = field(default_factory=cores)
    reporter: Reporter = field(default_factory=Reporter)
    site: str = "laptop"

    def map(
        self, title: str, function: Callable[[Item], Result], items: Sequence[Item]
    ) -> Iterator[tuple[Item, Result]]:
        """Call `function` on every item, in any order, and yield each item with its result as it is done.

        `function` must be importable and must write its output whole or not at all. Raises `Failure` that names the
        items at work when a worker process dies (killed, out of memory).
        """
        with self.reporter.task(title, len(items)) as task:
            if len(items) <= 1 or self.workers == 1:
                for item in items:
                    yield item, function(item)
                    task.advance()
                return
            # Spawned, not forked: threads of numerical libraries do not survive a fork.
            context = multiprocessing.get_context("spawn")
            workers = min(self.workers, len(items))
            with ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent) as pool:
                waiting = list(reversed(items))
                running: dict[Future[Result], Item] = {}
                while waiting or running:
                    while waiting and len(running) < 2 * self.workers:
                        item = waiting.pop()
                        running[pool.submit(function, item)] = item
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        item = running.pop(future)
                        try:
                            yield item, future.result()
                        except BrokenProcessPool:
                            lost = ", ".join(str(each) for each in [item, *running.values()])[:500]
                            raise Failure(
                                f"{title}: a worker process died (killed, or out of memory) while at work on {lost}; "
                                "finished shards are kept, run again to go on"
                            ) from None
                        task.advance()
