"""Evaluation: what a model knows of each language, with intervals, and checks on the measuring itself."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch

from openeurollm.engine import Engine
from openeurollm.errors import BadInput
from openeurollm.evaluation import measures
from openeurollm.evaluation.checks import held_out_in_training
from openeurollm.evaluation.model import Model
from openeurollm.ledger import Counts, RunFolder, write_json
from openeurollm.recipe import Recipe, prove, tags

__all__ = ["build", "clean_held_out", "evaluate", "held_out", "read_parallel", "read_questions"]


def build(recipe: Recipe, run: RunFolder, engine: Engine) -> tuple[Counts, dict[str, Any]]:
    """Measure base and tuned model on every language of the contract.

    Held-out documents that also stand in the training corpus are set aside, counted, and not scored. Raises `Failure`
    where a language of the contract has no number.
    """
    torch.set_num_threads(engine.workers)
    out, corpus = run.folder("evaluation"), run.folder("corpus")
    texts, check = clean_held_out(corpus, tags(recipe), recipe.evaluation.held_out_bytes)
    sentences = read_parallel(recipe.parallel, tags(recipe))
    questions = read_questions(run.folder("tuning") / "held-out.jsonl", tags(recipe))
    measured: list[dict[str, Any]] = []
    nothing: dict[str, list[str]] = {}
    for name, folder, asked in (
        ("base", run.folder("model") / "base", nothing),
        ("tuned", run.folder("tuning"), questions),
    ):
        found = evaluate(Model(folder), texts, sentences, asked, recipe.evaluation.bootstrap, recipe.seed, engine)
        measured.append({"model": name, "measures": found})
    write_json(out / "results.json", {"models": measured, "checks": {"held_out_in_training": check}})
    write_json(out / "coverage.json", _coverage(recipe, measured, _nothing_left(corpus, texts)))
    bits = {tag: each["value"] for tag, each in measured[-1]["measures"]["bits_per_sentence"].items()}
    proof = prove(recipe, "evaluation", {"bits per sentence": bits})
    means = {
        part["model"]: {
            measure: round(sum(v["value"] for v in values.values()) / len(values), 4)
            for measure, values in part["measures"].items()
            if values
        }
        for part in measured
    }
    told = {"mean": means, "checks": {"held_out_in_training": check}, "contract": proof}
    return _counts(corpus, texts, check["found"]), told


def _counts(
    corpus: Path, texts: Mapping[str, Sequence[str]], aside: Sequence[Mapping[str, str]]
) -> dict[str, dict[str, int]]:
    """Held-out documents of each language that were scored, in the training text, or not needed."""
    trained = Counter(each["language"] for each in aside)
    counts = {}
    for path in sorted(corpus.glob("*/held-out.parquet")):
        tag, there = path.parent.name, pq.read_metadata(path).num_rows
        scored = len(texts.get(tag, ()))
        counts[tag] = {"scored": scored, "in_training": trained[tag], "not_needed": there - scored - trained[tag]}
    return counts


def evaluate(
    model: Model,
    texts: Mapping[str, Sequence[str]],
    sentences: Mapping[str, Sequence[str]],
    questions: Mapping[str, Sequence[str]],
    resamples: int,
    seed: int,
    engine: Engine,
) -> dict[str, dict[str, Any]]:
    """Every measure by language: bits per byte of `texts`, bits per sentence of `sentences`, answers to `questions`."""
    found: dict[str, dict[str, Any]] = {"bits_per_byte": {}, "bits_per_sentence": {}}
    with engine.reporter.task(f"evaluate {model.name}", len(texts) + len(sentences) + len(questions)) as task:
        for tag, documents in texts.items():
            found["bits_per_byte"][tag] = measures.bits_per_byte(model, documents, resamples, seed)
            task.advance()
        for tag, lines in sentences.items():
            found["bits_per_sentence"][tag] = measures.bits_per_sentence(model, lines, resamples, seed)
            task.advance()
        if questions:
            found["language_consistency"] = measures.language_consistency(model, questions)
    return found


def read_parallel(folder: Path, served: Sequence[str]) -> dict[str, list[str]]:
    """Parallel sentences by language, from `TAG.txt`; raises `BadInput` where there are none, or one is no text."""
    files = {tag: folder / f"{tag}.txt" for tag in served}
    found = {tag: _sentences(path) for tag, path in files.items() if path.is_file()}
    if not found:
        raise BadInput(f"{folder}: no parallel text (TAG.txt, one sentence a line) for the languages asked for")
    if len({len(lines) for lines in found.values()}) != 1:
        raise BadInput(f"{folder}: files must have the same number of sentences, as all say the same")
    return found


def _sentences(path: Path) -> list[str]:
    try:
        found = [line for line in path.read_text("utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError:
        raise BadInput(f"{path}: not UTF-8 text") from None
    if not found:
        raise BadInput(f"{path}: holds no sentence")
    return found


def read_questions(path: Path, served: Sequence[str]) -> dict[str, list[str]]:
    """The opening questions by language of a JSONL file of conversations; raises `BadInput` for an invalid line."""
    found: dict[str, list[str]] = {tag: [] for tag in served}
    with open(path, "rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                fields = json.loads(line)
                tag, question = fields["language"], fields["messages"][0]["content"]
            except (ValueError, KeyError, TypeError, IndexError):
                raise BadInput(f"{path}: line {number} is no conversation") from None
            if tag in found:
                found[tag].append(str(question))
    return {tag: questions for tag, questions in found.items() if questions}


def clean_held_out(corpus: Path, served: Sequence[str], most_bytes: int) -> tuple[dict[str, list[str]], dict[str, Any]]:
    """The held-out documents that do not stand in the training text, as `held_out` gives them, and the check's record.

    Of the record, `set_aside` counts the documents found in the training text, `found` names them, and `overlapping`
    counts those of them that are scored all the same.
    """
    looked = held_out_in_training(corpus, served)
    aside = {each["id"] for each in looked["found"]}
    chosen = _chosen(corpus, served, most_bytes, aside)
    check = {
        "documents": looked["documents"] - looked["overlapping"],
        "overlapping": sum(name in aside for documents in chosen.values() for name, _ in documents),
        "set_aside": looked["overlapping"],
        "found": looked["found"],
    }
    return {tag: [text for _, text in documents] for tag, documents in chosen.items()}, check


def held_out(corpus: Path, served: Sequence[str], most_bytes: int) -> dict[str, list[str]]:
    """The held-out documents of a corpus by language, up to about `most_bytes` of each."""
    chosen = _chosen(corpus, served, most_bytes, frozenset())
    return {tag: [text for _, text in documents] for tag, documents in chosen.items()}


def _chosen(
    corpus: Path, served: Sequence[str], most_bytes: int, without: Set[str]
) -> dict[str, list[tuple[str, str]]]:
    found = {tag: _held_out(corpus / tag / "held-out.parquet", most_bytes, without) for tag in served}
    return {tag: documents for tag, documents in found.items() if documents}


def _held_out(path: Path, most_bytes: int, without: Set[str]) -> list[tuple[str, str]]:
    """Id and text of held-out documents of a language, up to about `most_bytes`; the last one is cut at a line end."""
    documents: list[tuple[str, str]] = []
    if not path.is_file():
        return documents
    left = most_bytes
    for row in pq.read_table(path, columns=["id", "text"]).to_pylist():
        if row["id"] in without:
            continue
        text = row["text"]
        size = len(text.encode("utf-8"))
        if size > left:
            cut = text.encode("utf-8")[:left].decode("utf-8", "ignore")
            text = cut[: cut.rfind("\n")] if "\n" in cut else cut
        if text.strip():
            documents.append((row["id"], text))
        left -= size
        if left <= 0:
            break
    return documents


def _nothing_left(corpus: Path, texts: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The reason for every language whose held-out documents were all set aside."""
    there = {path.parent.name for path in corpus.glob("*/held-out.parquet")}
    return dict.fromkeys(there - set(texts), "every held-out document stands in the training text")


def _coverage(
    recipe: Recipe, measured: Sequence[Mapping[str, Any]], reasons: Mapping[str, str]
) -> dict[str, dict[str, str]]:
    """For each measure and language of the contract: `measured`, or why there is no number."""
    coverage: dict[str, dict[str, str]] = {}
    for part in measured:
        for measure, values in part["measures"].items():
            why = reasons if measure == "bits_per_byte" else {}
            coverage[measure] = {
                tag: "measured" if tag in values else recipe.gaps.get(tag) or why.get(tag, "nothing to measure on")
                for tag in tags(recipe)
            }
    return coverage
