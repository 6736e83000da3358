"""Pretraining: what corpus, tokenizer and recipe of a run make of a decoder."""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from openeurollm.engine import Engine
from openeurollm.errors import BadInput
from openeurollm.ledger import RunFolder, remove
from openeurollm.model import data, distributed, held_out, memory, mixture, numerics, trainer
from openeurollm.model.checkpoint import FOLDER, folder_of, restore, steps_in
from openeurollm.model.decoder import Decoder
from openeurollm.model.distributed import World
from openeurollm.model.export import export, fits, load, shape_of
from openeurollm.model.law import Estimate
from openeurollm.model.numerics import Numerics
from openeurollm.model.schedule import Schedule
from openeurollm.model.shape import Shape, Text, choose, law_of
from openeurollm.recipe import Model, Recipe, batch_tokens, parts

_MEASURED = 0.02
"""Share of the training's products that measuring held-out text may take."""
_LEAST_HELD_OUT, _MOST_HELD_OUT = 1_000, 50_000
"""Bytes of a language's held-out text that are measured."""


@dataclass(frozen=True)
class Plan:
    """A training that is ready to begin: the decoder's shape and what to expect of it, each language's text, the rows
    of it in their order by phases of the mixture, and how long.
    """

    recipe: Recipe
    shape: Shape
    predicted: Estimate
    tokenizer: Tokenizer
    texts: Mapping[str, data.Text]
    text_bytes: Mapping[str, int]
    phases: Sequence[mixture.Phase]
    rows: data.Rows
    schedule: Schedule

    @property
    def flop(self) -> float:
        """Floating-point operations of the training."""
        return self.schedule.total * self.shape.context * self.shape.flop_per_token

    @property
    def parts(self) -> int:
        """Parts of a step, between which processes can share it."""
        return parts(self.recipe.model, self.schedule.rows * self.shape.context)

    @property
    def end(self) -> int:
        """The id that closes documents."""
        return next(iter(self.texts.values())).end

    @property
    def epochs(self) -> dict[str, float]:
        """How often each language's text comes."""
        return {tag: self.rows.trained[tag] / self.texts[tag].tokens for tag in self.rows.trained}

    def decayed(self, step: int, steps: int) -> "Plan":
        """The same up to a step behind its ramp, after which the rates fall over so many steps, on the mixture for
        annealing where the recipe has one.
        """
        schedule = self.schedule.decayed(step, steps)
        place, recipe = schedule.span(step)[0], self.recipe
        rows = {tag: self.texts[tag].rows for tag in self.texts}
        number, annealing = schedule.total - place, recipe.mixture
        phases = mixture.decayed(self.phases, place, number, annealing, self.text_bytes, rows, recipe.seed)
        found = data.Rows(self.texts, phases, recipe.seed)
        schedule = replace(schedule, total=found.total)  # less where no text may be repeated any more
        return replace(self, phases=phases, rows=found, schedule=replace(schedule, decay=schedule.steps - step))


def plan(recipe: Recipe, run: RunFolder) -> Plan:
    """What the recipe makes of the run's corpus and tokenizer.

    Raises `BadInput` where these are not built, where the budget does not pay for a step, or where the model to go on
    from does not fit the tokenizer; `Failure` where a language has no text.
    """
    model = recipe.model
    text_bytes = {tag: part["bytes"] for tag, part in run.need("corpus").results["text"].items() if part["bytes"]}
    run.need("tokenizer")
    tokenizer = Tokenizer.from_file(str(run.folder("tokenizer") / "tokenizer.json"))
    tokenizer.encode_special_tokens = True  # held-out text is text, as it is in the shards
    vocabulary = tokenizer.get_vocab_size()
    texts = data.read(run.folder("tokenizer") / "tokens", tuple(text_bytes), model.context, vocabulary)
    available = sum(text.tokens for text in texts.values())
    start = None
    if model.start is not None:
        fits(model.start, run.folder("tokenizer") / "tokenizer.json")
        start = _stretched(shape_of(model.start), model)
    text = Text(available, recipe.mixture.max_epochs, sum(text_bytes.values()) / available)
    chosen = choose(model, vocabulary, text, law_of(model), start)
    rows_a_step = max(1, batch_tokens(model) // model.context)
    wanted = max(1, round(chosen.tokens / model.context / rows_a_step)) * rows_a_step
    phases = mixture.phases(recipe.mixture, model.decay, wanted, text_bytes, {tag: texts[tag].rows for tag in texts})
    rows = data.Rows(texts, phases, recipe.seed)
    schedule = Schedule.of(rows.total, rows_a_step, model.warmup, model.decay, model.ramp)
    return Plan(recipe, chosen.shape, chosen.predicted, tokenizer, texts, text_bytes, phases, rows, schedule)


def pretrain(found: Plan, run: RunFolder, engine: Engine, world: World, out: Path, work: Path) -> dict[str, Any]:
    """Train as planned; write `out/metrics.jsonl`, `out/base/` as a Hugging Face folder, and the checkpoints to keep.

    Returns what the record says of the training.
    """
    model, shape = found.recipe.model, found.shape
    trainer.prepare(engine.workers)
    reporter = world.reporter(engine)
    world = world.lay_out(model.sharding, found.parts, memory.state_bytes(shape))
    decoder = begin(found)
    chosen = agreed(model, decoder, found.flop, world)
    micro = memory.micro(shape, world, model.recompute, chosen.dtype.itemsize)
    sizes = data.bytes_of_tokens(found.tokenizer)
    reporter.say(f"  {words(found, chosen, world)}")
    training = trainer.Training(
        title="train the base model",
        take=found.rows.take,
        schedule=found.schedule,
        rates=model,
        factor=1.0,
        checkpoint_steps=model.checkpoint_steps,
        keep_steps=model.keep_steps,
        bytes_of_tokens=sizes,
        numerics=chosen,
        micro=micro,
        fingerprint=found.rows.fingerprint(),
        held_out=_held_out(found, run, micro, sizes),
        held_out_times=model.held_out_times,
    )
    told = trainer.train(decoder, training, work, out / FOLDER, out / "metrics.jsonl", reporter, world)
    whole = world.gathered(decoder)
    if world.first:
        if model.start is not None and model.rope.scaling == "none":
            whole.shape = replace(shape, context=max(shape.context, shape_of(model.start).context))
        export(whole, out / "base", run.folder("tokenizer"), found.end)
    world.wait()
    return told


def decay(recipe: Recipe, run: RunFolder, engine: Engine, step: int, steps: int | None, out: Path) -> dict[str, Any]:
    """Go off from a checkpoint that was kept on the plateau of a run's training, let the rates fall over `steps` steps,
    and write what `pretrain` does into `out`; returns what is told of the training, and how many steps it has.

    Without `steps` the rates fall over the recipe's share of all. Raises `BadInput` for a checkpoint that there is not,
    or that is not on the plateau.
    """
    with run.locked(), distributed.start() as world:
        found = plan(recipe, run)
        checkpoint = checkpoint_of(run, step)
        schedule = found.schedule
        if step > schedule.steps - schedule.decay or step < schedule.warmup or schedule.span(step)[1] < schedule.rows:
            raise BadInput(f"step {step:,} is not on the plateau, where the rates are full and the steps whole")
        share = recipe.model.decay
        number = steps or max(1, round(step * share / (1 - share) if share < 1 else step))
        go_off(checkpoint, out, world)
        model = recipe.model.model_copy(update={"keep_steps": None})
        falling = replace(found, recipe=recipe.model_copy(update={"model": model})).decayed(step, number)
        told = pretrain(falling, run, engine, world, out, out / ".work")
        if world.first:
            remove(out / ".work")
            remove(out / FOLDER)
        return {"step": step, "steps": falling.schedule.steps, **told}


def go_off(checkpoint: Path, out: Path, world: World) -> None:
    """Let a training in `out` begin from a checkpoint, if it has not begun; its files are linked, not copied."""
    begun = out / FOLDER
    if world.first and not begun.exists():
        partial = out / f".{FOLDER}.part"
        remove(partial)
        shutil.copytree(checkpoint, partial / checkpoint.name, copy_function=_linked)
        partial.rename(begun)
    world.wait()


def _linked(source: str, place: str) -> None:
    try:
        os.link(source, place)
    except OSError:  # another file system
        shutil.copyfile(source, place)


def checkpoint_of(run: RunFolder, step: int) -> Path:
    """The folder of a checkpoint of the base model, kept or of a training under way; `BadInput` where it is not."""
    roots = (run.folder("model") / FOLDER, run.work("model") / FOLDER)
    found = folder_of(step, *roots)
    if not found.is_dir():
        there = sorted({each for root in roots for each in steps_in(root)})
        others = f"there are {', '.join(map(str, there[-20:]))}" if there else "none is kept: set [model] keep_steps"
        raise BadInput(f"{run.path}: no checkpoint at step {step:,}; {others}")
    return found


def export_checkpoint(recipe: Recipe, run: RunFolder, step: int, out: Path) -> None:
    """Write the base model as it was at a checkpoint into `out`, as a Hugging Face folder."""
    found = plan(recipe, run)
    decoder = Decoder(found.shape, recipe.seed)
    restore(checkpoint_of(run, step), decoder, [], World())
    export(decoder, out, run.folder("tokenizer"), found.end)


def begin(found: Plan) -> Decoder:
    """The decoder with the weights that it begins with."""
    start = found.recipe.model.start
    if start is None:
        return Decoder(found.shape, found.recipe.seed)
    turned = ("context", "rope_base", "rope_scaling", "rope_factor", "original_context")
    return load(start, **{name: getattr(found.shape, name) for name in turned})


def agreed(model: Model, decoder: Decoder, flop: float, world: World) -> Numerics:
    """The numerics that the first process chooses for a training of so many operations, for all."""
    chosen = numerics.choose(model, decoder, flop / world.size).asdict() if world.first else {}
    return Numerics.of(json.loads(world.words(json.dumps(chosen))))


def words(found: Plan, chosen: Numerics, world: World) -> str:
    """What is about to be trained, in a line."""
    minutes = found.flop / (chosen.training_flop_per_s * world.size) / 60
    return (
        f"{found.shape.parameters:,} parameters ({found.shape.layers} layers of {found.shape.width}), "
        f"{found.schedule.steps:,} steps of {found.schedule.rows * found.shape.context:,} tokens, {found.flop:.2g} "
        f"FLOP: about {max(1, round(minutes))} minutes here, and "
        f"{found.predicted.value:.2f} bits a byte ({found.predicted.low:.2f}–{found.predicted.high:.2f}); "
        f"{chosen.words}"
    )


def _stretched(shape: Shape, model: Model) -> Shape:
    """The shape of the model to go on from, for the recipe's context; `BadInput` where that is beyond its own."""
    rope = model.rope
    if rope.scaling != "none":
        original = rope.original_context or shape.original_context or shape.context
        shape = replace(shape, rope_scaling=rope.scaling, rope_factor=rope.factor, original_context=original)
    elif model.context > shape.context:
        raise BadInput(
            f"[model] context = {model.context:,} is beyond the {shape.context:,} of {model.start}; add "
            f'[model.rope] with scaling = "yarn" and factor = {model.context / shape.context:g}'
        )
    return replace(shape, context=model.context, rope_base=rope.base or shape.rope_base)


def _held_out(found: Plan, run: RunFolder, micro: int, sizes: NDArray[np.int64]) -> held_out.HeldOut:
    """As much held-out text as costs little beside the training: a position measured is a third of one trained on."""
    times, tags = max(1, found.recipe.model.held_out_times), tuple(found.text_bytes)
    positions = 3 * _MEASURED * found.schedule.total * found.shape.context / (times + 1) / len(tags)
    trained = sum(found.rows.trained.values())
    a_token = sum(found.text_bytes[tag] * often for tag, often in found.epochs.items()) / max(1, trained)
    size = min(_MOST_HELD_OUT, max(_LEAST_HELD_OUT, int(positions * a_token)))
    texts = held_out.read(run.folder("corpus"), tags, found.tokenizer, found.end, size)
    return held_out.HeldOut(texts, found.shape.context, micro, sizes)
