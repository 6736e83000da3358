"""Pretraining: what corpus, tokenizer and recipe of a run make of a decoder."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from tokenizers import Tokenizer

from openeurollm.engine import Engine
from openeurollm.errors import BadInput
from openeurollm.ledger import RunFolder
from openeurollm.model import data, held_out, memory, mixture, numerics, trainer
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
    """A training that is ready to begin: the decoder's shape, the rows in their order, and how long.

    `epochs` is how often a language's text comes, `sizes` the bytes that each id stands for, `documents` how many a
    language has.
    """

    recipe: Recipe
    shape: Shape
    predicted: Estimate
    rows: data.Rows
    schedule: Schedule
    text_bytes: Mapping[str, int]
    epochs: Mapping[str, float]
    tokenizer: Tokenizer
    sizes: NDArray[Any]
    documents: Mapping[str, int]

    @property
    def flop(self) -> float:
        """Floating-point operations of the training."""
        return self.schedule.total * self.shape.context * self.shape.flop_per_token

    @property
    def parts(self) -> int:
        """Parts of a step, between which processes can share it."""
        return parts(self.schedule.rows * self.shape.context, self.shape.context)


def plan(recipe: Recipe, run: RunFolder) -> Plan:
    """What the recipe makes of the run's corpus and tokenizer.

    Raises `BadInput` where these are not built, where the budget does not pay for a step, or where the model to go on
    from does not fit the tokenizer; `Failure` where a language has no text.
    """
    model = recipe.model
    text_bytes = {tag: part["bytes"] for tag, part in run.need("corpus").results["text"].items() if part["bytes"]}
    run.need("tokenizer")
    tokenizer = Tokenizer.from_file(str(run.folder("tokenizer") / "tokenizer.json"))
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
    rows_an_epoch = {tag: text.rows for tag, text in texts.items()}
    wanted = max(1, round(chosen.tokens / model.context / rows_a_step)) * rows_a_step
    phases = mixture.phases(recipe.mixture, model.decay, wanted, text_bytes, rows_an_epoch)
    rows = data.Rows(texts, phases, recipe.seed)
    if rows.total < rows_a_step:
        raise BadInput(
            f"[model] batch_tokens = {batch_tokens(model):,} is more than all text that may be trained on, "
            f"{rows.total * model.context:,} positions; lower it, or add text"
        )
    return Plan(
        recipe,
        chosen.shape,
        chosen.predicted,
        rows,
        Schedule.of(rows.total, rows_a_step, model.warmup, model.decay, model.ramp),
        text_bytes,
        {tag: rows.trained[tag] / texts[tag].tokens for tag in rows.trained},
        tokenizer,
        data.bytes_of_tokens(tokenizer),
        {tag: text.documents for tag, text in texts.items()},
    )


def pretrain(
    found: Plan, run: RunFolder, engine: Engine, world: World, out: Path, work: Path, until: Schedule | None = None
) -> dict[str, Any]:
    """Train as planned; write `out/metrics.jsonl`, `out/base/` as a Hugging Face folder, and the checkpoints to keep.

    Returns what the record says of the training. With `until` the training ends by that schedule instead of the plan's.
    """
    model, shape = found.recipe.model, found.shape
    trainer.prepare(engine.workers)
    reporter = world.reporter(engine)
    world = world.lay_out(model.sharding, found.parts, memory.state_bytes(shape))
    decoder = begin(found)
    chosen = agreed(model, decoder, found.flop, world)
    here = memory.micro(shape, world, model.recompute, chosen.dtype.itemsize)
    schedule = until or found.schedule
    reporter.say(f"  {words(found, schedule, chosen, world)}")
    training = trainer.Training(
        title="train the base model",
        take=found.rows.take,
        schedule=schedule,
        rates=model,
        factor=1.0,
        checkpoint_steps=model.checkpoint_steps,
        keep_steps=model.keep_steps,
        bytes_of_tokens=found.sizes,
        numerics=chosen,
        micro=here,
        fingerprint=found.rows.fingerprint(),
        held_out=_held_out(found, run, here),
        held_out_times=model.held_out_times,
    )
    told = trainer.train(decoder, training, work, out / "checkpoints", out / "metrics.jsonl", reporter, world)
    whole = world.gathered(decoder)
    if world.first:
        export(whole, out / "base", run.folder("tokenizer"), end=0)
    world.wait()
    return told


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


def words(found: Plan, schedule: Schedule, chosen: Numerics, world: World) -> str:
    """What is about to be trained, in a line."""
    minutes = found.flop / (0.5 * chosen.matmul_flop_per_s * world.size) / 60
    return (
        f"{found.shape.parameters:,} parameters ({found.shape.layers} layers of {found.shape.width}), "
        f"{schedule.steps:,} steps of {schedule.rows * found.shape.context:,} tokens, {found.flop:.2g} FLOP: about "
        f"{max(1, round(minutes))} minutes here at half the matmul speed, and "
        f"{found.predicted.value:.2f} bits a byte ({found.predicted.low:.2f}–{found.predicted.high:.2f}); "
        f"{chosen.words}"
    )


def _stretched(shape: Shape, model: Model) -> Shape:
    """The shape of the model to go on from, for the recipe's context; `BadInput` where that is beyond its own."""
    rope = model.rope
    if rope.scaling != "none":
        original = rope.original_context or shape.original_context or shape.context
        shape = replace(
            shape, rope_scaling=rope.scaling, rope_factor=rope.factor, original_context=original, rope_base=rope.base
        )
    elif model.context > shape.context:
        raise BadInput(
            f"[model] context = {model.context:,} is beyond the {shape.context:,} of {model.start}; add "
            f'[model.rope] with scaling = "yarn" and factor = {model.context / shape.context:g}'
        )
    return replace(shape, context=model.context)


def _held_out(found: Plan, run: RunFolder, micro: int) -> held_out.HeldOut:
    """As much held-out text as costs little beside the training: a position measured is a third of one trained on."""
    times, tags = max(1, found.recipe.model.held_out_times), tuple(found.text_bytes)
    positions = 3 * _MEASURED * found.schedule.total * found.shape.context / (times + 1) / len(tags)
    trained = sum(found.rows.trained.values())
    a_token = sum(found.text_bytes[tag] * found.epochs.get(tag, 0.0) for tag in tags) / max(1, trained)
    size = min(_MOST_HELD_OUT, max(_LEAST_HELD_OUT, int(positions * a_token)))
    texts = held_out.read(run.folder("corpus"), tags, found.tokenizer, 0, size)
    return held_out.HeldOut(texts, found.shape.context, micro, found.sizes)
