"""The corpus of the sample web, built once a session by one process."""

from pathlib import Path

import pytest

from openeurollm.ledger import RunFolder
from openeurollm.recipe import Corpus


@pytest.fixture
def limits():
    """The recipe's limits as they stand when it says nothing."""
    return Corpus()


@pytest.fixture(scope="session")
def parquet_of():
    """Name → bytes of every Parquet file of a corpus."""

    def read(folder: RunFolder) -> dict[str, bytes]:
        corpus: Path = folder.folder("corpus")
        return {path.relative_to(corpus).as_posix(): path.read_bytes() for path in sorted(corpus.rglob("*.parquet"))}

    return read
