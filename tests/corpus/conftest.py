"""The corpus of the sample web, built once a session by one process."""

from pathlib import Path

import pytest
from archives import SAMPLE

from openeurollm.engine import Engine, Reporter
from openeurollm.ledger import RunFolder
from openeurollm.recipe import Corpus, load
from openeurollm.run import run


@pytest.fixture
def limits():
    """The recipe's limits as they stand when it says nothing."""
    return Corpus()


@pytest.fixture(scope="session")
def quickstart():
    """The recipe of the demo."""
    return load(SAMPLE.parent / "recipes" / "quickstart.toml")


@pytest.fixture(scope="session")
def built(quickstart, tmp_path_factory) -> RunFolder:
    """The demo's corpus. Tests look at it and change nothing."""
    folder = RunFolder(tmp_path_factory.mktemp("corpus") / "quickstart")
    run(quickstart, folder, Engine(1, Reporter(quiet=True)), until="corpus")
    return folder


@pytest.fixture(scope="session")
def parquet_of():
    """Name → bytes of every Parquet file of a corpus."""

    def read(folder: RunFolder) -> dict[str, bytes]:
        corpus: Path = folder.folder("corpus")
        return {path.relative_to(corpus).as_posix(): path.read_bytes() for path in sorted(corpus.rglob("*.parquet"))}

    return read
