"""The corpus: from sources to clean, deduplicated text in every language of the contract."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from openeurollm.corpus import gather, refine, sources
from openeurollm.corpus.document import rows, write
from openeurollm.engine import Engine
from openeurollm.errors import BadInput, Failure
from openeurollm.languages import languages
from openeurollm.ledger import Counts, RunFolder, read_json, write_json
from openeurollm.recipe import Recipe, prove, tags

_SAMPLES = 50
"""Dropped documents kept for inspection, per language and reason."""


def build(recipe: Recipe, run: RunFolder, engine: Engine) -> tuple[Counts, dict[str, Any]]:
    """Build the corpus of a recipe; returns records per language and bucket, and what the stage reports.

    Raises `BadInput` for a source that is empty or absent, `Failure` where a language of the contract ends without text
    or the counts do not add up.
    """
    work, out = run.work("corpus"), run.folder("corpus")
    tasks = _tasks(recipe, work, engine)
    for _ in engine.map("read and clean", refine.refine, tasks):
        pass
    read, counts, masked = _refined(tasks)
    gathering = _gathering(recipe, tasks, work, out, counts)
    for _ in engine.map("duplicates", gather.gather, gathering):
        pass
    summaries = {task.language: read_json(task.done) for task in gathering}
    for tag, summary in summaries.items():
        counts[tag].pop("refined")
        counts[tag].update(summary["counts"])
    _adds_up(read, counts)
    proof = prove(
        recipe,
        "corpus",
        {
            what: {tag: buckets.get(bucket, 0) for tag, buckets in counts.items()}
            for bucket, what in (("kept", "text to train on"), ("held_out", "second document to hold out"))
        },
    )
    _write_samples(tasks, gathering, out / "dropped.parquet")
    kept: Counter[str] = Counter()
    for summary in summaries.values():
        kept.update(summary["sources"])
    return _in_order(counts), {
        "read": read,
        "kept": {name: kept[name] for name in read},
        **{part: {tag: summaries[tag][part] for tag in summaries} for part in ("text", "held_out", "licences")},
        "masked": _in_order(masked),
        "contract": proof,
        "sources": {
            name: source.model_dump(include={"kind", "licence", "publisher", "obtained"})
            for name, source in recipe.sources.items()
        },
    }


def _tasks(recipe: Recipe, work: Path, engine: Engine) -> list[refine.Task]:
    shards = [shard for name, source in recipe.sources.items() for shard in sources.shards(name, source)]
    robots = work / "robots.json"
    if not robots.is_file():
        write_json(robots, _robots(recipe, shards))
    return [
        refine.Task(
            shard,
            recipe.sources[shard.source],
            recipe.corpus,
            frozenset(tags(recipe)),
            robots,
            work / "refined" / f"{number:05d}",
        )
        for number, shard in enumerate(shards)
    ]


def _robots(recipe: Recipe, shards: list[sources.Shard]) -> dict[str, str]:
    found: dict[str, str] = {}
    for shard in shards:
        if recipe.sources[shard.source].kind == "warc":
            found |= sources.robots(shard, recipe.corpus)
    return found


def _refined(tasks: list[refine.Task]) -> tuple[dict[str, int], dict[str, Counter[str]], dict[str, Counter[str]]]:
    read: Counter[str] = Counter()
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    masked: dict[str, Counter[str]] = defaultdict(Counter)
    for task in tasks:
        done = read_json(task.folder / "done.json")
        read[task.shard.source] += done["read"]
        for total, part in ((counts, done["counts"]), (masked, done["masked"])):
            for tag, buckets in part.items():
                total[tag].update(buckets)
    for name, number in read.items():
        if number == 0:
            raise BadInput(f"[sources.{name}] is empty: its files hold no record")
    return dict(read), counts, masked


def _gathering(
    recipe: Recipe, tasks: list[refine.Task], work: Path, out: Path, counts: Mapping[str, Mapping[str, int]]
) -> list[gather.Task]:
    shards = tuple(task.folder for task in tasks)
    done = work / "gathered"
    return [
        gather.Task(tag, shards, recipe.corpus, out / tag, done / f"{tag}.parquet", done / f"{tag}.json")
        for tag in tags(recipe)
        if counts.get(tag, {}).get("refined")
    ]


def _adds_up(read: Mapping[str, int], counts: Mapping[str, Mapping[str, int]]) -> None:
    counted = sum(sum(buckets.values()) for buckets in counts.values())
    if counted != sum(read.values()):
        raise Failure(f"corpus: {sum(read.values())} records were read but {counted} are accounted for")


def _write_samples(tasks: list[refine.Task], gathering: list[gather.Task], path: Path) -> None:
    """Write the dropped documents of least id, a few per language and reason, for a person to look at."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    files = [task.folder / "dropped.parquet" for task in tasks] + [task.drops for task in gathering]
    for file in filter(Path.is_file, files):
        for row in rows(file):
            group = groups[row["language"], row["reason"]]
            group.append(row)
            if len(group) > 4 * _SAMPLES:
                group[:] = sorted(group, key=lambda row: str(row["id"]))[:_SAMPLES]
    sample = (row for key in sorted(groups) for row in sorted(groups[key], key=lambda row: str(row["id"]))[:_SAMPLES])
    write(path, sample, refine.DROPPED)


def _in_order(counts: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    """Languages in the contract's order, then the others by tag; buckets by name, kept first."""
    known = list(languages())
    order = sorted(counts, key=lambda tag: (known.index(tag) if tag in known else len(known), tag))
    first = ("kept", "held_out")
    return {tag: dict(sorted(counts[tag].items(), key=lambda pair: (pair[0] not in first, pair[0]))) for tag in order}
