"""Files of safetensors and JSON, looked at before they are opened: whose they are cannot be known, nor what they claim.

The library of safetensors maps a file and checks that its tensors lie in it without gaps. It does not bound what a
header costs to read (100 MB of it, a million tensors of no elements, a shape of a million dimensions), takes the last
of two tensors of one name, and waits for pipes. Here all of that ends in one line of words.
"""

import json
import math
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from openeurollm.errors import BadInput

MAX_HEADER = 8 << 20
"""Bytes of a header; 10,000 tensors have about one million."""
_MAX_TENSORS, _MAX_DIMENSIONS, _MAX_NAME = 50_000, 8, 512
_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "U16": 16, "I16": 16, "F16": 16, "BF16": 16,
    "U32": 32, "I32": 32, "F32": 32, "U64": 64, "I64": 64, "F64": 64,
}  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """A tensor as the header has it: type as safetensors names it, shape, and first and last byte in the data."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True)
class Header:
    """What a file holds: its tensors by name, and the words beside them."""

    tensors: Mapping[str, Entry]
    metadata: Mapping[str, str]


def check(path: Path) -> Header:
    """The header of a file that is what it claims to be; no tensor is read.

    Raises `BadInput` for a file that is absent, no regular file, truncated, or not of this format; for a header over
    `MAX_HEADER` bytes, of too many tensors or two of one name, and for tensors that overlap, leave gaps, lie outside
    the file or have another size than their type and shape say.
    """
    raw, size = _read(path)
    try:
        told = _parsed(raw)
    except (ValueError, RecursionError) as error:
        raise _refused(path, f"its header: {_reason(error)}") from None
    metadata = told.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(each, str) for each in metadata.values()):
        raise _refused(path, "the metadata in its header are not all text")
    if len(told) > _MAX_TENSORS:
        raise _refused(path, f"it claims {len(told):,} tensors; {_MAX_TENSORS:,} are the most")
    tensors = {name: _entry(path, name, each) for name, each in told.items()}
    at = 0
    for name, entry in sorted(tensors.items(), key=lambda pair: (pair[1].start, pair[1].end)):
        if entry.start != at:
            raise _refused(path, f"{_short(name)} begins at byte {entry.start:,} where {at:,} was due")
        at = entry.end
    if at != size:
        what = "it is truncated" if at > size else "it has more than its header tells"
        raise _refused(path, f"{what}: {size:,} bytes of tensors, {at:,} in the header")
    return Header(tensors, metadata)


def table(path: Path, most: int) -> dict[str, Any]:
    """The JSON object in a file of at most `most` bytes; raises `BadInput` where it is absent or something else."""
    try:
        with _opened(path) as (file, size):
            if size > most:
                raise BadInput(f"{path}: {size:,} bytes; {most:,} are the most")
            return _parsed(file.read(most))
    except (OSError, ValueError, RecursionError) as error:
        raise BadInput(f"{path}: {_reason(error)}") from None


def _read(path: Path) -> tuple[bytes, int]:
    """The bytes of the header, and how many follow it."""
    try:
        with _opened(path) as (file, size):
            length = int.from_bytes(file.read(8), "little")
            if size < 8 + 2 or length < 2:
                raise _refused(path, f"{size:,} bytes, with no header")
            if length > MAX_HEADER:
                raise _refused(path, f"its header claims {length:,} bytes; {MAX_HEADER:,} are the most")
            if 8 + length > size:
                raise _refused(path, f"it is truncated: a header of {length:,} bytes in {size:,}")
            return file.read(length), size - 8 - length
    except (OSError, ValueError) as error:
        raise _refused(path, _reason(error)) from None


@contextmanager
def _opened(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """A regular file and its size in bytes; a pipe would let us wait for ever."""
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode):
            raise ValueError("no regular file")
        yield file, about.st_size


def _parsed(raw: bytes) -> dict[str, Any]:
    told = json.loads(raw.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_number)
    if not isinstance(told, dict):
        raise ValueError("no table")
    return told


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError):
        return str(error.strerror)
    return f"not JSON: {error}"[:200] if isinstance(error, json.JSONDecodeError | RecursionError) else str(error)[:200]


def _entry(path: Path, name: str, told: Any) -> Entry:
    match told:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [start, end]} if len(told) == 3:
            pass
        case _:
            raise _refused(path, f"{_short(name)} has no type, shape and place")
    if len(name) > _MAX_NAME or len(shape) > _MAX_DIMENSIONS:
        raise _refused(path, f"{_short(name)}: a name of {len(name):,} signs, {len(shape):,} dimensions")
    if dtype not in _BITS:
        raise _refused(path, f"{_short(name)} is of the unknown type {_short(dtype)}")
    if not all(type(number) is int and 0 <= number < 1 << 63 for number in (*shape, start, end)):
        raise _refused(path, f"{_short(name)} has a shape or a place that is no whole number")
    if end - start != math.prod(shape) * _BITS[dtype] // 8:
        raise _refused(path, f"{_short(name)}: {end - start:,} bytes for {dtype} of shape {tuple(shape)}")
    return Entry(dtype, tuple(shape), start, end)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice in it")
    return found


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def _short(name: str) -> str:
    return repr(name if len(name) <= 80 else f"{name[:80]}…")


def _refused(path: Path, reason: str) -> BadInput:
    return BadInput(f"{path}: not a whole file of safetensors: {reason}")
