"""Rows are a pure function of seed and place; every id is learnt once an epoch, and damaged shards are refused."""

import json
import threading
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from openeurollm.corpus.document import rows
from openeurollm.errors import BadInput, Failure
from openeurollm.model import data
from openeurollm.model.data import Batch, Rows, Shard, Text, ahead, bytes_of_tokens
from openeurollm.model.mixture import Phase

RANGE = 1_000
CONTEXT = 16


def _shard(documents, name="shard", kind=np.uint32, end=0):
    """A shard of these documents, each closed by the id `end`."""
    ids = np.array([number for document in documents for number in (*document, end)], kind)
    bounds = np.cumsum([0, *(len(document) + 1 for document in documents)]).astype(np.int64)
    return Shard(name, ids, bounds, end)


def _texts(lengths, context=CONTEXT, shards=1):
    """A language for each list of lengths: its documents count upwards in a range of its own, from 1, so that every id
    but the closing ones stands in one place only.
    """
    texts = {}
    for number, (tag, sizes) in enumerate(lengths.items()):
        ends = np.cumsum(sizes) + 1 + number * RANGE
        documents = [list(range(end - size, end)) for size, end in zip(sizes, ends, strict=True)]
        cuts = [len(documents) * part // shards for part in range(shards + 1)]
        found = [_shard(documents[cuts[part] : cuts[part + 1]]) for part in range(shards)]
        texts[tag] = Text(found, context, RANGE * len(lengths) + 1)
    return texts


SIZES = st.lists(st.integers(0, 40), min_size=1, max_size=12)
LENGTHS = st.dictionaries(st.sampled_from(("mt", "ga", "ka", "en")), SIZES, min_size=1)


def _equal(one, other):
    same = np.array_equal(one.inputs, other.inputs) and np.array_equal(one.targets, other.targets)
    if one.pieces is None or other.pieces is None:
        return same and one.pieces is other.pieces
    return same and np.array_equal(one.pieces, other.pieces)


# Rows.


@given(LENGTHS, st.integers(1, 3), st.integers(2, 40), st.integers(0, 2**31 - 1))
def test_every_id_is_a_target_once_an_epoch_and_no_row_crosses_languages(lengths, shards, context, seed):
    texts = _texts(lengths, context, shards)
    epochs = 3
    found = Rows(texts, [Phase({tag: epochs * text.rows for tag, text in texts.items()})], seed)
    batch = found.take(0, found.total)
    learnt = batch.targets[batch.targets >= 0]
    ids = [number for text in texts.values() for shard in text.shards for number in shard.ids.tolist()]
    assert Counter(learnt.tolist()) == {number: epochs * count for number, count in Counter(ids).items()}
    assert found.trained == {tag: epochs * text.tokens for tag, text in texts.items()}
    assert found.filled == pytest.approx(len(learnt) / batch.targets.size)
    for row in batch.targets:
        assert len({(number - 1) // RANGE for number in row[row > 0].tolist()}) <= 1
    assert found.sequences == {tag: epochs * text.rows for tag, text in texts.items()}


@given(LENGTHS, st.integers(2, 40), st.integers(0, 2**31 - 1))
def test_pieces_are_numbered_and_inputs_are_the_targets_shifted_inside_them(lengths, context, seed):
    texts = _texts(lengths, context)
    found = Rows(texts, [Phase({tag: 2 * text.rows for tag, text in texts.items()})], seed)
    for place in range(found.total):
        batch = found.take(place, 1)
        inputs, targets = batch.inputs[0], batch.targets[0]
        padding = targets < 0
        end = context - int(padding.sum())
        assert end > 0 and padding[end:].all() and not inputs[end:].any()
        numbers = np.where(padding, 1, 0) if batch.pieces is None else batch.pieces[0]
        assert numbers[0] == 0 and set(np.diff(numbers)) <= {0, 1}
        assert padding.all() or not set(numbers[:end]) & set(numbers[end:])
        assert batch.pieces is None or numbers[:end].any()
        for number in range(numbers[:end].max() + 1):
            piece = np.flatnonzero(numbers[:end] == number)
            ids, before = targets[piece], inputs[piece]
            assert np.array_equal(before[1:], ids[:-1])
            assert not (ids[:-1] == 0).any()  # a document ends where its piece does
            if ids[0]:  # ids count upwards in a document, so that the one before is known
                assert before[0] in (0, ids[0] - 1)
                starts = {document[0] for document in _documents(texts) if len(document) > 1}
                assert (before[0] == 0) == (ids[0] in starts)


def _documents(texts):
    for text in texts.values():
        for shard in text.shards:
            yield from (shard.ids[start:stop].tolist() for start, stop in pairwise(shard.bounds))


@given(LENGTHS, st.integers(2, 40), st.integers(0, 2**31 - 1), st.sampled_from((1, 2, 4)), st.integers(1, 6))
def test_workers_that_divide_a_step_have_the_rows_of_one(lengths, context, seed, workers, step):
    """Whoever takes which rows, and whatever part of a batch is looked at, the same place is the same row."""
    texts = _texts(lengths, context)
    phases = [Phase({tag: text.rows for tag, text in texts.items()}), Phase({next(iter(texts)): 3})]
    one, others = Rows(texts, phases, seed), [Rows(texts, phases, seed) for _ in range(workers)]
    for first in range(0, one.total, step):
        number = min(step, one.total - first)
        whole = one.take(first, number)
        edges = [number * worker // workers for worker in range(workers + 1)]
        for worker, other in enumerate(others):
            low, high = edges[worker], edges[worker + 1]
            assert _equal(other.take(first + low, high - low), whole.rows(low, high))


@given(LENGTHS, st.integers(2, 40), st.integers(0, 100))
def test_shards_may_be_cut_anywhere(lengths, context, seed):
    phases = [Phase({tag: text.rows for tag, text in _texts(lengths, context).items()})]
    one, other = (Rows(_texts(lengths, context, shards), phases, seed) for shards in (1, 3))
    assert _equal(one.take(0, one.total), other.take(0, other.total))


def test_other_seeds_and_epochs_are_other_rows():
    texts = _texts({"mt": [5, 9, 40, 3, 17, 30] * 5})
    plan = [Phase({"mt": 2 * texts["mt"].rows})]
    one, other = (Rows(texts, plan, seed) for seed in (1, 2))
    assert not _equal(one.take(0, one.total), other.take(0, one.total))
    half = texts["mt"].rows
    assert not _equal(one.take(0, half), one.take(half, half))


def test_an_annealing_goes_on_in_the_text_where_the_plateau_stopped():
    """Forty rows of Maltese are each document once, though they come in two phases."""
    texts = _texts({"mt": [15] * 40, "ga": [15] * 40})
    found = Rows(texts, [Phase({"mt": 10, "ga": 30}), Phase({"mt": 30})], 1)
    batch = found.take(0, found.total)
    maltese = [row.tolist() for row in batch.targets if row[0] <= RANGE]
    assert sorted(maltese) == sorted(_documents({"mt": texts["mt"]}))
    assert found.sequences == {"mt": 40, "ga": 30}


def test_a_document_begins_behind_the_id_that_closes_one():
    text = Text([_shard([[5, 6, 7], [8] * 20], end=3)], CONTEXT, 10)
    found = Rows({"mt": text}, [Phase({"mt": text.rows})], 1).take(0, text.rows)
    assert Counter(found.inputs[found.targets >= 0].tolist()) == {3: 2, 5: 1, 6: 1, 7: 1, 8: 20}


def test_a_row_of_a_batch_says_of_its_pieces_the_same_as_alone():
    texts = _texts({"mt": [15, 7, 7, 15]})
    found = Rows(texts, [Phase({"mt": 3})], 1)
    whole = found.take(0, 3)
    assert whole.pieces is not None
    alone = [whole.rows(row, row + 1).pieces is None for row in range(3)]
    assert sorted(alone) == [False, True, True]
    assert alone == [found.take(row, 1).pieces is None for row in range(3)]


def test_rows_of_real_shards_are_mostly_text(tiny):
    texts = _read(tiny)
    found = Rows(texts, [Phase({tag: text.rows for tag, text in texts.items()})], 1)
    assert found.filled > 0.9
    batch = found.take(0, found.total)
    assert (batch.targets >= 0).mean() == pytest.approx(found.filled)


# Fingerprints.


@given(LENGTHS)
def test_the_fingerprint_is_that_of_the_text(lengths):
    def of(changed, shards=1):
        texts = _texts(changed, shards=shards)
        return Rows(texts, [Phase({tag: text.rows for tag, text in texts.items()})], 1).fingerprint()

    assert of(lengths) == of(lengths)
    assert of(lengths) != of(lengths, 2)
    longer = {tag: [*sizes, 3] for tag, sizes in lengths.items()}
    assert of(longer) != of(lengths)


def test_the_fingerprint_sees_a_changed_id_and_another_order_of_shards():
    first, second, other = _shard([[5, 6, 7]], "a"), _shard([[7, 6, 5]], "b"), _shard([[5, 6, 8]], "a")
    prints = set()
    for shards in ([first, second], [second, first], [other, second]):
        text = Text(shards, CONTEXT, 10)
        prints.add(Rows({"mt": text}, [Phase({"mt": 1})], 1).fingerprint())
    assert len(prints) == 3


# Batches in advance.


def _batch(step):
    return Batch(np.full((1, 2), step), np.zeros((1, 2), np.int64))


@given(st.lists(st.integers(0, 50), max_size=9), st.integers(1, 4))
def test_batches_made_in_advance_are_those_asked_for(steps, depth):
    with ahead(_batch, steps, depth) as batches:
        assert [int(batch.inputs[0, 0]) for batch in batches] == steps


def test_the_next_batches_are_made_while_one_is_in_use():
    made = [threading.Event() for _ in range(5)]

    def make(step):
        made[step].set()
        return _batch(step)

    with ahead(make, range(5), depth=2) as batches:
        next(batches)
        assert made[1].wait(10) and made[2].wait(10)
        assert not made[4].is_set()


def test_an_error_comes_to_who_takes_the_batch():
    def make(step):
        if step == 2:
            raise BadInput("part-0.npy: has id 9")
        return _batch(step)

    with ahead(make, range(5)) as batches:
        assert [int(next(batches).inputs[0, 0]) for _ in range(2)] == [0, 1]
        with pytest.raises(BadInput, match="has id 9"):
            next(batches)


def test_leaving_early_ends_the_thread():
    before = threading.active_count()
    with pytest.raises(KeyError), ahead(lambda step: time.sleep(0.01) or _batch(step), range(1_000)) as batches:
        next(batches)
        raise KeyError
    assert threading.active_count() == before


# Shards.


def _read(tiny, vocabulary=800):
    tags = tuple(tiny.recipe.languages)
    return data.read(tiny.run.folder("tokenizer") / "tokens", tags, tiny.recipe.model.context, vocabulary)


def test_the_tokens_of_a_language_are_the_text_of_its_documents_each_with_its_end(tiny):
    text = _read(tiny)["mt"]
    texts = [row["text"] for part in sorted((tiny.run.folder("corpus") / "mt").glob("part*")) for row in rows(part)]
    assert text.documents == len(texts)
    tokenizer = Tokenizer.from_file(str(tiny.run.folder("tokenizer") / "tokenizer.json"))
    documents = list(_documents({"mt": text}))
    assert all(document[-1] == 0 for document in documents)
    assert [tokenizer.decode(document[:-1]) for document in documents] == texts
    assert tiny.run.need("model").counts["mt"] == {"encoded": len(texts)}


def _write(folder, documents=([5, 6], [7], [8, 9]), name="part-0", kind=np.uint16, **changed):
    """The files of a shard as the tokenizer writes them."""
    shard = _shard(documents, kind=kind)
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / f"{name}.npy", shard.ids)
    np.save(folder / f"{name}.bounds.npy", shard.bounds)
    about = {"documents": len(documents), "tokens": len(shard.ids), "vocabulary": 10, "end": 0}
    (folder / f"{name}.json").write_text(json.dumps(about | changed))


def test_shards_are_read_in_place_in_the_order_of_their_names(tmp_path):
    _write(tmp_path / "mt", ([1],), "part-1", np.uint32)
    _write(tmp_path / "mt", ([2, 3],), "part-0")
    _write(tmp_path / "mt", (), "part-2")
    (tmp_path / "mt" / "part-3.npy").write_bytes(b"not yet whole: its JSON is missing")
    text = data.read(tmp_path, ("mt",), CONTEXT, 10)["mt"]
    assert list(_documents({"mt": text})) == [[2, 3, 0], [1, 0]]
    assert all(isinstance(shard.ids, np.memmap) for shard in text.shards)
    assert (text.documents, text.tokens, text.rows) == (2, 5, 1)


def _truncated(path):
    path.write_bytes(path.read_bytes()[:-3])


HARM = {
    "truncated ids": lambda folder: _truncated(folder / "part-0.npy"),
    "truncated bounds": lambda folder: _truncated(folder / "part-0.bounds.npy"),
    "truncated header": lambda folder: (folder / "part-0.npy").write_bytes(b"\x93NUMPY\x01\x00\xff\xff{"),
    "empty": lambda folder: (folder / "part-0.npy").write_bytes(b""),
    "an archive": lambda folder: np.savez(open(folder / "part-0.npy", "wb"), np.arange(8, dtype=np.uint16)),
    "objects": lambda folder: np.save(folder / "part-0.npy", np.array([Evil()] * 8), allow_pickle=True),
    "a pickle": lambda folder: (folder / "part-0.npy").write_bytes(Evil.pickled()),
    "floats": lambda folder: np.save(folder / "part-0.npy", np.arange(8.0)),
    "signed": lambda folder: np.save(folder / "part-0.npy", np.arange(-4, 4)),
    "two dimensions": lambda folder: np.save(folder / "part-0.npy", np.zeros((8, 1), np.uint16)),
    "a number": lambda folder: np.save(folder / "part-0.npy", np.uint16(8)),
    "too large": lambda folder: _claim(folder / "part-0.npy", (2**62,)),
    "negative": lambda folder: _claim(folder / "part-0.npy", (-8,)),
    "missing": lambda folder: (folder / "part-0.bounds.npy").unlink(),
    "descending bounds": lambda folder: np.save(folder / "part-0.bounds.npy", np.array([0, 5, 3, 8])),
    "a document without an id": lambda folder: np.save(folder / "part-0.bounds.npy", np.array([0, 3, 3, 8])),
    "bounds outside": lambda folder: np.save(folder / "part-0.bounds.npy", np.array([0, 3, 5, 9])),
    "bounds before": lambda folder: np.save(folder / "part-0.bounds.npy", np.array([-1, 3, 5, 8])),
    "no bounds": lambda folder: np.save(folder / "part-0.bounds.npy", np.zeros(0, np.int64)),
    "unsigned bounds": lambda folder: np.save(folder / "part-0.bounds.npy", np.array([0, 3, 5, 8], np.uint64)),
    "fewer documents": lambda folder: np.save(folder / "part-0.bounds.npy", np.array([0, 3, 8])),
    "no object": lambda folder: (folder / "part-0.json").write_text("[1]"),
    "no numbers": lambda folder: (folder / "part-0.json").write_text('{"documents": {}, "tokens": null}'),
    "deep": lambda folder: (folder / "part-0.json").write_text("[" * 100_000),
    "another count": lambda folder: _write(folder, tokens=9),
    "another vocabulary": lambda folder: _write(folder, vocabulary=11),
    "an endless vocabulary": lambda folder: _write(folder, vocabulary=float("inf")),
    "an end that is no id": lambda folder: _write(folder, end=10),
}


class Evil:
    """What says so when it is unpickled."""

    awake = False

    @staticmethod
    def wake():
        Evil.awake = True

    def __reduce__(self):
        return Evil.wake, ()

    @staticmethod
    def pickled():
        import pickle

        return pickle.dumps(Evil())


def _claim(path, shape):
    with open(path, "wb") as file:
        described = {"descr": "<u2", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, described)
        file.write(bytes(16))


@pytest.mark.filterwarnings("ignore:overflow encountered")  # numpy, of a size that no file has
@pytest.mark.parametrize("harm", HARM)
def test_a_damaged_shard_is_bad_input_that_names_the_file_and_is_never_unpickled(tmp_path, harm):
    _write(tmp_path / "mt")
    assert data.read(tmp_path, ("mt",), CONTEXT, 10)["mt"].tokens == 8
    HARM[harm](tmp_path / "mt")
    with pytest.raises(BadInput, match=r"mt/part-0\.(npy|bounds\.npy|json)"):
        data.read(tmp_path, ("mt",), CONTEXT, 10)
    assert not Evil.awake


@given(st.binary(max_size=300), st.sampled_from((".npy", ".bounds.npy", ".json")), st.integers(0, 200))
def test_a_shard_with_any_bytes_in_it_is_read_or_refused(tmp_path_factory, junk, ending, at):
    folder = tmp_path_factory.mktemp("junk")
    _write(folder / "mt")
    path = Path(f"{folder / 'mt' / 'part-0'}{ending}")
    raw = bytearray(path.read_bytes())
    raw[at : at + len(junk)] = junk
    path.write_bytes(raw)
    try:
        text = data.read(folder, ("mt",), CONTEXT, 10)["mt"]
        Rows({"mt": text}, [Phase({"mt": text.rows})], 1).take(0, text.rows)
    except BadInput as error:
        assert "part-0" in str(error)


def test_an_id_beyond_the_vocabulary_is_refused_when_it_is_read(tmp_path):
    _write(tmp_path / "mt", ([5, 6], [7, 10], [8]))
    texts = data.read(tmp_path, ("mt",), CONTEXT, 10)
    found = Rows(texts, [Phase({"mt": 1})], 1)
    with pytest.raises(BadInput, match=r"mt/part-0\.npy: has id 10, beyond the 10"):
        found.take(0, 1)


def test_a_language_without_a_token_and_no_language_are_failures_that_say_so(tmp_path):
    _write(tmp_path / "mt")
    _write(tmp_path / "ga", ())
    for tags in (("mt", "ga"), ("mt", "ka")):
        with pytest.raises(Failure, match=r"no token of (Irish|Georgian)"):
            data.read(tmp_path, tags, CONTEXT, 10)
    with pytest.raises(Failure, match="no text to train on"):
        data.read(tmp_path, (), CONTEXT, 10)


def test_a_language_whose_name_leads_out_of_the_folder_is_refused(tmp_path):
    _write(tmp_path / "away")
    (tmp_path / "here").mkdir()
    with pytest.raises(BadInput, match="leads out"):
        data.read(tmp_path / "here", ("../away",), CONTEXT, 10)


# Bytes.


def test_every_token_stands_for_its_bytes(tiny):
    tokenizer = Tokenizer.from_file(str(tiny.run.folder("tokenizer") / "tokenizer.json"))
    sizes = bytes_of_tokens(tokenizer)
    special = len(tokenizer.get_added_tokens_decoder())
    assert special >= 4
    assert not sizes[:special].any()
    assert sizes[special:].min() == 1
    text = "Il-ħobż, το ψωμί, პური, € 🥖\n"
    assert sizes[tokenizer.encode(text).ids].sum() == len(text.encode())
