"""The base model: a decoder trained from nothing on the corpus, in the mixture and to the budget of the recipe."""

from typing import Any

from tokenizers import Tokenizer

from openeurollm.engine import Engine
from openeurollm.ledger import Counts, RunFolder
from openeurollm.model import data, distributed, trainer
from openeurollm.model.decoder import Decoder
from openeurollm.model.distributed import World
from openeurollm.model.export import export
from openeurollm.model.shape import Shape, derive
from openeurollm.recipe import Recipe, batch_tokens, falls, parts, prove

__all__ = ["build"]


def build(recipe: Recipe, run: RunFolder, engine: Engine) -> tuple[Counts, dict[str, Any]]:
    """Derive the shape, train, and write `base/` as a Hugging Face folder.

    Raises `Failure` before the training where the mixture has nothing of a language of the contract, or a language's
    share of it fell too far, `BadInput` where the processes cannot share a step, and `Stopped` where it is asked to
    stop. Over several processes all of them call it; the first one writes the files, and all return the same.
    """
    with distributed.start() as world:
        return _build(recipe, run, engine, world)


def _build(recipe: Recipe, run: RunFolder, engine: Engine, world: World) -> tuple[Counts, dict[str, Any]]:
    trainer.prepare(engine.workers)
    rows = max(1, batch_tokens(recipe.model) // recipe.model.context)
    pieces = parts(batch_tokens(recipe.model), recipe.model.context)
    world.check(pieces)
    text_bytes = {tag: part["bytes"] for tag, part in run.need("corpus").results["text"].items() if part["bytes"]}
    tokens, documents = data.tokens(run.folder("tokenizer") / "tokens", tuple(text_bytes))
    lengths = {tag: len(ids) for tag, ids in tokens.items()}
    tokenizer = Tokenizer.from_file(str(run.folder("tokenizer") / "tokenizer.json"))
    shape, total = derive(recipe.model, tokenizer.get_vocab_size(), sum(lengths.values()), recipe.mixture.max_epochs)
    wished = data.shares(text_bytes, recipe.mixture.temperature, recipe.mixture.shares)
    wanted = data.budget(total, wished, text_bytes, lengths, recipe.mixture.max_epochs)
    batches = data.Batches(tokens, wanted, shape.context, rows, recipe.seed)
    trained = {tag: number * shape.context for tag, number in batches.sequences.items()}
    sizes = {tag: round(number * text_bytes[tag] / lengths[tag]) for tag, number in trained.items()}
    share = data.shares(sizes, 1.0, {})
    proof = prove(recipe, "model", {"text in the mixture": sizes})
    proof["exceptions"] |= falls(recipe, run, share)
    decoder = Decoder(shape, recipe.seed)
    flop = batches.steps * rows * shape.context * shape.flop_per_token
    if world.first:
        _foretell(engine, shape, batches.steps, flop, world.size)

    def batch(step: int) -> Any:
        ids = batches.batch(step)
        return ids[:, :-1], ids[:, 1:]

    model = recipe.model
    training = trainer.Training(
        "train the base model",
        batch,
        batches.steps,
        model,
        1.0,
        model.warmup,
        model.decay,
        model.checkpoint_steps,
        pieces,
        data.bytes_of_tokens(tokenizer),
    )
    metrics = run.folder("model") / "metrics.jsonl"
    told = trainer.train(decoder, training, run.work("model"), metrics, world.reporter(engine), world)
    if world.first:
        export(decoder, run.folder("model") / "base", run.folder("tokenizer"), end=0)
    counts = {tag: {"encoded": number} for tag, number in documents.items()}
    return counts, {
        "shape": shape.asdict(),
        "parameters": shape.parameters,
        "tokens": told["tokens"],
        "steps": batches.steps,
        "flop": flop,
        "flop_per_token": shape.flop_per_token,
        "matmul_flop_per_s": told["matmul_flop_per_s"],
        "final_loss": told["final_loss"],
        "threads": told["threads"],
        "processes": told["processes"],
        "mixture": {
            tag: {
                "share": round(share[tag], 5),
                "bytes": sizes[tag],
                "tokens": trained[tag],
                "epochs": round(trained[tag] / lengths[tag], 3),
            }
            for tag in trained
        },
        "contract": proof,
    }


def _foretell(engine: Engine, shape: Shape, steps: int, flop: float, processes: int) -> None:
    minutes = flop / (0.5 * trainer.matmul_speed() * processes) / 60
    engine.reporter.say(
        f"  {shape.parameters:,} parameters ({shape.layers} layers of {shape.width}), {steps:,} steps, "
        f"{flop:.2g} FLOP: about {max(1, round(minutes))} minutes here at half the matmul speed"
    )
