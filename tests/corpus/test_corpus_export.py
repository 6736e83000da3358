"""Export: the training text as HPLT publishes its own; what is written reads back as a source."""

import json

import pytest
import zstandard
from archives import source
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from openeurollm.cli import app
from openeurollm.corpus import export as to_hplt
from openeurollm.corpus import sources
from openeurollm.corpus.document import SCHEMA, rows, write
from openeurollm.engine import Engine, Reporter
from openeurollm.errors import BadInput, Failure
from openeurollm.languages import languages, normal_tag
from openeurollm.recipe import Corpus

ENGINE = Engine(1, Reporter(quiet=True))
ROW = {
    "id": "0" * 32, "text": "Bonġu", "language": "mt", "language_score": 0.98765, "url": "https://x.example/a",
    "fetched": "2026-01-01T00:00:00Z", "source": "web", "licence": "CC0-1.0", "rights": "allowed",
    "rights_signal": "licence mark", "signals": [], "quality": None, "duplicates": 3,
}  # fmt: skip
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


def _read(folder, **other):
    named = source("hplt", folder, **other)
    return [found for shard in sources.shards("test", named) for found in sources.read(shard, named, Corpus())]


def _lines(file):
    with zstandard.open(file, "rt", encoding="utf-8", newline="\n") as lines:
        return [json.loads(line) for line in lines]


def test_a_document_has_the_names_of_hplt(tmp_path):
    write(tmp_path / "corpus" / "mt" / "part-000.parquet", [ROW])
    assert to_hplt.export(tmp_path / "corpus", tmp_path / "out", [], ENGINE) == {"mt": 1}
    assert _lines(tmp_path / "out" / "mlt_Latn.jsonl.zst") == [
        {
            "u": "https://x.example/a", "ts": "2026-01-01T00:00:00Z", "collection": "web", "lang": ["mlt_Latn"],
            "prob": [0.9876], "text": "Bonġu", "id": "0" * 32, "cluster_size": 3, "licence": "CC0-1.0",
            "rights": "allowed", "rights_signal": "licence mark",
        }
    ]  # fmt: skip


@given(st.dictionaries(st.sampled_from(list(languages())), st.lists(ANY_TEXT, min_size=1, max_size=4), min_size=1))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_exported_reads_back_the_same(tmp_path_factory, texts):
    folder = tmp_path_factory.mktemp("export")
    for tag, each in texts.items():
        for number, text in enumerate(each):
            row = {**ROW, "id": f"{tag}{number:030}", "language": tag, "text": text}
            write(folder / "corpus" / tag / f"part-{number:03}.parquet", [row])
    written = to_hplt.export(folder / "corpus", folder / "out", [], ENGINE)
    assert written == {tag: len(each) for tag, each in texts.items()}
    found = _read(folder / "out", licence="per-document")
    back = {tag: [each.text for each in found if normal_tag(each.claim) == tag] for tag in texts}
    assert back == texts
    assert {(each.url, each.fetched, each.licence) for each in found} == {(ROW["url"], ROW["fetched"], "CC0-1.0")}


def test_a_built_corpus_is_exported_whole_by_command(built, tmp_path):
    done = CliRunner().invoke(app, ["corpus", "export", str(built.path), "--out", str(tmp_path / "out"), "--json"])
    assert done.exit_code == 0, done.output
    written = json.loads(done.output)
    found = _read(tmp_path / "out", licence="per-document")
    parts = sorted(built.folder("corpus").glob("*/part-*.parquet"))
    kept = {row["id"]: row["text"] for part in parts for row in rows(part)}
    assert {each.identity: each.text for each in found} == kept
    assert sum(written.values()) == len(kept)
    assert list(written) == [tag for tag in languages() if tag in written]


def test_chosen_languages_only(built, tmp_path):
    out = tmp_path / "new" / "out"
    out.mkdir(parents=True)
    assert set(to_hplt.export(built.folder("corpus"), out, ["mt", "sr-Cyrl"], ENGINE)) == {"mt", "sr-Cyrl"}
    assert sorted(file.name for file in out.iterdir()) == ["mlt_Latn.jsonl.zst", "srp_Cyrl.jsonl.zst"]


@pytest.mark.parametrize(("chosen", "lack"), [(["mt", "ga"], "ga"), (["../mt"], "../mt")])
def test_a_language_that_is_not_there_is_named_and_nothing_is_written(tmp_path, chosen, lack):
    write(tmp_path / "corpus" / "mt" / "part-000.parquet", [ROW], SCHEMA)
    with pytest.raises(BadInput, match=f"{lack}"):
        to_hplt.export(tmp_path / "corpus", tmp_path / "out", chosen, ENGINE)
    assert [path.name for path in tmp_path.iterdir()] == ["corpus"]


def test_nothing_is_written_over_and_nothing_half_written_is_left(tmp_path):
    write(tmp_path / "corpus" / "mt" / "part-000.parquet", [ROW])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(BadInput, match=r"out is not empty; name a new folder$"):
        to_hplt.export(tmp_path / "corpus", tmp_path / "out", [], ENGINE)
    (tmp_path / "corpus" / "mt" / "part-001.parquet").write_bytes(b"PAR1 damaged")
    with pytest.raises(Failure, match=r"1 of 1 shards set aside .* mt: ArrowInvalid"):
        to_hplt.export(tmp_path / "corpus", tmp_path / "new", [], ENGINE)
    assert not (tmp_path / "new").exists()
    (tmp_path / "corpus" / "mt" / "part-001.parquet").unlink()
    assert to_hplt.export(tmp_path / "corpus", tmp_path / "new", [], ENGINE) == {"mt": 1}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus", "new", "out"]
