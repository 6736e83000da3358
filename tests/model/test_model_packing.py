"""Documents in rows: nothing is lost, nothing comes twice, and little room is wasted."""

import subprocess
import sys
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openeurollm.model import packing
from openeurollm.model.packing import Packing

KEY = (1, 2)
LENGTHS = st.lists(st.integers(1, 90), min_size=1, max_size=40)


def _packing(lengths, context):
    sizes = np.array(lengths, np.int64)
    return Packing(lambda first, last: sizes[first:last], len(sizes), context)


def _rows(packed, epoch, key=KEY):
    return [packed.row(rank, key) for rank in range(epoch * packed.rows, (epoch + 1) * packed.rows)]


@contextmanager
def _in_blocks(pieces):
    """About so many pieces a block, that a few documents make several."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "_PIECES", pieces)
        patch.setattr(packing, "_WINDOW", 3 * pieces)
        yield


@given(LENGTHS, st.integers(1, 64), st.integers(1, 20))
def test_every_id_comes_once_an_epoch_and_no_row_is_too_long(lengths, context, pieces):
    with _in_blocks(pieces):
        packed = _packing(lengths, context)
        assert packed.tokens == sum(lengths)
        for epoch in range(3):
            rows = _rows(packed, epoch)
            assert all(0 < sum(piece.length for piece in row) <= context for row in rows)
            seen = [np.zeros(length, int) for length in lengths]
            for piece in (piece for row in rows for piece in row):
                seen[piece.document][piece.start : piece.start + piece.length] += 1
            assert all((each == 1).all() for each in seen)


@given(LENGTHS, st.integers(1, 64))
def test_a_document_is_cut_into_whole_rows_and_one_remainder(lengths, context):
    """In every second epoch the remainder comes first, so that the cuts lie elsewhere."""
    packed = _packing(lengths, context)
    for epoch in range(2):
        pieces = [piece for row in _rows(packed, epoch) for piece in row]
        for document, length in enumerate(lengths):
            found = sorted((piece.start, piece.length) for piece in pieces if piece.document == document)
            sizes = [context] * (length // context) + [length % context] * (length % context > 0)
            wanted = sizes if epoch == 0 else sizes[::-1]
            if epoch and length % context == 0:
                wanted = sizes
            assert [size for _, size in found] == wanted


def _by_hand(sizes, context):
    """Number of rows of best-fit decreasing, as the textbook has it."""
    rooms = []
    for size in sorted(sizes, reverse=True):
        fitting = [number for number, room in enumerate(rooms) if room >= size]
        if fitting:
            rooms[min(fitting, key=lambda number: rooms[number])] -= size
        else:
            rooms.append(context - size)
    return rooms


@given(st.lists(st.integers(1, 12), min_size=1, max_size=40))
def test_it_is_best_fit(sizes):
    row = np.empty(len(sizes), np.int32)
    rows = packing._fit(np.sort(np.array(sizes, np.int32))[::-1], 12, row)
    filled = np.bincount(row, np.sort(sizes)[::-1], minlength=rows)
    assert sorted(12 - filled) == sorted(_by_hand(sizes, 12))


def test_rows_are_as_full_as_real_lengths_allow():
    """Lengths spread as those of web pages are: under a half percent of the positions is padding."""
    lengths = np.maximum(1, np.random.default_rng(1).lognormal(6.3, 1.1, 20_000)).astype(np.int64)
    for context in (256, 2_048):
        packed = _packing(lengths, context)
        assert packed.tokens / (packed.rows * context) > 0.995


def test_epochs_differ_in_their_order_and_in_what_comes_together():
    lengths = np.random.default_rng(2).integers(1, 60, 300).tolist()
    packed = _packing(lengths, 64)
    epochs = [_rows(packed, epoch) for epoch in range(4)]
    together = [{tuple(sorted(row)) for row in rows} for rows in epochs]
    assert all(len(one & other) < packed.rows / 2 for one, other in pairwise(together))
    firsts = [rows[0][0].document for rows in epochs]
    assert len(set(firsts)) > 1
    assert _rows(packed, 0, (1, 3)) != epochs[0]


@given(LENGTHS, st.integers(1, 64), st.integers(1, 20), st.randoms())
def test_a_row_is_a_function_of_key_and_rank(lengths, context, pieces, random):
    with _in_blocks(pieces):
        forward = _packing(lengths, context)
        rows = [forward.row(rank, KEY) for rank in range(2 * forward.rows)]
        again, ranks = _packing(lengths, context), list(range(2 * forward.rows))
        random.shuffle(ranks)
        assert all(again.row(rank, KEY) == rows[rank] for rank in ranks)
        before = [sum(piece.length for row in rows[:rank] for piece in row) for rank in ranks]
        assert [again.before(rank, KEY) for rank in ranks] == before


def test_rows_of_a_block_are_near_one_another_and_its_memory_does_not_grow_with_the_corpus():
    """Three million documents are counted with a few megabytes more than a hundred thousand take."""
    code = (
        "import resource, sys, numpy as np\n"
        "from openeurollm.model.packing import Packing\n"
        "def lengths(first, last): return 1 + np.arange(first, last) * 7919 % 3000\n"
        "def most(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "Packing(lengths, 100_000, 256).row(0, (1,))\n"
        "before = most()\n"
        "packed = Packing(lengths, 3_000_000, 256)\n"
        "rows = [packed.row(rank, (1,)) for rank in range(1_000)]\n"
        "documents = [piece.document for row in rows for piece in row]\n"
        "print(most() - before, max(documents) - min(documents))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    more, spread = map(int, done.stdout.split())
    assert more * (1 if sys.platform == "darwin" else 1024) < 20_000_000
    assert spread < packing._PIECES
