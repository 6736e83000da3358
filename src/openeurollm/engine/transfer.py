"""Moving a run or shards between sites: rsync or rclone carries, digests decide, a statement remembers.

Files are carried into a staging folder of the destination. Only when the SHA-256 of every one is that of the source do
they get their names, records last: a run that is there is a run that is whole.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from openeurollm import __version__
from openeurollm.engine.places import STAGING, Listing, Local, Place, Rclone, Remote, listed, trouble
from openeurollm.engine.progress import Reporter, Task
from openeurollm.errors import BadInput, Failure
from openeurollm.ledger import NAME, digest_of, files_below, now, read_json

FOLDER = "transfers"
PREDICATE = "urn:openeurollm:transfer:v1"
_OPTIONS = ("ConnectTimeout=20", "ServerAliveInterval=15", "ServerAliveCountMax=4")
_PROGRESS = re.compile(r"\s*([\d,]+)\s+\d+%\s+(\S+)")


@dataclass(frozen=True)
class Carrier:
    """What carries the bytes: `rsync` or `rclone`, at most `bandwidth` a second (`10M`), with the words of ssh."""

    tool: str = "rsync"
    bandwidth: str = ""
    ssh: tuple[str, ...] = ("ssh",)


@contextmanager
def carrier(tool: str = "rsync", bandwidth: str = "") -> Iterator[Carrier]:
    """A carrier whose questions to a host share one connection, so that a password is asked for once.

    Host names, ports and keys are those of ssh's own configuration; `RSYNC_RSH` may hold another ssh with its options.
    Raises `BadInput` for a tool that is not here.
    """
    if tool not in ("rsync", "rclone"):
        raise BadInput(f"--with {tool}: there are rsync and rclone")
    if bandwidth and not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,3})?[KMG]", bandwidth):
        raise BadInput(f"--bandwidth {bandwidth}: a number of bytes a second with its unit, such as 500K, 10M or 1G")
    ssh = shlex.split(os.environ.get("RSYNC_RSH", "")) or ["ssh"]
    _need(tool)
    with tempfile.TemporaryDirectory(prefix="oe", dir="/tmp") as folder:  # a socket's path has 104 bytes at most
        shared = ("ControlMaster=auto", f"ControlPath={folder}/%C", "ControlPersist=30")
        try:
            options = [word for option in (*_OPTIONS, *shared) for word in ("-o", option)]
            yield Carrier(tool, bandwidth, (*ssh, *options))
        finally:
            for socket in Path(folder).iterdir():
                words = [*ssh, "-o", f"ControlPath={socket}", "-O", "exit", "--", "host"]
                subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _need(tool: str) -> None:
    if shutil.which(tool) is None:
        raise BadInput(f"{tool} is not installed here; a transfer needs it")


def place(text: str, carrier: Carrier) -> Place:
    """What a user names: a path, `host:path`, or with rclone `remote:path`. Raises `BadInput` for anything else."""
    host, colon, path = text.partition(":")
    if not colon or "/" in host:
        return Local(Path(text).expanduser().resolve())
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.@-]*", host) or path.startswith(":"):
        raise BadInput(f"{text!r}: a side is a path, host:path, or with rclone remote:path (a path with `:`: ./a:b)")
    path = path.removeprefix("~/").rstrip("/") or ("/" if path.startswith("/") else "")
    if path in ("", "/", "~") or "\0" in path:
        raise BadInput(f"{text!r}: name a folder there")
    if carrier.tool == "rclone":
        return Rclone(host, path)
    _need(carrier.ssh[0])
    return Remote(host, path, carrier.ssh)


def transfer(
    source: str, destination: str, carrier: Carrier, with_work: bool = False, reporter: Reporter | None = None
) -> dict[str, Any]:
    """Bring all files below `source` to the folder `destination`; a destination that ends in `/` is the folder around
    it. Returns the statement's predicate, with `statement` its name, None where nothing was to do.

    Links, the lock, unfinished files and, without `with_work`, scratch space stay. What is there with the right digest
    is not sent. Raises `Failure` where the connection, a disk or a digest fails; run again, it goes on.
    """
    reporter = reporter or Reporter(quiet=True)
    began, started = time.monotonic(), now()
    origin, goal = _sides(source, destination, carrier)
    with origin.reading(), goal.writing():
        listing, there = origin.listing(), goal.listing()
        sizes = _chosen(listing, with_work, origin)
        if not sizes:
            raise BadInput(f"{origin.title}: no files there to transfer")
        _through_no_link(sizes, there, goal)
        reporter.say(f"{origin.title} → {goal.title}: {len(sizes):,} files, {sum(sizes.values()) / 1e6:,.1f} MB")
        right = _known(origin, sizes, reporter)
        sent = _differing(right, sizes, there, goal, reporter)
        others, records = [name for name in sent if not _vouches(name)], [name for name in sent if _vouches(name)]
        for names in (others, records):
            _carry(origin, goal, names, right, sizes, carrier, reporter)
        goal.finish([*others, *records])
        told: dict[str, Any] = {
            "source": _whole_title(origin),
            "destination": _whole_title(goal),
            "carrier": carrier.tool,
            "version": __version__,
            "started": started,
            "finished": now(),
            "seconds": round(time.monotonic() - began, 3),
            "files": len(sizes),
            "bytes": sum(sizes.values()),
            "sent": {
                "files": len(sent),
                "bytes": sum(sizes[name] for name in sent),
                "replaced": sum(name in there.files for name in sent),
            },
            "left_out": {"links": sorted(listing.links), "special": sorted(listing.special)},
        }
        return {**told, "statement": _remember(goal, there, right, told)}


def transfers(folder: Path) -> list[dict[str, Any]]:
    """The transfers that brought files to a folder, oldest first: what `transfer` returns of each.

    Raises `BadInput` for a file that is no statement of a transfer.
    """
    found = []
    for path in files_below(folder / FOLDER) if (folder / FOLDER).is_dir() else ():
        if path.suffix != ".json":
            continue
        raw = read_json(path)
        if not isinstance(raw, dict) or raw.get("predicateType") != PREDICATE or not isinstance(raw["predicate"], dict):
            raise BadInput(f"{path}: not a statement of a transfer; remove it")
        found.append({**raw["predicate"], "statement": path.relative_to(folder).as_posix()})
    return found


def _sides(source: str, destination: str, carrier: Carrier) -> tuple[Place, Place]:
    origin = place(source, carrier)
    goal = place(destination, carrier)
    if destination.endswith("/"):
        last = PurePosixPath(origin.path if isinstance(origin, Remote | Rclone) else origin.title).name
        goal = place(f"{destination}{last}", carrier)
    if isinstance(origin, Local) and isinstance(goal, Local):
        if origin.path.is_relative_to(goal.path) or goal.path.is_relative_to(origin.path):
            raise BadInput(f"{origin.title} and {goal.title} lie in one another; a transfer needs two folders")
        if carrier.tool == "rclone":
            raise BadInput("--with rclone: one side is a remote, remote:path")
    elif not isinstance(origin, Local) and not isinstance(goal, Local) and carrier.tool == "rsync":
        raise BadInput("one side of a transfer is on this machine; run it on one of the two hosts")
    return origin, goal


def _chosen(listing: Listing, with_work: bool, origin: Place) -> dict[str, int]:
    """Files to bring, with their bytes. Raises `BadInput` for names that cannot be written down or carried."""
    hidden = {".lock", STAGING} | (set() if with_work else {".work"})
    chosen = {}
    for name, size in listing.files.items():
        parts = name.split("/")
        if parts[0] in hidden or (parts[-1].startswith(".") and parts[-1].endswith(".part")):
            continue
        try:
            name.encode()
        except UnicodeEncodeError:
            raise BadInput(f"{origin.title}: the name {os.fsencode(name)!r} is not UTF-8; rename the file") from None
        chosen[name] = size
    return chosen


def _through_no_link(names: dict[str, int], there: Listing, goal: Place) -> None:
    """Raises `BadInput` where a file would be written through a link of the destination, or over it."""
    links = set(there.links)
    for name in names:
        parts = name.split("/")
        met = links.intersection("/".join(parts[:length]) for length in range(1, len(parts) + 1))
        if met:
            raise BadInput(f"{goal.title}: {met.pop()!r} is a link there; remove it, or choose another folder")
    if STAGING in links:
        raise BadInput(f"{goal.title}: {STAGING!r} is a link there; remove it, or choose another folder")


def _known(origin: Place, sizes: dict[str, int], reporter: Reporter) -> dict[str, str]:
    """Digests of all files of the source. Raises `Failure` for those that cannot be read."""
    right = _digests(origin, sorted(sizes), sizes, reporter, "digests of the source")
    unread = sorted(sizes.keys() - right.keys())
    if unread:
        raise Failure(f"{origin.title}: {_some(unread)} cannot be read; mend the permissions, then run again")
    return right


def _differing(
    right: dict[str, str], sizes: dict[str, int], there: Listing, goal: Place, reporter: Reporter
) -> list[str]:
    """Files that the destination lacks, or has with another digest."""
    alike = sorted(name for name, size in sizes.items() if there.files.get(name) == size)
    found = _digests(goal, alike, sizes, reporter, "digests of the destination")
    return sorted(name for name, sha in right.items() if found.get(name) != sha)


def _vouches(name: str) -> bool:
    """Whether the file says that others are whole."""
    return name.rpartition("/")[2] == NAME


def _digests(
    place: Place, names: Sequence[str], sizes: dict[str, int], reporter: Reporter, title: str, staged: bool = False
) -> dict[str, str]:
    found: dict[str, str] = {}
    done = 0
    with reporter.task(title, sum(sizes[name] for name in names)) as task:
        for name, sha in place.digests(names, staged):
            found[name] = sha
            done += sizes[name]
            task.update(done)
    return found


def _carry(
    origin: Place,
    goal: Place,
    names: list[str],
    right: dict[str, str],
    sizes: dict[str, int],
    carrier: Carrier,
    reporter: Reporter,
) -> None:
    """Send the files; what then has another digest is sent again once, and if it still has, `Failure` names it."""
    for again in (False, True):
        if not names:
            return
        with reporter.task("sending again" if again else "sending", sum(sizes[name] for name in names)) as task:
            if carrier.tool == "rclone":
                _rclone(origin, goal, names, carrier, again, task)
            else:
                _rsync(origin, goal, names, carrier, again, task)
        found = _digests(goal, names, sizes, reporter, "digests of what was sent", staged=True)
        names = [name for name in names if found.get(name) != right[name]]
    if names:
        raise Failure(
            f"{goal.title}: sent twice, and still not as the source was: {_some(names)}; where the source is being "
            "written, wait for it, then run the same again"
        )


def _rsync(origin: Place, goal: Place, names: list[str], carrier: Carrier, again: bool, task: Task) -> None:
    """Into the staging folder; a file that is cut off stays and is gone on with."""
    words = ["rsync", "--times", "--inplace", "--partial", "-s", "--info=progress2", "--outbuf=L"]
    words += ["--from0", "-e", shlex.join(carrier.ssh)]
    words += ["--ignore-times"] if again else []
    words += [f"--bwlimit={carrier.bandwidth}"] if carrier.bandwidth else []
    with listed([f"./{name}" for name in names], "\0") as file:
        sides = (f"{_spec(origin)}/", f"{_spec(goal)}/{STAGING}/")
        code, told = _run([*words, f"--files-from={file}", "--", *sides], task)
    if code:
        raise trouble("rsync", code, told, goal.title)


def _rclone(origin: Place, goal: Place, names: list[str], carrier: Carrier, again: bool, task: Task) -> None:
    """Into the staging folder of this machine, or to the remote, where a file appears when it is whole."""
    broken = next((name for name in names if not name.isprintable()), None)
    if broken:
        raise BadInput(f"{origin.title}: rclone takes no name with line breaks or the like: {broken!r}; use rsync")
    words = ["rclone", "copy", "--stats=1s", "--stats-one-line", "--stats-log-level=NOTICE", "--retries=3"]
    words += ["--ignore-times"] if again else []
    words += [f"--bwlimit={carrier.bandwidth}"] if carrier.bandwidth else []
    to = f"{goal.title}/{STAGING}" if isinstance(goal, Local) else goal.title
    with listed(names, "\n") as file:
        code, told = _run([*words, "--files-from-raw", file, "--", origin.title, to], task)
    if code:
        raise trouble("rclone", code, told, goal.title)


def _spec(place: Place) -> str:
    """A side as rsync takes it."""
    return f"{place.host}:{place.folder}" if isinstance(place, Remote) else place.title


def _run(words: list[str], task: Task) -> tuple[int, str]:
    """Run a program that tells its progress; its exit code and the last it said beside."""
    last: deque[str] = deque(maxlen=20)
    environment = {**os.environ, "LC_ALL": "C"}
    with subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, bufsize=0
    ) as program:
        assert program.stdout is not None
        rest = b""
        while piece := program.stdout.read(65_536):
            *lines, rest = re.split(rb"[\r\n]", rest + piece)
            for line in (line.decode("utf-8", "replace") for line in lines):
                if found := _PROGRESS.match(line):
                    task.update(int(found[1].replace(",", "")), found[2])
                last.append(line[:500])  # an error may stand in the same line as progress
        last.append(rest[:500].decode("utf-8", "replace"))
    return program.returncode, "\n".join(last)


def _whole_title(place: Place) -> str:
    """A side as anyone can read it, with this machine's name."""
    return f"{os.uname().nodename}:{place.title}" if isinstance(place, Local) else place.title


def _remember(goal: Place, there: Listing, right: dict[str, str], told: dict[str, Any]) -> str | None:
    """Write an in-toto statement on the files that are now at the destination, and give its name; None where nothing
    was sent and a statement on the same files is there.
    """
    mark = f"-{digest_of(right)[:8]}.json"
    if not told["sent"]["files"] and any(name.startswith(f"{FOLDER}/") and name.endswith(mark) for name in there.files):
        return None
    name = f"{FOLDER}/{told['finished'].replace(':', '')}{mark}"
    value = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": name, "digest": {"sha256": sha}} for name, sha in sorted(right.items())],
        "predicateType": PREDICATE,
        "predicate": told,
    }
    goal.write(name, json.dumps(value, ensure_ascii=False, indent=1) + "\n")
    return name


def _some(names: Sequence[str]) -> str:
    """The first few of many names."""
    shown = ", ".join(map(repr, names[:5]))
    return f"{shown} and {len(names) - 5:,} more" if len(names) > 5 else shown
