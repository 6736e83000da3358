"""Measure the search for near duplicates: ours against datatrove's four MinHash steps, on the same documents.

    python benchmarks/duplicates.py [--data DIR] [--documents N] [--scale 1 10 …] [--json] [--only NAME,…]

DIR holds documents as JSON lines with a `text` (`*.jsonl`, packed or not); without it, the pages of the sample are
taken. To N of them a quarter is added: copies with single words changed, a part exchanged or the end cut off, of
Jaccard similarity .5 to .95. At a larger scale the same documents come again and again, each time in other words, so
that they are as many and no more alike.

Similarity is that of the sets of word five-grams, computed exactly. `recall` is the share of pairs of at least .8,
planted or found by either tool, that stand in one cluster; `precision` the share of the pairs a tool reports which have
at least .7; `removed_precision` the same for each document that is removed, with the one that is kept for it (chains
join documents that are less alike). Each tool reads the documents, compares them and writes what is kept, in one
process on one thread, at its defaults; CPU seconds are those of the whole process, start included.

Tools whose answers are long in coming are asked up to `--peer-scale` only.
"""

import argparse
import json
import random
import re
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import peer
from peer import CannotRun

SHARE = 0.25
"""Copies planted, for each document."""
LEAST, MOST = 60, 20_000
"""Words that a document needs, and characters that it is cut to."""
ALIKE, SAME = 0.7, 0.8
SCORED = 10_000
"""Pairs whose exact similarity is computed: all, or of more a random sample."""
_WORD = re.compile(r"\w+")
SCRIPT = str(Path(__file__).resolve())
Pair = tuple[int, int]


# Workers. `plant` and `score` need our environment, `theirs` needs datatrove's.


def plant(data: Path | None, number: int, scale: int, out: Path) -> dict[str, Any]:
    """Write `documents.jsonl`, whose line numbers are the documents' numbers, and `planted.json`: pairs of them."""
    rng = random.Random(20_250_201)
    base = documents(data, number)
    texts, pairs = list(base), []
    for which in rng.sample(range(len(base)), int(SHARE * len(base))):
        copy = edited(base[which], rng.uniform(0.5, 0.95), rng, base)
        pairs.append((which, len(texts)))
        texts.append(copy)
    order = rng.sample(range(len(texts)), len(texts))
    place = {which: at for at, which in enumerate(order)}
    with open(out / "documents.jsonl", "w", encoding="utf-8") as file:
        for again in range(scale):
            ending = letters(again)
            for at, which in enumerate(order):
                text = _WORD.sub(lambda word: word[0] + ending, texts[which]) if again else texts[which]  # noqa: B023
                name = f"{again * len(order) + at:016x}{0:016x}"
                file.write(json.dumps({"id": name, "text": text}, ensure_ascii=False) + "\n")
    shifted = [
        (again * len(order) + place[one], again * len(order) + place[other])
        for again in range(scale)
        for one, other in pairs
    ]
    (out / "planted.json").write_text(json.dumps(shifted))
    return {"documents": scale * len(texts), "planted": len(shifted), "bytes": (out / "documents.jsonl").stat().st_size}


def documents(data: Path | None, number: int) -> list[str]:
    """About `number` documents, as many of each file as there are; of a file those that come first."""
    if data is None:
        import tomllib

        pages = sorted((peer.ROOT / "sample" / "pages").glob("*.toml"))
        files: list[Iterator[str]] = [
            iter([page["text"] for page in tomllib.loads(path.read_text("utf-8"))["page"]]) for path in pages
        ]
    else:
        files = [texts(path) for path in sorted(data.glob("*.jsonl*"))]
    found: list[str] = []
    while files and len(found) < number:
        for file in list(files):
            text = next((text[:MOST] for text in file if len(_WORD.findall(text[:MOST])) >= LEAST), None)
            if text is None:
                files.remove(file)
            elif len(found) < number:
                found.append(text)
    if len(found) < 10:
        raise SystemExit(f"{data} holds {len(found)} documents of {LEAST} words in files *.jsonl, .gz or .zst")
    return found


def texts(path: Path) -> Iterator[str]:
    import pyarrow as pa

    with pa.input_stream(str(path)) as stream:
        rest = b""
        while block := stream.read(1 << 20):
            *lines, rest = (rest + block).split(b"\n")
            yield from (str(json.loads(line)["text"]) for line in lines if line.strip())
        if rest.strip():
            yield str(json.loads(rest)["text"])


def edited(text: str, similar: float, rng: random.Random, others: list[str]) -> str:
    """The text with so much changed that about this share of the five-grams of both is common to both."""
    words = text.split(" ")
    lost = 1 - 2 * similar / (1 + similar)
    how = rng.choice(("words", "part", "end"))
    if how == "words":
        for at in rng.sample(range(len(words)), max(1, round(lost * len(words) / 5))):
            words[at] = rng.choice(words)[::-1] + "x"
    elif how == "part":
        size = max(1, round(lost * len(words)))
        start = rng.randrange(len(words) - size + 1)
        other = rng.choice(others).split(" ")
        words[start : start + size] = (other * (size // len(other) + 1))[:size]
    else:
        del words[max(1, round(similar * len(words))) :]
    return " ".join(words)


def letters(number: int) -> str:
    """A suffix of small letters, another for each number."""
    return "" if not number else "q" + "".join(chr(ord("a") + int(digit)) for digit in str(number))


def ours(source: Path, out: Path) -> dict[str, Any]:
    """The search of the corpus stage: runs, pairs over sorted keys, clusters, the best copy of each."""
    import numpy as np

    from openeurollm.corpus import document, duplicates, minhash, runs
    from openeurollm.corpus.words import Words
    from openeurollm.recipe import Corpus

    entries: list[runs.Entry] = []
    size = written = 0

    def flush() -> None:
        nonlocal size, written
        runs.write(out / f"run-{written:03d}", entries)
        entries.clear()
        size, written = 0, written + 1

    for found in lines(source):
        words = Words.of(found["text"])
        bands, sketch = minhash.sketch(words)
        fingerprint = minhash.fingerprint(words)
        row = {name: found.get(name) for name in document.SCHEMA.names} | {"language": "und"}
        length = len(found["text"].encode())
        key = (document.number(found["id"]), document.number(found["id"]), fingerprint, length, 0, float("nan"))
        entries.append(runs.Entry(row, key, np.append(bands, np.uint64(fingerprint)), sketch, np.zeros(0, np.uint64)))
        size += length
        if size >= 64_000_000:
            flush()
    if entries:
        flush()
    listed = runs.note([out], out)["und"]
    mine = runs.noted(listed)
    parts = runs.ranges(max(1, -(-runs.number_of(mine, "bands") // duplicates.RANGE)))
    searches = [
        duplicates.Search("und", listed, low, high, Corpus().near_duplicate, out / f"pairs-{number:03d}.npy")
        for number, (low, high) in enumerate(parts)
    ]
    for task in searches:
        duplicates.search(task)
    pairs = np.unique(np.concatenate([np.load(task.out, allow_pickle=False) for task in searches]), axis=0)
    rows = np.concatenate([run.rows for run in mine])
    kept = np.ones(len(rows), bool)
    removed = np.zeros((0, 2), np.int64)
    if len(pairs):
        members, roots = duplicates.clusters(pairs)
        best = duplicates.winners(roots, (-rows["size"][members].astype(np.int64), rows["id"][members]))
        lost = best != np.arange(len(best))
        kept[members[lost]] = False
        removed = np.stack([members[lost], members[best][lost]], axis=1)
    some = (row for run in mine for number, row in run.documents(run.between(0, runs.WHOLE)) if kept[number])
    document.write(out / "kept.parquet", some)
    names = rows["id"].astype(np.int64)
    answer = {"pairs": names[pairs].tolist(), "removed": names[removed].tolist()}
    (out / "found.json").write_text(json.dumps(answer))
    return {"read": len(rows), "kept": int(kept.sum()), "removed": len(removed)}


def lines(path: Path) -> Iterator[dict[str, Any]]:
    with open(path, encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def theirs(source: Path, out: Path) -> dict[str, Any]:
    """datatrove's four steps, at its defaults."""
    import struct

    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import (
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers import JsonlWriter

    def reader() -> JsonlReader:
        return JsonlReader(str(source.parent), glob_pattern=source.name, compression=None)

    steps = (
        ([reader(), MinhashDedupSignature(str(out / "signatures"))], 1),
        ([MinhashDedupBuckets(str(out / "signatures"), str(out / "buckets"))], MinhashConfig().num_buckets),
        ([MinhashDedupCluster(str(out / "buckets"), str(out / "remove"), save_cluster_id=True)], 1),
        (
            [
                reader(),
                MinhashDedupFilter(str(out / "remove")),
                JsonlWriter(str(out / "kept"), "${rank}.jsonl", compression=None),
            ],
            1,
        ),
    )
    for number, (pipeline, tasks) in enumerate(steps):
        LocalPipelineExecutor(pipeline, tasks=tasks, workers=1, logging_dir=str(out / f"logs-{number}")).run()
    pairs = {
        (one, other)
        for path in sorted((out / "buckets").glob("*.dups"))
        for _, one, _, other in struct.iter_unpack("<4I", path.read_bytes())
    }
    gone, cluster = out / "remove" / "000000.remove", out / "remove" / "000000.clusters"
    lost = {number for (number,) in struct.iter_unpack("<I", gone.read_bytes())} if gone.is_file() else set()
    groups = dict(struct.iter_unpack("<2I", cluster.read_bytes())) if cluster.is_file() else {}
    stays = {group: number for number, group in groups.items() if number not in lost}
    removed = [(number, stays[groups[number]]) for number in sorted(lost)]
    (out / "found.json").write_text(json.dumps({"pairs": sorted(pairs), "removed": removed}))
    kept = sum(1 for path in (out / "kept").glob("*.jsonl") for _ in open(path, "rb"))
    read = json.loads((out / "logs-0" / "stats.json").read_text())[1]["stats"]["total"]
    return {"read": read if isinstance(read, int) else read["total"], "kept": kept, "removed": len(removed)}


def score(source: Path, folders: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """Recall and precision of what each tool found, by name of its folder."""
    found = {folder.name: json.loads((folder / "found.json").read_text()) for folder in folders}
    planted = [ordered(pair) for pair in json.loads((source.parent / "planted.json").read_text())]
    reported = {name: {ordered(pair) for pair in answer["pairs"]} for name, answer in found.items()}
    removed = {name: {ordered(pair) for pair in answer["removed"]} for name, answer in found.items()}
    wanted = sorted(set(planted).union(*reported.values(), *removed.values()))
    similar = jaccard(source, set(random.Random(1).sample(wanted, min(len(wanted), SCORED))))
    alike = [pair for pair in similar if similar[pair] >= SAME]

    def precise(pairs: set[Pair]) -> float | None:
        known = [similar[pair] >= ALIKE for pair in pairs if pair in similar]
        return round(sum(known) / len(known), 4) if known else None

    results: dict[str, dict[str, Any]] = {}
    for name, pairs in reported.items():
        group = clusters(pairs)
        together = [group.get(one, -1) == group.get(other, -2) for one, other in alike]
        results[name] = {
            "recall": round(sum(together) / len(together), 4) if together else None,
            "precision": precise(pairs),
            "removed_precision": precise(removed[name]),
            "pairs": len(pairs),
            "pairs_alike": len(alike),
        }
    return results


def ordered(pair: Iterable[int]) -> Pair:
    low, high = sorted(pair)
    return low, high


def clusters(pairs: Iterable[Pair]) -> dict[int, int]:
    """The cluster of each document that stands in a pair."""
    parent: dict[int, int] = {}

    def root(number: int) -> int:
        while parent.setdefault(number, number) != number:
            number = parent[number]
        return number

    for one, other in pairs:
        parent[root(one)] = root(other)
    return {number: root(number) for number in list(parent)}


def jaccard(source: Path, pairs: Iterable[Pair]) -> dict[Pair, float]:
    """The exact similarity of pairs of documents."""
    wanted: dict[int, list[Pair]] = defaultdict(list)
    for pair in pairs:
        wanted[pair[0]].append(pair)
        wanted[pair[1]].append(pair)
    grams: dict[int, set[tuple[str, ...]]] = {}
    found: dict[Pair, float] = {}
    for number, line in enumerate(lines(source)):
        if number in wanted:
            words = _WORD.findall(line["text"].lower())
            size = max(1, min(5, len(words)))
            grams[number] = {tuple(words[at : at + size]) for at in range(max(0, len(words) - size) + 1)}
            for one, other in wanted[number]:
                if one in grams and other in grams:
                    found[one, other] = len(grams[one] & grams[other]) / len(grams[one] | grams[other])
    return found


# The parent: starts the workers. It needs Python's own library alone, so that it is small.


def measure(scale: int, options: argparse.Namespace, names: list[str]) -> dict[str, Any]:
    """The figures of each tool at one scale."""
    here = Path(sys.executable)
    results: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        about, _ = peer.worker(here, SCRIPT, "plant", options.data, options.documents, scale, folder)
        source = folder / "documents.jsonl"
        for name in names:
            print(f"{name}, {about['documents']} documents …", file=sys.stderr)
            try:
                if name != "ours" and scale > options.peer_scale:
                    raise CannotRun(f"not asked beyond scale {options.peer_scale}")
                python = here if name == "ours" else peer.datatrove()
                (folder / name).mkdir()
                counts, cost = peer.worker(python, SCRIPT, name, source, folder / name)
                results[name] = figures(about["documents"], counts, cost)
            except CannotRun as reason:
                results[name] = {"reason": str(reason)}
        answered = [folder / name for name in names if (folder / name / "found.json").is_file()]
        scores, _ = peer.worker(here, SCRIPT, "score", source, *answered)
        for name, found in scores.items():
            results[name].update(found)
    mine = results.pop("ours", None)
    best = max((each["documents_per_s"] for each in results.values() if "reason" not in each), default=None)
    ratio = round(mine["documents_per_s"] / best, 2) if mine and best and "reason" not in mine else None
    return {"scale": scale, **about, "ours": mine, "peers": results, "ratio": ratio}


def figures(documents: int, counts: dict[str, int], cost: peer.Cost) -> dict[str, Any]:
    return {
        "documents_per_s": round(documents / cost.cpu_s, 2),
        "cpu_s": round(cost.cpu_s, 2),
        "wall_s": round(cost.wall_s, 2),
        "memory_mb": round(cost.memory_mb),
        **counts,
        "lost": documents - counts["kept"] - counts["removed"],
    }


def growth(scales: list[dict[str, Any]]) -> dict[str, float]:
    """CPU ms that a document more costs, from the least to the largest scale each tool was asked at: without the
    start.
    """
    found: dict[str, float] = {}
    for name in ("ours", "datatrove"):
        tools = [scale["ours"] if name == "ours" else scale["peers"].get(name) for scale in scales]
        ran = sorted((tool["read"], tool["cpu_s"]) for tool in tools if tool and "reason" not in tool)
        if len(ran) > 1:
            (few, short), (many, long) = ran[0], ran[-1]
            found[name] = round(1000 * (long - short) / (many - few), 3)
    return found


ROWS = {
    "documents/s, one core": "documents_per_s",
    "CPU, s": "cpu_s",
    "wall, s": "wall_s",
    "memory, MB": "memory_mb",
    "recall, of Jaccard ≥ .8": "recall",
    "precision, ≥ .7": "precision",
    "precision of removals, ≥ .7": "removed_precision",
    "kept": "kept",
    "removed": "removed",
    "neither kept nor removed": "lost",
}


def show(found: dict[str, Any]) -> None:
    """One scale as a table for a reader."""
    tools = ({"ours": found["ours"]} if found["ours"] else {}) | found["peers"]
    ran = {name: tool for name, tool in tools.items() if "reason" not in tool}
    print(f"\n{found['documents']} documents, {found['bytes'] / 1e6:.1f} MB, {found['planted']} planted pairs")
    print(f"{'':30}" + "".join(f"{name:>12}" for name in ran))
    for title, key in ROWS.items():
        print(f"{title:30}" + "".join(f"{'–' if tool[key] is None else tool[key]:>12}" for tool in ran.values()))
    for name, tool in tools.items():
        if "reason" in tool:
            print(f"{name}: {tool['reason']}")
    if found["ratio"]:
        print(f"ours is {found['ratio']:.1f} times as fast")


WORKERS: dict[str, Callable[..., Any]] = {
    "plant": lambda data, number, scale, out: plant(Path(data) if data else None, int(number), int(scale), Path(out)),
    "ours": lambda source, out: ours(Path(source), Path(out)),
    "datatrove": lambda source, out: theirs(Path(source), Path(out)),
    "score": lambda source, *folders: score(Path(source), [Path(folder) for folder in folders]),
}


def main() -> None:
    """Read the options, measure, print."""
    if sys.argv[1:2] == ["--worker"]:
        print(json.dumps(WORKERS[sys.argv[2]](*sys.argv[3:])))
        return
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", default="", metavar="DIR", help="folder of JSON lines with a `text`")
    parser.add_argument("--documents", type=int, default=2_000, help="documents at scale 1, before copies are added")
    parser.add_argument("--scale", type=int, nargs="+", default=[1])
    parser.add_argument("--peer-scale", type=int, default=1, help="largest scale at which the others are asked")
    parser.add_argument("--only", default="ours,datatrove", help="tools, with commas between")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    try:
        scales = [measure(scale, options, options.only.split(",")) for scale in options.scale]
    except CannotRun as reason:
        sys.exit(f"duplicates: {reason}")
    if options.json:
        first = {key: scales[0][key] for key in ("ours", "peers", "ratio")}
        print(json.dumps({**first, "more_cpu_ms_a_document": growth(scales), "scales": scales}, indent=1))
        return
    for found in scales:
        show(found)
    for name, ms in growth(scales).items():
        print(f"CPU ms for a document more: {name} {ms}")


if __name__ == "__main__":
    main()
