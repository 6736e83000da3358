"""Documents: clean text, stable names, files that are whole or absent."""

import unicodedata

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openeurollm.corpus.document import SCHEMA, Found, clean, rows, write


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("e\u0301", "é"),
        ("one\r\ntwo\rthree", "one\ntwo\nthree"),
        ("  one  \n\n\n\n two\t\n", "one\n\n two"),
        ("a\0b\x1b[1m\x7f\ufffe\ud800c", "ab[1mc"),
        ("\n \n", ""),
    ],
)
def test_text_is_composed_and_freed_of_what_no_reader_sees(text, cleaned):
    assert clean(text) == cleaned


@given(st.text(st.characters(), max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_text_can_be_cleaned_written_and_is_clean_then(text):
    cleaned = clean(text)
    assert unicodedata.is_normalized("NFC", cleaned)
    assert cleaned.encode("utf-8") is not None
    assert clean(cleaned) == cleaned
    assert "\n\n\n" not in cleaned


def test_a_document_is_named_by_what_it_is_not_by_where_it_stands():
    assert Found("web", "https://x.example 2026").id == Found("web", "https://x.example 2026", text="other").id
    assert Found("web", "a").id != Found("text", "a").id
    assert len(Found("web", "\ud800").id) == 32
    assert Found("books", "novel#3").work == Found("books", "novel#4").work == "novel"


ROW = dict.fromkeys(SCHEMA.names)


def test_documents_come_back_in_their_order(tmp_path):
    file = tmp_path / "mt" / "part.parquet"
    write(file, ({**ROW, "id": str(number), "text": "ħ" * (number % 7)} for number in range(2_500)))
    assert [row["id"] for row in rows(file)] == [str(number) for number in range(2_500)]
    assert next(rows(file, ["text"])) == {"text": ""}
    assert pq.ParquetFile(file).metadata.row_group(0).column(1).compression == "ZSTD"


def test_an_error_while_writing_leaves_no_file(tmp_path):
    def broken():
        yield from ({**ROW, "id": str(number)} for number in range(1_500))
        raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        write(tmp_path / "part.parquet", broken())
    assert list(tmp_path.iterdir()) == []


def test_the_same_documents_are_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        write(tmp_path / name, ({**ROW, "id": str(number)} for number in range(100)))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
