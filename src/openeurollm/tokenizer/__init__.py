"""The tokenizer: byte-level BPE balanced over languages, and what each language pays for it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from tokenizers import Tokenizer

from openeurollm.engine import Engine
from openeurollm.ledger import Counts, RunFolder, digest, write_json, write_text
from openeurollm.recipe import Recipe, prove, tags
from openeurollm.tokenizer import card, dots, shards
from openeurollm.tokenizer.fairness import load, measure, on_declaration, parallel
from openeurollm.tokenizer.files import configuration, write
from openeurollm.tokenizer.taken import take
from openeurollm.tokenizer.train import SPECIAL, count_files, count_folder, read_counts, train

__all__ = [
    "SPECIAL",
    "build",
    "configuration",
    "count_files",
    "count_folder",
    "load",
    "measure",
    "parallel",
    "read_counts",
    "take",
    "train",
    "write",
]


def build(recipe: Recipe, run: RunFolder, engine: Engine) -> tuple[Counts, dict[str, Any]]:
    """Train the tokenizer on the run's corpus, or take the one that the recipe names; measure its fairness, and encode
    the corpus into shards, `tokens/TAG/`.

    Raises `Failure` where a language of the contract has no text to learn from, or no parallel text to be measured on,
    and `BadInput` as `train` and `take` do.
    """
    corpus, out = run.folder("corpus"), run.folder("tokenizer")
    texts = {tag: sorted((corpus / tag).glob("part-*.parquet")) for tag in tags(recipe)}
    sentences = parallel(recipe.parallel, tags(recipe))
    if recipe.tokenizer.path is None:
        made = _train(recipe, run, engine, texts, sentences)
    else:
        made = _take(recipe.tokenizer.path, out, engine)
    file, place = out / "tokenizer.json", out / "tokens"
    files = [(tag, each) for tag in texts for each in texts[tag]]
    engine.map("encode the corpus", shards.encode_file, [shards.Shard(f, file, place / t / f.stem) for t, f in files])
    found = measure(recipe.name, made.tokenizer, sentences)
    proof = prove(recipe, "tokenizer", {**made.figures, "tokens a sentence": found["languages"]})
    fairness = {
        "sentences": len(next(iter(sentences.values()))),
        "tokenizers": [found],
        "declaration_characters_a_token": on_declaration(made.tokenizer, tags(recipe)),
    }
    write_json(out / "fairness.json", fairness)
    write_text(out / "fairness.svg", dots.chart([found]))
    write_text(out / "README.md", made.card(fairness))
    told = {name: found[name] for name in ("vocabulary", "mean", "worst", "worst_language", "max_min", "gini")}
    return {tag: _buckets(made.learnt.get(tag, 0), texts[tag]) for tag in texts}, {
        **told,
        **made.told,
        "contract": proof,
    }


@dataclass(frozen=True)
class _Made:
    """A tokenizer, documents that it was learnt from, what the contract and the record say of that, and its card."""

    tokenizer: Tokenizer
    learnt: Mapping[str, int]
    figures: Mapping[str, Mapping[str, float]]
    told: Mapping[str, Any]
    card: Callable[[Mapping[str, Any]], str]


def _train(
    recipe: Recipe, run: RunFolder, engine: Engine, texts: Mapping[str, list[Path]], sentences: Mapping[str, list[str]]
) -> _Made:
    tables = count_files(texts, recipe.tokenizer, run.work("tokenizer") / "counts", engine)
    folder = recipe.tokenizer.development
    with engine.reporter.task("learn merges", 1) as task:
        trained = train(tables, parallel(folder, tags(recipe)) if folder else sentences, recipe.tokenizer)
        task.advance()
    write(trained, run.folder("tokenizer"))
    learnt = {tag: tables[tag].counted.documents for tag in texts}
    return _Made(
        trained.tokenizer,
        learnt,
        {"text to learn from": learnt},
        {
            "counts": trained.told["counts"],
            "little_text": [tag for tag, each in trained.told["languages"].items() if each["little_text"]],
        },
        lambda fairness: card.text(trained, fairness, fitted=folder is None),
    )


def _take(path: Path, out: Path, engine: Engine) -> _Made:
    found = take(path, out)
    ours = shards.encoder_of(out / "tokenizer.json") is not None
    if not ours:
        engine.reporter.say("  it splits text by rules of its own: Hugging Face's library encodes, which takes longer")
    made = digest(out / "tokenizer.json")
    told = {"taken": made, "end": found.end, "encoder": "own" if ours else "tokenizers"}
    return _Made(found.tokenizer, {}, {}, told, lambda fairness: card.taken(found.end, made, fairness))


def _buckets(learnt: int, files: list[Path]) -> dict[str, int]:
    documents = sum(pq.read_metadata(file).num_rows for file in files)
    return {"learnt": learnt, "not_needed": documents - learnt}
