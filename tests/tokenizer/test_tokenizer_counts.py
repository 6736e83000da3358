"""Counts are those of the pieces, they add up in any order, and a file that is no table is refused."""

import gzip
import json
from collections import Counter
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from openeurollm.corpus.document import write as write_documents
from openeurollm.engine import Engine, Reporter
from openeurollm.errors import BadInput
from openeurollm.tokenizer.counts import LONGEST_WORD, Counting, count, count_texts, merged, read, write
from openeurollm.tokenizer.pretokenizer import pieces

TEXTS = st.lists(st.text(st.sampled_from("abż '-1\n") | st.characters(exclude_categories=["Cs"])), max_size=8)


def _table(table):
    return dict(zip(table.words.to_pylist(), table.counts.tolist(), strict=True))


def _by_hand(texts):
    return Counter(piece[:LONGEST_WORD] for text in texts for piece in pieces(text.encode()))


@given(TEXTS)
def test_counts_are_those_of_the_pieces(texts):
    table = count_texts("mt", texts)
    assert _table(table) == _by_hand(texts)
    assert table.words.to_pylist() == sorted(table.words.to_pylist())
    assert (table.counted.documents, table.counted.bytes) == (len(texts), sum(len(text.encode()) for text in texts))


def test_many_words_are_all_found():
    texts = [" ".join(f"w{'abcdefghij'[n % 10]}{chr(0x400 + n % 997)}{chr(0x400 + n // 997)}" for n in range(200_000))]
    assert _table(count_texts("mt", texts)) == _by_hand(texts)


@given(st.lists(TEXTS, min_size=1, max_size=4), st.randoms())
def test_shards_add_up_in_any_order(shards, random):
    together = count_texts("mt", [text for shard in shards for text in shard])
    random.shuffle(shards)
    apart = merged([count_texts("mt", shard) for shard in shards])
    assert apart.digest == together.digest
    assert _table(apart) == _table(together)


def test_tables_of_two_languages_or_two_rules_do_not_add_up():
    with pytest.raises(BadInput, match="do not add up"):
        merged([count_texts("mt", ["a"]), count_texts("ga", ["a"])])
    with pytest.raises(BadInput, match="do not add up"):
        merged([count_texts("mt", ["a"]), count_texts("mt", ["a"], "single")])


@given(TEXTS, st.integers(1, 20))
def test_of_many_words_the_most_frequent_stay(texts, most):
    table = count_texts("mt", texts)
    few = table.most_frequent(most)
    assert len(few) <= max(most, 0) or len(few) == len(table) <= most
    left, gone = _table(few), {word: n for word, n in _table(table).items() if word not in _table(few)}
    assert not left or not gone or min(left.values()) > max(gone.values())


def test_scripts_are_told_by_letters():
    assert count_texts("el", ["αβγδ ab 12 .."]).scripts() == {"Grek": 4 / 6, "Latn": 2 / 6}


@pytest.mark.parametrize("workers", [1, 2])
def test_files_are_counted_as_tasks(tmp_path, workers):
    texts = ["is-sena l-oħra", "il-lejl\nkollu"]
    write_documents(tmp_path / "a.parquet", [{"id": str(n), "text": text} for n, text in enumerate(texts)])
    (tmp_path / "b.jsonl.gz").write_bytes(
        gzip.compress("".join(json.dumps({"text": t}) + "\n" for t in texts).encode())
    )
    (tmp_path / "c.txt").write_text("is-sena\nil-lejl", "utf-8")
    tasks = [
        Counting("mt", tmp_path / name, "threes", 10_000, tmp_path / f"{name}.counts")
        for name in ("a.parquet", "b.jsonl.gz", "c.txt")
    ]
    adapter = TypeAdapter(Counting)
    assert [adapter.validate_json(adapter.dump_json(task)) for task in tasks] == tasks
    Engine(workers, Reporter(quiet=True)).map("count", count, tasks)
    assert _table(read(tasks[0].out)) == _table(read(tasks[1].out)) == _by_hand(texts)
    assert _table(read(tasks[2].out)) == _by_hand(["is-sena\n", "il-lejl"])


def test_no_more_text_is_counted_than_asked_for(tmp_path):
    write_documents(tmp_path / "a.parquet", [{"id": str(n), "text": "żża ħobż"} for n in range(100)])
    count(Counting("mt", tmp_path / "a.parquet", "threes", 30, tmp_path / "out"))
    counted = read(tmp_path / "out").counted
    assert (counted.documents, counted.bytes) == (3, 30)


@pytest.mark.parametrize("line", [b"{}", b"[1]", b'{"text": 5}', b"not json", b'{"a":' * 9_000])
def test_lines_that_are_no_documents_are_refused(tmp_path, line):
    (tmp_path / "a.jsonl").write_bytes(line + b"\n")
    with pytest.raises(BadInput, match=r"a\.jsonl: lines must be JSON objects with a `text`"):
        count(Counting("mt", tmp_path / "a.jsonl", "threes", 1_000, tmp_path / "out"))


def _as(path, rows, metadata=None):
    table = pa.table(rows)
    good = pq.read_schema(path).metadata if metadata is None else metadata
    pq.write_table(table.replace_schema_metadata(good), path)


SPOILT = {
    "text": lambda path: path.write_text("no table"),
    "nothing": lambda path: path.write_bytes(b""),
    "half": lambda path: path.write_bytes(path.read_bytes()[:-20]),
    "another table": lambda path: _as(path, {"a": [1]}),
    "without metadata": lambda path: _as(path, {"word": [b"a"], "count": [1]}, {}),
    "words that are text": lambda path: _as(path, {"word": ["a"], "count": [1]}),
    "counts that are no counts": lambda path: _as(path, {"word": [b"a"], "count": [0]}),
    "counts that are fractions": lambda path: _as(path, {"word": [b"a"], "count": [1.5]}),
    "counts that are missing": lambda path: _as(path, {"word": [b"a"], "count": pa.array([None], pa.int64())}),
    "words that are missing": lambda path: _as(path, {"word": pa.array([None], pa.binary()), "count": [1]}),
    "a word too long": lambda path: _as(path, {"word": [b"a" * 9_000], "count": [1]}),
    "a word twice": lambda path: _as(path, {"word": [b"a", b"a"], "count": [1, 1]}),
    "a count beyond all text": lambda path: _as(path, {"word": [b"a"], "count": [1 << 62]}),
    "of no text": lambda path: write(
        path, replace(made := count_texts("mt", ["a"]), counted=replace(made.counted, bytes=0))
    ),
    "metadata of another kind": lambda path: _as(
        path, {"word": [b"a"], "count": [1]}, {b"openeurollm_counts": b'{"language": 5}'}
    ),
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_a_file_that_is_no_table_of_counts_is_refused(tmp_path, spoil):
    path = tmp_path / "mt.counts"
    write(path, count_texts("mt", ["a b"]))
    assert _table(read(path)) == {b"a": 1, b" b": 1}
    spoil(path)
    with pytest.raises(BadInput, match=r"mt\.counts: not a table of counts"):
        read(path)


def test_counts_cut_by_another_rule_are_refused(tmp_path):
    path = tmp_path / "mt.counts"
    write(path, count_texts("mt", ["a b"]))
    metadata = pq.read_schema(path).metadata
    key = b"openeurollm_counts"
    _as(path, {"word": [b"a"], "count": [1]}, {key: json.dumps({**json.loads(metadata[key]), "pattern": "."}).encode()})
    with pytest.raises(BadInput, match="counted with another rule"):
        read(path)
