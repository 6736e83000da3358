"""Sources: every format a recipe can name, as a stream of records."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from openeurollm.corpus.archive import responses
from openeurollm.corpus.document import Found
from openeurollm.corpus.packed import Damaged, opened
from openeurollm.errors import BadInput
from openeurollm.languages import declaration, languages
from openeurollm.recipe import Corpus, Source

_SUFFIXES = {
    "warc": (".warc", ".warc.gz"),
    "html": (".html", ".htm", ".xhtml"),
    "text": (".txt", ".txt.zst"),
    "jsonl": (".jsonl", ".jsonl.zst", ".jsonl.gz"),
    "parquet": (".parquet",),
    "hplt": (".jsonl", ".jsonl.zst", ".jsonl.gz"),
}
_PAGES_A_SHARD = 200
_MAX_LINE = 32_000_000
"""Bytes of one JSON line; longer ones are counted as too large and passed over."""
_FIELDS = ("id", "url", "u", "licence", "license", "fetched", "ts", "date", "language", "lang")
_ROBOTS_BYTES = 500_000


@dataclass(frozen=True)
class Shard:
    """A unit of work: some files of one source, read by one process."""

    source: str
    files: tuple[Path, ...]

    def __str__(self) -> str:
        more = f" and {len(self.files) - 1} more" if len(self.files) > 1 else ""
        return f"{self.source}: {self.files[0] if self.files else '-'}{more}"


def shards(name: str, source: Source) -> list[Shard]:
    """The shards of a source, in the sorted order of its files.

    Raises `BadInput` where the path is absent or holds no file of the kind.
    """
    if source.kind in ("declaration", "huggingface"):
        return [Shard(name, ())]
    path = source.path
    if path is None or not path.exists():
        raise BadInput(f"[sources.{name}] {path} does not exist; --set sources.{name}.path=… names another place")
    if path.is_file():
        return [Shard(name, (path,))]
    root, suffixes = path.resolve(), _SUFFIXES[source.kind]
    deep = source.kind in ("html", "text")  # data sets lie flat; folders of pages are trees
    files = sorted(
        file
        for file in (root.rglob("*") if deep else root.iterdir())
        if file.name.endswith(suffixes) and file.is_file() and file.resolve().is_relative_to(root)
    )
    if not files:
        raise BadInput(f"[sources.{name}] {path} holds no file that ends in {' or '.join(suffixes)}")
    size = _PAGES_A_SHARD if deep else 1
    return [Shard(name, tuple(files[i : i + size])) for i in range(0, len(files), size)]


def read(shard: Shard, source: Source, limits: Corpus) -> Iterator[Found]:
    """Every record of the shard; what cannot be read comes with a `problem`, so that it is counted."""
    for found in _records(shard, source, limits):
        if source.licence != "per-document":
            found.licence = source.licence
        yield found


def _records(shard: Shard, source: Source, limits: Corpus) -> Iterator[Found]:
    if source.kind == "declaration":
        yield from _declaration(shard.source)
    elif source.kind == "huggingface":
        yield from _hugging_face(shard.source, source)
    for file in shard.files:
        if source.kind == "warc":
            yield from _warc(shard.source, file, limits)
        elif source.kind == "html":
            yield _page_file(shard.source, file, source, limits)
        elif source.kind == "text":
            yield _text_file(shard.source, file, source, limits)
        elif source.kind == "parquet":
            yield from _parquet(shard.source, file, source)
        else:
            yield from _json_lines(shard.source, file, source, limits)


def robots(shard: Shard, limits: Corpus) -> dict[str, str]:
    """The robots.txt that the archives of a shard hold, by scheme and host; at most 500 kB each (RFC 9309)."""
    found: dict[str, str] = {}
    for file in shard.files:
        for response in responses(file, limits.max_page_bytes, limits.max_unpacking):
            address = re.fullmatch(r"(https?://[^/?#]{1,300})/robots\.txt", response.url)
            if address and response.status == 200:
                found[address[1].lower()] = response.body[:_ROBOTS_BYTES].decode("utf-8", "replace")
    return found


def _warc(name: str, file: Path, limits: Corpus) -> Iterator[Found]:
    for number, response in enumerate(responses(file, limits.max_page_bytes, limits.max_unpacking)):
        found = Found(
            source=name,
            identity=f"{response.url} {response.date}" if response.url else f"{file.name} {response.problem} {number}",
            page=response.body,
            url=response.url,
            fetched=response.date,
            headers=response.headers,
            problem=response.problem,
        )
        content = response.headers.get("content-type", "text/html").lower()
        if not found.problem and (response.status != 200 or "html" not in content):
            found.problem = "not_a_page"
        yield found


def _page_file(name: str, file: Path, source: Source, limits: Corpus) -> Found:
    identity = file.relative_to(_root(source)).as_posix()
    if file.stat().st_size > limits.max_page_bytes:
        return Found(name, identity, problem="too_large")
    return Found(name, identity, page=file.read_bytes(), claim=source.language)


def _text_file(name: str, file: Path, source: Source, limits: Corpus) -> Found:
    identity = file.relative_to(_root(source)).as_posix()
    try:
        with opened(file, limits.max_unpacking) as stream:
            raw = stream.read(limits.max_characters * 4 + 1)
        if len(raw) > limits.max_characters * 4:
            return Found(name, identity, problem="too_long")
        return Found(name, identity, text=raw.decode("utf-8-sig"), claim=source.language)
    except Damaged as damage:
        return Found(name, identity, problem=str(damage))
    except UnicodeDecodeError:
        return Found(name, identity, problem="invalid_utf8")


def _json_lines(name: str, file: Path, source: Source, limits: Corpus) -> Iterator[Found]:
    number = 0
    try:
        with opened(file, limits.max_unpacking) as stream:
            for line in _lines(stream):
                number += 1
                if line is None:
                    yield Found(name, f"{file.name} {number}", problem="too_large")
                elif line.strip():
                    yield _json_line(name, line, source, f"{file.name} {number}")
    except Damaged as damage:
        yield Found(name, f"{file.name} {number + 1}", problem=str(damage))


def _lines(stream: IO[bytes]) -> Iterator[bytes | None]:
    """The lines of a stream; None for one of over `_MAX_LINE` bytes."""
    while line := stream.readline(_MAX_LINE):
        if len(line) < _MAX_LINE or line.endswith(b"\n"):
            yield line
            continue
        while (rest := stream.readline(_MAX_LINE)) and not rest.endswith(b"\n"):
            pass
        yield None


def _json_line(name: str, line: bytes, source: Source, place: str) -> Found:
    try:
        return _from_fields(name, json.loads(line.decode("utf-8-sig")), source, place)
    except (ValueError, RecursionError):
        return Found(name, place, problem="invalid_record")


def _parquet(name: str, file: Path, source: Source) -> Iterator[Found]:
    number = 0
    wanted = {*_FIELDS, source.html_field or source.text_field}
    try:
        with pq.ParquetFile(file) as table:
            columns = [column for column in table.schema_arrow.names if column in wanted]
            if (source.html_field or source.text_field) not in columns:
                raise BadInput(
                    f"[sources.{name}] {file} has no column `{source.html_field or source.text_field}`; "
                    f"it has {', '.join(table.schema_arrow.names)}"
                )
            for batch in table.iter_batches(500, columns=columns):
                for fields in batch.to_pylist():
                    number += 1
                    yield _from_fields(name, fields, source, f"{file.name} {number}")
    except (OSError, pa.ArrowException, ValueError, ArithmeticError):
        yield Found(name, f"{file.name} {number + 1}", problem="corrupt")


def _hugging_face(name: str, source: Source) -> Iterator[Found]:
    try:
        from datasets import load_dataset
    except ImportError:
        raise BadInput(f"[sources.{name}] needs the package datasets: pip install 'openeurollm[hub]'") from None
    for number, fields in enumerate(load_dataset(str(source.path), split="train", streaming=True)):
        yield _from_fields(name, fields, source, f"row {number}")


def _from_fields(name: str, fields: Any, source: Source, fallback: str) -> Found:
    """A record of a data set; HPLT's names (`u` address, `ts` time, `lang`, `f` file) are known beside the usual
    ones.
    """
    if not isinstance(fields, dict):
        return Found(name, fallback, problem="invalid_record")

    def text_of(*keys: str) -> str:
        for key in keys:
            value = fields.get(key)
            if isinstance(value, list) and value:
                value = value[0]
            if isinstance(value, str) and value:
                return value.encode("utf-8", "replace").decode("utf-8")
        return ""

    url = text_of("url", "u")
    page = fields.get(source.html_field) if source.html_field else None
    text = fields.get(source.text_field)
    if not isinstance(page if source.html_field else text, str):
        return Found(name, fallback, problem="invalid_record")
    return Found(
        source=name,
        identity=text_of("id") or url or fallback,
        text=text if isinstance(text, str) and not source.html_field else "",
        page=page.encode("utf-8", "replace") if isinstance(page, str) else None,
        url=url,
        fetched=text_of("fetched", "ts", "date"),
        claim=text_of("language", "lang") or source.language,
        licence=text_of("licence", "license") or "unknown",
    )


def _declaration(name: str) -> Iterator[Found]:
    for tag in languages():
        paragraphs = declaration(tag)
        if paragraphs:
            text = "\n\n".join(paragraphs)
            yield Found(name, f"declaration {tag}", text=text, claim=tag)


def _root(source: Source) -> Path:
    path = source.path or Path()
    return path.resolve() if path.is_dir() else path.resolve().parent
