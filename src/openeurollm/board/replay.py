"""The metrics of a training in other people's viewers, as they stand or as they are written: TensorBoard and trackio.

A viewer holds a copy that can be made again at any time. Where the training went back and wrote lines anew, or the copy
was begun by another process, it is made again from the first line.
"""

import os
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from openeurollm.errors import BadInput
from openeurollm.ledger.metrics import Metrics, Step, read_metrics

_STEP = {
    "loss": "training/loss",
    "bits_per_byte": "training/bits_per_byte",
    "gradient_norm": "training/gradient_norm",
    "rate": "training/rate",
    "tokens": "training/tokens",
    "tokens_per_s": "speed/tokens_per_s",
    "matmul_share": "speed/matmul_share",
    "peak_share": "speed/peak_share",
}
"""Number of a step → its name in a viewer, which makes a group of what stands before the stroke."""
_LONGEST = 1e9
"""Seconds beyond which no clock of a training is believed."""
_PAUSE = 2.0
"""Seconds between two looks at the file."""


@dataclass(frozen=True)
class Row:
    """Numbers by name after a step, at a time in seconds since 1970; `note` is what an event says."""

    step: int
    time: float
    values: Mapping[str, float]
    note: str = ""


class Viewer(Protocol):
    """Where rows go."""

    def begin(self) -> None:
        """Forget what is there of this training."""

    def add(self, rows: list[Row]) -> None:
        """Add rows behind those that are there."""


def watch(path: Path, over: Callable[[], bool], pause: float = _PAUSE) -> Iterator[Metrics]:
    """The metrics each time that the file has changed, until the training is `over`; then once more as they are."""
    seen = None
    while True:
        ended = over()
        state = path.stat() if path.is_file() else None
        found = state and (state.st_ino, state.st_size, state.st_mtime_ns)
        if found and found != seen:
            yield read_metrics(path)
        if ended:
            return
        seen = found
        time.sleep(pause)


def replay(found: Iterator[Metrics], viewer: Viewer, ended: float) -> None:
    """Bring metrics, as they come, to a viewer; `ended` is when the last line of the first ones was written."""
    shown: Metrics | None = None
    started = 0.0
    for metrics in found:
        more = shown and grown(shown, metrics)
        if more is None:
            viewer.begin()
            more, started = metrics, started or ended - next(map(_seconds, reversed(metrics.steps)), 0.0)
        viewer.add(rows(more, metrics.steps, started))
        shown = metrics


def grown(before: Metrics, after: Metrics) -> Metrics | None:
    """What `after` has beyond `before`; None where it does not go on from there."""
    parts = [(getattr(before, name), getattr(after, name)) for name in ("steps", "held_out", "events")]
    if any(new[: len(old)] != old for old, new in parts):
        return None
    return Metrics(*(new[len(old) :] for old, new in parts))


def rows(metrics: Metrics, steps: list[Step], started: float) -> list[Row]:
    """Rows of the metrics in the order of their steps; `steps` tell the time of what lies between them."""

    def at(step: int) -> float:
        place = bisect_left(steps, step, key=lambda one: one.step)
        return started + sum(map(_seconds, steps[place : place + 1] or steps[-1:])) if step else started

    found = [Row(each.step, at(each.step), _values(each)) for each in metrics.steps]
    for measured in metrics.held_out:
        bits = {f"held_out/{tag}": value for tag, value in measured.held_out.items() if value is not None}
        mean = measured.mean()
        values = bits if mean is None else {"held_out/mean": mean, **bits}
        found.append(Row(measured.step, at(measured.step), values))
    for event in metrics.events:
        note = f"step {event.step}: {event.event.replace('_', ' ')}{': ' if event.reason else ''}{event.reason}"
        found.append(Row(event.step, at(event.step), {f"events/{event.event}": 1.0}, note))
    return sorted((row for row in found if row.values), key=lambda row: row.step)


def _seconds(step: Step) -> float:
    return min(step.seconds or 0.0, _LONGEST)


def _values(step: Step) -> dict[str, float]:
    return {name: float(value) for key, name in _STEP.items() if (value := getattr(step, key)) is not None}


class TensorBoard:
    """Event files of TensorBoard in a folder: one for all rows, begun anew under a later name."""

    def __init__(self, folder: Path) -> None:
        """Raises `BadInput` where the package tensorboard is not installed."""
        try:
            from tensorboard.compat.proto import event_pb2, summary_pb2, tensor_pb2, types_pb2
            from tensorboard.plugins.text.metadata import create_summary_metadata
            from tensorboard.summary.writer.record_writer import RecordWriter
        except ImportError:
            raise BadInput("--to tensorboard needs a package: pip install 'openeurollm[tensorboard]'") from None
        self._events, self._summaries, self._tensors, self._kinds = event_pb2, summary_pb2, tensor_pb2, types_pb2
        self._of_text, self._writer_of = create_summary_metadata, RecordWriter
        self._folder = folder
        self._writer: Any = None

    def begin(self) -> None:
        """Remove the files of an earlier replay, and tell a viewer that is open to forget what it has read."""
        if self._writer is not None:
            self._writer.close()
        self._folder.mkdir(parents=True, exist_ok=True)
        for file in self._folder.glob("events.out.tfevents.*.openeurollm"):
            file.unlink()
        now = time.time()
        file = self._folder / f"events.out.tfevents.{time.time_ns()}.openeurollm"
        self._writer = self._writer_of(open(file, "xb"))
        self._write(wall_time=now, file_version="brain.Event:2")
        start = self._events.SessionLog(status=self._events.SessionLog.START)
        self._write(wall_time=now, step=0, session_log=start)

    def add(self, rows: list[Row]) -> None:
        """Write rows, and leave none behind in memory."""
        value = self._summaries.Summary.Value
        for row in rows:
            values = [value(tag=name, simple_value=number) for name, number in row.values.items()]
            if row.note:
                text = self._tensors.TensorProto(
                    dtype=self._kinds.DT_STRING, string_val=[row.note.encode()], tensor_shape={"dim": [{"size": 1}]}
                )
                values.append(value(tag="events", metadata=self._of_text("events", ""), tensor=text))
            self._write(wall_time=row.time, step=row.step, summary=self._summaries.Summary(value=values))
        self._writer.flush()

    def _write(self, **parts: Any) -> None:
        self._writer.write(self._events.Event(**parts).SerializeToString())


class Trackio:
    """A run in trackio's own database below a folder of this machine; nothing is sent anywhere."""

    project = "openeurollm"

    def __init__(self, folder: Path, name: str) -> None:
        """Raises `BadInput` where the package trackio is not installed."""
        os.environ["TRACKIO_DIR"] = str(folder.resolve())  # read when the package is imported
        try:
            from trackio.sqlite_storage import SQLiteStorage
        except ImportError:
            raise BadInput("--to trackio needs a package: pip install 'openeurollm[trackio]'") from None
        folder.mkdir(parents=True, exist_ok=True)
        self._storage, self._name = SQLiteStorage, name

    def begin(self) -> None:
        """Remove the run of an earlier replay."""
        self._storage.delete_run(self.project, self._name)

    def add(self, rows: list[Row]) -> None:
        """Write rows to the database."""
        self._storage.bulk_log(
            project=self.project,
            run=self._name,
            metrics_list=[dict(row.values) for row in rows],
            steps=[row.step for row in rows],
            timestamps=[datetime.fromtimestamp(row.time, UTC).isoformat() for row in rows],
        )
