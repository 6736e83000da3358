"""The base model: a decoder trained from nothing on the corpus, in the mixture and to the budget of the recipe."""

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from openeurollm.engine import Engine
from openeurollm.ledger import Counts, RunFolder
from openeurollm.model import data, trainer
from openeurollm.model.decoder import Decoder
from openeurollm.model.export import export
from openeurollm.model.shape import derive
from openeurollm.recipe import Recipe, falls, prove

__all__ = ["build"]


def build(recipe: Recipe, run: RunFolder, engine: Engine) -> tuple[Counts, dict[str, Any]]:
    """Encode the corpus, derive the shape, train, and write `base/` as a Hugging Face folder.

    Raises `Failure` before the training where the mixture has nothing of a language of the contract, or a language's
    share of it fell too far.
    """
    trainer.prepare(engine.workers)
    text_bytes = {tag: part["bytes"] for tag, part in run.need("corpus").results["text"].items() if part["bytes"]}
    tokens = _encode(recipe, run, engine, tuple(text_bytes))
    lengths = {tag: len(ids) for tag, ids in tokens.items()}
    tokenizer = Tokenizer.from_file(str(run.folder("tokenizer") / "tokenizer.json"))
    shape, total = derive(recipe.model, tokenizer.get_vocab_size(), sum(lengths.values()), recipe.mixture.max_epochs)
    wished = data.shares(text_bytes, recipe.mixture.temperature, recipe.mixture.shares)
    wanted = data.budget(total, wished, text_bytes, lengths, recipe.mixture.max_epochs)
    rows = max(1, recipe.model.batch_tokens // shape.context)
    batches = data.Batches(tokens, wanted, shape.context, rows, recipe.seed)
    trained = {tag: number * shape.context for tag, number in batches.sequences.items()}
    sizes = {tag: round(number * text_bytes[tag] / lengths[tag]) for tag, number in trained.items()}
    share = data.shares(sizes, 1.0, {})
    proof = prove(recipe, "model", {"text in the mixture": sizes})
    proof["exceptions"] |= falls(recipe, run, share)
    decoder = Decoder(shape, recipe.seed)
    flop = batches.steps * rows * shape.context * shape.flop_per_token
    minutes = flop / (0.5 * trainer.matmul_speed()) / 60
    engine.reporter.say(
        f"  {shape.parameters:,} parameters ({shape.layers} layers of {shape.width}), {batches.steps:,} steps, "
        f"{flop:.2g} FLOP: about {max(1, round(minutes))} minutes on this machine at half its matmul speed"
    )

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
        data.bytes_of_tokens(tokenizer),
    )
    told = trainer.train(decoder, training, run.work("model"), run.folder("model") / "metrics.jsonl", engine)
    export(decoder, run.folder("model") / "base", run.folder("tokenizer"), end=0)
    counts = {tag: {"encoded": int((ids == 0).sum())} for tag, ids in tokens.items()}
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


def _encode(recipe: Recipe, run: RunFolder, engine: Engine, served: tuple[str, ...]) -> dict[str, data.Tokens]:
    folder: Path = run.work("model") / "tokens"
    corpus, tokenizer = run.folder("corpus"), run.folder("tokenizer") / "tokenizer.json"
    tasks = [
        data.Encoding(tag, tuple(sorted((corpus / tag).glob("part-*.parquet"))), tokenizer, folder / f"{tag}.npy")
        for tag in served
    ]
    engine.map("encode the corpus", data.encode, tasks)
    return data.shards(folder, served)
