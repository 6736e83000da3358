"""Tracing finds where words of a text stand in the training documents, and nothing that does not stand there."""

import re

import pytest

from openeurollm.corpus.document import rows, write
from openeurollm.errors import BadInput
from openeurollm.trace import trace

FOX = "The quick brown fox jumps over the lazy dog and runs into the dark green forest."


def _document(number, text, language="en"):
    told = {"url": f"https://site.example/{number}", "source": "web", "language": language, "licence": "CC0-1.0"}
    return {"id": f"{number}", "text": text, **told}


@pytest.fixture
def corpus(tmp_path):
    write(
        tmp_path / "en" / "part-00000.parquet", [_document(1, FOX), _document(2, "jumps over the lazy dog and sleeps")]
    )
    write(tmp_path / "mt" / "part-00000.parquet", [_document(3, "Il-kelb jiġri fil-foresta s-sewda kollha", "mt")])
    write(tmp_path / "en" / "held-out.parquet", [_document(4, "this sentence was never learnt by anyone")])
    return tmp_path


def test_a_sentence_is_found_with_its_document(corpus):
    (span,) = trace(corpus, f"He said: {FOX} Did he?")
    assert span.text == FOX.rstrip(".")
    assert span.words == 16
    assert span.start == len("He said: ")
    assert [document["id"] for document in span.documents] == ["1"]
    assert span.documents[0] == {key: value for key, value in _document(1, FOX).items() if key != "text"}


def test_case_and_punctuation_do_not_matter(corpus):
    (span,) = trace(corpus, "…the QUICK, brown; fox\njumps — over")
    assert span.words == 6
    assert span.text == "the QUICK, brown; fox\njumps — over"


def test_all_documents_of_the_longest_run_are_told(corpus):
    (span,) = trace(corpus, "it jumps over the lazy dog and hides")
    assert span.text == "jumps over the lazy dog and"
    assert [document["id"] for document in span.documents] == ["1", "2"]


def test_no_more_documents_are_told_than_asked_for(corpus):
    (span,) = trace(corpus, "it jumps over the lazy dog and hides", most_documents=1)
    assert len(span.documents) == 1


def test_the_longer_run_is_told_of_two(corpus):
    (span,) = trace(corpus, "jumps over the lazy dog and runs into")
    assert [document["id"] for document in span.documents] == ["1"]
    assert span.words == 8


def test_several_runs_are_told_from_left_to_right(corpus):
    spans = trace(corpus, "il-kelb jiġri fil-foresta: over the lazy dog and so on")
    assert [span.text for span in spans] == ["il-kelb jiġri fil-foresta", "over the lazy dog and"]
    assert [span.documents[0]["language"] for span in spans] == ["mt", "en"]


def test_how_many_words_count_is_for_the_caller(corpus):
    assert trace(corpus, "a quick brown cat") == []
    assert [span.text for span in trace(corpus, "a quick brown cat", least=2)] == ["quick brown"]


@pytest.mark.parametrize("text", ["", "fox", "...", "words that stand nowhere in there at all"])
def test_what_does_not_stand_there_is_not_found(corpus, text):
    assert trace(corpus, text) == []


def test_held_out_text_is_not_training_text(corpus):
    assert trace(corpus, "this sentence was never learnt by anyone") == []


def test_every_document_of_a_real_corpus_is_found_by_its_own_words(tiny):
    corpus = tiny.run.folder("corpus")
    for tag in tiny.recipe.languages:
        row = next(iter(rows(corpus / tag / "part-00000.parquet")))
        words = re.findall(r"\w+", row["text"])
        (span,) = trace(corpus, " ".join(words[3:23]), least=10)
        assert span.words == 20
        assert row["id"] in [document["id"] for document in span.documents]


def test_a_folder_without_training_text_is_bad_input(tmp_path):
    for place in (tmp_path, tmp_path / "absent"):
        with pytest.raises(BadInput, match="no training documents here"):
            trace(place, FOX)


def test_a_text_that_is_too_long_is_bad_input(corpus):
    with pytest.raises(BadInput, match="over 100,000 characters"):
        trace(corpus, "x" * 100_001)


def test_a_file_that_is_no_parquet_is_bad_input_that_names_it(corpus):
    (corpus / "en" / "part-00001.parquet").write_bytes(b"PAR1 and nothing more")
    with pytest.raises(BadInput, match=r"part-00001\.parquet: not a Parquet file"):
        trace(corpus, FOX)


def test_another_table_is_bad_input_that_names_the_column(corpus):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"id": ["1"], "text": ["x"]}), corpus / "en" / "part-00001.parquet")
    with pytest.raises(BadInput, match="column `url` is missing"):
        trace(corpus, FOX)
