"""Training the identifier: deterministic, honest about what it lacks, and able to tell what it was shown."""

import json
import random
import tomllib
from pathlib import Path

import pytest

from openeurollm.errors import BadInput, Failure
from openeurollm.languages import languages
from openeurollm.languages.identifier import LIST, Settings, derive
from openeurollm.languages.identifier.model import Scorer, read
from openeurollm.languages.identifier.sources import obtain, read_list, snippets, texts
from openeurollm.languages.identifier.train import train

SAMPLE = Path(__file__).resolve().parents[2] / "sample"
SMALL = Settings(examples=120, rows=20_000, epochs=2)


@pytest.fixture(scope="module")
def listed(tmp_path_factory):
    """A list of sources and its data: the sample's pages to train on, its parallel sentences for development."""
    data = tmp_path_factory.mktemp("data")
    (data / "pages").mkdir()
    for path in sorted((SAMPLE / "pages").glob("*.toml")):
        if path.stem != "outside":
            pages = [page["text"].replace("\n", " ") for page in tomllib.loads(path.read_text("utf-8"))["page"]]
            (data / "pages" / f"{path.stem}.txt").write_text("\n".join(pages), "utf-8")
    (data / "parallel").mkdir()
    with (data / "parallel" / "all.jsonl").open("w", encoding="utf-8") as out:
        for path in sorted((SAMPLE / "parallel").glob("*.txt")):
            document = {
                "text": path.read_text("utf-8"),
                "language": path.stem,
                "source": "parallel",
                "licence": "CC0-1.0",
            }
            out.write(json.dumps(document) + "\n")
    files = "\n".join(f'{tag} = "{tag}.txt"' for tag in languages())
    (data / "list.toml").write_text(
        f'[sources.pages]\nlicence = "CC0-1.0"\nformat = "lines"\n[sources.pages.files]\n{files}\n'
        '[sources.parallel]\nlicence = "CC0-1.0"\nformat = "documents"\nfiles = "*.jsonl"\n'
        'development = ["parallel"]\n',
        "utf-8",
    )
    return data


@pytest.fixture(scope="module")
def trained(listed, tmp_path_factory):
    out = tmp_path_factory.mktemp("trained")
    said = []
    card = train(read_list(listed / "list.toml"), listed, out, SMALL, said.append)
    return out, card, said


def test_a_small_training_tells_most_languages_apart(trained):
    out, card, said = trained
    assert card["macro"]["document"] > 0.8
    assert set(card["scores"]) == set(languages())
    assert any("epoch 2 of 2" in line for line in said)
    assert (out / "card.md").read_text("utf-8").startswith("# Language identifier")
    assert json.loads((out / "card.json").read_text("utf-8"))["features"] == card["features"]


def test_equal_trainings_give_equal_models(trained, listed, tmp_path):
    train(read_list(listed / "list.toml"), listed, tmp_path, SMALL, lambda _: None)
    first, second = read(trained[0] / "model.npz"), read(tmp_path / "model.npz")
    assert (first.hashes == second.hashes).all() and (first.weights == second.weights).all()
    assert (first.bias == second.bias).all() and first.calibration == second.calibration


def test_a_language_without_text_stops_the_training(listed, tmp_path):
    text = (listed / "list.toml").read_text("utf-8").replace('mt = "mt.txt"\n', "")
    (tmp_path / "list.toml").write_text(text.rpartition("[sources.parallel]")[0], "utf-8")
    with pytest.raises(BadInput, match=r"no text in Maltese \(mt\)"):
        train(read_list(tmp_path / "list.toml"), listed, tmp_path / "out", SMALL, lambda _: None)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("not toml at all [", "is no list of sources"),
        ("x = 1", "is no list of sources"),
        ('[sources.a]\nlicence = "CC0-1.0"\nformat = "pickle"\nfiles = "*"', "format of a"),
        ('[sources.a]\nformat = "lines"\nfiles = { mt = "*" }', "licence"),
    ],
)
def test_a_bad_list_is_said_to_be_one(text, problem, tmp_path):
    (tmp_path / "list.toml").write_text(text, "utf-8")
    with pytest.raises(BadInput, match=problem):
        read_list(tmp_path / "list.toml")


def test_a_missing_source_says_where_it_comes_from(tmp_path):
    sources = {source.name: source for source in read_list(LIST)}
    with pytest.raises(BadInput, match="wnorwegian"):
        obtain(sources["word-lists"], tmp_path)


def test_a_source_is_cloned_at_its_commit(tmp_path):
    import subprocess

    origin = tmp_path / "origin"
    origin.mkdir()
    git = ("git", "-C", str(origin), "-c", "user.name=a", "-c", "user.email=a@b")
    (origin / "mt.txt").write_text("Il-kelb jiġri fl-għalqa.\n", "utf-8")
    for step in (("init", "-q"), ("add", "."), ("commit", "-qm", "one")):
        subprocess.run((*git, *step), check=True)
    commit = subprocess.run((*git, "rev-parse", "HEAD"), check=True, capture_output=True, text=True).stdout.strip()
    listed = tmp_path / "list.toml"
    entry = f'licence = "CC0-1.0"\nformat = "lines"\nfiles = {{ mt = "*.txt" }}\nrepository = "{origin}"\n'
    listed.write_text(f'[sources.a]\n{entry}commit = "{commit}"\n[sources.b]\n{entry}commit = "{"0" * 40}"\n', "utf-8")
    good, bad = read_list(listed)
    assert [text.text for text in texts(good, obtain(good, tmp_path))] == ["Il-kelb jiġri fl-għalqa."]
    with pytest.raises(Failure, match="could not clone"):
        obtain(bad, tmp_path)


def test_the_bundled_list_names_licences_and_nothing_noncommercial():
    for source in read_list(LIST):
        assert source.licence
        assert "NC" not in source.licence


def test_serbian_goes_from_script_to_script():
    assert derive.to_latin("Његош, Џез, ЉУБАВ") == "Njegoš, Džez, LjUBAV"
    assert derive.to_cyrillic("Njegoš, Džez, LJUBAV, đak") == "Његош, Џез, ЉУБАВ, ђак"


def test_ijekavian_forms_are_found_by_comparison():
    ekavian = derive.words(["lepa reka teče", "lepa reka", "lepa reka i more"])
    ijekavian = derive.words(["lijepa rijeka teče", "lijepa rijeka", "lijepa rijeka i more"])
    assert derive.ijekavian_words(ekavian, ijekavian) == {"lepa": "lijepa", "reka": "rijeka"}
    assert derive.bosnian({"reka": "rijeka"})("Reka u OPŠTINI") == "Rijeka u OPĆINI"


def test_snippets_keep_every_language_whole():
    text = "Първо изречение тук. Второ изречение след него! " * 40
    made = list(snippets(text, random.Random(1)))
    assert all(len(piece) <= 2000 for piece in made)
    assert sum(map(len, made)) > 0.9 * len(text)


def test_a_file_that_is_no_model_is_refused(tmp_path):
    for name, content in (("empty", b""), ("text", b"hello"), ("zip", b"PK\x05\x06" + b"\0" * 18)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BadInput, match="no identifier's model"):
            read(tmp_path / name)


def test_a_scorer_of_a_trained_model_answers(trained):
    assert Scorer(read(trained[0] / "model.npz")).tags == tuple(languages())


def test_the_command_leaves_a_model_its_card_and_its_record(listed, tmp_path):
    from typer.testing import CliRunner

    from openeurollm.cli.frame import app
    from openeurollm.ledger import damage
    from openeurollm.ledger import read as read_record

    out, chosen = tmp_path / "out", str(listed / "list.toml")
    arguments = ["languages", "train", "--data", str(listed), "--out", str(out), "--sources", chosen]
    done = CliRunner().invoke(app, [*arguments, "--examples", "100", "--rows", "5000", "--epochs", "1"])
    assert done.exit_code == 0, done.output
    record = read_record(out)
    assert record is not None and damage(out, record) is None
    assert (
        set(record.outputs)
        == {"model.npz", "card.json", "card.md"}
        == {p.name for p in out.iterdir()} - {"record.json"}
    )
    assert {"sources", "pages/mt.txt", "parallel/all.jsonl"} <= set(record.inputs)
    assert "name" not in record.host and record.parameters["rows"] == 5000


def test_everything_of_the_bundled_identifier_is_packed():
    packed = tomllib.loads((SAMPLE.parent / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["package-data"]
    bundled = {path.suffix for path in LIST.parent.iterdir() if path.is_file()} - {".py"}
    assert bundled == {".json", ".md", ".npz", ".toml"}
    assert {f"**/*{suffix}" for suffix in bundled} <= set(packed["openeurollm"])
