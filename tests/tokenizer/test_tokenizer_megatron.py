"""Shards exported for Megatron, read back by a reader written from the format's description."""

import json
import struct
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from openeurollm.cli import app
from openeurollm.engine import Engine, Reporter
from openeurollm.errors import BadInput, Failure
from openeurollm.tokenizer import megatron, shards

ENGINE = Engine(1, Reporter(quiet=True))


def _read(prefix):
    """Documents of a pair of files: for each the ids of its sequences."""
    index, data = prefix.with_name(prefix.name + ".idx").read_bytes(), prefix.with_name(prefix.name + ".bin")
    magic, version, code, sequences, documents = struct.unpack_from("<9sQBQQ", index)
    assert (magic, version) == (b"MMIDIDX\0\0", 1)
    kind = {4: "<i4", 8: "<u2"}[code]
    places = np.cumsum([34, 4 * sequences, 8 * sequences, 8 * documents])
    assert places[-1] == len(index)
    lengths = np.frombuffer(index, "<i4", sequences, places[0])
    starts = np.frombuffer(index, "<i8", sequences, places[1])
    begins = np.frombuffer(index, "<i8", documents, places[2])
    raw = data.read_bytes()
    assert len(raw) == lengths.sum() * np.dtype(kind).itemsize
    texts = [np.frombuffer(raw, kind, n, at).tolist() for n, at in zip(lengths, starts, strict=True)]
    assert begins[0] == 0 and begins[-1] == sequences
    return kind, [texts[a:b] for a, b in pairwise(begins)]


def _shard(name, documents, kind=np.uint16, **changed):
    """A shard as `shards` describes it."""
    name.parent.mkdir(parents=True, exist_ok=True)
    ids = np.array([number for document in documents for number in document], kind)
    bounds = np.cumsum([0, *map(len, documents)]).astype(np.int64)
    np.save(f"{name}.npy", ids)
    np.save(f"{name}.bounds.npy", bounds)
    about = {"language": "mt", "documents": len(documents), "tokens": len(ids), "vocabulary": 70_000, "tokenizer": "a"}
    Path(f"{name}.json").write_text(json.dumps(about | changed))


def _export(folder, out):
    done = CliRunner().invoke(
        app, ["tokenizer", "megatron", str(folder), "--out", str(out), "--workers", "1", "--json"]
    )
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_the_shards_of_a_run_are_read_back_document_by_document(small, tmp_path):
    documents = {"mt": ["Il-kelb", "", "ħafna\n"] * 20, "ka": ["ქართული " * 50, "ა"]}
    for tag, texts in documents.items():
        for part in (0, 1):
            file = tmp_path / "corpus" / tag / f"part-{part}.parquet"
            file.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.table({"text": texts[part::2], "language": [tag] * len(texts[part::2])}), file)
    tokens = tmp_path / "run" / "tokenizer" / "tokens"
    shards.encode(small, sorted((tmp_path / "corpus").rglob("*.parquet")), tokens, ENGINE)
    told = _export(tmp_path / "run", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["ka.bin", "ka.idx", "mt.bin", "mt.idx"]
    for each in told:
        tag = each["language"]
        parts = [shards.opened(tokens / tag / f"part-{part}") for part in (0, 1)]
        wanted = [[part.document(number).tolist()] for part in parts for number in range(part.made["documents"])]
        kind, found = _read(tmp_path / "out" / tag)
        assert (kind, found) == ("<u2", wanted)
        assert (each["documents"], each["tokens"]) == (len(found), sum(len(one) for (one,) in found))
        size = sum((tmp_path / "out" / f"{tag}.{ending}").stat().st_size for ending in ("bin", "idx"))
        assert each["bytes"] == size


DOCUMENTS = st.lists(st.lists(st.integers(0, 65_535), min_size=1, max_size=9), max_size=9)


@given(st.lists(DOCUMENTS, min_size=1, max_size=4), st.integers(1, 5), st.booleans())
def test_any_documents_in_any_shards_stay_as_they_are(tmp_path_factory, several, at_once, wide):
    folder = tmp_path_factory.mktemp("any")
    names = tuple(folder / f"part-{number}" for number in range(len(several)))
    for number, documents in enumerate(several):
        _shard(names[number], documents, np.uint32 if wide and number else np.uint16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(megatron, "_AT_ONCE", at_once)
        megatron.write(megatron.Pair(names, folder / "out" / "mt"))
    kind, found = _read(folder / "out" / "mt")
    assert found == [[document] for documents in several for document in documents]
    assert kind == ("<i4" if wide and len(several) > 1 else "<u2")


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda name: np.save(f"{name}.bounds.npy", np.array([0, 4, 2, 5])), "not a whole shard"),
        (lambda name: np.save(f"{name}.bounds.npy", np.array([0, 2, 4, 9])), "not a whole shard"),
        (lambda name: np.save(f"{name}.npy", np.array([{}] * 5), allow_pickle=True), "not a whole shard"),
        (lambda name: np.save(f"{name}.npy", np.arange(5.0)), "not a whole shard"),
        (lambda name: Path(f"{name}.npy").write_bytes(b"PK\x03\x04"), "not a whole shard"),
        (lambda name: Path(f"{name}.json").write_text("{"), "not JSON"),
        (lambda name: _shard(name, [[1], [2, 3], [4, 0]], tokenizer="b"), "another tokenizer"),
        (lambda name: _shard(name, [[1], [2**31]], np.uint32), "int32"),
    ],
)
def test_what_cannot_be_exported_is_refused_and_leaves_no_pair(tmp_path, harm, said):
    for part in (0, 1):
        _shard(tmp_path / "mt" / f"part-{part}", [[1], [2, 3], [4, 0]])
    harm(tmp_path / "mt" / "part-1")
    with pytest.raises((BadInput, Failure), match=said):
        megatron.export(tmp_path, tmp_path / "out", ENGINE)
    assert not list((tmp_path / "out").glob("*"))


def test_a_folder_without_shards_is_bad_input(tmp_path):
    with pytest.raises(BadInput, match="has no shards"):
        megatron.export(tmp_path, tmp_path / "out", ENGINE)


def test_a_link_that_leads_out_of_the_folder_is_not_followed(tmp_path):
    _shard(tmp_path / "away" / "part-0", [[1, 0]])
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "mt").symlink_to(tmp_path / "away")
    with pytest.raises(BadInput, match="leads out"):
        megatron.export(tmp_path / "here", tmp_path / "out", ENGINE)
