"""Data sets as they are published: HPLT, FineWeb-2, FinePDFs, Common Corpus; and Parquet from strangers."""

import contextlib
import datetime
import json
import random
import subprocess
import sys
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from archives import PROSE, source
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openeurollm.corpus import sources
from openeurollm.languages import normal_tag
from openeurollm.recipe import Corpus

HPLT2 = {
    "f": "./path/to/80716.warc.gz", "o": 578687, "s": 9202, "rs": 102649, "u": "https://www.example.fi/a",
    "c": "text/html", "ts": "2021-05-09T10:26:25Z", "collection": "wide17", "lang": ["fin_Latn", "ekk_Latn"],
    "prob": [0.97, 0.02], "text": "yksi\nkaksi", "seg_langs": ["fin_Latn", "fin_Latn"], "robotstxt": "allowed",
    "id": "b8ff3519ba78334d6f63ed20239c42ce", "filter": "keep", "pii": [[2, 3]], "doc_scores": [7.7, 9.7],
}  # fmt: skip
HPLT3 = {
    "f": "s3://crawl/x.warc.gz", "o": 1, "s": 2, "rs": 3, "u": "https://www.example.rs/b", "c": "text/html",
    "ts": "2023-10-13T03:53:51Z", "de": "utf-8", "crawl_id": "CC-MAIN-2023-40", "lang": ["srp_Cyrl"], "prob": [1.0],
    "text": "један\nдва", "xml": "<doc/>", "html_lang": ["sr"], "cluster_size": 4, "seg_langs": ["srp_Cyrl"],
    "id": "00ff3519ba78334d6f63ed20239c42ce", "filter": "keep", "pii": [], "doc_scores": [9.1],
    "web-register": {"NA": 0.9},
}  # fmt: skip
HPLT4 = {
    "f": "x.warc.gz", "o": 1, "s": 2, "rs": 3, "u": "https://www.example.mt/c", "c": "text/html",
    "ts": "2024-01-02T03:04:05Z", "de": "utf-8", "id": "11ff3519ba78334d6f63ed20239c42ce", "allowed": True,
    "openlid-v2": {"lang": ["eng_Latn"], "prob": [0.6]}, "openlid-v3": {"lang": ["mlt_Latn"], "prob": [0.99]},
    "glotlid-v3": {"lang": ["mlt_Latn"], "prob": [0.9]}, "htmllang": ["mt"], "text": "wieħed\ntnejn", "md": "# wieħed",
}  # fmt: skip
FINEWEB = {
    "text": "tekst", "id": "<urn:uuid:1d0e>", "dump": "CC-MAIN-2024-10", "url": "https://www.example.no/d",
    "date": "2024-02-27T12:00:00Z", "file_path": "s3://x", "language": "nob", "language_score": 0.99,
    "language_script": "Latn", "minhash_cluster_size": 3, "top_langs": "{}",
}  # fmt: skip
FINEPDFS = {
    "text": "text", "id": "<urn:uuid:2e1f>", "dump": "CC-MAIN-2024-10", "url": "https://www.example.gr/e.pdf",
    "date": "2024-02-27T12:00:00Z", "file_path": "s3://x", "offset": 7, "token_count": 3, "language": "ell_Grek",
    "page_average_lid": "ell_Grek", "page_average_lid_score": 0.9, "full_doc_lid": "ell_Grek",
    "full_doc_lid_score": 0.99, "is_truncated": False, "extractor": "docling", "page_ends": [4],
}  # fmt: skip
COMMON = {
    "identifier": "ark:/12148/bpt6k1234", "collection": "French-PD-Books", "open_type": "Open Culture",
    "license": "Public Domain", "date": "1887", "title": "Un livre", "creator": "Une autrice", "language": "French",
    "language_type": "Written", "word_count": 2, "token_count": 3, "text": "du texte",
}  # fmt: skip


def _read(named, limits=None):
    limits = limits or Corpus()
    return [found for shard in sources.shards("test", named) for found in sources.read(shard, named, limits)]


def _problems(path, **limits):
    return Counter(found.problem or "read" for found in _read(source("parquet", path), Corpus(**limits)))


def _shown(found):
    return found.identity, found.url, found.fetched, normal_tag(found.claim), found.licence, found.text


# Data sets.


def test_three_versions_of_hplt(tmp_path):
    lines = "".join(json.dumps(each) + "\n" for each in (HPLT2, HPLT3, HPLT4)).encode()
    (tmp_path / "x.jsonl.zst").write_bytes(zstandard.ZstdCompressor().compress(lines))
    assert [_shown(found) for found in _read(source("hplt", tmp_path))] == [
        (each["id"], each["u"], each["ts"], tag, "CC0-1.0", each["text"])
        for each, tag in ((HPLT2, "fi"), (HPLT3, "sr-Cyrl"), (HPLT4, "mt"))
    ]


@pytest.mark.parametrize(
    ("field", "rights"),
    [
        ({"robotstxt": "allowed"}, "unknown"), ({"robotstxt": "disallowed"}, "reserved"),
        ({"robots": "allow"}, "unknown"), ({"robots": "disallow"}, "reserved"),
        ({"allowed": True}, "unknown"), ({"allowed": False}, "reserved"), ({}, "unknown"),
    ],
)  # fmt: skip
def test_what_hplt_found_in_robots_txt_is_kept(tmp_path, field, rights):
    (tmp_path / "x.jsonl").write_text(json.dumps({"text": "t", **field}))
    pq.write_table(pa.Table.from_pylist([{"text": "t", **field}]), tmp_path / "x.parquet")
    for kind in ("hplt", "parquet"):
        (found,) = _read(source(kind, tmp_path))
        assert (found.rights, bool(found.rights_signal)) == (rights, rights == "reserved")


def test_fineweb_lies_in_a_tree_of_languages(tmp_path):
    for language, script in (("nob", "Latn"), ("srp", "Cyrl"), ("srp", "Latn"), ("mlt", "Latn")):
        folder = tmp_path / "data" / f"{language}_{script}" / "train"
        folder.mkdir(parents=True)
        fields = {**FINEWEB, "language": language, "language_script": script, "id": f"<urn:uuid:{language}{script}>"}
        pq.write_table(pa.Table.from_pylist([fields]), folder / "000_00000.parquet")
    found = _read(source("parquet", tmp_path))
    assert [normal_tag(each.claim) for each in found] == ["mt", "nb", "sr-Cyrl", "sr-Latn"]
    assert _shown(found[1])[1:3] == (FINEWEB["url"], FINEWEB["date"])
    assert len({each.id for each in found}) == 4


def test_finepdfs_and_common_corpus(tmp_path):
    for name, fields in (("a", FINEPDFS), ("b", COMMON)):
        pq.write_table(pa.Table.from_pylist([fields]), tmp_path / f"{name}.parquet")
    pdfs, common = map(_shown, _read(source("parquet", tmp_path, licence="per-document")))
    assert pdfs == (FINEPDFS["id"], FINEPDFS["url"], FINEPDFS["date"], "el", "unknown", "text")
    assert common == (COMMON["identifier"], "", "1887", "fr", "Public Domain", "du texte")


def test_records_of_one_name_in_two_folders_are_two(tmp_path):
    for folder in ("mlt_Latn", "nob_Latn"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "1.jsonl").write_text(json.dumps({"id": 0, "text": "t"}) + '\n{"text": "u"}\n')
    found = _read(source("jsonl", tmp_path))
    assert [each.identity for each in found] == [
        "mlt_Latn/1.jsonl 0", "mlt_Latn/1.jsonl 2", "nob_Latn/1.jsonl 0", "nob_Latn/1.jsonl 2",
    ]  # fmt: skip


def test_columns_may_hold_numbers_dates_categories_and_lists(tmp_path):
    columns = {
        "id": [12, 13],
        "date": pa.array([datetime.date(2024, 5, 31), None]),
        "language": pa.array(["mt", "mt"]).dictionary_encode(),
        "text": pa.array(["one", "two"], pa.string_view()),
    }
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    pq.write_table(
        pa.table({"text": pa.array(["a"], pa.large_string()), "lang": [["mlt_Latn", "x"]]}), tmp_path / "b.parquet"
    )
    pq.write_table(pa.table({"text": pa.array([b"a"]), "lang": [[{"deep": 1}]]}), tmp_path / "c.parquet")
    found = _read(source("parquet", tmp_path))
    assert [(each.identity, each.fetched, each.claim, each.text) for each in found] == [
        ("a.parquet 12", "2024-05-31", "mt", "one"),
        ("a.parquet 13", "", "mt", "two"),
        ("b.parquet 1", "", "mlt_Latn", "a"),
        ("c.parquet 1", "", None, "a"),
    ]


# Parquet from strangers.


def test_text_that_cannot_be_taken_is_counted_and_costs_no_other(tmp_path):
    texts = [b"good", b"caf\xe9", None, b"x" * 4_000_001, "б".encode() * 1_999_999, b"good"]
    column = pa.array(texts, pa.binary())
    as_text = pa.Array.from_buffers(pa.string(), len(column), column.buffers())  # nothing checks that it is UTF-8
    pq.write_table(pa.table({"text": as_text, "id": list("abcdef")}), tmp_path / "x.parquet")
    found = _read(source("parquet", tmp_path))
    assert [each.problem for each in found] == ["", "invalid_utf8", "invalid_record", "too_long", "", ""]
    assert found[3].identity == "d"


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.string()), pa.struct([("a", pa.string())]), pa.map_(pa.string(), pa.string())]
)
def test_text_that_is_no_text_is_an_invalid_record(tmp_path, kind):
    pq.write_table(pa.table({"text": pa.nulls(3, kind)}), tmp_path / "x.parquet")
    assert _problems(tmp_path) == {"invalid_record": 1}


def test_two_columns_of_one_name_are_an_invalid_record(tmp_path):
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], ["text", "text"])
    pq.write_table(table, tmp_path / "x.parquet")
    assert _problems(tmp_path) == {"invalid_record": 1}


def test_pages_that_unpack_too_far_are_not_unpacked(tmp_path):
    pq.write_table(pa.table({"text": ["a" * 1_000_000 + str(n) for n in range(200)]}), tmp_path / "x.parquet",
                   compression="zstd", use_dictionary=False)  # fmt: skip
    assert (tmp_path / "x.parquet").stat().st_size < 100_000
    assert _problems(tmp_path) == {"unpacks_too_far": 1}


def test_one_value_in_a_million_rows_is_given_up(tmp_path):
    """A dictionary of one value of 100 kB, to which 100,000 rows refer: 10 GB in some hundred bytes."""
    one = pa.DictionaryArray.from_arrays(pa.array([0] * 100_000, pa.int32()), pa.array(["a" * 100_000]))
    pq.write_table(pa.table({"text": one}), tmp_path / "x.parquet", compression="zstd", store_schema=False)
    assert (tmp_path / "x.parquet").stat().st_size < 5_000
    found = _problems(tmp_path)
    assert found["unpacks_too_far"] == 1
    assert 600 < found["read"] < 700


def test_a_million_rows_of_nothing_come_to_an_end(tmp_path):
    pq.write_table(pa.table({"text": pa.nulls(20_000_000, pa.string())}), tmp_path / "x.parquet", compression="zstd")
    found = _problems(tmp_path)
    assert found["too_large"] + found["unpacks_too_far"] == 1
    assert found["invalid_record"] < 2_000_000


def test_a_thousand_columns_do_no_harm(tmp_path):
    pq.write_table(pa.table({"text": ["t"], **{f"c{n}": [n] for n in range(5_000)}}), tmp_path / "x.parquet")
    assert _problems(tmp_path) == {"read": 1}


def test_a_footer_that_says_it_is_huge_is_damage(tmp_path):
    pq.write_table(pa.table({"text": ["t"]}), tmp_path / "x.parquet")
    data = (tmp_path / "x.parquet").read_bytes()
    for size in (0x7FFFFFFF, 0xFFFFFFFF, 100_000_000, 0):
        (tmp_path / "x.parquet").write_bytes(data[:-8] + size.to_bytes(4, "little") + b"PAR1")
        assert _problems(tmp_path) == {"corrupt": 1}


READ = """
import resource, sys
from pathlib import Path
from openeurollm.corpus import sources
from openeurollm.recipe import Corpus, Source
terms = dict(licence="x", publisher="x", date="2026", languages="unknown", obtained="x")
source = Source(kind="parquet", path=Path(sys.argv[1]), **terms)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = [each.problem for shard in sources.shards("x", source) for each in sources.read(shard, source, Corpus())]
print(found[-1], (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_a_page_that_says_less_in_the_footer_than_it_is_stays_packed(tmp_path):
    """Half a gigabyte in some kilobytes, under a footer that says two kilobytes."""
    column = pa.array(["a" * 50_000_000] * 10)
    pq.write_table(pa.table({"text": column}), tmp_path / "x.parquet", compression="zstd", use_dictionary=False)
    data = (tmp_path / "x.parquet").read_bytes()
    told = pq.read_metadata(tmp_path / "x.parquet").row_group(0).column(0).total_uncompressed_size
    said = _number(told)
    assert data[-2_000:].count(said) >= 1, "the footer says it"
    less = _number(2_000, len(said))
    (tmp_path / "x.parquet").write_bytes(data[:-2_000] + data[-2_000:].replace(said, less))
    assert pq.read_metadata(tmp_path / "x.parquet").row_group(0).column(0).total_uncompressed_size == 2_000
    done = subprocess.run([sys.executable, "-c", READ, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    problem, megabytes = done.stdout.split()
    assert problem in ("unpacks_too_far", "corrupt")
    assert int(megabytes) < 200


def _number(value, length=1):
    """A whole number as Thrift has it, in at least so many bytes."""
    value, out = 2 * value, bytearray()
    while value > 127 or len(out) < length - 1:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


SMALL = pa.table({
    "text": [f"{PROSE[n:]} {n}" for n in range(40)], "id": [str(n) for n in range(40)], "lang": [["mlt_Latn"]] * 40,
    "date": pa.array([0] * 40, pa.timestamp("s")), "license": pa.array(["a", "b"] * 20).dictionary_encode(),
})  # fmt: skip


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    file = tmp_path_factory.mktemp("parquet") / "x.parquet"
    pq.write_table(SMALL, file, compression="zstd", row_group_size=15)
    return file.read_bytes()


def test_a_file_cut_anywhere_is_damage(small, tmp_path):
    for cut in range(0, len(small), 7):
        (tmp_path / "x.parquet").write_bytes(small[:cut])
        assert _problems(tmp_path) == {"corrupt": 1}, cut


@pytest.mark.parametrize("columns", [["text"], ["text", "lang"]])
def test_any_byte_may_be_wrong(tmp_path, columns):
    """Arrow ends the process at some such footers when it is asked for them, and at words outside a dictionary."""
    pq.write_table(SMALL.select(columns).slice(0, 3), tmp_path / "x.parquet", compression="none")
    data = (tmp_path / "x.parquet").read_bytes()
    for at in range(4, len(data) - 8):
        (tmp_path / "x.parquet").write_bytes(data[:at] + bytes([(data[at] + 4) % 256]) + data[at + 1 :])
        with contextlib.suppress(sources.BadInput):
            assert len(_read(source("parquet", tmp_path))) <= 4


def test_a_list_that_says_it_holds_other_things_than_it_does_is_damage(tmp_path):
    """Arrow does not look at what a list in the footer says of itself: what it hides it would still read."""
    pq.write_table(pa.table({"text": ["t"]}), tmp_path / "x.parquet")
    data = (tmp_path / "x.parquet").read_bytes()
    path = data.rindex(b"\x19\x18\x04text")  # path_in_schema: a list of one item, which is bytes
    (tmp_path / "x.parquet").write_bytes(data[:path] + b"\x19\x17" + data[path + 2 :])  # "a number of eight bytes"
    assert pq.read_table(tmp_path / "x.parquet").num_rows == 1
    assert _problems(tmp_path) == {"corrupt": 1}


@given(st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=6)), min_size=1, max_size=4))
@settings(
    max_examples=400, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_change_is_counted_or_harmless(small, tmp_path, changes):
    data = small
    for share, junk in changes:
        at = int(share * len(data))
        data = data[:at] + junk + data[at + len(junk) :]
    (tmp_path / "x.parquet").write_bytes(data)
    try:
        found = _read(source("parquet", tmp_path))
    except sources.BadInput as error:
        assert "has no column `text`" in str(error)
        return
    problems = {each.problem for each in found}
    assert problems <= {"", "corrupt", "unpacks_too_far", "too_large", "too_long", "invalid_record", "invalid_utf8"}
    assert len(found) >= 40 or problems - {""}


def test_large_files_of_unlike_texts_are_read_whole(tmp_path):
    texts = [random.Random(n).randbytes(2_000).hex() for n in range(3_000)]
    pq.write_table(pa.table({"text": texts}), tmp_path / "x.parquet", row_group_size=1_000)
    assert [each.text for each in _read(source("parquet", tmp_path))] == texts
