"""Token shards as Megatron reads them: a pair of files a language, `TAG.bin` and `TAG.idx` (its `IndexedDataset`).

`TAG.bin` holds the ids of all documents one after another, little-endian: uint16, or int32 where they do not fit.
`TAG.idx` says where they are:

| bytes | holds |
| --- | --- |
| 9 | `MMIDIDX` and two zero bytes |
| 8 | version, 1 |
| 1 | type of the ids: 8 for uint16, 4 for int32 |
| 8, 8 | number of sequences; number of documents and one more |
| 4 each | length of each sequence in ids |
| 8 each | byte of `TAG.bin` at which each sequence begins |
| 8 each | sequence at which each document begins, and the number of sequences |

A document is one sequence here, closed by `<|endoftext|>` as in the shards.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from openeurollm.engine import Engine
from openeurollm.errors import BadInput
from openeurollm.ledger import inside, whole
from openeurollm.tokenizer.shards import Encoded, opened

_AT_ONCE = 1 << 20
"""Ids or documents that are held in memory."""
_LONGEST = 2**31 - 1


@dataclass(frozen=True)
class Pair:
    """The shards of one language, and the name of the pair of files that is made of them, without an ending."""

    shards: tuple[Path, ...]
    out: Path

    def __str__(self) -> str:
        return str(self.out)


def export(path: Path, out: Path, engine: Engine) -> list[dict[str, Any]]:
    """Write the shards of a run, or of a folder with a folder a language, as pairs of files in `out`.

    Returns language, documents, tokens and bytes of each pair. A pair is whole or has no `.idx`. Raises `BadInput` for
    a folder without shards, a damaged shard, shards of one language that were encoded with different tokenizers, and
    what Megatron's types cannot hold.
    """
    run = path / "tokenizer" / "tokens"
    root = run if run.is_dir() else path
    found: dict[str, list[Path]] = {}
    for about in sorted(root.glob("*/*.json")):
        if about.with_suffix(".npy").is_file():
            found.setdefault(about.parent.name, []).append(inside(root, f"{about.parent.name}/{about.stem}"))
    if not found:
        raise BadInput(f"{path}: has no shards, TAG/NAME.npy; `openeurollm tokenizer encode` makes them")
    pairs = [Pair(tuple(shards), out / tag) for tag, shards in found.items()]
    engine.map("export for Megatron", write, pairs)
    return [_told(tag, pair) for tag, pair in zip(found, pairs, strict=True)]


def write(pair: Pair) -> None:
    """Write a pair of files, the index last."""
    shards = [opened(name) for name in pair.shards]
    small = all(shard.ids.dtype == np.uint16 for shard in shards)
    index, data = _beside(pair.out, ".idx"), _beside(pair.out, ".bin")
    _check(pair, shards)
    index.unlink(missing_ok=True)
    with whole(index) as partial_index, whole(data) as partial:
        with open(partial, "wb") as file:
            for name, shard in zip(pair.shards, shards, strict=True):
                for ids in _slices(shard.ids):
                    if not small and int(ids.max()) > _LONGEST:
                        raise BadInput(f"{name}.npy: has id {ids.max()}, more than Megatron's int32 holds")
                    ids.astype("<u2" if small else "<i4").tofile(file)
        with open(partial_index, "wb") as file:
            _index(file, shards, small)


def _check(pair: Pair, shards: Sequence[Encoded]) -> None:
    for name, shard in zip(pair.shards, shards, strict=True):
        if shard.made.get("tokenizer") != shards[0].made.get("tokenizer"):
            raise BadInput(f"{name}: encoded with another tokenizer than {pair.shards[0]}; encode it again")
        longest = max((int(lengths.max()) for lengths in _lengths(shard)), default=0)
        if longest > _LONGEST:
            raise BadInput(f"{name}: has a document of {longest:,} ids, more than Megatron's int32 holds")


def _index(file: BinaryIO, shards: Sequence[Encoded], small: bool) -> None:
    """Write the index; three passes over the bounds, since all lengths come before all places."""
    documents, size = sum(len(shard.bounds) - 1 for shard in shards), 2 if small else 4
    file.write(b"MMIDIDX\0\0" + struct.pack("<QBQQ", 1, 8 if small else 4, documents, documents + 1))
    for shard in shards:
        for lengths in _lengths(shard):
            lengths.astype("<i4").tofile(file)
    before = 0
    for shard in shards:
        for bounds in _slices(shard.bounds[:-1]):
            ((bounds + before) * size).astype("<i8").tofile(file)
        before += len(shard.ids)
    for first in range(0, documents + 1, _AT_ONCE):
        np.arange(first, min(first + _AT_ONCE, documents + 1), dtype="<i8").tofile(file)


def _slices(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    for start in range(0, len(array), _AT_ONCE):
        yield array[start : start + _AT_ONCE]


def _lengths(shard: Encoded) -> Iterator[NDArray[np.int64]]:
    for start in range(0, len(shard.bounds) - 1, _AT_ONCE):
        yield np.diff(shard.bounds[start : start + _AT_ONCE + 1])


def _told(tag: str, pair: Pair) -> dict[str, Any]:
    shards = [opened(name) for name in pair.shards]
    documents, tokens = sum(len(shard.bounds) - 1 for shard in shards), sum(len(shard.ids) for shard in shards)
    size = sum(_beside(pair.out, ending).stat().st_size for ending in (".bin", ".idx"))
    return {"pair": str(pair.out), "language": tag, "documents": documents, "tokens": tokens, "bytes": size}


def _beside(name: Path, ending: str) -> Path:
    return name.with_name(name.name + ending)
