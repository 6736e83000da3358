"""The open texts that the identifier is trained on, read from the list in `sources.toml`."""

import json
import random
import re
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from openeurollm.errors import BadInput, Failure

_SENTENCE = re.compile(r"(?<=[.!?…;։·])\s+|\n+")
_PLACEHOLDER = re.compile(r"\$\d|%\{\w+\}|%[sd]|\[\[|\]\]|''+|https?://\S+")
_LARGEST_FILE = 1 << 30


@dataclass(frozen=True)
class Source:
    """A folder `name` of text: its `licence`, its `format`, the globs of each label, and where it comes
    from: a `repository` to be cloned at a `commit`, or an `origin` in words.

    `files` is one glob for all labels (documents that name their own language) or globs by label.
    """

    name: str
    licence: str
    format: str
    files: dict[str, list[str]]
    repository: str | None
    commit: str | None
    origin: str | None
    development: tuple[str, ...]


@dataclass(frozen=True)
class Text:
    """A passage of `text` in the language `label`; `stratum` is the part of a source that it stands for."""

    label: str
    stratum: str
    licence: str
    text: str
    development: bool


def read_list(path: Path) -> list[Source]:
    """The sources that a list names. Raises `BadInput` for a list that is no TOML or lacks a key."""
    try:
        entries = tomllib.loads(path.read_text("utf-8"))["sources"]
        return [_source(name, entry) for name, entry in entries.items()]
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"{path} is no list of sources: {type(error).__name__} {error}") from None


def _source(name: str, entry: dict[str, Any]) -> Source:
    files = entry["files"]
    by_label = files if isinstance(files, dict) else {"": files}
    if entry["format"] not in _READERS:
        raise KeyError(f"format of {name}")
    return Source(
        name,
        entry["licence"],
        entry["format"],
        {label: [globs] if isinstance(globs, str) else list(globs) for label, globs in by_label.items()},
        entry.get("repository"),
        entry.get("commit"),
        entry.get("origin"),
        tuple(entry.get("development", ())),
    )


def obtain(source: Source, data: Path) -> Path:
    """The source's folder below `data`, cloned at its commit when it is missing."""
    folder = data / source.name
    if folder.exists():
        return folder
    if source.repository is None:
        where = f" ({source.origin})" if source.origin else ""
        raise BadInput(f"{folder} is missing: put the source {source.name}{where} there, or take it off the list")
    part = folder.with_name(folder.name + ".part")
    for step in (
        ("git", "init", "-q", str(part)),
        ("git", "-C", str(part), "fetch", "-q", "--depth", "1", "--", source.repository, str(source.commit)),
        ("git", "-C", str(part), "checkout", "-q", "FETCH_HEAD"),
    ):
        if subprocess.run(step, check=False).returncode:
            raise Failure(f"could not clone {source.repository} at {source.commit} into {folder}")
    part.rename(folder)
    return folder


def paths(source: Source, folder: Path) -> Iterator[tuple[str, Path]]:
    """Each file of a source with its label, in the order of the list; a glob that finds nothing is an error."""
    for label, globs in source.files.items():
        for glob in globs:
            found = sorted(path for path in folder.glob(glob) if path.is_file())
            if not found:
                raise BadInput(f"{folder / glob} finds no file")
            for path in found:
                if path.stat().st_size > _LARGEST_FILE:
                    raise BadInput(f"{path} is larger than {_LARGEST_FILE >> 30} GiB")
                yield label, path


def texts(source: Source, folder: Path) -> Iterator[Text]:
    """Every passage of a source."""
    for label, path in paths(source, folder):
        yield from _READERS[source.format](source, label, path)


def _documents(source: Source, label: str, path: Path) -> Iterator[Text]:
    import pyarrow as pa

    with pa.input_stream(str(path), compression="zstd" if path.suffix == ".zst" else None) as stream:
        for line in stream.read().splitlines():
            document = json.loads(line)
            part = str(document.get("source", source.name))
            development = part.startswith(source.development) if source.development else False
            yield Text(
                document["language"],
                f"{source.name}: {part}",
                str(document.get("licence", source.licence)),
                document["text"],
                development,
            )


def _lines(source: Source, label: str, path: Path) -> Iterator[Text]:
    lines = path.read_text("utf-8", errors="replace").splitlines()
    random.Random(path.name).shuffle(lines)
    for line in lines:
        yield Text(label, f"{source.name}: {path.parent.name}", source.licence, line.strip(), False)


def _conllu(source: Source, label: str, path: Path) -> Iterator[Text]:
    for line in path.read_text("utf-8", errors="replace").splitlines():
        if line.startswith("# text = "):
            yield Text(label, source.name, source.licence, line[9:], False)


def _messages(source: Source, label: str, path: Path) -> Iterator[Text]:
    def leaves(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            for key, below in value.items():
                if key != "@metadata":
                    yield from leaves(below)
        elif isinstance(value, str):
            yield value

    raw = path.read_text("utf-8", errors="replace")
    if path.suffix == ".json":
        messages = json.loads(raw)
    else:
        import yaml

        messages = yaml.load(raw, Loader=yaml.CSafeLoader)
    for message in leaves(messages):
        if "{{" not in message and "<" not in message:
            cleaned = _PLACEHOLDER.sub(" ", message).strip()
            if len(cleaned) > 20:
                yield Text(label, f"{source.name}: {path.stem}", source.licence, cleaned, False)


def _frequencies(source: Source, label: str, path: Path) -> Iterator[Text]:
    """Words drawn by their frequency: to features inside words, a list of words is as good as the text it counts."""
    words: list[str] = []
    counts: list[float] = []
    for line in path.read_text("utf-8", errors="replace").splitlines():
        word, _, count = line.rpartition(" ")
        if word and count.isdigit():
            words.append(word)
            counts.append(int(count) ** 0.75)
    yield from _drawn(source, label, path, words, counts, 12_000)


def _words(source: Source, label: str, path: Path) -> Iterator[Text]:
    """The words of a list, each as often as any other."""
    raw = path.read_bytes()
    try:
        words = raw.decode("utf-8").split()
    except UnicodeDecodeError:
        words = raw.decode("latin-1").split()
    yield from _drawn(source, label, path, words, [1.0] * len(words), 50_000)


def _drawn(
    source: Source, label: str, path: Path, words: list[str], weights: list[float], times: int
) -> Iterator[Text]:
    draw, sums = random.Random(path.name), list(accumulate(weights))
    for _ in range(times):
        drawn = draw.choices(words, cum_weights=sums, k=draw.randint(4, 25))
        yield Text(label, f"{source.name}: {path.stem}", source.licence, " ".join(drawn), False)


_READERS = {
    "documents": _documents,
    "lines": _lines,
    "conllu": _conllu,
    "messages": _messages,
    "frequencies": _frequencies,
    "words": _words,
}


def split_sentences(text: str) -> list[str]:
    """The text cut after the marks that end a sentence in the contract's scripts, and at line ends."""
    return _SENTENCE.split(text)


def snippets(text: str, draw: random.Random) -> Iterator[str]:
    """Cut a passage at sentence ends into pieces of the lengths that are asked about: a few words to a paragraph."""
    held: list[str] = []
    length, wanted = 0, _length(draw)
    for sentence in split_sentences(text):
        held.append(sentence)
        length += len(sentence)
        if length >= wanted:
            yield " ".join(held)[: 2 * wanted + 100]
            held, length, wanted = [], 0, _length(draw)
    if length > 15:
        yield " ".join(held)[:2000]


def _length(draw: random.Random) -> int:
    return draw.choices((20, 60, 120, 300, 900), (15, 25, 35, 17, 8))[0]
