"""Where files of a transfer lie: a folder here, on a host that ssh reaches, or a remote of rclone."""

import fcntl
import json
import os
import re
import shlex
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from openeurollm.errors import BadInput, Failure
from openeurollm.ledger import RunFolder, cores, digest, inside, remove, write_text

STAGING = ".transfer"
"""Folder in the destination where files lie until their digests are right."""
MAX_BYTES = 1 << 30
"""Bytes that a host may answer with to one question."""
_AT_WORK = "a run is at work in this folder; wait for it or stop it"
_NO_FOLDER, _LOCKED = 44, 75
"""Exit codes of our own lines of shell."""
_ABSENT = 3
"""Exit code of rclone where there is no such folder."""


@dataclass
class Listing:
    """What lies below a folder: `files` with their bytes, and the names of what is neither file nor folder."""

    files: dict[str, int] = field(default_factory=dict)
    links: list[str] = field(default_factory=list)
    special: list[str] = field(default_factory=list)

    def add(self, kind: str, size: int, name: str) -> None:
        """Take in what is of this kind (`f` file, `d` folder, `l` link, others)."""
        if kind == "f":
            self.files[name] = size
        elif kind != "d":
            (self.links if kind == "l" else self.special).append(name)


class Place(Protocol):
    """One side of a transfer. Names are relative to its folder, with `/` between their parts."""

    @property
    def title(self) -> str:
        """How a user names it."""

    def reading(self) -> AbstractContextManager[None]:
        """Take files from it; raises `BadInput` where it is no folder, `Failure` while a run is at work in it."""

    def writing(self) -> AbstractContextManager[None]:
        """Bring files to it, made where it is not there; raises `Failure` while a run is at work in it."""

    def listing(self) -> Listing:
        """All below it but what is staged; links are not followed."""

    def digests(self, names: Sequence[str], staged: bool = False) -> Iterator[tuple[str, str]]:
        """Name and SHA-256 of those of the files that are there and can be read."""

    def finish(self, names: Sequence[str]) -> None:
        """Give staged files their names, in this order."""

    def write(self, name: str, text: str) -> None:
        """Write a file, whole or not at all."""


@dataclass(frozen=True)
class Local:
    """A folder of this machine."""

    path: Path

    @property
    def title(self) -> str:
        """Its path."""
        return str(self.path)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Share the lock of a run that is there, which keeps others from starting; nothing is written."""
        if not self.path.is_dir():
            raise BadInput(f"{self.path}: {'is a file; name its folder' if self.path.exists() else 'no such folder'}")
        lock = self.path / ".lock"
        if not lock.is_file():
            yield
            return
        with open(lock, "rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                raise Failure(f"{self.path}: {_AT_WORK}") from None
            yield

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the folder as a run does."""
        if self.path.exists() and not self.path.is_dir():
            raise BadInput(f"{self.path}: is a file; a destination is a folder")
        with RunFolder(self.path).locked():
            yield

    def listing(self) -> Listing:
        """All below it but what is staged."""
        found = Listing()
        for root, folders, files in os.walk(self.path, followlinks=False, onerror=_raise):
            for name in [*folders, *files]:
                path = Path(root, name)
                info = path.lstat()
                kind = {stat.S_IFREG: "f", stat.S_IFDIR: "d", stat.S_IFLNK: "l"}.get(stat.S_IFMT(info.st_mode), "?")
                found.add(kind, info.st_size, path.relative_to(self.path).as_posix())
            if Path(root) == self.path:
                folders[:] = [name for name in folders if name != STAGING]
        return found

    def digests(self, names: Sequence[str], staged: bool = False) -> Iterator[tuple[str, str]]:
        """Name and SHA-256, several files at a time."""
        base = self.path / STAGING if staged else self.path
        with ThreadPoolExecutor(cores()) as pool:
            there = [name for name in names if (base / name).is_file()]
            yield from zip(there, pool.map(lambda name: digest(base / name), there))

    def finish(self, names: Sequence[str]) -> None:
        """Rename, file by file."""
        for name in names:
            path = inside(self.path, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            os.replace(self.path / STAGING / name, path)
        remove(self.path / STAGING)

    def write(self, name: str, text: str) -> None:
        """Write a file."""
        write_text(self.path / name, text)


@dataclass(frozen=True)
class Remote:
    """A folder on a host, asked with ssh and what every Linux has: sh, find, sha256sum, flock, mv."""

    host: str
    path: str
    ssh: tuple[str, ...]
    """The words of ssh, options included."""

    @property
    def title(self) -> str:
        """Host and path."""
        return f"{self.host}:{self.path}"

    @property
    def folder(self) -> str:
        """The path as rsync and the host's tools take it: never an option."""
        return self.path if self.path.startswith("/") else f"./{self.path}"

    @contextmanager
    def reading(self) -> Iterator[None]:
        """See that no run is at work; one that starts later shows in the digests."""
        script = 'cd -- "$1" 2>/dev/null || exit 44; [ ! -e .lock ] || flock -s -n -E 75 .lock true'
        list(self._ask(script, missing=f"{self.title}: no such folder"))
        yield

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Make the folder and see that no run is at work in it."""
        list(self._ask('mkdir -p -- "$1" && cd -- "$1" && { [ ! -e .lock ] || flock -n -E 75 .lock true; }'))
        yield

    def listing(self) -> Listing:
        """All below it but what is staged."""
        found = Listing()
        prune = f"-path ./{STAGING} -type d -prune"
        for line in self._ask(f"cd -- \"$1\" && find . {prune} -o -printf '%y %s %P\\0'"):
            kind, size, name = line.split(" ", 2)
            if name:
                found.add(kind, int(size), _proper(name, self.title))
        return found

    def digests(self, names: Sequence[str], staged: bool = False) -> Iterator[tuple[str, str]]:
        """Name and SHA-256, as they come."""
        if not names:
            return
        asked = set(names)
        script = 'cd -- "$1" && { xargs -0 -r sha256sum -z -- 2>/dev/null || true; }'
        for line in self._ask(script, STAGING if staged else "", names):
            sha, _, name = line.partition("  ")
            if name in asked and re.fullmatch(r"[0-9a-f]{64}", sha):
                yield name, sha

    def finish(self, names: Sequence[str]) -> None:
        """Rename, file by file."""
        make = '[ "${f%/*}" = "$d" ] || { d=${f%/*}; mkdir -p -- "../$d" || exit 1; }'
        move = f'd=; for f do {make}; mv -f -T -- "$f" "../$f" || exit 1; done'
        each = f"[ ! -d {STAGING} ] || (cd {STAGING} && xargs -0 -r sh -c {shlex.quote(move)} sh)"
        list(self._ask(f'cd -- "$1" && {each} && rm -rf {STAGING}', "", [f"./{name}" for name in names]))

    def write(self, name: str, text: str) -> None:
        """Write a file under a hidden name, then rename it."""
        folder, _, last = name.rpartition("/")
        script = (
            f'cd -- "$1" && mkdir -p {shlex.quote(folder)} && cd {shlex.quote(folder)} && '
            f"cat > .{shlex.quote(last)}.part && mv -f -T .{shlex.quote(last)}.part {shlex.quote(last)}"
        )
        list(self._ask(script, given=text.encode()))

    def _ask(
        self, script: str, folder: str = "", names: Sequence[str] = (), given: bytes = b"", missing: str = ""
    ) -> Iterator[str]:
        """What the host prints, split at zero bytes, while `script` runs with the folder below our own as `$1`.

        `names` go to its standard input, a zero byte after each. Raises `Failure` in one line where it fails.
        """
        where = f"{self.folder}/{folder}" if folder else self.folder
        words = [*self.ssh, "--", self.host, f"LC_ALL=C exec sh -c {shlex.quote(script)} sh {shlex.quote(where)}"]
        given += b"".join(os.fsencode(name) + b"\0" for name in names)
        yield from _answers(words, given, lambda code, told: self._refused(code, told, missing))

    def _refused(self, code: int, told: str, missing: str) -> Exception:
        if code == _NO_FOLDER and missing:
            return BadInput(missing)
        if code == _LOCKED:
            return Failure(f"{self.title}: {_AT_WORK}")
        return trouble("ssh", code, told, self.title)


@dataclass(frozen=True)
class Rclone:
    """A folder of a remote that rclone knows. There is no lock, and a file appears when it is whole."""

    remote: str
    path: str

    @property
    def title(self) -> str:
        """Remote and path."""
        return f"{self.remote}:{self.path}"

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Nothing can be held there."""
        yield

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Nothing can be held there."""
        yield

    def listing(self) -> Listing:
        """All below it; nothing where there is no such folder."""
        found = Listing()
        words = ["rclone", "lsjson", "-R", "--files-only", "--no-mimetype", "--no-modtime", "--", self.title]

        absent: list[int] = []

        def refused(code: int, told: str) -> Exception | None:
            if code == _ABSENT:
                absent.append(code)
                return None
            return trouble("rclone", code, told, self.title)

        text = "".join(_answers(words, b"", refused))
        for entry in [] if absent else json.loads(text):
            found.add("f", entry["Size"], _proper(entry["Path"], self.title))
        return found

    def digests(self, names: Sequence[str], staged: bool = False) -> Iterator[tuple[str, str]]:
        """Name and SHA-256 of what comes back, since few remotes know it themselves: everything is read again."""
        if not names:
            return
        asked = set(names)
        with listed(names, "\n") as file:
            words = ["rclone", "hashsum", "sha256", "--download", "--files-from-raw", file, "--", self.title]
            text = "".join(_answers(words, b"", lambda code, told: trouble("rclone", code, told, self.title)))
        for line in text.split("\n"):
            sha, _, name = line.partition("  ")
            if name in asked and re.fullmatch(r"[0-9a-f]{64}", sha):
                yield name, sha

    def finish(self, names: Sequence[str]) -> None:
        """They have their names already."""

    def write(self, name: str, text: str) -> None:
        """Write a file."""
        words = ["rclone", "rcat", "--", f"{self.title.rstrip('/')}/{name}"]
        list(_answers(words, text.encode(), lambda code, told: trouble("rclone", code, told, self.title)))


@contextmanager
def listed(names: Sequence[str], end: str) -> Iterator[str]:
    """The path of a file with these names, `end` after each."""
    with tempfile.NamedTemporaryFile(prefix="openeurollm-") as file:
        file.write(b"".join(os.fsencode(f"{name}{end}") for name in names))
        file.flush()
        yield file.name


def trouble(tool: str, code: int, told: str, where: str) -> Failure:
    """What went wrong, in one line that says what to do, from what a tool told."""
    lines = [line.strip() for line in told.splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith("rsync error:")] or lines
    kept = "what was sent is kept, run the same again to go on"

    def line(*words: str) -> str:
        return next((line for line in lines if any(word in line for word in words)), "")

    if line("No space left", "quota exceeded"):
        return Failure(
            f"{where}: the disk is full there; what was sent is kept, free some space and run the same again"
        )
    if line("Permission denied (") or (tool != "rclone" and code == 255):
        return Failure(f"{where}: the host cannot be reached: {lines[-1] if lines else 'no answer'}; {kept}")
    if found := line("not found", "No such file or directory (2)") if code in (12, 127) else "":
        return Failure(f"{where}: a program is missing there: {found}")
    if found := line("Permission denied", "Read-only file system", "Operation not permitted"):
        return Failure(f"{where}: not allowed: {found}; mend the permissions, then run the same again")
    return Failure(f"{where}: {tool} ended with {code}: {lines[-1] if lines else 'without a word'}; {kept}")


def _answers(words: Sequence[str], given: bytes, refused: Callable[[int, str], Exception | None]) -> Iterator[str]:
    """What a program prints, split at zero bytes, `given` being its standard input."""
    # Files, not pipes: ssh may leave a process behind that keeps the pipe open.
    with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as stderr:
        stdin.write(given)
        stdin.seek(0)
        with subprocess.Popen(words, stdin=stdin, stdout=subprocess.PIPE, stderr=stderr, bufsize=0) as program:
            assert program.stdout is not None
            rest, total = b"", 0
            while piece := program.stdout.read(1 << 20):
                total += len(piece)
                if total > MAX_BYTES:
                    program.kill()
                    raise Failure(f"{words[0]}: an answer of more than {MAX_BYTES:,} bytes")
                *parts, rest = (rest + piece).split(b"\0")
                yield from map(os.fsdecode, parts)
            if rest:
                yield os.fsdecode(rest)
        if program.returncode:
            stderr.seek(0)
            error = refused(program.returncode, stderr.read(100_000).decode("utf-8", "replace"))
            if error:
                raise error


def _proper(name: str, where: str) -> str:
    """A name that stays below its folder; raises `Failure` for any other that a host may give."""
    if not name or name.startswith("/") or ".." in name.split("/"):
        raise Failure(f"{where}: the host names a file {name!r}, which leads out of the folder")
    return name


def _raise(error: OSError) -> None:
    raise error
