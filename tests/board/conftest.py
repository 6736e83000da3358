"""Fake runs for the board, whole and half built."""

from collections.abc import Callable
from pathlib import Path

import pytest
from fake_run import make

from openeurollm.ledger import RunFolder


@pytest.fixture
def fake(tmp_path: Path) -> Callable[..., RunFolder]:
    """Makes fake runs: `fake()`, `fake("corpus")`, `fake(name="other")`."""

    def build(until: str = "release", name: str = "fake") -> RunFolder:
        return make(tmp_path / "runs" / name, until, name)

    return build


@pytest.fixture
def run(fake: Callable[..., RunFolder]) -> RunFolder:
    """A whole run: 43 languages of which one is a gap."""
    return fake()
