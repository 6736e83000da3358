"""A record says what was made from what; it is an in-toto statement that any tool for provenance reads."""

import json
import re

import pytest

from openeurollm.errors import BadInput
from openeurollm.ledger import NAME, Record, code_digest, damage, outputs, read, write_text

SHA = re.compile(r"[0-9a-f]{64}")
TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z")
RECORD = Record(
    stage="corpus",
    parameters={"corpus": {"min_characters": 200}, "languages": ["mt", "sr-Latn"]},
    inputs={"sources/web": "a" * 64},
    outputs={"mt/part-00000.parquet": "b" * 64},
    counts={"mt": {"kept": 8, "too_short": 1}},
    results={"read": {"web": 9}},
    cost={"wall_seconds": 1.5},
    code="c" * 64,
    host={"name": "here"},
    site="laptop",
    started="2026-03-01T08:00:00Z",
    finished="2026-03-01T08:00:02Z",
)


def check_statement(statement):
    """What in-toto's Statement v1 and SLSA's provenance v1 ask for, read off their specifications."""
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    assert statement["subject"]
    for part in statement["subject"]:
        assert part["name"]
        assert SHA.fullmatch(part["digest"]["sha256"])
    definition = statement["predicate"]["buildDefinition"]
    assert definition["buildType"].startswith("urn:")
    assert isinstance(definition["externalParameters"], dict)
    for part in definition["resolvedDependencies"]:
        assert part["uri"]
        assert SHA.fullmatch(part["digest"]["sha256"])
    details = statement["predicate"]["runDetails"]
    assert details["builder"]["id"].startswith("urn:")
    assert all(isinstance(version, str) for version in details["builder"]["version"].values())
    assert TIME.fullmatch(details["metadata"]["startedOn"])
    assert TIME.fullmatch(details["metadata"]["finishedOn"])


def test_a_record_comes_back_as_it_was_written(tmp_path):
    RECORD.write(tmp_path)
    assert read(tmp_path) == RECORD


def test_a_record_is_a_statement_of_provenance(tmp_path):
    RECORD.write(tmp_path)
    check_statement(json.loads((tmp_path / NAME).read_text("utf-8")))


@pytest.mark.parametrize("stage", ["corpus", "tokenizer", "model", "tuning", "evaluation"])
def test_the_records_of_a_real_run_are_statements_of_provenance(tiny, stage):
    statement = json.loads((tiny.run.folder(stage) / NAME).read_text("utf-8"))
    check_statement(statement)
    names = [part["name"] for part in statement["subject"]]
    assert len(set(names)) == len(names)
    assert statement["predicate"]["buildDefinition"]["buildType"] == f"urn:openeurollm:stage:{stage}"


@pytest.mark.parametrize("stage", ["corpus", "tokenizer", "model", "tuning", "evaluation"])
def test_the_record_of_a_real_run_knows_every_file_and_what_went_in(tiny, stage):
    record = tiny.run.need(stage)
    without = ("tuned",) if stage == "model" else ()
    assert dict(record.outputs) == outputs(tiny.run.folder(stage), without)
    assert damage(tiny.run.folder(stage), record) is None
    earlier = [name for name in record.inputs if name.startswith("stage/")]
    assert all(record.inputs[name] == tiny.run.need(name.removeprefix("stage/")).made for name in earlier)
    assert record.cost["wall_seconds"] > 0
    assert record.host["cores"] >= 1


def test_a_folder_without_a_record_has_none(tmp_path):
    assert read(tmp_path) is None
    assert read(tmp_path / "absent") is None


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "{",
        "[]",
        "{}",
        "null",
        '"text"',
        '{"predicate": []}',
        '{"predicate": {"buildDefinition": null}}',
        "[" * 99999,
    ],
    ids=range(9),
)
def test_a_broken_record_is_bad_input_that_names_the_file(tmp_path, raw):
    write_text(tmp_path / NAME, raw)
    with pytest.raises(BadInput, match=r"record\.json"):
        read(tmp_path)


def test_a_record_that_lacks_a_part_is_bad_input(tmp_path):
    RECORD.write(tmp_path)
    statement = json.loads((tmp_path / NAME).read_text("utf-8"))
    for part in ("subject", "predicate", "openeurollm"):
        write_text(tmp_path / NAME, json.dumps({key: value for key, value in statement.items() if key != part}))
        with pytest.raises(BadInput, match="not a record"):
            read(tmp_path)


def _made(folder, **files):
    for name, text in files.items():
        write_text(folder / name, text)
    return Record(stage="corpus", parameters={}, inputs={}, outputs=outputs(folder))


def test_damage_finds_what_is_missing_and_what_has_changed(tmp_path):
    record = _made(tmp_path, a="one", b="two")
    assert damage(tmp_path, record) is None
    write_text(tmp_path / "b", "tWo")
    assert damage(tmp_path, record) == "b has changed"
    (tmp_path / "a").unlink()
    assert damage(tmp_path, record) == "a is missing"
    (tmp_path / "a").mkdir()
    assert damage(tmp_path, record) == "a is missing"


def test_a_record_cannot_make_us_read_outside_its_folder(tmp_path):
    write_text(tmp_path / "secret", "x")
    (tmp_path / "run").mkdir()
    for name in ("../secret", str(tmp_path / "secret")):
        with pytest.raises(BadInput):
            damage(tmp_path / "run", Record(stage="corpus", parameters={}, inputs={}, outputs={name: "0" * 64}))


def test_outputs_leave_out_the_record_and_what_is_named(tmp_path):
    for name in (NAME, "a", "tuned/b", "tunedness", ".work"):
        write_text(tmp_path / name, name)
    assert set(outputs(tmp_path, ("tuned",))) == {"a", "tunedness"}


def test_made_changes_exactly_when_an_output_changes(tmp_path):
    one = _made(tmp_path, a="one", b="two")
    assert _made(tmp_path, a="one", b="two").made == one.made
    assert _made(tmp_path, a="One", b="two").made != one.made
    assert _made(tmp_path, a="one", b="two", c="").made != one.made


def test_made_does_not_change_with_the_seconds_of_a_training(tmp_path):
    lines = {"metrics.jsonl": '{"step": 10, "seconds": 1.5}', "a": "one"}
    one = _made(tmp_path, **lines)
    assert _made(tmp_path, **{**lines, "metrics.jsonl": '{"step": 10, "seconds": 1.6}'}).made == one.made


def test_the_code_of_two_rooms_differs():
    assert SHA.fullmatch(code_digest("ledger"))
    assert len({code_digest("ledger"), code_digest("recipe"), code_digest("ledger", "recipe")}) == 3
