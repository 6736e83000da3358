"""Progress of long work on the terminal: a live line where there is one, a line every ten seconds elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn


class Task:
    """A piece of work of `total` units; `note` is free text beside the bar."""

    def __init__(self, title: str, total: float, console: Console, live: Progress | None) -> None:
        self.title, self.total, self._console, self._live = title, total, console, live
        self._done, self._spoken, self._began = 0.0, time.monotonic(), time.monotonic()
        self._id = live.add_task(title, total=total, note="") if live else None

    def update(self, done: float, note: str = "") -> None:
        """Say that `done` units of the total are finished."""
        self._done = done
        if self._live is not None and self._id is not None:
            self._live.update(self._id, completed=done, note=note)
        elif time.monotonic() - self._spoken >= 10:
            self._spoken = time.monotonic()
            share = 100 * done / self.total if self.total else 100
            self._console.print(f"  {self.title}: {share:.0f} % {note}".rstrip(), highlight=False)

    def advance(self, note: str = "") -> None:
        """Say that one more unit is finished."""
        self.update(self._done + 1, note)


class Reporter:
    """Where a run says what it does: standard error, or nowhere when `quiet`."""

    def __init__(self, quiet: bool = False) -> None:
        self.console = Console(stderr=True, quiet=quiet, soft_wrap=True)

    def say(self, text: str) -> None:
        """Print one line."""
        self.console.print(text, highlight=False)

    @contextmanager
    def task(self, title: str, total: float) -> Iterator[Task]:
        """Show the progress of a piece of work while the block lasts."""
        if not sys.stderr.isatty():
            yield Task(title, total, self.console, None)
            return
        columns = (
            TextColumn("  {task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, console=self.console, transient=True) as live:
            yield Task(title, total, self.console, live)
