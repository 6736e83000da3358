"""What the jobs of a run will cost at a site, before any is submitted."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openeurollm.engine import Job
from openeurollm.recipe import Recipe, compute

SECONDS_A_MEGABYTE = {"warc": 2.6, "pdf": 2.6}
"""CPU seconds for a megabyte of packed archives in the corpus: `python benchmarks/corpus.py` (5.8 ms a page with the
fast extractor, about 2.2 kB a page packed)."""
SECONDS_A_MEGABYTE_OF_TEXT = 0.47
"""The same of text: `openeurollm run recipes/europe-small.toml --until corpus`, docs/runs/europe-small-corpus.md."""
COUNTING, LEARNING = 0.06, 30.0
"""CPU seconds to count and encode a megabyte of text, and to learn the merges: `python benchmarks/tokenizer.py`."""
MINUTES = 3.0
"""What a job takes that has little to do: to start, to read its inputs, to write its outputs."""
OF_PEAK, CORE_FLOPS = 0.4, 3e10
"""The share of a device's peak that training reaches, and FLOP a second of a core without a device: `python
benchmarks/training.py` measures both where they matter."""


@dataclass(frozen=True)
class Forecast:
    """What a job may cost: hours until it is done, of its nodes together, GPU-hours as the site counts them, kWh and
    euros; None where the site's profile lacks the figure. `most_node_hours` is what its time limit allows.
    """

    job: str
    hours: float
    node_hours: float
    most_node_hours: float
    gpu_hours: float | None
    kwh: float | None
    euros: float | None


def forecast(recipe: Recipe, jobs: Sequence[Job]) -> list[Forecast]:
    """What each job may cost. The corpus is reckoned by the bytes of the sources on disk, training by its FLOP."""
    return [_forecast(job, _seconds(recipe, job)) for job in jobs]


def total(found: Sequence[Forecast]) -> dict[str, float | None]:
    """The sums over jobs; None for what some job has no figure for."""
    sums: dict[str, float | None] = {}
    for key in ("node_hours", "most_node_hours", "gpu_hours", "kwh", "euros"):
        values = [getattr(each, key) for each in found]
        sums[key] = None if None in values else round(sum(values), 4)
    return sums


def _forecast(job: Job, seconds: float) -> Forecast:
    site = job.site
    hours = (seconds + 60 * MINUTES) / 3600
    nodes = hours * job.nodes
    billed = nodes * (site.gpu_hours_per_node_hour or site.gpus or 0) if site.gpus else 0.0
    kwh = nodes * site.node_watts / 1000 if site.node_watts is not None else None
    euros = nodes * site.euros_per_node_hour if site.euros_per_node_hour is not None else None
    rounded = [
        None if value is None else round(value, 4) for value in (hours, nodes, job.most_node_hours, billed, kwh, euros)
    ]
    return Forecast(job.name, *rounded)  # type: ignore[arg-type]


def _seconds(recipe: Recipe, job: Job) -> float:
    """Seconds of work of a job on its nodes."""
    cores = job.nodes * (job.site.cores or 1)
    if job.stages == ("corpus",):
        return _corpus_seconds(recipe) / cores
    if job.stages == ("tokenizer",):
        return COUNTING * _megabytes(recipe) / cores + LEARNING
    if job.stages == ("model",):
        devices = job.nodes * (job.site.gpus or 0)
        speed = OF_PEAK * devices * (job.site.gpu_tflops or 100.0) * 1e12 if devices else cores * CORE_FLOPS
        return compute(recipe.model) / speed
    return 0.0


def _corpus_seconds(recipe: Recipe) -> float:
    return sum(
        SECONDS_A_MEGABYTE.get(source.kind, SECONDS_A_MEGABYTE_OF_TEXT) * _size(source.path) / 1e6
        for source in recipe.sources.values()
    )


def _megabytes(recipe: Recipe) -> float:
    return sum(_size(source.path) for source in recipe.sources.values()) / 1e6


def _size(path: Any) -> int:
    if not isinstance(path, Path) or not path.exists():
        return 0  # what is fetched from elsewhere; its size is not known before
    return path.stat().st_size if path.is_file() else sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
