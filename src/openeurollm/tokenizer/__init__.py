"""The tokenizer: byte-level BPE balanced over languages, and what each language pays for it."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from openeurollm.engine import Engine
from openeurollm.ledger import Counts, RunFolder, write_json, write_text
from openeurollm.recipe import Recipe, prove, tags
from openeurollm.tokenizer import card, dots, shards
from openeurollm.tokenizer.fairness import load, measure, on_declaration, parallel
from openeurollm.tokenizer.files import configuration, write
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
    "train",
    "write",
]


def build(recipe: Recipe, run: RunFolder, engine: Engine) -> tuple[Counts, dict[str, Any]]:
    """Train the tokenizer on the run's corpus, measure its fairness, and encode the corpus into shards, `tokens/TAG/`.

    Raises `Failure` where a language of the contract has no text to learn from, or no parallel text to be measured on,
    and `BadInput` as `train` does.
    """
    corpus, out = run.folder("corpus"), run.folder("tokenizer")
    texts = {tag: sorted((corpus / tag).glob("part-*.parquet")) for tag in tags(recipe)}
    tables = count_files(texts, recipe.tokenizer, run.work("tokenizer") / "counts", engine)
    sentences = parallel(recipe.parallel, tags(recipe))
    folder = recipe.tokenizer.development
    with engine.reporter.task("learn merges", 1) as task:
        trained = train(tables, parallel(folder, tags(recipe)) if folder else sentences, recipe.tokenizer)
        task.advance()
    write(trained, out)
    made, place = out / "tokenizer.json", out / "tokens"
    files = [(tag, file) for tag in texts for file in texts[tag]]
    tasks = [shards.Shard(file, made, place / tag / file.stem) for tag, file in files]
    engine.map("encode the corpus", shards.encode_file, tasks)
    found = measure(recipe.name, trained.tokenizer, sentences)
    counts = {tag: _buckets(tables[tag].counted.documents, texts[tag]) for tag in tags(recipe)}
    learnt = {tag: buckets["learnt"] for tag, buckets in counts.items()}
    proof = prove(recipe, "tokenizer", {"text to learn from": learnt, "tokens a sentence": found["languages"]})
    fairness = {
        "sentences": len(next(iter(sentences.values()))),
        "tokenizers": [found],
        "declaration_characters_a_token": on_declaration(trained.tokenizer, tags(recipe)),
    }
    write_json(out / "fairness.json", fairness)
    write_text(out / "fairness.svg", dots.chart([found]))
    write_text(out / "README.md", card.text(trained, fairness, fitted=folder is None))
    told = {name: found[name] for name in ("vocabulary", "mean", "worst", "worst_language", "max_min", "gini")}
    little = [tag for tag, each in trained.told["languages"].items() if each["little_text"]]
    return counts, {**told, "counts": trained.told["counts"], "little_text": little, "contract": proof}


def _buckets(learnt: int, files: list[Path]) -> dict[str, int]:
    documents = sum(pq.read_metadata(file).num_rows for file in files)
    return {"learnt": learnt, "not_needed": documents - learnt}
