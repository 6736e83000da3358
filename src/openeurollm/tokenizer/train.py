"""Training a byte-level BPE in which every language has the same say, from counts of words.

Weights make up for what languages have too little of: at first each weighs alike by the text that it brought,
corrected for its script; then, in a few rounds, by what it pays for the same sentences.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

from openeurollm.engine import Engine
from openeurollm.errors import BadInput
from openeurollm.languages import languages, named, script_bytes
from openeurollm.recipe import Tokenizer as Limits
from openeurollm.tokenizer import counts, merges
from openeurollm.tokenizer.counts import Counting, Table
from openeurollm.tokenizer.merges import BYTES, Rows
from openeurollm.tokenizer.pretokenizer import Digits, pattern

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>")
"""Slots 0 to 3 of every tokenizer: end of a document, start and end of a turn, padding."""
TOOLS = ("<|tool_call|>", "<|tool_result|>")
"""The slots after them: what a model asks of a program, and what it is answered. Reserved ones follow."""

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}"
    "{% else %}{{ message['content'] + '<|im_end|>' }}{% endif %}{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""ChatML; what stands between the generation marks is what tuning learns from."""

_TOO_SMALL = "tokenizer: the corpus is too small to learn any merge from"
_IN_SCRIPT = 0.5
"""Share of a language's letters that must be in its script."""
_POWER = 3
_MOST_CHANGE = 8.0
"""Factor by which the rounds may raise or lower the weight of a language in all."""
_UNIT = 1_000
"""Weights are whole numbers: thousandths of what a word counts in the language with most text."""


def special_tokens(reserved: int) -> tuple[str, ...]:
    """The tokens of the first slots, in order."""
    return (*SPECIAL, *TOOLS, *(f"<|reserved_{number}|>" for number in range(reserved)))


@dataclass(frozen=True)
class Trained:
    """Merges as pairs of symbols (the bytes, then one a merge), and how they came about, for the records."""

    merges: tuple[tuple[int, int], ...]
    limits: Limits
    told: dict[str, Any]

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer as Hugging Face's library has it."""
        return assembled(self.merges, special_tokens(self.limits.reserved), self.limits.digits)


def count_files(texts: Mapping[str, Sequence[Path]], limits: Limits, folder: Path, engine: Engine) -> dict[str, Table]:
    """Count the files of each language, and write the tables into `folder`: one a file, and one a language."""
    tasks = {
        tag: [
            Counting(tag, file, limits.digits, size, folder / tag / f"{place:05d}.parquet")
            for place, (file, size) in enumerate(_portions(files, round(limits.bytes_per_language * _script(tag))))
        ]
        for tag, files in texts.items()
    }
    engine.map("count words", counts.count, [task for several in tasks.values() for task in several])
    tables = {}
    for tag, several in tasks.items():
        empty = counts.count_texts(tag, [], limits.digits)
        tables[tag] = counts.merged([empty, *(counts.read(task.out) for task in several)])
    return tables


def _portions(files: Sequence[Path], size: int) -> Iterator[tuple[Path, int]]:
    """Each file with its part of `size` bytes, by the documents in it where that is known."""
    rows = [pq.read_metadata(file).num_rows if file.suffix == ".parquet" else 1 for file in files]
    for file, number in zip(files, rows, strict=True):
        yield file, -(-size * number // max(1, sum(rows)))


def train(tables: Mapping[str, Table], development: Mapping[str, Sequence[str]], limits: Limits) -> Trained:
    """Learn the merges of a vocabulary from the counts of each language, balanced over the languages.

    `development` is parallel text; a language that it lacks keeps its first weight. Deterministic: the same tables give
    the same merges. Raises `BadInput` for a vocabulary without room, a language in the wrong script, counts cut by
    other rules, and too little text for any merge.
    """
    room = limits.vocabulary - BYTES - len(special_tokens(limits.reserved))
    forced = _digit_runs(limits.digit_runs)
    if room <= len(forced):
        raise BadInput(
            f"tokenizer: a vocabulary of {limits.vocabulary:,} has no room for merges beside {BYTES} bytes, "
            f"{len(forced)} runs of digits and {len(special_tokens(limits.reserved))} special tokens; raise it"
        )
    if not any(map(len, tables.values())):
        raise BadInput(_TOO_SMALL)
    kept = {tag: table.most_frequent(limits.words_per_language) for tag, table in tables.items() if len(table)}
    scripts = {tag: _checked(table, limits.digits) for tag, table in kept.items()}
    extras = {name: _extra(name, limits) for name in limits.tables}
    first = _balanced(kept, limits.most_repeats)
    measured = {tag: counts.count_texts(tag, development.get(tag, ()), limits.digits) for tag in kept}
    rows = _rows({**kept, **extras}, measured)
    sentences = max(map(len, development.values()), default=1)
    parity = merges.Parity(limits.parity.share, limits.parity.window) if limits.parity else None
    per_tokens = np.full(len(kept) + len(extras), 1 / max(1, sentences))
    change, rounds = dict.fromkeys(kept, 1.0), []
    for _ in range(limits.rounds + 1):
        weights = {tag: first[tag] * change[tag] for tag in kept}
        whole = _whole(weights, kept, extras, limits)
        learnt = merges.learn(rows.weighted(list(whole.values())), room, forced, parity, per_tokens)
        costs = {
            tag: int(cost) / sentences for tag, cost in zip(kept, learnt.costs, strict=False) if len(measured[tag])
        }
        rounds.append({"weights": {tag: round(whole[tag] / _UNIT, 3) for tag in whole}, "tokens a sentence": costs})
        change = _changed(change, costs)
    if len(learnt.merges) <= len(forced):
        raise BadInput(_TOO_SMALL)
    told = {
        "languages": {
            tag: {
                "documents": table.counted.documents,
                "bytes": table.counted.bytes,
                "words": len(table),
                "words_learnt_from": len(kept[tag]) if tag in kept else 0,
                "in_script": round(scripts.get(tag, 0.0), 4),
                "little_text": tag not in kept or first[tag] >= limits.most_repeats > 1,
                "weight": rounds[-1]["weights"].get(tag, 0.0),
                "counts": table.digest,
            }
            for tag, table in tables.items()
        },
        "tables": {
            name: {"words": len(table), "share": limits.tables[name].share, "counts": table.digest}
            for name, table in extras.items()
        },
        "counts": _digest([*tables.values(), *extras.values()]),
        "pattern": pattern(limits.digits),
        "merges": len(learnt.merges),
        "rounds": rounds,
    }
    return Trained(tuple(map(tuple, learnt.merges.tolist())), limits, told)


def count_folder(data: Path, limits: Limits, out: Path, engine: Engine) -> dict[str, Table]:
    """Count a folder of text, `TAG.parquet`, `TAG.jsonl` or `TAG.txt` (the latter two packed or not), into tables in
    `out`/TAG. Raises `BadInput` for a folder without such files.
    """
    texts = {tag: files for tag in languages() if (files := _files(data, tag))}
    if not texts:
        raise BadInput(f"{data}: no files named TAG.jsonl.zst, TAG.txt or TAG.parquet for a language of the contract")
    return count_files(texts, limits, out, engine)


def read_counts(folders: Sequence[Path]) -> dict[str, Table]:
    """The tables of counts in `FOLDER/TAG/*.parquet` of all folders, added up by language.

    Raises `BadInput` for a folder without any, and a file that is no table of its language.
    """
    found: dict[str, list[Table]] = {}
    for folder in folders:
        files = [(tag, file) for tag in languages() for file in sorted((folder / tag).glob("*.parquet"))]
        if not files:
            raise BadInput(f"{folder}: no counts here (TAG/*.parquet); `openeurollm tokenizer count` makes them")
        for tag, file in files:
            table = counts.read(file)
            if table.counted.language != tag:
                raise BadInput(f"{file}: counts of {table.counted.language[:40]!r}, not of {tag}")
            found.setdefault(tag, []).append(table)
    return {tag: counts.merged(tables) for tag, tables in found.items()}


def _files(data: Path, tag: str) -> list[Path]:
    endings = (".parquet", *(f"{kind}{packed}" for kind in (".jsonl", ".txt") for packed in ("", ".zst", ".gz")))
    return [path for ending in endings if (path := data / f"{tag}{ending}").is_file()]


def _script(tag: str) -> float:
    return script_bytes(tag) if tag in languages() else 1.0


def _checked(table: Table, digits: Digits) -> float:
    """Share of a language's letters that are in its script."""
    tag = table.counted.language
    if table.counted.digits != digits:
        raise BadInput(f"tokenizer: the counts of {tag} were made with digits by {table.counted.digits}; count anew")
    if tag not in languages():
        return 1.0
    found = table.scripts()
    share = sum(found.get(script, 0.0) for script in languages()[tag].scripts)
    if found and share < _IN_SCRIPT:
        most = next(iter(found))
        raise BadInput(
            f"tokenizer: the text in {named([tag])} is {100 * share:.0f} % in its script and {100 * found[most]:.0f} % "
            f"in {most}; mend its source"
        )
    return share


def _extra(name: str, limits: Limits) -> Table:
    table = counts.read(limits.tables[name].path)
    if not len(table) or table.counted.digits != limits.digits:
        raise BadInput(f"tokenizer: the counts in [tokenizer.tables.{name}] are empty, or cut digits in another way")
    return table.most_frequent(limits.words_per_language)


def _balanced(tables: Mapping[str, Table], most: float) -> dict[str, float]:
    """What a word of each language counts, so that all weigh as much as the one with most text."""
    target = max((table.parallel_bytes for table in tables.values()), default=1.0)
    return {tag: min(most, target / table.parallel_bytes) for tag, table in tables.items()}


def _changed(change: Mapping[str, float], costs: Mapping[str, float]) -> dict[str, float]:
    """Weights raised where a language pays more than the mean, lowered where it pays less."""
    mean = sum(costs.values()) / max(1, len(costs))
    wanted = {tag: value * ((costs[tag] / mean) ** _POWER if tag in costs else 1.0) for tag, value in change.items()}
    return {tag: min(_MOST_CHANGE, max(1 / _MOST_CHANGE, value)) for tag, value in wanted.items()}


def _whole(
    weights: Mapping[str, float], kept: Mapping[str, Table], extras: Mapping[str, Table], limits: Limits
) -> dict[str, int]:
    """The weights as whole numbers, and those that give the extra tables their share of all that is learnt from."""
    mass = sum(weights[tag] * table.counted.bytes for tag, table in kept.items())
    left = 1 - sum(table.share for table in limits.tables.values())
    more = {
        name: limits.tables[name].share / left * mass / max(1, table.counted.bytes) for name, table in extras.items()
    }
    return {name: max(1, round(_UNIT * weight)) for name, weight in {**weights, **more}.items()}


def _rows(tables: Mapping[str, Table], measured: Mapping[str, Table]) -> Rows:
    groups = {name: number for number, name in enumerate(tables)}
    parts = [(groups[name], table, False) for name, table in tables.items()]
    parts += [(groups[name], table, True) for name, table in measured.items()]
    lengths, data = zip(*(counts.buffers(table.words) for _, table, _ in parts), strict=True)
    return Rows(
        np.concatenate(lengths),
        np.concatenate(data),
        np.concatenate([table.counts * (not development) for _, table, development in parts]),
        np.concatenate([(table.counts * development).astype(np.int32) for _, table, development in parts]),
        np.concatenate([np.full(len(table), group, np.int16) for group, table, _ in parts]),
    )


def _digit_runs(longest: int) -> list[tuple[int, int]]:
    """Merges that give every run of digits up to a length a symbol; in three digits the pair of lower rank is first."""
    two = [(ord("0") + one, ord("0") + other) for one in range(10) for other in range(10)]
    three = []
    for number in range(1_000):
        front, last, first, back = *divmod(number, 10), *divmod(number, 100)
        three.append((BYTES + front, ord("0") + last) if front <= back else (ord("0") + first, BYTES + back))
    return [*(two if longest > 1 else []), *(three if longest > 2 else [])]


def _digest(tables: Sequence[Table]) -> str:
    return hashlib.sha256("".join(sorted(table.digest for table in tables)).encode()).hexdigest()


def assembled(learnt: Sequence[tuple[int, int]], special: Sequence[str], digits: Digits) -> Tokenizer:
    """A tokenizer of Hugging Face's library: special tokens have the first ids, then the bytes, then the merges."""
    names = _names()
    for left, right in learnt:
        names.append(names[left] + names[right])
    vocabulary = {name: place for place, name in enumerate((*special, *names))}
    tokenizer = Tokenizer(
        models.BPE(vocab=vocabulary, merges=[(names[left], names[right]) for left, right in learnt], fuse_unk=False)
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern(digits)), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return tokenizer


def _names() -> list[str]:
    """What `ByteLevel` calls the bytes: printable ones by themselves, the others by characters from U+0100 on."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(BYTES) if byte not in printable]
    return [chr(byte) if byte in printable else chr(0x100 + others.index(byte)) for byte in range(BYTES)]
