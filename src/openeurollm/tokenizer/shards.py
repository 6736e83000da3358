"""Shards: documents as arrays of ids on disk, read in place.

A shard `NAME` is three files. `NAME.npy` holds the ids of all documents one after another, each closed by the id of
`<|endoftext|>`, or of what the tokenizer has in its place, as numpy's own format: little-endian uint16 where the
vocabulary allows, else uint32. `NAME.bounds.npy` holds where each document begins and the last one ends (int64, one
more than documents). `NAME.json` says what is in it (`end` is the id that closes documents) and what made it, and is
written last: a shard without it is not whole.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from openeurollm.engine import Engine
from openeurollm.errors import BadInput
from openeurollm.ledger import digest, read_json, whole, write_json
from openeurollm.tokenizer import formats, taken
from openeurollm.tokenizer.encode import Encoder

_ROWS, _BYTES = 256, 8 << 20
"""Documents that are read at a time, and bytes of text that are encoded at a time, or one document."""
_BOUNDS = 1 << 20
"""Bounds that are looked at together."""


@dataclass(frozen=True)
class Shard:
    """The Parquet file `source` to be encoded with the tokenizer of a file into the shard `out`."""

    source: Path
    tokenizer: Path
    out: Path

    def __str__(self) -> str:
        return str(self.source)


@dataclass(frozen=True)
class Encoded:
    """A shard as it is read: ids of all documents (in place on disk), bounds of the documents, and what made it."""

    ids: NDArray[Any]
    bounds: NDArray[np.int64]
    made: dict[str, Any]

    def document(self, number: int) -> NDArray[Any]:
        """The ids of a document, the closing one with them."""
        return self.ids[self.bounds[number] : self.bounds[number + 1]]


def encode(path: Path, files: Sequence[Path], out: Path, engine: Engine) -> list[dict[str, Any]]:
    """Encode Parquet files of documents into shards below `out`; returns what each `NAME.json` says.

    The tokenizer is that of a file, a folder or a run. Shards are named as the files are below the folder that all are
    in. Shards that are whole are kept if tokenizer and text are still the same. Control tokens in documents are text.
    Raises `BadInput` for a tokenizer that is not byte-level, and a file without documents.
    """
    if not files:
        raise BadInput("no Parquet files to encode")
    absent = next((file for file in files if not file.is_file()), None)
    if absent is not None:
        raise BadInput(f"{absent}: no such file")
    tokenizer = formats.place(path)
    root = Path(os.path.commonpath([file.resolve().parent for file in files]))
    tasks = [Shard(file, tokenizer, out / file.resolve().relative_to(root).with_suffix("")) for file in files]
    if len({task.out for task in tasks}) < len(tasks):
        raise BadInput("two of the files would make the same shard; name each once")
    _encoder(tokenizer, digest(tokenizer))  # refused at once, not by every worker
    engine.map("encode", encode_file, tasks)
    return [{"shard": str(task.out), **read_json(_beside(task.out, ".json"))} for task in tasks]


def encode_file(task: Shard) -> None:
    """Write a shard whole; nothing is done where it is there with the same tokenizer and text."""
    about = _beside(task.out, ".json")
    made = {"tokenizer": digest(task.tokenizer), "source": digest(task.source)}
    if about.is_file() and made.items() <= read_json(about).items():
        return
    about.unlink(missing_ok=True)
    encoder, close, vocabulary = _encoder(task.tokenizer, made["tokenizer"])
    kind = np.dtype("<u2" if vocabulary <= 1 << 16 else "<u4")
    lengths: list[NDArray[np.int64]] = [np.zeros(1, np.int64)]
    languages: set[str] = set()
    size = tokens = 0
    with whole(_beside(task.out, ".npy")) as partial, open(partial, "wb") as file:
        _header(file, kind, 0)
        for text, bounds in _texts(task.source, languages):
            ids, places = encoder.encode_buffer(text, bounds, close)
            ids.astype(kind).tofile(file)
            lengths.append(places[1:] + tokens)
            size, tokens = size + int(bounds[-1] - bounds[0]), tokens + len(ids)
        _header(file, kind, tokens)
    places = np.concatenate(lengths)
    with whole(_beside(task.out, ".bounds.npy")) as partial, open(partial, "wb") as file:
        np.save(file, places, allow_pickle=False)
    language = languages.pop() if len(languages) == 1 else None
    counted = {"language": language, "documents": len(places) - 1, "tokens": tokens, "bytes": size}
    write_json(about, {**counted, "vocabulary": vocabulary, "end": close, **made})


def opened(name: Path) -> Encoded:
    """The shard `name` (its path without an ending), memory-mapped; raises `BadInput` where it is not whole."""
    made = read_json(_beside(name, ".json"))
    try:
        ids, bounds = (np.lib.format.open_memmap(_beside(name, ending), mode="r") for ending in (".npy", ".bounds.npy"))
        fits = ids.ndim == bounds.ndim == 1 and ids.dtype.str in ("<u2", "<u4") and bounds.dtype.str == "<i8"
        fits = fits and (len(ids), len(bounds) - 1) == (made["tokens"], made["documents"])
        fits = fits and bounds[0] == 0 and bounds[-1] == len(ids) and _ascend(bounds)
    except Exception:  # what numpy's reader of headers raises has many kinds
        fits = False
    if not fits:
        raise BadInput(f"{name}: not a whole shard; encode it again")
    return Encoded(ids, bounds, made)


def _ascend(bounds: NDArray[np.int64]) -> bool:
    pieces = (bounds[start : start + _BOUNDS + 1] for start in range(0, len(bounds) - 1, _BOUNDS))
    return all(bool((np.diff(piece) > 0).all()) for piece in pieces)


def _beside(name: Path, ending: str) -> Path:
    return name.with_name(name.name + ending)


@lru_cache(maxsize=1)
def _encoder(path: Path, sha256: str) -> tuple[Encoder | taken.Taken, int, int]:
    """The encoder, the id that closes a document, and the number of ids; one in a process, kept from file to file.

    Ours where the tokenizer splits text by our rules, else Hugging Face's library.
    """
    ours = encoder_of(path)
    if ours is None:
        theirs = taken.opened(path)
        return theirs, theirs.end, theirs.vocabulary
    encoder, tokenizer = ours
    vocabulary = max(*tokenizer.tokens.values(), *tokenizer.special.values()) + 1
    return encoder, taken.end_of(path, tokenizer.special), vocabulary


def encoder_of(path: Path) -> tuple[Encoder, formats.BytePairs] | None:
    """Our encoder for the tokenizer of a file, or None for a `tokenizer.json` that splits text by other rules."""
    try:
        tokenizer = formats.read(path)
        return Encoder(tokenizer), tokenizer
    except BadInput as error:
        if path.suffix == ".json":
            return None
        raise BadInput(f"{path}: {str(error).removeprefix(f'{path}: ')}") from None


def _header(file: BinaryIO, kind: np.dtype[Any], length: int) -> None:
    """Write numpy's header; it has room for any length, so that it can be written again at the end."""
    file.seek(0)
    described = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": (length,)}
    np.lib.format.write_array_header_1_0(file, described)


def _texts(source: Path, languages: set[str]) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int64]]]:
    """The documents of a file in pieces of bounded size, as UTF-8 and bounds; their languages are added to the set."""
    try:
        with pq.ParquetFile(source, pre_buffer=False) as file:
            names = file.schema_arrow.names
            if "text" not in names:
                raise BadInput(f"{source}: no column `text`")
            columns = [name for name in ("text", "language") if name in names]
            for batch in file.iter_batches(_ROWS, columns=columns):
                if "language" in columns:
                    languages.update(str(tag) for tag in batch["language"].unique().to_pylist())
                array = batch["text"].cast(pa.large_string()).fill_null("")
                _, bounds, text = array.buffers()
                yield from _slices(
                    np.frombuffer(text or b"", np.uint8),
                    np.frombuffer(bounds, np.int64)[array.offset : array.offset + len(array) + 1],
                )
    except (OSError, pa.ArrowException) as error:
        raise BadInput(f"{source}: cannot be read as Parquet: {str(error).splitlines()[0]}") from None


def _slices(
    text: NDArray[np.uint8], bounds: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int64]]]:
    """Runs of documents of at most `_BYTES` together; a longer one comes alone."""
    first = 0
    while first < len(bounds) - 1:
        last = int(np.searchsorted(bounds, bounds[first] + _BYTES, "right")) - 1
        last = max(first + 1, min(last, len(bounds) - 1))
        yield text, bounds[first : last + 1]
        first = last
