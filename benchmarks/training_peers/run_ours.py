"""Our trainer, as the run's stage calls it, on a folder that looks like a run's.

`settings`: `run` (the folder), `text_bytes` (of each language), and `model`, what `[model]` of a recipe is to say
beside the task's own. With `minutes` the shape and the batch are what the budget of so many minutes gives, and are told
first.
"""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from job import Done, Job

from openeurollm.engine import Engine, Reporter
from openeurollm.ledger import RunFolder
from openeurollm.model import distributed, numerics, pretraining
from openeurollm.model.export import load
from openeurollm.recipe import Mixture, Model, Recipe, Shape

EQUAL = Mixture(temperature=0.0, max_epochs=1_000_000)
"""Equal shares of all languages, each as often as it takes."""


class Prepared(RunFolder):
    """A folder with a tokenizer and its shards in the places of a run's, and no records."""

    def need(self, stage: str) -> Any:
        """What the record of the corpus would say of its text."""
        return SimpleNamespace(results={"text": {tag: {"bytes": size} for tag, size in TEXT_BYTES.items()}})


class Steps(Reporter):
    """Tells the job of every step."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        self._job = job

    @contextmanager
    def task(self, title: str, total: float) -> Iterator[Any]:
        """A task that the trainer updates after every step."""
        yield SimpleNamespace(update=lambda done, note="": self._job.step())


TEXT_BYTES: dict[str, int] = {}


def main() -> None:
    job = Job()
    settings = job.settings
    TEXT_BYTES.update(settings["text_bytes"])
    run = Prepared(Path(settings["run"]))
    if "minutes" in settings:
        found = pretraining.plan(
            recipe(job, Model(compute=budget(settings["minutes"]), context=job.shape["context"])), run
        )
        shape = {name: number for name, number in found.shape.asdict().items() if name in (*Shape.model_fields, "head")}
        rows = found.schedule.rows
        job.answer(shape=shape | job.shape, rows=rows, steps=found.schedule.steps)
        model = fixed(job, shape, rows, settings.get("steps", found.schedule.steps))
    else:
        model = fixed(job, job.shape, job.rows, 100_000)
    plan = pretraining.plan(recipe(job, model), run)
    job.rows = plan.schedule.rows
    engine = Engine(job.threads, Steps(job))
    with tempfile.TemporaryDirectory() as folder, distributed.start() as world:
        out, work = Path(folder) / "out", Path(folder) / "work"
        out.mkdir()
        job.begin(plan.shape.flop_per_token, plan.shape.parameters)
        try:
            pretraining.pretrain(plan, run, engine, world, out, work)
        except Done:
            sys.exit()
        decoder = load(out / "base")
    job.scored(lambda inputs, targets: decoder.nats(inputs, targets))


def recipe(job: Job, model: Model) -> Recipe:
    """A recipe that says no more than a training needs."""
    return Recipe.model_construct(seed=job.seed, model=model, mixture=EQUAL)


def budget(minutes: float) -> float:
    """FLOP that the machine is expected to do in the time."""
    return 60 * minutes * numerics.training_speed()


def fixed(job: Job, shape: dict[str, Any], rows: int, steps: int) -> Model:
    """A model of the shape, trained for so many steps."""
    given = Shape(
        layers=shape["layers"],
        width=shape["width"],
        heads=shape["heads"],
        key_value_heads=shape.get("key_value_heads", shape["heads"]),
        feed_forward=shape["feed_forward"],
    )
    context = job.shape["context"]
    told = {"shape": given, "context": context, "batch_tokens": rows * context, "tokens": steps * rows * context}
    return Model(**{**told, "held_out_times": 0, **job.settings.get("model", {})})


if __name__ == "__main__":
    main()
