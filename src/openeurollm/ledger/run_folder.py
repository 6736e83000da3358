"""The run folder: where each stage's output lies, and the lock that keeps two runs apart."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from openeurollm.errors import BadInput, Failure
from openeurollm.ledger.files import Digests, remove, remove_partial, write_text
from openeurollm.ledger.record import NAME, Record, read

FOLDERS = {
    "corpus": "corpus",
    "tokenizer": "tokenizer",
    "model": "model",
    "tuning": "model/tuned",
    "evaluation": "evaluation",
    "release": "release",
    "board": "board",
}
"""Stage → folder below the run. The tuned model lies in the model's folder with a record of its own."""


@dataclass(frozen=True)
class RunFolder:
    """A run on disk."""

    path: Path

    def folder(self, stage: str) -> Path:
        """Where the stage's output lies."""
        return self.path / FOLDERS[stage]

    def work(self, stage: str) -> Path:
        """Scratch space of a stage that is being built; it outlives a crash and goes when the stage is whole."""
        return self.path / ".work" / stage

    def record(self, stage: str) -> Record | None:
        """The record of a stage, or None where it is not built."""
        return read(self.folder(stage))

    def need(self, stage: str) -> Record:
        """The record of a stage that must be there; raises `BadInput` where it is not."""
        record = self.record(stage)
        if record is None:
            raise BadInput(f"{self.path}: {stage} is not built; `openeurollm run` builds it")
        return record

    def replaced(self, stage: str) -> Record | None:
        """The record of the build that the one under way replaces, or None where there was none."""
        return read(self._replaced(stage))

    def _replaced(self, stage: str) -> Path:
        return self.path / ".work" / f"{stage}.replaced"

    def begin(self, stage: str, key: str) -> None:
        """Make the stage's folders ready: empty, or as a killed attempt with the same `key` left them.

        A record that is there is kept as the one replaced, over any number of attempts, until the stage is whole.
        """
        mark = self.work(stage) / "key"
        self.reopen(stage)
        if mark.is_file() and mark.read_text("utf-8") == key and self.folder(stage).is_dir():
            remove_partial(self.work(stage))
            remove_partial(self.folder(stage))
            return
        remove(self.work(stage))
        self._clear(stage)
        self.folder(stage).mkdir(parents=True, exist_ok=True)
        write_text(mark, key)

    def reopen(self, stage: str) -> None:
        """Let a stage that is built count as not built; its record is kept as the one replaced."""
        if (self.folder(stage) / NAME).is_file():
            self._replaced(stage).mkdir(parents=True, exist_ok=True)
            os.replace(self.folder(stage) / NAME, self._replaced(stage) / NAME)

    def _clear(self, stage: str) -> None:
        """Remove what the stage made; another stage's folder inside its own stays, as it may still be good."""
        folder = self.folder(stage)
        others = {self.folder(name) for name in FOLDERS if name != stage}
        for path in folder.iterdir() if folder.is_dir() else ():
            if path in others:
                continue
            if path.is_dir() and not path.is_symlink():
                remove(path)
            else:
                path.unlink()

    def end(self, stage: str, record: Record) -> None:
        """Write the record, which makes the stage whole, and clear its scratch space."""
        record.write(self.folder(stage))
        self.clear(stage)

    def clear(self, stage: str) -> None:
        """Remove what only a build under way needs."""
        remove(self.work(stage))
        remove(self._replaced(stage))

    def crew(self, stage: str) -> Path:
        """Where the processes of a stage that is built on several machines tell one another that they live."""
        return self.path / ".work" / "crews" / stage

    def digests(self) -> Digests:
        """Digests of files that the run reads and holds, as far as they are known."""
        return Digests(self.path / ".digests.json")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run for this process; raises `Failure` while another process holds it. A crash releases it."""
        self.path.mkdir(parents=True, exist_ok=True)
        with open(self.path / ".lock", "a+", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                lock.seek(0)
                holder = lock.read(100).strip() or "unknown"
                raise Failure(
                    f"{self.path}: another run (process {holder}) is at work in this folder; wait for it or stop it"
                ) from None
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            yield


def open_run(path: Path) -> RunFolder:
    """The run at `path`; raises `BadInput` where there is none."""
    if not (path / "recipe.toml").is_file():
        raise BadInput(f"{path}: no run here (a run folder holds recipe.toml)")
    return RunFolder(path)
