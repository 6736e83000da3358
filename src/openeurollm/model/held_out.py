"""Held-out text, measured while a model is trained."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from openeurollm.model.data import Batch
from openeurollm.model.decoder import Decoder
from openeurollm.model.distributed import World
from openeurollm.model.numerics import device


class HeldOut:
    """Held-out documents of each language as rows of `context` positions, one document after another."""

    def __init__(
        self, texts: Mapping[str, Sequence[NDArray[np.int64]]], context: int, micro: int, sizes: NDArray[np.int64]
    ) -> None:
        """`texts` are the documents' ids, each closed by its end; `sizes` the bytes that each id stands for."""
        batches = [_rows(documents, context) for documents in texts.values() if len(documents)]
        self._tags = [tag for tag, documents in texts.items() if len(documents)]
        self._rows = [len(batch.inputs) for batch in batches]
        self._bytes = [int(sizes[batch.targets[batch.targets >= 0]].sum()) for batch in batches]
        self._inputs = np.concatenate([batch.inputs for batch in batches]) if batches else np.empty((0, context), int)
        self._targets = np.concatenate([batch.targets for batch in batches]) if batches else self._inputs
        self._pieces = np.concatenate([batch.pieces for batch in batches]) if batches else self._inputs
        self._each = max(1, micro // context)

    def measure(self, decoder: Decoder, world: World) -> dict[str, float]:
        """Bits per byte of each language that has held-out text; all processes together."""
        starts = range(0, len(self._inputs), self._each)
        nats = np.zeros(len(self._inputs))
        turns = -(-len(starts) // world.size) * world.size  # all processes measure equally often
        for turn in range(world.rank, turns, world.size):
            start = starts[turn % len(starts)]
            rows = slice(start, start + self._each)
            found = decoder.nats(*(self._on_device(each[rows]) for each in (self._inputs, self._targets, self._pieces)))
            if turn < len(starts):
                nats[rows] = found.double().sum(dim=1).cpu().numpy()
        nats = np.array(world.totals(nats.tolist()))
        edges = np.cumsum([0, *self._rows])
        return {
            tag: round(float(nats[edges[number] : edges[number + 1]].sum()) / math.log(2) / max(1, size), 5)
            for number, (tag, size) in enumerate(zip(self._tags, self._bytes, strict=True))
        }

    @staticmethod
    def _on_device(rows: NDArray[np.int64]) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(rows)).to(device())


def read(
    corpus: Path, tags: Sequence[str], tokenizer: Tokenizer, end: int, size: int
) -> dict[str, list[NDArray[np.int64]]]:
    """The ids of about `size` bytes of each language's held-out documents, cut where that is reached."""
    found: dict[str, list[NDArray[np.int64]]] = {}
    for tag in tags:
        left, found[tag] = size, []
        for text in _texts(corpus / tag / "held-out.parquet"):
            piece = text.encode()[:left].decode("utf-8", "ignore")
            found[tag].append(np.array([*tokenizer.encode(piece, add_special_tokens=False).ids, end], np.int64))
            left -= len(piece.encode())
            if left <= 3:  # less than a character may take
                break
    return found


def _texts(file: Path) -> Sequence[str]:
    if not file.is_file():
        return []
    texts: list[str] = pq.read_table(file, columns=["text"]).column("text").to_pylist()
    return texts


def _rows(documents: Sequence[NDArray[np.int64]], context: int) -> Batch:
    ids = np.concatenate(documents)
    starts = np.cumsum([0, *(len(document) for document in documents[:-1])])
    rows = -(-len(ids) // context)
    inputs, targets = np.zeros(rows * context, np.int64), np.full(rows * context, -100, np.int64)
    pieces = np.full(rows * context, len(documents), np.int32)
    targets[: len(ids)] = ids
    inputs[1 : len(ids)] = ids[:-1]
    inputs[starts] = ids[-1]
    pieces[: len(ids)] = np.repeat(np.arange(len(documents)), [len(document) for document in documents])
    shape = (rows, context)
    return Batch(inputs.reshape(shape), targets.reshape(shape), pieces.reshape(shape))
