"""Files that are whole or absent, and their digests."""

import hashlib
import json
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from openeurollm.errors import BadInput


def partial_name(path: Path) -> Path:
    """A temporary name beside `path`, which no other process uses on this machine or another: a worker that outlives a
    killed run cannot write into the file of the next.
    """
    return path.with_name(f".{path.name}.{socket.gethostname()}-{os.getpid()}.part")


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path`; when the block ends well, flush it to disk and rename it to `path`.

    A crash or an error leaves no file at `path`. Works for a single file only.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_name(path)
    try:
        yield partial
        with open(partial, "rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path`, whole or not at all."""
    with whole(path) as partial:
        partial.write_text(text, "utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, keys in the order given, whole or not at all."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file; raises `BadInput` where it is absent or not JSON."""
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file") from None
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path}: not JSON: {error}") from None


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Digests:
    """SHA-256 of files, kept in a file with their sizes, inodes and times, so that only what changed is read again.

    A change that leaves all three as they are goes unseen; where that matters, as in verifying a release, `digest`
    reads everything. What was written in the last two seconds is not kept: it may change within a tick of the clock.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._known: dict[str, list[Any]] = {}
        self._new = False
        try:
            known = read_json(file)
        except BadInput:
            return
        if isinstance(known, dict):
            self._known = {name: each for name, each in known.items() if isinstance(each, list) and len(each) == 4}

    def of(self, path: Path) -> str:
        """The digest of a file."""
        name, told = str(path.resolve()), path.stat()
        state = [told.st_size, told.st_mtime_ns, told.st_ino]
        known = self._known.get(name)
        if known and known[:3] == state:
            return str(known[3])
        found = digest(path)
        if time.time_ns() - told.st_mtime_ns > 2_000_000_000:
            self._known[name], self._new = [*state, found], True
        return found

    def save(self) -> None:
        """Keep what was found, where the folder of the file is there."""
        if self._new and self._file.parent.is_dir():
            write_json(self._file, self._known)
            self._new = False


def digest_of(value: Any) -> str:
    """SHA-256 of a value in canonical JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":"), default=str).encode()).hexdigest()


def inside(root: Path, name: str) -> Path:
    """The file `name` below `root`; raises `BadInput` for a name that leads out of it, also through a link."""
    try:
        path = (root / name).resolve()
    except (ValueError, RuntimeError):  # a zero byte in the name, or links that lead in a circle
        raise BadInput(f"{root}: {name!r} is no name of a file") from None
    if not path.is_relative_to(root.resolve()):
        raise BadInput(f"{root}: `{name}` leads out of the folder")
    return path


def inside_model(folder: Path, name: str) -> Path:
    """As `inside`, of a model's folder. In the hub's cache that is a snapshot, whose files are links to those in the
    folder `blobs` beside `snapshots`.
    """
    home, path = folder.resolve(), folder / name
    if home.parent.name == "snapshots" and path.is_symlink():
        return inside(home.parent.parent / "blobs", path.readlink().name)
    return inside(folder, name)


def files_below(folder: Path) -> list[Path]:
    """Every regular file below `folder`, hidden files and folders left out, in sorted order."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def remove_partial(folder: Path) -> None:
    """Remove what killed processes left below `folder` under the names that `partial_name` gives."""
    for path in sorted(folder.rglob(".*.part")):
        if path.is_dir():
            remove(path)
        else:
            path.unlink(missing_ok=True)


def remove(folder: Path) -> None:
    """Remove a folder and all below it, if it is there."""
    if folder.exists():
        shutil.rmtree(folder)
