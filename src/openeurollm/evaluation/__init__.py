"""Evaluation: what a model knows of each language, with intervals, and checks on the measuring itself."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from openeurollm.engine import Engine
from openeurollm.evaluation.checks import held_out_in_training
from openeurollm.evaluation.material import Material, read_parallel, read_questions
from openeurollm.evaluation.tasks import gathered, measure, measurings
from openeurollm.ledger import Counts, RunFolder, write_json
from openeurollm.recipe import Recipe, prove, tags

__all__ = ["build", "gathered", "measure", "measurings", "prepare"]


def build(recipe: Recipe, run: RunFolder, engine: Engine) -> tuple[Counts, dict[str, Any]]:
    """Measure base and tuned model on every language of the contract.

    Held-out documents that also stand in the training corpus are set aside, counted, and not scored. Raises `Failure`
    where a language of the contract has no number.
    """
    out, corpus, work = run.folder("evaluation"), run.folder("corpus"), run.work("evaluation")
    limits, asked = recipe.evaluation, run.folder("tuning") / "held-out.jsonl"
    materials, check = prepare(
        tags(recipe), corpus, limits.held_out_bytes, recipe.parallel, asked, engine, work / "search"
    )
    unasked = [replace(each, questions=None) for each in materials]
    models = {
        "base": measurings(run.folder("model") / "base", unasked, limits.bootstrap, recipe.seed, work / "base"),
        "tuned": measurings(run.folder("tuning"), materials, limits.bootstrap, recipe.seed, work / "tuned"),
    }
    engine.map("evaluate the models", measure, [task for tasks in models.values() for task in tasks])
    measured: list[dict[str, Any]] = [{"model": name, "measures": gathered(tasks)} for name, tasks in models.items()]
    scored = {each.tag: len(each.documents()) for each in materials}
    write_json(out / "results.json", {"models": measured, "checks": {"held_out_in_training": check}})
    write_json(out / "coverage.json", _coverage(recipe, measured, _nothing_left(corpus, scored)))
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
    return _counts(corpus, scored, check["found"]), told


def _counts(corpus: Path, scored: Mapping[str, int], aside: Sequence[Mapping[str, str]]) -> dict[str, dict[str, int]]:
    """Held-out documents of each language that were scored, in the training text, or not needed."""
    trained = Counter(each["language"] for each in aside)
    counts = {}
    for path in sorted(corpus.glob("*/held-out.parquet")):
        tag, there = path.parent.name, pq.read_metadata(path).num_rows
        used = scored.get(tag, 0)
        counts[tag] = {"scored": used, "in_training": trained[tag], "not_needed": there - used - trained[tag]}
    return counts


def prepare(
    served: Sequence[str],
    corpus: Path | None,
    most_bytes: int,
    parallel: Path | None,
    questions: Path | None,
    engine: Engine,
    work: Path,
) -> tuple[list[Material], dict[str, Any]]:
    """What there is to measure on in each language, and the record of the check on the held-out documents.

    Documents that stand in the training text are set aside: `set_aside` counts them, `found` names them, `documents`
    are those left, and `overlapping` counts those found that are scored all the same. Raises `BadInput` for files that
    cannot be used.
    """
    if parallel is not None:
        read_parallel(parallel, served)
    if questions is not None:
        read_questions(questions, served)
    looked: dict[str, Any] = {"documents": 0, "overlapping": 0, "found": []}
    if corpus is not None:
        looked = held_out_in_training(corpus, served, engine, work)
    aside: dict[str, tuple[str, ...]] = {}
    for each in looked["found"]:
        aside[each["language"]] = (*aside.get(each["language"], ()), each["id"])
    materials = [
        Material(
            tag,
            corpus / tag / "held-out.parquet" if corpus else None,
            most_bytes,
            aside.get(tag, ()),
            parallel / f"{tag}.txt" if parallel else None,
            questions,
        )
        for tag in served
    ]
    scored = {name for material in materials for name, _ in material.documents()}
    return materials, {
        "documents": looked["documents"] - looked["overlapping"],
        "overlapping": sum(each["id"] in scored for each in looked["found"]),
        "set_aside": looked["overlapping"],
        "found": looked["found"],
    }


def _nothing_left(corpus: Path, scored: Mapping[str, int]) -> dict[str, str]:
    """The reason for every language whose held-out documents were all set aside."""
    there = {path.parent.name for path in corpus.glob("*/held-out.parquet")}
    return dict.fromkeys(
        (tag for tag in there if not scored.get(tag)), "every held-out document stands in the training text"
    )


def _coverage(
    recipe: Recipe, measured: Sequence[Mapping[str, Any]], reasons: Mapping[str, str]
) -> dict[str, dict[str, str]]:
    """For each measure and language of the contract: `measured`, or why there is no number."""
    coverage: dict[str, dict[str, str]] = {}
    for part in measured:
        for name, values in part["measures"].items():
            why = reasons if name == "bits_per_byte" else {}
            coverage[name] = {
                tag: "measured" if tag in values else recipe.gaps.get(tag) or why.get(tag, "nothing to measure on")
                for tag in tags(recipe)
            }
    return coverage
