"""The corpus: from sources to clean, deduplicated text in every language of the contract.

*Refine* reads shards and writes sorted runs; *gather* finds duplicates and lines that stand in too many documents,
holds a part out, and writes the text that is kept. Each pass is a set of tasks that meet in files, so that any of them
can be killed and run again, in any order and by any number of processes, and the bytes come out the same.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from openeurollm.corpus import contamination, document, duplicates, evaluation_sets, gather, refine, runs, sources
from openeurollm.corpus.rights import sites
from openeurollm.engine import Engine
from openeurollm.errors import BadInput, Failure
from openeurollm.languages import languages
from openeurollm.ledger import Counts, RunFolder, read_json, write_json
from openeurollm.recipe import EvaluationSet, Recipe, prove, tags

_SAMPLES = 50
"""Dropped documents whose beginning is kept, per language and reason: those of least id."""
_TERMS = {"kind", "licence", "publisher", "date", "languages", "obtained"}
_SUMMARY = ("sources", "licences", "rights", "domains", "lengths", "scores", "qualities")
"""What `summary.json` says of the documents that are kept, by language: how many there are of each."""
_DROPS = 500_000
"""Dropped documents in a file."""


def build(recipe: Recipe, run: RunFolder, engine: Engine) -> tuple[Counts, dict[str, Any]]:
    """Build the corpus of a recipe; returns records per language and bucket, and what the stage reports.

    Raises `BadInput` for a source that is empty or absent, `Failure` where a language of the contract ends without text
    or the counts do not add up.
    """
    work, out = run.work("corpus"), run.folder("corpus")
    tasks = _tasks(recipe, work)
    _gather_sites(tasks, work, engine)
    engine.map("read and clean", refine.refine, tasks)
    found = _refined(tasks)
    gathering = _gathering(recipe, tasks, work)
    slices = _gather(recipe, gathering, work, out, engine)
    summaries = _summed(gathering, slices, found)
    _adds_up(found["read"], found["counts"])
    proof = prove(
        recipe,
        "corpus",
        {
            what: {tag: buckets.get(bucket, 0) for tag, buckets in found["counts"].items()}
            for bucket, what in (("kept", "text to train on"), ("held_out", "second document to hold out"))
        },
    )
    write_json(out / "fetched.json", {name: origins for name, origins in found["fetched"].items() if origins})
    write_json(
        out / "summary.json", {tag: {part: summary[part] for part in _SUMMARY} for tag, summary in summaries.items()}
    )
    _write_drops([task.folder for task in tasks] + [task.work for task in gathering], out / "dropped")
    return _in_order(found["counts"]), _report(
        recipe, {**found, "evaluation_sets": read_json(work / "index" / "counts.json")}, summaries, proof
    )


def _tasks(recipe: Recipe, work: Path) -> list[refine.Task]:
    shards = [shard for name, source in recipe.sources.items() for shard in sources.shards(name, source)]
    return [
        refine.Task(
            shard,
            recipe.sources[shard.source],
            recipe.corpus,
            tags(recipe),
            work / "sites.sqlite",
            work / "refined" / f"{number:05d}",
        )
        for number, shard in enumerate(shards)
    ]


def _gather_sites(tasks: Sequence[refine.Task], work: Path, engine: Engine) -> None:
    archives = [task for task in tasks if task.source.kind in sources.ARCHIVES]
    (work / "refined").mkdir(exist_ok=True)
    engine.map("rules of sites", refine.gather_sites, archives)
    if not (work / "sites.sqlite").is_file():
        sites.merge([task.rules for task in archives], work / "sites.sqlite")


def _refined(tasks: Sequence[refine.Task]) -> dict[str, Any]:
    """The tallies of all shards, added up; raises `BadInput` for a source without a record."""
    found: dict[str, Any] = {"read": Counter(), "fetched": defaultdict(list)}
    for task in tasks:
        done = read_json(task.folder / "done.json")
        found["read"][task.shard.source] += done["read"]
        found["fetched"][task.shard.source] += done["fetched"]
        for name in ("counts", "bytes", "masked", "reserved"):
            total = found.setdefault(name, defaultdict(Counter))
            for key, numbers in done[name].items():
                total[key].update(numbers)
        found.setdefault("mended", Counter()).update(done["mended"])
    for name, number in found["read"].items():
        if number == 0:
            raise BadInput(f"[sources.{name}] is empty: its files hold no record")
    return found


def _gathering(recipe: Recipe, tasks: Sequence[refine.Task], work: Path) -> list[gather.Language]:
    found = runs.note((task.folder for task in tasks), work / "gathered")
    gathering = [
        gather.Language(tag, found[tag], recipe.corpus, work / "gathered" / tag) for tag in tags(recipe) if tag in found
    ]
    for language in gathering:
        language.work.mkdir(parents=True, exist_ok=True)
    return gathering


def _gather(
    recipe: Recipe, gathering: Sequence[gather.Language], work: Path, out: Path, engine: Engine
) -> list[gather.Slice]:
    engine.map("duplicates", duplicates.search, [task for language in gathering for task in language.searches()])
    engine.map("best copies", gather.settle, gathering)
    lines = [task for language in gathering for task in language.line_ranges()]
    engine.map("repeated lines", gather.repeated_lines, lines)
    index = work / "index"
    if not (index / "counts.json").is_file():
        held = [row["text"] for task in gathering for row in gather.hold(task, out / task.tag)]
        listed = {**recipe.contamination, "parallel": EvaluationSet(path=recipe.parallel)}
        sets = {name: evaluation_sets.texts(name, each) for name, each in listed.items()}
        contamination.Index.of({**sets, "held_out": held}, "held_out").save(index)
    slices = [task for language in gathering for task in language.slices(out / language.tag, index)]
    engine.map("write", gather.write, slices)
    return slices


def _summed(
    gathering: Sequence[gather.Language], slices: Sequence[gather.Slice], found: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    """What the slices of each language hold, added up; the buckets they decided go into the counts of `found`."""
    summaries: dict[str, dict[str, Any]] = {}
    for language in gathering:
        settled = read_json(language.settled)
        summaries[language.tag] = {
            "held_out": {
                "documents": settled["counts"].get("held_out", 0),
                "bytes": settled["bytes"].get("held_out", 0),
            }
        }
        found["counts"][language.tag].pop("refined")
        for name in ("counts", "bytes"):
            found[name][language.tag]["held_out"] += settled[name].get("held_out", 0)
    for task in slices:
        done = read_json(task.done)
        tag = task.language.tag
        for name in ("counts", "bytes"):
            found[name][tag].update(done.pop(name))
        _add(summaries[tag], done)
    return summaries


def _add(total: dict[str, Any], part: Mapping[str, Any]) -> None:
    for name, value in part.items():
        if isinstance(value, dict):
            _add(total.setdefault(name, {}), value)
        else:
            total[name] = total.get(name, 0) + value


def _adds_up(read: Mapping[str, int], counts: Mapping[str, Mapping[str, int]]) -> None:
    counted = sum(sum(buckets.values()) for buckets in counts.values())
    if counted != sum(read.values()):
        raise Failure(f"corpus: {sum(read.values())} records were read but {counted} are accounted for")


def _report(
    recipe: Recipe, found: Mapping[str, Any], summaries: Mapping[str, Mapping[str, Any]], proof: Any
) -> dict[str, Any]:
    kept: Counter[str] = Counter()
    for summary in summaries.values():
        kept.update(summary["sources"])
    return {
        "read": dict(found["read"]),
        "kept": {name: kept[name] for name in found["read"]},
        **{part: {tag: summaries[tag][part] for tag in summaries} for part in ("text", "held_out", "licences")},
        **{part: _in_order(found[part]) for part in ("bytes", "masked")},
        **{part: {tag: summaries[tag][part] for tag in summaries} for part in ("repeated_lines", "contaminated")},
        "mended": dict(found["mended"]),
        "reserved": {name: dict(numbers) for name, numbers in sorted(found["reserved"].items())},
        "evaluation_sets": found["evaluation_sets"],
        "contract": proof,
        "sources": {name: source.model_dump(mode="json", include=_TERMS) for name, source in recipe.sources.items()},
    }


def _write_drops(folders: Sequence[Path], out: Path) -> None:
    """Write all drops sorted by id, a range of ids at a time; a sample keeps its excerpts."""
    files = sorted(file for folder in folders for file in folder.glob("drops-*.parquet"))
    number = sum(pq.read_metadata(file).num_rows for file in files)
    shown: Counter[tuple[str, str]] = Counter()

    def sampled(rows: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        for row in rows:
            shown[row["language"], row["reason"]] += 1
            yield row if shown[row["language"], row["reason"]] <= _SAMPLES else {**row, "excerpt": None}

    for part, (low, high) in enumerate(runs.ranges(max(1, -(-number // _DROPS)))):
        bounds = [("id", ">=", f"{low:016x}"), ("id", "<", f"{high:016x}" if high < runs.WHOLE else "g")]
        rows = [row for file in files for row in pq.read_table(file, filters=bounds).to_pylist()]
        rows.sort(key=lambda row: tuple(map(str, row.values())))
        document.write(out / f"drops-{part:05d}.parquet", sampled(rows), refine.DROPPED)


def _in_order(counts: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    """Languages in the contract's order, then the others by tag; buckets by name, kept first."""
    known = list(languages())
    order = sorted(counts, key=lambda tag: (known.index(tag) if tag in known else len(known), tag))
    first = ("kept", "held_out")
    return {tag: dict(sorted(counts[tag].items(), key=lambda pair: (pair[0] not in first, pair[0]))) for tag in order}
