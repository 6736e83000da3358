"""The `metrics.jsonl` of a training, read while it is being written, from anywhere.

Each line is a JSON object of one of three kinds, told apart by a key that the others lack: a stretch of training
(`loss`), held-out text measured during the training (`held_out`), and what the trainer did about a step (`event`).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field

from openeurollm.errors import BadInput
from openeurollm.ledger.results import Count, Part, Reading, checked, read_bytes, read_value

MAX_LINES = 400_000
"""Most lines that are read; a training writes one every few steps."""
MAX_LINE = 100_000
"""Longest line that is read, in bytes; held-out text in 43 languages takes about 1,000."""


class Step(Part):
    """A stretch of training up to and with `step`.

    `loss` is in nats a token, `bits_per_byte` the same in bits a byte of text; `tokens` and `seconds` are those of the
    training so far, over all attempts at it; `rate` is the learning rate as a share of the highest; `matmul_share` and
    `peak_share` are shares of one of the speed that the machine was measured to have in matrix products, and of what
    its maker says.
    """

    step: Count
    tokens: Count
    loss: Reading
    bits_per_byte: Reading = None
    rate: Reading = None
    gradient_norm: Reading = None
    seconds: Reading = None
    tokens_per_s: Reading = None
    matmul_share: Reading = None
    peak_share: Reading = None


class HeldOut(Part):
    """Bits a byte of held-out text takes after `step`, by language; step 0 is before the training."""

    step: Count
    tokens: Count
    held_out: Annotated[dict[str, Reading], Field(max_length=1000)]

    def mean(self, among: frozenset[str] | None = None) -> float | None:
        """Mean over the languages that were measured, each counting the same; `among` those given, where it is."""
        values = [bits for tag, bits in self.held_out.items() if bits is not None and (among is None or tag in among)]
        return sum(values) / len(values) if values else None


class Event(Part):
    """What the trainer did about a step: `skipped` its update, or `rolled_back` to a checkpoint, and why."""

    step: Count
    event: Literal["skipped", "rolled_back"]
    reason: str = ""


@dataclass(frozen=True)
class Metrics:
    """A training as far as it has come: without what a resumed or rolled-back training has done over again."""

    steps: list[Step] = field(default_factory=list)
    held_out: list[HeldOut] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)


def read_metrics(path: Path) -> Metrics:
    """Read a `metrics.jsonl`. A last line without its end is being written, and is passed over; so are other kinds.

    Raises `BadInput` that names file and line for what is no line of metrics, and where there is too much of it.
    """
    found = Metrics()
    for name, line in _lines(path):
        value = read_value(line, name)
        if not isinstance(value, dict):
            raise BadInput(f"{name}: not an object")
        _add(found, value, name)
    return found


def _lines(path: Path) -> Iterator[tuple[str, bytes]]:
    lines = read_bytes(path).split(b"\n")[:-1]
    if len(lines) > MAX_LINES:
        raise BadInput(f"{path}: over {MAX_LINES:,} lines")
    for number, line in enumerate(lines, 1):
        name = f"{path}, line {number}"
        if len(line) > MAX_LINE:
            raise BadInput(f"{name}: over {MAX_LINE:,} bytes")
        if line.strip():
            yield name, line


def _add(found: Metrics, value: dict[str, Any], name: str) -> None:
    """Add a line. One of a step that was there already takes the place of all that came after that step."""
    if "held_out" in value:
        measured = checked(HeldOut, value, name)
        _drop(found.held_out, measured.step)
        _drop(found.steps, measured.step + 1)
        found.held_out.append(measured)
    elif value.get("event") in get_args(Event.model_fields["event"].annotation):
        found.events.append(checked(Event, value, name))
    elif "loss" in value:
        step = checked(Step, value, name)
        _drop(found.steps, step.step)
        _drop(found.held_out, step.step + 1)
        found.steps.append(step)


def _drop(entries: list[Step] | list[HeldOut], first: int) -> None:
    while entries and entries[-1].step >= first:
        entries.pop()
