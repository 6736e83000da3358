"""Progress of long work on the terminal: a live line where there is one, a line every ten seconds elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

_PACE = 5.0
"""Seconds of work after which its pace is known well enough to say how long the rest takes."""


def left(total: float, done: float, since: float, seconds: float) -> str:
    """How long the rest of `total` takes, where `since` has become `done` in `seconds`; empty where nobody can tell."""
    if seconds < _PACE or not since < done < total:
        return ""
    minutes, rest = divmod(round((total - done) * seconds / (done - since)), 60)
    hours, days = minutes // 60, minutes // 1440
    if days:
        return f"{days} d {hours % 24} h left"
    if hours:
        return f"{hours} h {minutes % 60:02d} min left"
    return f"{minutes} min left" if minutes else f"{rest} s left"


class Task:
    """A piece of work of `total` units; `note` is free text beside the bar, which also says how long the rest takes at
    the pace since the first units were done.
    """

    def __init__(self, title: str, total: float, console: Console, live: Progress | None) -> None:
        self.title, self.total, self._console, self._live = title, total, console, live
        self._done, self._spoken = 0.0, time.monotonic()
        self._first: tuple[float, float] | None = None
        self._id = live.add_task(title, total=total, note="") if live else None

    def update(self, done: float, note: str = "") -> None:
        """Say that `done` units of the total are finished."""
        self._done = done
        note = ", ".join(filter(None, (note, self._left())))
        if self._live is not None and self._id is not None:
            self._live.update(self._id, completed=done, note=note)
        elif time.monotonic() - self._spoken >= 10:
            self._spoken = time.monotonic()
            share = 100 * done / self.total if self.total else 100
            self._console.print(f"  {self.title}: {share:.0f} % {note}".rstrip(), highlight=False)

    def _left(self) -> str:
        now = time.monotonic()
        if self._first is None or self._done < self._first[1]:  # work that goes on from a checkpoint, or goes back
            self._first = now, self._done
        return left(self.total, self._done, self._first[1], now - self._first[0])

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
