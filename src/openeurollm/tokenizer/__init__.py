"""The tokenizer: byte-level BPE balanced over languages, and what each language pays for it."""

from typing import Any

from openeurollm.engine import Engine
from openeurollm.ledger import Counts, RunFolder, whole, write_json, write_text
from openeurollm.recipe import Recipe, prove, tags
from openeurollm.tokenizer.compare import compare
from openeurollm.tokenizer.fairness import chart, load, measure, on_declaration, parallel
from openeurollm.tokenizer.train import SPECIAL, configuration, train

__all__ = ["SPECIAL", "build", "compare", "configuration", "load", "measure", "parallel", "train"]


def build(recipe: Recipe, run: RunFolder, engine: Engine) -> tuple[Counts, dict[str, Any]]:
    """Train the tokenizer on the run's corpus and measure its fairness.

    Raises `Failure` where a language of the contract has no text to learn from, or no parallel text to be measured on.
    """
    corpus, out = run.folder("corpus"), run.folder("tokenizer")
    texts = {tag: sorted((corpus / tag).glob("part-*.parquet")) for tag in tags(recipe)}
    with engine.reporter.task("train the tokenizer", 1) as task:
        tokenizer, counts = train(texts, recipe.tokenizer.vocabulary, recipe.tokenizer.bytes_per_language)
        task.advance()
    with whole(out / "tokenizer.json") as partial:
        tokenizer.save(str(partial))
    write_json(out / "tokenizer_config.json", configuration())
    sentences = parallel(recipe.parallel, tags(recipe))
    found = measure(recipe.name, tokenizer, sentences)
    learnt = {tag: buckets["learnt"] for tag, buckets in counts.items()}
    proof = prove(recipe, "tokenizer", {"text to learn from": learnt, "tokens a sentence": found["languages"]})
    fairness = {
        "sentences": len(next(iter(sentences.values()))),
        "tokenizers": [found],
        "declaration_characters_a_token": on_declaration(tokenizer, tags(recipe)),
    }
    write_json(out / "fairness.json", fairness)
    write_text(out / "fairness.svg", chart(found))
    told = {name: found[name] for name in ("vocabulary", "mean", "worst", "worst_language", "max_min", "gini")}
    return counts, {**told, "contract": proof}
