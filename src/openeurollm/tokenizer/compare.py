"""What each language pays with several tokenizers, ours and others', for the same sentences."""

import base64
import itertools
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from types import SimpleNamespace
from typing import Any, cast

from openeurollm.errors import BadInput
from openeurollm.tokenizer import formats
from openeurollm.tokenizer.encode import Encoder
from openeurollm.tokenizer.fairness import load, measure, parallel

_WORD = re.compile(r"[^\W\d_]+")
_SPEED_LINES = 40
"""Sentences that make a text where speed is measured."""
_NEEDS = "pip install 'openeurollm[compare]'"


@dataclass(frozen=True)
class Compared:
    """A tokenizer of any kind: its name, the number of its tokens, what makes ids of a text, and its file if it is a
    `tokenizer.json`.
    """

    name: str
    vocabulary: int
    ids: Callable[[str], Sequence[int]]
    file: Path | None = None

    def encode_batch(self, lines: Sequence[str], add_special_tokens: bool = False) -> Iterator[SimpleNamespace]:
        """The ids of each line, in the way of the library `tokenizers`; never with special tokens."""
        return (SimpleNamespace(ids=self.ids(line)) for line in lines)

    def get_vocab_size(self) -> int:
        """The number of tokens."""
        return self.vocabulary


def compare(names: Sequence[str | os.PathLike[str]], folder: Path, speed: bool = False) -> dict[str, Any]:
    """Fairness of several tokenizers on the parallel text in `folder`, as `fairness.json` has it, and more.

    For each tokenizer also, by language: `premium` over English (None where there is no English) and over the mean of
    all languages, `fertility` (tokens a word between blanks), `bytes_a_token`, `whole_words` (the share of running
    words of letters that are one token after a blank); and with `speed` its `mb_per_s` of CPU time in one process.

    Raises `BadInput` for what is no tokenizer and a folder that is no parallel text.
    """
    sentences = parallel(folder)
    found = [opened(str(name)) for name in names]
    number = len(next(iter(sentences.values())))
    return {"sentences": number, "tokenizers": [_measured(each, sentences, number, speed) for each in _distinct(found)]}


def _distinct(found: Sequence[Compared]) -> list[Compared]:
    """The tokenizers, those of the same name numbered."""
    names = Counter(each.name for each in found)
    places: Counter[str] = Counter()
    result = []
    for each in found:
        places[each.name] += 1
        name = f"{each.name} {places[each.name]}" if names[each.name] > 1 else each.name
        result.append(replace(each, name=name))
    return result


def _measured(tokenizer: Compared, sentences: Mapping[str, Sequence[str]], number: int, speed: bool) -> dict[str, Any]:
    found = measure(tokenizer.name, cast(Any, tokenizer), sentences)
    costs, english = found["languages"], found["english"]
    mean = fmean(costs.values())
    texts = {tag: "\n".join(lines) for tag, lines in sentences.items()}
    with _refused(tokenizer.name, "cannot encode text"):
        whole = {tag: _whole_words(tokenizer, text) for tag, text in texts.items()}
        extra = {"mb_per_s": _speed(tokenizer, sentences)} if speed else {}
    return {
        **found,
        "premium": {
            tag: {"english": round(cost / english, 3) if english else None, "mean": round(cost / mean, 3)}
            for tag, cost in costs.items()
        },
        "fertility": {tag: round(costs[tag] * number / len(text.split()), 3) for tag, text in texts.items()},
        "bytes_a_token": {
            tag: round(sum(len(line.encode()) for line in lines) / (costs[tag] * number), 3)
            for tag, lines in sentences.items()
        },
        "whole_words": whole,
        **extra,
    }


def _whole_words(tokenizer: Compared, text: str) -> float | None:
    words = Counter(_WORD.findall(text))
    alone = len(tokenizer.ids("a"))
    whole = sum(number for word, number in words.items() if len(tokenizer.ids(f"a {word}")) == alone + 1)
    return round(whole / words.total(), 4) if words else None


def _speed(tokenizer: Compared, sentences: Mapping[str, Sequence[str]]) -> float:
    """MB (10⁶ bytes) of text that become ids in a second of CPU time, the first time that they are seen.

    A tokenizer of ours is asked through our own encoder, any other through the library of its format.
    """
    texts = [
        "\n".join(lines[start : start + _SPEED_LINES])
        for lines in sentences.values()
        for start in range(0, len(lines), _SPEED_LINES)
    ]
    size = sum(len(text.encode()) for text in texts)
    ids = _encoder(tokenizer.file) or tokenizer.ids
    ids("a b")  # what is made at the first call is not counted
    before = time.process_time()
    for text in texts:
        ids(text)
    return round(size / 1e6 / max(1e-9, time.process_time() - before), 2)


def _encoder(file: Path | None) -> Callable[[str], Any] | None:
    try:
        return Encoder(formats.read(file)).encode if file else None
    except BadInput:  # of another kind
        return None


def opened(name: str) -> Compared:
    """The tokenizer of that name: a path, or the name of one of tiktoken's encodings that tiktoken has in its cache.

    A path is a folder (of Hugging Face, of tiktoken's format as we write it, of a run) or a file: `tokenizer.json`,
    Mistral's `tekken.json`, tiktoken's ranks with their `tiktoken.json` beside, a model of SentencePiece. Nothing is
    fetched. Raises `BadInput` where there is no tokenizer, or a package for it is missing.
    """
    path = Path(name)
    try:
        if not path.exists():
            return _encoding(name)
        file = _file(path)
        if file.stat().st_size > formats.MAX_BYTES:
            raise BadInput(f"{file}: over {formats.MAX_BYTES >> 20} MiB, too large for a tokenizer")
    except (OSError, ValueError) as error:  # a name that is too long, or with a zero byte; a folder closed to us
        raise BadInput(f"{name[:200]!r}: cannot be opened: {error}") from None
    named = path.resolve().name
    with _refused(str(file), "not a tokenizer"):
        if file.suffix == ".tiktoken":
            return _ranks(named, file)
        if file.suffix == ".json":
            return _tekken(named, file) or _huggingface(named, file)
        return _sentencepiece(named, file)


def _file(path: Path) -> Path:
    if path.is_file():
        return path
    names = ("tokenizer.json", "tokenizer/tokenizer.json", "tekken.json", formats.RANKS, "tokenizer.model")
    file = next((path / name for name in names if (path / name).is_file()), None)
    if file is None:
        raise BadInput(f"{path}: no tokenizer.json here, nor another of: {', '.join(names[2:])}")
    return file


@contextmanager
def _refused(name: str, what: str) -> Iterator[None]:
    """Turn what the libraries raise into `BadInput`: bare exceptions, and panics (no `Exception`)."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        raise
    except BadInput as error:
        raise BadInput(str(error) if name in str(error) else f"{name}: {error}") from None
    except BaseException as error:
        raise BadInput(f"{name}: {what}: {' '.join(str(error).split())[:200]}") from None


def _huggingface(name: str, file: Path) -> Compared:
    tokenizer = load(file)
    tokenizer.encode_special_tokens = True
    return Compared(
        name, tokenizer.get_vocab_size(), lambda text: tokenizer.encode(text, add_special_tokens=False).ids, file
    )


def _tekken(name: str, file: Path) -> Compared | None:
    """Mistral's format, if the file is in it: a pattern, tokens in base64, and how many of them count."""
    match formats.bounded_json(file):
        case {
            "config": {
                "pattern": str(pattern),
                "default_vocab_size": int(size),
                "default_num_special_tokens": int(special),
            },
            "vocab": list(vocabulary),
        }:
            used = itertools.islice(vocabulary, max(0, size - special))
            tokens = {base64.b64decode(each["token_bytes"], validate=True): rank for rank, each in enumerate(used)}
            return _tiktoken(name, tokens, pattern, size)
    return None


def _ranks(name: str, file: Path) -> Compared:
    settings = formats.bounded_json(file.with_name(formats.SETTINGS))
    tokens = formats.ranks(file)
    match settings:
        case {"pat_str": str(pattern), "special_tokens": dict(special)}:
            return _tiktoken(name, tokens, pattern, len(tokens) + len(special))
    raise BadInput(f"{file}: {formats.SETTINGS} beside it does not give `pat_str` and `special_tokens`")


def _tiktoken(name: str, tokens: dict[bytes, int], pattern: str, vocabulary: int) -> Compared:
    formats.check(tokens, {})
    tiktoken = _package("tiktoken")
    made = tiktoken.Encoding(name, pat_str=pattern, mergeable_ranks=tokens, special_tokens={})
    return Compared(name, vocabulary, made.encode_ordinary)


def _encoding(name: str) -> Compared:
    tiktoken = _package("tiktoken")
    if name not in tiktoken.list_encoding_names():
        raise BadInput(f"{name}: no tokenizer.json here: no such file or folder, nor an encoding of tiktoken's")
    fetch = f"python -c 'import tiktoken; tiktoken.get_encoding(\"{name}\")'"
    absent = BadInput(f"{name}: tiktoken does not have it on this machine; fetch it once with: {fetch}")

    def refuse(_: str) -> bytes:
        raise absent

    fetching, tiktoken.load.read_file = tiktoken.load.read_file, refuse  # it would go online for what is not there
    try:
        made = tiktoken.get_encoding(name)
    finally:
        tiktoken.load.read_file = fetching
    return Compared(name, made.n_vocab, made.encode_ordinary)


def _sentencepiece(name: str, file: Path) -> Compared:
    raw = file.read_bytes()
    if not raw:
        raise BadInput(f"{file}: empty")
    made = _package("sentencepiece").SentencePieceProcessor(model_proto=raw)
    return Compared(name, made.vocab_size(), made.encode)


def _package(name: str) -> Any:
    try:
        return __import__(name)
    except ImportError:
        raise BadInput(f"the package {name} is needed for this tokenizer: {_NEEDS}") from None
