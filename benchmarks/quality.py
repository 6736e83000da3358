"""Is a quality score worth switching on? Its top half of a pool of text against a random half, as training text.

    python benchmarks/quality.py split --corpora DIR --out DIR [--web DIR]
    openeurollm corpus quality train --good OUT/good --ordinary OUT/ordinary --out quality.npz
    python benchmarks/quality.py judge --scorer quality.npz --lines DIR
    python benchmarks/quality.py ablate --scorer quality.npz --pool OUT/pool --held-out OUT/held-out \\
        --languages lt,fi,el [--damage 0.4] [--seeds 3] [--workers 2] [--json]

`ablate` reads folders that hold `TAG.jsonl`, `TAG.SOURCE.jsonl.zst` and the like. Of each language's pool, in pieces of
up to 6,000 characters, it takes the better half of every source by score and, for each seed, a random half of every
source, of the same bytes; trains the project's own decoder on each with its own trainer, for the same number of tokens,
with one tokenizer and the same seed; and measures bits per byte of the held-out text. Pieces that share a run of 13
words with the held-out text are left out of the pool. `--damage` damages that share of the pieces with the damages that
a score is trained on, which makes the test easy: it shows that the score works at all, not that it is of use.

`judge` holds a score against people: DIR has `TAG/*.json`, lists of documents as `text`, a list of lines, and `labels`,
1 for a line that belongs to the text and 0 for noise, as in `text-quality-annotations` of the repository
TurkuNLP/multilingual-register-labeling (Laippala et al. 2022). It prints the AUC of documents that are clean by nine
tenths of their characters against those that are noise by half.

`split` divides documents that name their `source` and `id` by work. Two fifths of the works may train a score: those of
treebanks (news, Wikipedia, fiction) and the Declaration are in `good`, novels, laws and manuals in `prose`, messages of
programs and web sites in `ordinary`. The other works are in `held-out` (treebanks) and in `pool`. Documents below
`--web` are divided into `ordinary` and a pool of their own, `web`.
"""

import argparse
import hashlib
import json
import math
import random
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from statistics import mean, stdev

import numpy as np

from openeurollm.languages import languages

TREEBANKS = "Universal Dependencies"
KINDS = {TREEBANKS: "good", "Universal Declaration": "good", "mozilla.org": "ordinary", "Home Assistant": "ordinary"}
"""What the early works of a source are, by the beginning of its name; of other sources they are `prose`."""
PIECE = 6_000
"""Characters."""
PIECES = 3
"""Of one document in the pool: its first ones."""
POOL_BYTES = 2_000_000
HELD_OUT_BYTES = 200_000
RUN = 13
VOCABULARY, CONTEXT, BATCH = 2_048, 128, 4_096
TOKENS = 600_000
STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306)
"""97.5th percentile of Student's t for two differences, three, … nine; three languages and three seeds make nine."""


@dataclass(frozen=True)
class Piece:
    """A part of a document of the pool."""

    source: str
    text: str
    score: float

    @property
    def size(self) -> int:
        """Bytes of its text."""
        return len(self.text.encode("utf-8", "replace"))


@dataclass(frozen=True)
class Trial:
    """One training: which half of which language's pool, and the seed of sample, weights and batches."""

    tag: str
    arm: str
    seed: int
    folder: str
    tokens: int


def documents(folder: Path, tag: str) -> Iterator[dict[str, str]]:
    """The records of a language's JSON lines, packed or not."""
    import pyarrow as pa

    for path in sorted(folder.glob(f"{tag}.*jsonl*")):
        with pa.input_stream(str(path), compression="zstd" if path.suffix == ".zst" else None) as stream:
            for line in stream.read().splitlines():
                yield json.loads(line)


def split(corpora: Path, web: Path | None, out: Path) -> None:
    """Write `good`, `prose`, `ordinary`, `pool`, `web` and `held-out` below `out`, a file a language and source."""
    for tag in languages():
        files: dict[str, list[dict[str, str]]] = defaultdict(list)
        for row in documents(corpora, tag):
            source = row["source"]
            early = next((kind for name, kind in KINDS.items() if source.startswith(name)), "prose")
            later = "held-out" if source.startswith(TREEBANKS) else "pool"
            files[f"{early if is_early(row) else later}/{tag}.{short(source)}.jsonl"].append(row)
        for row in documents(web, tag) if web else ():
            files[f"{'ordinary' if is_early(row) else 'web'}/{tag}.{short(row['source'])}.jsonl"].append(row)
        for name, rows in files.items():
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            lines = (json.dumps({key: row[key] for key in ("id", "source", "text")}) for row in rows)
            (out / name).write_text("".join(f"{line}\n" for line in lines), "utf-8")


def is_early(row: dict[str, str]) -> bool:
    """Whether the work that the document is a piece of may train a score."""
    return digest(row["id"].partition("#")[0]) % 5 < 2


def short(source: str) -> str:
    """A name for a file."""
    return "".join(letter for letter in source if letter.isalnum())[:20]


def digest(text: str) -> int:
    """A number that is the same everywhere."""
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "replace")).digest()[:8])


def pieces(text: str) -> Iterator[str]:
    """The text cut at line ends, or at blanks where lines are long."""
    while len(text) > PIECE:
        at = max(text.rfind("\n", PIECE // 2, PIECE), 0) or max(text.rfind(" ", PIECE // 2, PIECE), 0) or PIECE
        yield text[:at].strip()
        text = text[at:]
    if len(text) >= 200:
        yield text.strip()


def pool(options: argparse.Namespace, tag: str, held: list[str]) -> list[Piece]:
    """The pieces of a language's pool with their scores, at most `POOL_BYTES`, drawn by the hash of their text."""
    from openeurollm.corpus.quality import Scorer
    from openeurollm.corpus.quality.damage import damaged
    from openeurollm.corpus.words import Words, distinct, grams

    loaded, known = Scorer.load(options.scorer), distinct(held, RUN)
    found = {
        piece: row.get("source", "")
        for row in documents(options.pool, tag)
        for piece in islice(pieces(row["text"]), PIECES)
    }
    taken: dict[str, int] = defaultdict(int)
    kept: list[tuple[str, str]] = []
    for piece in sorted(found, key=digest):
        source, size = found[piece], len(piece.encode("utf-8", "replace"))
        fits = taken[source] + size <= options.source_bytes and sum(taken.values()) + size <= POOL_BYTES
        if fits and not np.isin(grams(Words.of(piece).hashes, RUN), known).any():
            taken[source] += size
            kept.append((source, piece))
    draw, strangers = random.Random(0), [text for _, text in kept]
    if options.damage:
        kept = [
            (source, damaged(text, strangers, draw) if draw.random() < options.damage else text)
            for source, text in kept
        ]
    return [Piece(source, text, loaded.score(Words.of(text), tag) or 0.0) for source, text in kept]


def half(ordered: list[Piece]) -> list[Piece]:
    """Of each source the first pieces that make up half of its bytes."""
    left: dict[str, float] = defaultdict(float)
    for piece in ordered:
        left[piece.source] += piece.size / 2
    kept = []
    for piece in ordered:
        if left[piece.source] > 0:
            kept.append(piece)
            left[piece.source] -= piece.size
    return kept


def top_half(found: list[Piece]) -> list[Piece]:
    """The better half of each source."""
    return half(sorted(found, key=lambda piece: (-piece.score, digest(piece.text))))


def random_half(found: list[Piece], seed: int) -> list[Piece]:
    """A random half of each source."""
    mixed = sorted(found, key=lambda piece: digest(piece.text))
    random.Random(seed).shuffle(mixed)
    return half(mixed)


def write(path: Path, found: list[Piece]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    ids = [f"{digest(piece.text):016x}" for piece in found]
    pq.write_table(pa.table({"id": ids, "text": [piece.text for piece in found]}), path)


def prepare(folder: Path, tag: str, found: list[Piece], held: list[str], seeds: int) -> None:
    """Write both halves of the pool for every seed, the held-out text, and the tokenizer that they share."""
    from openeurollm.engine import Engine, Reporter
    from openeurollm.recipe import Tokenizer as Limits
    from openeurollm.tokenizer.files import write as save
    from openeurollm.tokenizer.train import count_files, train

    write(folder / "all.parquet", found)
    write(folder / "top.parquet", top_half(found))
    for seed in range(seeds):
        write(folder / f"random-{seed}.parquet", random_half(found, seed))
    limits = Limits(vocabulary=VOCABULARY, bytes_per_language=POOL_BYTES, rounds=0)
    tables = count_files({tag: [folder / "all.parquet"]}, limits, folder / "counts", Engine(1, Reporter(quiet=True)))
    save(train(tables, {}, limits), folder)
    (folder / "held-out.json").write_text(json.dumps(held), "utf-8")


def run(trial: Trial) -> float:
    """Train, and return bits per byte of the held-out text."""
    from tokenizers import Tokenizer

    from openeurollm.engine import Reporter
    from openeurollm.model import data, trainer
    from openeurollm.model.decoder import Decoder
    from openeurollm.model.distributed import World
    from openeurollm.model.mixture import Phase
    from openeurollm.model.numerics import choose
    from openeurollm.model.schedule import Schedule
    from openeurollm.model.shape import Shape
    from openeurollm.recipe import Model
    from openeurollm.tokenizer import shards

    trainer.prepare(1)
    folder = Path(trial.folder)
    name = "top" if trial.arm == "top" else f"random-{trial.seed}"
    out = folder / "tokens" / f"{trial.arm}-{trial.seed}" / trial.tag
    shards.encode_file(shards.Shard(folder / f"{name}.parquet", folder / "tokenizer.json", out / "all"))
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    vocabulary, number = tokenizer.get_vocab_size(), BATCH // CONTEXT
    texts = data.read(out.parent, (trial.tag,), CONTEXT, vocabulary)
    rows = data.Rows(texts, [Phase({trial.tag: round(trial.tokens / BATCH) * number})], trial.seed)
    decoder = Decoder(Shape(vocabulary, 2, 128, 4, 2, 32, 384, CONTEXT), trial.seed)
    rates = Model(precision="fp32", compile=False)
    schedule = Schedule.of(rows.total, number, rates.warmup, rates.decay)
    training = trainer.Training(
        title=f"{trial.tag} {trial.arm} {trial.seed}",
        take=rows.take,
        schedule=schedule,
        rates=rates,
        factor=1.0,
        checkpoint_steps=10**9,
        keep_steps=None,
        bytes_of_tokens=data.bytes_of_tokens(tokenizer),
        numerics=choose(rates, decoder, 0.0),
        micro=BATCH,
        fingerprint=rows.fingerprint(),
    )
    with tempfile.TemporaryDirectory() as work:
        place = Path(work)
        trainer.train(decoder, training, place, place / "kept", place / "metrics.jsonl", Reporter(quiet=True), World())
    return bits_per_byte(decoder, tokenizer, json.loads((folder / "held-out.json").read_text("utf-8")))


def bits_per_byte(decoder: object, tokenizer: object, held: list[str]) -> float:
    import torch

    from openeurollm.evaluation.model import windows

    tokenizer.encode_special_tokens = True
    encoded = [encoding.ids for encoding in tokenizer.encode_batch(held, add_special_tokens=False)]
    found = [window for ids in encoded for window in windows(0, ids, CONTEXT)]
    nats = 0.0
    decoder.cpu().eval()
    for at in range(0, len(found), 64):
        group = found[at : at + 64]
        rows = torch.zeros((len(group), max(len(ids) for ids, _ in group)), dtype=torch.long)
        for row, (ids, _) in enumerate(group):
            rows[row, : len(ids)] = torch.tensor(ids)
        with torch.no_grad():
            logits = decoder(rows[:, :-1]).float()
        losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), rows[:, 1:], reduction="none").double()
        nats += sum(
            float(losses[row, len(ids) - 1 - fresh : len(ids) - 1].sum()) for row, (ids, fresh) in enumerate(group)
        )
    return nats / math.log(2) / sum(len(text.encode("utf-8", "replace")) for text in held)


def judge(scorer: Path, lines: Path) -> dict[str, dict]:
    """How well the score tells documents that people found clean from those that they found noisy."""
    from openeurollm.corpus.quality import Scorer
    from openeurollm.corpus.quality.train import auc
    from openeurollm.corpus.words import Words

    loaded, told = Scorer.load(scorer), {}
    for folder in sorted(path for path in lines.iterdir() if path.name in loaded.biases):
        clean, noisy = [], []
        for row in (row for path in sorted(folder.glob("*.json")) for row in json.loads(path.read_text("utf-8"))):
            good = sum(len(line) for line, label in zip(row["text"], row["labels"]) if str(label) == "1")
            share = good / max(1, sum(map(len, row["text"])))
            score = loaded.score(Words.of("\n".join(row["text"])), folder.name) or 0.0
            (clean if share > 0.9 else noisy if share < 0.5 else []).append(score)
        if clean and noisy:
            told[folder.name] = {"auc": round(auc(clean, noisy), 3), "clean": len(clean), "noisy": len(noisy)}
    return told


def held_out(folder: Path, tag: str) -> list[str]:
    """The held-out documents of a language, at most `HELD_OUT_BYTES`."""
    found, left = [], HELD_OUT_BYTES
    for record in sorted(documents(folder, tag), key=lambda record: digest(record["id"])):
        if left > 0:
            found.append(record["text"])
            left -= len(record["text"].encode("utf-8", "replace"))
    if not found:
        sys.exit(f"{folder}: no held-out text in {tag}")
    return found


def ablate(options: argparse.Namespace) -> dict:
    """Every training of the ablation; bits per byte by language, arm and seed, their differences and the verdict."""
    tags = options.languages.split(",")
    told: dict = {"pool": {}, "bits_per_byte": defaultdict(lambda: defaultdict(dict))}
    trials = []
    with tempfile.TemporaryDirectory() as home:
        for tag in tags:
            held = held_out(options.held_out, tag)
            found = pool(options, tag, held)
            prepare(Path(home) / tag, tag, found, held, options.seeds)
            told["pool"][tag] = described(found, held)
            for seed in range(options.seeds):
                trials += [Trial(tag, arm, seed, str(Path(home) / tag), options.tokens) for arm in ("top", "random")]
        with ProcessPoolExecutor(options.workers, get_context("spawn")) as workers:
            for trial, bits in zip(trials, workers.map(run, trials)):
                print(f"{trial.tag} {trial.arm} {trial.seed}: {bits:.4f}", file=sys.stderr, flush=True)
                told["bits_per_byte"][trial.tag][trial.arm][trial.seed] = round(bits, 5)
    return told | judged(told["bits_per_byte"])


def described(found: list[Piece], held: list[str]) -> dict:
    """Bytes of the pool by source, with mean scores, and of the held-out text."""
    by_source: dict[str, list[Piece]] = defaultdict(list)
    for piece in found:
        by_source[piece.source].append(piece)
    return {
        "pieces": len(found),
        "held_out_bytes": sum(len(text.encode("utf-8", "replace")) for text in held),
        "sources": {
            name: {"bytes": sum(piece.size for piece in held), "score": round(mean(piece.score for piece in held), 3)}
            for name, held in sorted(by_source.items())
        },
    }


def judged(bits: dict) -> dict:
    """Differences top minus random, their mean with a 95 % interval (Student's t), and what follows."""
    differences = {
        tag: [arms["top"][seed] - arms["random"][seed] for seed in arms["top"]] for tag, arms in bits.items()
    }
    every = [value for values in differences.values() for value in values]
    middle = mean(every)
    reach = STUDENT[min(len(every), 9) - 2] * stdev(every) / math.sqrt(len(every)) if len(every) > 1 else math.inf
    better = middle + reach < 0 and all(mean(values) < 0 for values in differences.values())
    return {
        "differences": {tag: [round(value, 5) for value in values] for tag, values in differences.items()},
        "mean": round(middle, 5),
        "interval": [round(middle - reach, 5), round(middle + reach, 5)],
        "verdict": "switch on" if better else "leave off",
    }


def show(told: dict) -> None:
    for tag, part in told["pool"].items():
        print(f"{tag}: {part['pieces']} pieces in the pool, {part['held_out_bytes']:,} bytes held out")
        for name, source in part["sources"].items():
            print(f"    {source['bytes']:>9,} bytes, mean score {source['score']:.2f}: {name}")
    print(f"\n{'':8} {'seed':>4} {'top':>8} {'random':>8} {'difference':>10}")
    for tag, arms in told["bits_per_byte"].items():
        for seed, top in arms["top"].items():
            print(f"{tag:8} {seed:>4} {top:8.4f} {arms['random'][seed]:8.4f} {top - arms['random'][seed]:+10.4f}")
    low, high = told["interval"]
    print(f"\nmean difference {told['mean']:+.4f} bits per byte [{low:+.4f}, {high:+.4f}]: {told['verdict']}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, dest="command")
    one = commands.add_parser("split")
    one.add_argument("--corpora", type=Path, required=True)
    one.add_argument("--web", type=Path)
    one.add_argument("--out", type=Path, required=True)
    three = commands.add_parser("judge")
    three.add_argument("--scorer", type=Path, required=True)
    three.add_argument("--lines", type=Path, required=True)
    two = commands.add_parser("ablate")
    two.add_argument("--scorer", type=Path, required=True)
    two.add_argument("--pool", type=Path, required=True)
    two.add_argument("--held-out", type=Path, required=True)
    two.add_argument("--languages", required=True)
    two.add_argument("--source-bytes", type=int, default=POOL_BYTES, help="bytes of one source in the pool, at most")
    two.add_argument("--damage", type=float, default=0.0)
    two.add_argument("--seeds", type=int, default=3)
    two.add_argument("--tokens", type=int, default=TOKENS)
    two.add_argument("--workers", type=int, default=1)
    two.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.command == "split":
        split(options.corpora, options.web, options.out)
        return
    if options.command == "judge":
        print(json.dumps(judge(options.scorer, options.lines), indent=1))
        return
    told = ablate(options)
    print(json.dumps(told, indent=1)) if options.json else show(told)


if __name__ == "__main__":
    main()
