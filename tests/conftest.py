"""A real run, made once a session: the sample's pages of six languages, to a model of 0.2 million parameters."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings

from openeurollm.engine import Engine, Reporter
from openeurollm.ledger import RunFolder
from openeurollm.recipe import Recipe, load
from slurm import LocalSlurm

settings.register_profile("loaded", deadline=None)  # a busy machine is no defect
settings.load_profile("loaded")

SAMPLE = Path(__file__).resolve().parent.parent / "sample"
RECIPE = """
name = "tiny"
languages = ["mt", "ga", "el", "ka", "en", "sr-Latn"]
seed = 3
parallel = "parallel"

[sources.web]
kind = "warc"
path = "web.warc.gz"
licence = "CC0-1.0"
publisher = "the OpenEuroLLM project"
date = 2026
languages = "per-document"
obtained = "written for this project"

[sources.declaration]
kind = "declaration"
licence = "public domain"
publisher = "United Nations"
date = 1948
languages = "per-document"
obtained = "the package gflanguages"

[corpus]
held_out = 0.12

[tokenizer]
vocabulary = 800
bytes_per_language = 1000000

[mixture]
temperature = 0.0
max_epochs = 40

[model]
compute = 1e11
context = 64
batch_tokens = 1024
parts = 2
checkpoint_steps = 15
precision = "fp32"
compile = false
held_out_times = 2

[tuning]
conversations = "chat.jsonl"
licence = "CC0-1.0"
epochs = 3
batch_tokens = 256
checkpoint_steps = 4

[evaluation]
held_out_bytes = 2000
bootstrap = 100

[release]
title = "Tiny"
licence = "Apache-2.0"
publisher = "Test house"
contact = "house@test.example"
"""


@dataclass(frozen=True)
class Tiny:
    """A recipe and the run that it made; a test that changes the run works on a copy."""

    file: Path
    recipe: Recipe
    run: RunFolder
    engine: Engine

    @property
    def home(self) -> Path:
        """The folder of the recipe and of what it reads."""
        return self.file.parent

    def change(self, *settings: str) -> Recipe:
        """The recipe with other values in it."""
        return load(self.file, settings)

    def copy(self, folder: Path) -> RunFolder:
        """A copy of the run below `folder`, which the command line finds with `--runs folder`."""
        shutil.copytree(self.run.path, folder / "tiny")
        return RunFolder(folder / "tiny")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """The run of `RECIPE` up to the evaluation, in one thread, as threads change the last bits of sums."""
    from openeurollm.run import run

    home = tmp_path_factory.mktemp("tiny")
    shutil.copyfile(SAMPLE / "web.warc.gz", home / "web.warc.gz")
    shutil.copyfile(SAMPLE / "chat.jsonl", home / "chat.jsonl")
    shutil.copytree(SAMPLE / "parallel", home / "parallel")
    file = home / "tiny.toml"
    file.write_text(RECIPE, "utf-8")
    made = Tiny(file, load(file), RunFolder(home / "runs" / "tiny"), Engine(1, Reporter(quiet=True)))
    run(made.recipe, made.run, made.engine, until="evaluation")
    return made


@pytest.fixture(scope="session")
def quickstart() -> Recipe:
    """The recipe of the demo."""
    return load(SAMPLE.parent / "recipes" / "quickstart.toml")


@pytest.fixture(scope="session")
def built(quickstart: Recipe, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """The demo's corpus, built by one process. Tests look at it and change nothing."""
    from openeurollm.run import run

    folder = RunFolder(tmp_path_factory.mktemp("corpus") / "quickstart")
    run(quickstart, folder, Engine(1, Reporter(quiet=True)), until="corpus")
    return folder


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSlurm]:
    """A real Slurm of four nodes on this machine; a test that kills a part of it starts the part again."""
    if not LocalSlurm.available():
        pytest.skip("Slurm is not installed: apt-get install slurmctld slurmd slurm-client")
    with LocalSlurm(tmp_path_factory.mktemp("slurm"), nodes=4, cpus=2, gpus=2) as cluster:
        yield cluster
