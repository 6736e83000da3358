"""The text that all tools learn and are scored on: the same ids, as files that need none of our code to be read."""

import io
import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from openeurollm.engine import Engine, Reporter
from openeurollm.languages import languages, script_bytes
from openeurollm.recipe import Tokenizer
from openeurollm.tokenizer import count_folder, shards, train, write

HELD_OUT, LEAST_HELD_OUT = 0.1, 3_000
"""Share of a language's text that is held out, nearly, and bytes that are worth it."""
LINES = 8
"""Lines of plain text that make a document."""


class Document(NamedTuple):
    """A text, and where it is from: its source, and the work in it that it is a part of."""

    text: str
    source: str
    work: str

    @property
    def size(self) -> int:
        """Bytes of UTF-8."""
        return len(self.text.encode())


@dataclass(frozen=True)
class Material:
    """What `make` wrote.

    `run` is a folder like a run's, with the tokenizer and our shards; `rows` is the same text for the others, shape
    (rows, context + 1); `held` is what is scored. `text_bytes` are those trained on, `held_out` says by language which
    sources or works were held out.
    """

    run: Path
    rows: Path
    held: Path
    vocabulary: int
    text_bytes: dict[str, int]
    held_out: dict[str, str]


def documents(data: Path, tag: str) -> list[Document]:
    """The documents of a language: `TAG.jsonl.zst` with `text`, `source` and `id`, or the lines of `TAG.txt`."""
    packed, plain = data / f"{tag}.jsonl.zst", data / f"{tag}.txt"
    if packed.is_file():
        return list(_records(packed))
    if plain.is_file():
        lines = plain.read_text("utf-8").splitlines()
        starts = range(0, len(lines), LINES)
        return [Document("\n".join(lines[start : start + LINES]), plain.name, str(start)) for start in starts]
    return []


def _records(path: Path) -> Iterator[Document]:
    with open(path, "rb") as file:
        for line in io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(file), "utf-8"):
            record = json.loads(line)
            source = str(record.get("source", path.name))
            yield Document(record["text"], source, str(record.get("id", "")).split("#")[0])


def split(found: list[Document]) -> tuple[list[Document], list[Document], str]:
    """Documents to learn and to be scored on, and what was held out: one whole source, that whose size is nearest to a
    tenth of the text; the last works where there is one source alone. Nothing where there is one work alone.
    """
    total = sum(each.size for each in found)
    sources = {name: sum(each.size for each in group) for name, group in _grouped(found, "source").items()}
    large = {name: size for name, size in sources.items() if size >= LEAST_HELD_OUT and total - size >= size}
    if large:
        name = min(large, key=lambda each: abs(large[each] - HELD_OUT * total))
        return [each for each in found if each.source != name], [each for each in found if each.source == name], name
    works = list(_grouped(found, "work"))
    if len(works) < 2:
        return found, [], ""
    last = set(works[-max(1, round(HELD_OUT * len(works))) :])
    words = f"{len(last)} of {len(works)} works"
    return [each for each in found if each.work not in last], [each for each in found if each.work in last], words


def _grouped(found: list[Document], by: str) -> dict[str, list[Document]]:
    groups: dict[str, list[Document]] = {}
    for each in found:
        groups.setdefault(getattr(each, by), []).append(each)
    return groups


def make(data: Path, out: Path, vocabulary: int, context: int, rows: int, most: int, scored: int) -> Material:
    """Learn a tokenizer from `most` bytes a language of the text at most, and write all that the tools need.

    `scored` bytes a language are scored at most, in pieces of `context`. Raises `SystemExit` where there is no text.
    """
    learnt: dict[str, list[Document]] = {}
    held: dict[str, list[Document]] = {}
    words: dict[str, str] = {}
    for tag in languages():
        found = documents(data, tag)
        if len(found) < 2:
            continue
        learn, score, words[tag] = split(found)
        random.Random(tag).shuffle(learn)
        random.Random(tag).shuffle(score)
        learnt[tag], held[tag] = _first(learn, most), _first(score, scored)
    if not learnt:
        raise SystemExit(f"{data}: no files named TAG.jsonl.zst or TAG.txt for a language of the contract")
    tokenizer = _tokenizer(learnt, out, vocabulary)
    text_bytes = {tag: sum(each.size for each in found) for tag, found in learnt.items()}
    size = _rows(out, list(learnt), text_bytes, context, rows)
    _held(out, tokenizer, held, context)
    return Material(out, out / "rows.npy", out / "held.npz", size, text_bytes, words)


def _first(found: list[Document], most: int) -> list[Document]:
    """The first documents, of `most` bytes together, the last one cut."""
    kept, left = [], most
    for each in found:
        if left <= 0:
            break
        kept.append(each._replace(text=each.text.encode()[:left].decode("utf-8", "ignore")))
        left -= kept[-1].size
    return kept


def _tokenizer(learnt: Mapping[str, list[Document]], out: Path, vocabulary: int) -> Path:
    """Learn the tokenizer and encode the text into shards."""
    text = out / "text"
    text.mkdir(parents=True)
    for tag, found in learnt.items():
        table = pa.table({"text": [each.text for each in found], "language": [tag] * len(found)})
        pq.write_table(table, text / f"{tag}.parquet")
    limits, engine = Tokenizer(vocabulary=vocabulary, rounds=0), Engine(1, Reporter(quiet=True))
    write(train(count_folder(text, limits, out / "counts", engine), {}, limits), out / "tokenizer")
    made = out / "tokenizer" / "tokenizer.json"
    for tag in learnt:
        place = made.parent / "tokens" / tag / "text"
        shards.encode_file(shards.Shard(text / f"{tag}.parquet", made, place))
    return made


def _rows(out: Path, tags: list[str], text_bytes: Mapping[str, int], context: int, number: int) -> int:
    """Write the rows of the others: each language's documents one after another, cut every `context` ids, and the
    languages by turns, so that each has the same share of the text in bytes corrected for script.
    """
    opened = {tag: shards.opened(out / "tokenizer/tokens" / tag / "text") for tag in tags}
    shares = np.array([script_bytes(tag) * len(opened[tag].ids) / text_bytes[tag] for tag in tags])
    each = int(number * shares.max() / shares.sum()) + 2
    turns = (np.arange(each) + np.linspace(0, 1, len(tags))[:, None]) / shares[:, None]
    order = np.argsort(turns, axis=None, kind="stable")[:number]
    found = np.empty((number, context + 1), np.uint16)
    for row, (language, rank) in enumerate(zip(*np.divmod(order, each), strict=True)):
        ids = opened[tags[language]].ids
        found[row] = np.take(ids, np.arange(rank * context, rank * context + context + 1), mode="wrap")
    np.save(out / "rows.npy", found)
    return int(opened[tags[0]].made["vocabulary"])


def _held(out: Path, tokenizer: Path, held: Mapping[str, list[Document]], context: int) -> None:
    """Write the rows that are scored: a piece of a document each, from its beginning on, and no end of a document."""
    import tokenizers

    encoder = tokenizers.Tokenizer.from_file(str(tokenizer))
    tags = [tag for tag, found in held.items() if found]
    inputs, targets, numbers = [], [], []
    for number, tag in enumerate(tags):
        for document in held[tag]:
            ids = encoder.encode(document.text, add_special_tokens=False).ids
            for start in range(0, len(ids), context):
                piece = ids[start : start + context]
                before = [0 if not start else ids[start - 1], *piece[:-1]]
                inputs.append(before + [0] * (context - len(piece)))
                targets.append(piece + [-100] * (context - len(piece)))
                numbers.append(number)
    lengths = [sum(each >= 0 for each in row) for row in targets]
    order = np.argsort(lengths, kind="stable")
    np.savez(
        out / "held.npz",
        inputs=np.array(inputs, np.int32)[order],
        targets=np.array(targets, np.int32)[order],
        languages=np.array(numbers, np.int64)[order],
        bytes=np.array([sum(each.size for each in held[tag]) for tag in tags], np.int64),
        tags=np.array(tags),
    )
