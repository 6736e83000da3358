"""Verifying a release: one that was not touched holds, and whatever a hostile hand does is found."""

import json
import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

from openeurollm.errors import BadInput, Failure
from openeurollm.ledger import Record, digest, outputs
from openeurollm.release import seal, verify


def change(path: Path, old: str, new: str) -> None:
    """Replace text that must be there."""
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), "utf-8")


def values(path: Path) -> Any:
    """A JSON file's value."""
    return json.loads(path.read_text("utf-8"))


def failed(folder: Path, logits: bool = False) -> dict[str, str]:
    """The checks that do not hold, with their details."""
    return {check["check"]: check["detail"] for check in verify(folder, logits) if not check["ok"]}


def test_an_untouched_release_holds(release: Path) -> None:
    checks = verify(release, logits=True)
    assert [check["check"] for check in checks if not check["ok"]] == []
    assert len(checks) == 10
    assert all(set(check) == {"check", "ok", "detail"} for check in checks)


def test_what_the_conductor_and_the_hub_put_beside_it_is_no_harm(release: Path) -> None:
    Record("release", {}, {}, outputs(release)).write(release)
    (release / ".gitattributes").write_text("*.safetensors filter=lfs\n")
    (release / ".git").mkdir()
    (release / ".git" / "config").write_text("")
    assert failed(release) == {}


def test_a_record_of_another_release_is_found(release: Path) -> None:
    Record("release", {}, {}, {**outputs(release), "README.md": "0" * 64}).write(release)
    assert "speaks of other files" in failed(release)["records"]


def _flip(release: Path) -> None:
    path = release / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def _lose(release: Path) -> None:
    (release / "config.json").unlink()


def _add(release: Path) -> None:
    (release / "records" / "extra.json").write_text("{}")


def _hide(release: Path) -> None:
    (release / ".hidden").write_text("x")


def _other_sums(release: Path) -> None:
    change(release / "SHA256SUMS", "README.md", "README.txt")


def _no_sums(release: Path) -> None:
    (release / "SHA256SUMS").unlink()


@pytest.mark.parametrize(
    ("harm", "check", "words"),
    [
        (_flip, "files", "model.safetensors is not what was sealed"),
        (_lose, "files", "config.json is missing"),
        (_add, "nothing else", "'records/extra.json' is not in the manifest"),
        (_hide, "nothing else", "'.hidden' is not in the manifest"),
        (_other_sums, "sums", "does not agree"),
        (_no_sums, "sums", "SHA256SUMS is missing"),
    ],
)
def test_damage_is_found(release: Path, harm: Callable[[Path], None], check: str, words: str) -> None:
    harm(release)
    assert words in failed(release)[check]


@pytest.mark.parametrize("suffix", [".bin", ".pt", ".pth", ".pkl", ".ckpt", ".PT", ".py"])
def test_files_that_run_code_are_found_even_when_sealed(release: Path, suffix: str) -> None:
    (release / f"extra{suffix}").write_bytes(b"x")
    seal(release, "tiny")
    assert "may run code" in failed(release)["weights"]


def test_a_pickle_under_another_name_is_found(release: Path) -> None:
    (release / "vocab.txt").write_bytes(pickle.dumps([1]))
    seal(release, "tiny")
    assert "a pickle or an archive" in failed(release)["weights"]


def test_a_pickle_named_safetensors_is_found(release: Path) -> None:
    (release / "model.safetensors").write_bytes(pickle.dumps([1] * 99))
    seal(release, "tiny")
    assert "is not safetensors" in failed(release)["weights"]


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a/../../b", "a\\b", ".hidden", "", "a//b", "x\x1b[2J"])
def test_names_that_lead_out_of_the_folder_are_refused(release: Path, name: str) -> None:
    manifest = values(release / "manifest.json")
    manifest["files"][name] = "0" * 64
    (release / "manifest.json").write_text(json.dumps(manifest))
    found = failed(release)
    assert "is not a plain name" in found["manifest"]
    assert "\x1b" not in str(found)
    assert "files" in found


def test_links_are_refused(release: Path, tmp_path: Path) -> None:
    outside = tmp_path / "config.json"
    (release / "config.json").rename(outside)
    (release / "config.json").symlink_to(outside)
    found = failed(release)
    assert "'config.json' is a link" in found["files"]
    assert "'config.json' is a link" in found["card"]


def test_a_link_to_a_folder_is_not_followed(release: Path, tmp_path: Path) -> None:
    (release / "records").rename(tmp_path / "records")
    (release / "records").symlink_to(tmp_path / "records")
    assert "'records' is a link" in failed(release)["files"]


@pytest.mark.timeout(20)
def test_a_pipe_does_not_hang_it(release: Path) -> None:
    (release / "README.md").unlink()
    os.mkfifo(release / "README.md")
    assert "neither a file nor a folder" in failed(release)["files"]


@pytest.mark.parametrize(
    "text", ["", "[]", '{"files": {}}', '{"files": {"a": 1}}', "[" * 200_000, '{"files": "' + "x" * 10_000_000 + '"}']
)
def test_a_manifest_that_is_none_is_refused(release: Path, text: str) -> None:
    (release / "manifest.json").write_text(text)
    assert failed(release)["manifest"].startswith("manifest.json: ")


def test_a_typed_number_in_the_card_is_found_even_when_sealed(release: Path) -> None:
    change(release / "README.md", "2.345", "1.345")
    seal(release, "tiny")
    found = failed(release)
    assert set(found) == {"card"}
    assert "'| Maltese" in found["card"]


def test_a_line_taken_from_the_card_is_found(release: Path) -> None:
    lines = (release / "README.md").read_text("utf-8").splitlines(keepends=True)
    (release / "README.md").write_text("".join(lines[:-1]), "utf-8")
    seal(release, "tiny")
    assert set(failed(release)) == {"card"}


def test_an_evaluation_that_its_record_does_not_know_is_found(release: Path) -> None:
    change(release / "evaluation.json", "2.345", "1.345")
    seal(release, "tiny")
    assert "evaluation.json is not the results.json" in failed(release)["records"]


def test_a_record_of_another_run_is_found(release: Path) -> None:
    statement = values(release / "records" / "corpus.json")
    statement["subject"][0]["digest"]["sha256"] = "0" * 64
    (release / "records" / "corpus.json").write_text(json.dumps(statement))
    seal(release, "tiny")
    assert "speaks of another corpus" in failed(release)["records"]


def test_weights_that_the_record_does_not_know_are_found(release: Path) -> None:
    tensors = load_file(release / "model.safetensors")
    save_file({name: tensor + 1 for name, tensor in tensors.items()}, release / "model.safetensors", {"format": "pt"})
    seal(release, "tiny")
    assert set(failed(release)) == {"records"}


@pytest.mark.parametrize(
    ("old", "new"),
    [('"wall_seconds": 12.5', '"wall_seconds": NaN'), ('"kept": 7', '"kept": -7'), ('"openeurollm": {', '"other": {')],
)
def test_hostile_records_are_refused_in_words(release: Path, old: str, new: str) -> None:
    change(release / "records" / "corpus.json", old, new)
    seal(release, "tiny")
    assert failed(release)["card"].startswith("records/corpus.json: ")


def test_text_in_a_record_is_never_a_template(release: Path) -> None:
    change(release / "records" / "corpus.json", '"email"', '"{{ 7 * 7 }}"')
    seal(release, "tiny")
    assert "| {{ 7 * 7 }} |" in failed(release)["card"]


def test_a_language_without_a_number_is_found(release: Path) -> None:
    change(release / "recipe.toml", 'nb = "no source yet"', "")
    seal(release, "tiny")
    assert "Norwegian Bokmål (nb)" in failed(release)["languages"]


def test_a_probe_of_another_model_is_found(release: Path) -> None:
    tensors = load_file(release / "probe.safetensors")
    tensors["logits"] = tensors["logits"] * 1.5
    save_file(tensors, release / "probe.safetensors")
    sha = digest(release / "probe.safetensors")
    _accept(release, "probe.safetensors", sha)
    assert set(failed(release)) == set()
    assert set(failed(release, logits=True)) == {"logits", "tokens"}


def _accept(release: Path, name: str, sha: str) -> None:
    """Make the records of tuning and evaluation agree with a changed file, as a careful forger would."""
    from openeurollm.ledger import digest_of

    tuning = values(release / "records" / "tuning.json")
    for part in tuning["subject"]:
        if part["name"] == name:
            part["digest"]["sha256"] = sha
    made = digest_of({part["name"]: part["digest"]["sha256"] for part in tuning["subject"]})
    evaluation = values(release / "records" / "evaluation.json")
    for part in evaluation["predicate"]["buildDefinition"]["resolvedDependencies"]:
        if part["uri"] == "stage/tuning":
            part["digest"]["sha256"] = made
    (release / "records" / "tuning.json").write_text(json.dumps(tuning))
    (release / "records" / "evaluation.json").write_text(json.dumps(evaluation))
    seal(release, "tiny")


@pytest.fixture
def command() -> Iterator[Callable[..., Any]]:
    """The command line, as typer's runner calls it."""
    from openeurollm.cli import release as noun  # noqa: F401
    from openeurollm.cli.frame import app

    yield lambda *arguments: CliRunner().invoke(app, ["release", "verify", *map(str, arguments)])


def test_the_command_tells_every_check(release: Path, command: Callable[..., Any]) -> None:
    result = command(release)
    assert result.exit_code == 0, result.output
    assert "README.md is what the records say" in result.output
    parsed = json.loads(command(release, "--json", "--logits").output)
    assert parsed["ok"] is True
    assert len(parsed["checks"]) == 10


def test_the_command_fails_where_a_check_does(release: Path, command: Callable[..., Any]) -> None:
    _flip(release)
    result = command(release, "--json")
    assert isinstance(result.exception, Failure)
    assert "1 of 8 checks failed" in str(result.exception)
    assert json.loads(result.output)["ok"] is False


def test_the_command_wants_a_release(tmp_path: Path, command: Callable[..., Any]) -> None:
    assert isinstance(command(tmp_path / "nowhere").exception, BadInput)
    assert "RUN/release" in str(command(tmp_path).exception)
