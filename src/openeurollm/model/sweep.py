"""The sweep: small trainings of several sizes and lengths on a run's own text, and the scaling law that fits them."""

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

from pydantic import Field

from openeurollm.engine import Engine
from openeurollm.errors import BadInput
from openeurollm.ledger import RunFolder, digest_of, now, remove, write_text
from openeurollm.ledger.results import checked
from openeurollm.model import distributed, frontier, held_out, pretraining
from openeurollm.model.checkpoint import FOLDER, folder_of
from openeurollm.model.data import bytes_of_tokens
from openeurollm.model.distributed import World
from openeurollm.model.export import load
from openeurollm.model.law import Law, Point, fit, useful
from openeurollm.model.numerics import device
from openeurollm.model.shape import WIDTHS, Choice, Shape, Text, choose, law_of, neighbours, standard
from openeurollm.recipe import Model, Recipe, batch_tokens
from openeurollm.recipe import Shape as GivenShape

LENGTHS = (0.25, 0.5, 1.0)
"""Lengths of the trainings of one size, as shares of the longest. They share a plateau: each goes on from where the
rates of the one before began to fall."""
_LEAST_STEPS, _EIGHTHS = 40, 8
_HELD_OUT_BYTES = 10_000
"""Held-out text of a language that every point is measured on."""
_MICRO = 8_192
_MOST_BYTES = 50_000_000


class Line(Point):
    """A line of `points.jsonl`: a point of the law, and what it was trained from."""

    key: str
    data: str
    shape: dict[str, int | float | str | bool]
    batch_tokens: Annotated[int, Field(ge=1, le=2**31)]
    steps: Annotated[int, Field(ge=1, le=10**12)]
    tokens: Annotated[int, Field(ge=1, le=10**18)]
    held_out: Annotated[dict[str, float], Field(min_length=1, max_length=1_000)]
    seed: int
    seconds: float
    made: str


@dataclass(frozen=True)
class Series:
    """The trainings of one size: `steps` of the longest, a multiple of eight, and the positions of a step."""

    shape: Shape
    batch: int
    steps: int

    def model(self, model: Model) -> Model:
        """The recipe's table for the longest of them."""
        shape = self.shape
        given = GivenShape(
            layers=shape.layers,
            width=shape.width,
            heads=shape.heads,
            key_value_heads=shape.key_value_heads,
            feed_forward=shape.feed_forward,
        )
        dial = {"compute": None, "parameters": None, "tokens": float(self.steps * self.batch), "shape": given}
        rest = {"batch_tokens": self.batch, "start": None, "ramp": 0.0, "decay": 0.5, "held_out_times": 0}
        return model.model_copy(update={**dial, **rest, "keep_steps": self.steps // _EIGHTHS})


def sweep(
    recipe: Recipe, run: RunFolder, engine: Engine, points: int, compute: float | None, out: Path
) -> dict[str, Any]:
    """Train the points that `out` has not yet, fit the law, and write `law.json` and `sweep.svg` there.

    `compute` is what all points may take together; a fifth of the recipe's budget without it. Every point is a line of
    `out/points.jsonl` as soon as it is done, and one that was interrupted goes on from its checkpoint. Raises
    `BadInput` where corpus or tokenizer are not built or `compute` is too little.
    """
    with run.locked(), distributed.start() as world:
        budget = pretraining.plan(recipe, run)
        text = _text(budget, recipe)
        series = grid(recipe.model, budget.shape.vocabulary, text, compute or budget.flop / 5, points)
        data = digest_of([run.need("tokenizer").outputs, recipe.mixture.model_dump(mode="json"), recipe.model.context])
        file = out / "points.jsonl"
        lines = _read(file)
        todo = [(each, length) for each in series for length in range(len(LENGTHS))]
        for number, (each, length) in enumerate(todo):
            key = digest_of([data, recipe.seed, each.shape.asdict(), each.batch, each.steps, length])
            if any(line["key"] == key for line in lines):
                continue
            shape = each.shape
            engine.reporter.say(
                f"point {number + 1} of {len(todo)}: {shape.layers} layers of {shape.width}, "
                f"{each.steps * LENGTHS[length]:,.0f} steps of {each.batch:,} tokens"
            )
            line = {"key": key, "data": data, **_train(recipe, run, engine, world, each, length, out / ".work")}
            _append(file, line)
            lines.append(line)
        remove(out / ".work")
        found = _law(recipe, [line for line in lines if line["data"] == data], text)
        write_text(out / "law.json", found.model_dump_json(indent=1) + "\n")
        vocabulary = budget.shape.vocabulary
        told = _told(recipe, vocabulary, text, found)
        family = [standard(width, vocabulary, recipe.model) for width in WIDTHS]
        costs = [(each.matrix_parameters, each.flop_per_token / text.bytes_per_token) for each in family]
        write_text(out / "sweep.svg", frontier.chart(found, costs, told))
        return told


def grid(model: Model, vocabulary: int, text: Text, compute: float, points: int) -> list[Series]:
    """The series of a sweep of about so many points that takes about `compute` FLOP, the cheapest first.

    Sizes lie around the one that is expected to be best for the longest training; each of them spends the same. Raises
    `BadInput` where that is too little, or the text is.
    """
    found = _grid(model, vocabulary, text, compute, points)
    if found:
        return found
    for least in (compute * 1.2**number for number in range(1, 200)):
        if _grid(model, vocabulary, text, least, points):
            raise BadInput(
                f"--compute {compute:.2g} does not pay for {points} points; {least:.3g} does, or fewer --points"
            )
    raise BadInput(f"the corpus has {text.tokens:,.0f} tokens, too few for a sweep; gather more text")


def _grid(model: Model, vocabulary: int, text: Text, compute: float, points: int) -> list[Series]:
    sizes = max(2, round(points / len(LENGTHS)))
    once = compute / sizes / (LENGTHS[0] + LENGTHS[1] - LENGTHS[0] / 2 + LENGTHS[2] - LENGTHS[1] / 2)
    dial = {"parameters": None, "tokens": None, "shape": None, "start": None, "compute": once}
    batch = batch_tokens(model.model_copy(update={**dial, "batch_tokens": None, "compute": once / 2}))

    def steps(shape: Shape) -> int:
        return int(min(once / shape.flop_per_token, text.most) / batch) // _EIGHTHS * _EIGHTHS

    family = [standard(width, vocabulary, model) for width in WIDTHS]
    paid = [shape for shape in family if steps(shape) >= _LEAST_STEPS]
    if len(paid) < sizes:
        return []
    best = choose(model.model_copy(update={**dial, "batch_tokens": batch}), vocabulary, text, law_of(model)).shape
    middle = min(range(len(paid)), key=lambda place: abs(paid[place].width - best.width))
    first = max(0, min(middle - (sizes - 1) // 2, len(paid) - sizes))
    return [Series(shape, batch, steps(shape)) for shape in paid[first : first + sizes]]


def _train(
    recipe: Recipe, run: RunFolder, engine: Engine, world: World, series: Series, length: int, work: Path
) -> dict[str, Any]:
    """Train one point and measure it; returns what its line says.

    It goes on from the end of the plateau of the point before, where that is still there.
    """
    began = time.monotonic()
    plan = pretraining.plan(recipe.model_copy(update={"model": series.model(recipe.model)}), run)
    name = f"{series.shape.layers}x{series.shape.width}-{series.batch}-{series.steps}"
    out, before = (work / f"{name}-{number}" for number in (length, length - 1))
    steps = round(series.steps * LENGTHS[length])
    plateau = folder_of(steps // 4, before / FOLDER)
    if plateau.is_dir():
        pretraining.go_off(plateau, out, world)
    plan = plan.decayed(steps // 2, steps - steps // 2)
    told = pretraining.pretrain(plan, run, engine, world, out, out / "work")
    found = _measure(plan, run, out / "base", world)
    remove(before)
    text = sum(epochs * plan.text_bytes[tag] for tag, epochs in plan.epochs.items())
    return {
        "shape": plan.shape.asdict(),
        "batch_tokens": series.batch,
        "steps": plan.schedule.steps,
        "tokens": told["tokens"],
        "size": plan.shape.matrix_parameters,
        "text": round(text),
        "flop": plan.flop,
        "loss": round(fmean(found.values()), 5),
        "held_out": found,
        "seed": recipe.seed,
        "seconds": round(time.monotonic() - began, 1),
        "made": now(),
    }


def _measure(plan: pretraining.Plan, run: RunFolder, model: Path, world: World) -> dict[str, float]:
    """Bits a byte by language, on the same text for every point."""
    tags = tuple(plan.text_bytes)
    texts = held_out.read(run.folder("corpus"), tags, plan.tokenizer, plan.end, _HELD_OUT_BYTES)
    measured = held_out.HeldOut(texts, plan.shape.context, _MICRO, bytes_of_tokens(plan.tokenizer))
    return measured.measure(load(model).to(device()).eval(), world)


def _text(plan: pretraining.Plan, recipe: Recipe) -> Text:
    """What the run has to train on; a token stands for as many bytes as in the recipe's mixture."""
    available = sum(plan.rows.trained[tag] / epochs for tag, epochs in plan.epochs.items() if epochs)
    size = sum(epochs * plan.text_bytes[tag] for tag, epochs in plan.epochs.items())
    return Text(available, recipe.mixture.max_epochs, size / sum(plan.rows.trained.values()))


def _law(recipe: Recipe, lines: Sequence[dict[str, Any]], text: Text) -> Law:
    available = text.tokens * text.bytes_per_token
    points = [
        Point(size=line["size"], text=useful(line["text"], available), loss=line["loss"], flop=line["flop"])
        for line in lines
    ]
    about: dict[str, str | int | float] = {
        "what": f"fitted by `openeurollm model sweep` to {len(points)} trainings on the text of {recipe.name}",
        "made": now(),
        "languages": len(lines[0]["held_out"]),
        "vocabulary": lines[0]["shape"]["vocabulary"],
        "context": recipe.model.context,
        "flop": sum(point.flop for point in points),
        "priors": "weak ones on the exponents and on the floor, from published laws; see law.py",
    }
    return fit(points, text.bytes_per_token, about)


def _told(recipe: Recipe, vocabulary: int, text: Text, law: Law) -> dict[str, Any]:
    """What the law says of the recipe's budget: the shape it chooses, and those beside it."""
    chosen = choose(recipe.model, vocabulary, text, law)
    around = neighbours(recipe.model, chosen, vocabulary, text, law)
    return {
        "points": len(law.points),
        "flop": chosen.flop,
        "law": law.best.model_dump(),
        "noise": law.noise,
        "choices": [{**_row(each, text), "chosen": each is chosen} for each in around],
    }


def _row(choice: Choice, text: Text) -> dict[str, Any]:
    shape, predicted = choice.shape, choice.predicted
    return {
        "layers": shape.layers,
        "width": shape.width,
        "parameters": shape.parameters,
        "tokens": choice.tokens,
        "epochs": round(choice.tokens / text.tokens, 2),
        "bits_per_byte": round(predicted.value, 3),
        "low": round(predicted.low, 3),
        "high": round(predicted.high, 3),
    }


def _read(file: Path) -> list[dict[str, Any]]:
    """The points that are done; a last line that was cut off is taken away, as the next one is written behind it."""
    if not file.is_file():
        return []
    if file.stat().st_size > _MOST_BYTES:
        raise BadInput(f"{file}: over {_MOST_BYTES:,} bytes; move it away to begin anew")
    data = file.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if whole != data:
        with open(file, "r+b") as cut:
            cut.truncate(len(whole))
    try:
        return [checked(Line, json.loads(line), str(file)).model_dump() for line in whole.splitlines()]
    except (ValueError, RecursionError):
        raise BadInput(f"{file}: is no list of points; move it away to begin anew") from None


def _append(file: Path, line: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file, "a", encoding="utf-8") as lines:
        lines.write(json.dumps(line, ensure_ascii=False) + "\n")
        lines.flush()
        os.fsync(lines.fileno())
