"""Building a release: what lies in the folder, what the card says, and what does not leave the machine."""

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file
from transformers import Qwen3ForCausalLM

from openeurollm.engine import Engine, Reporter
from openeurollm.errors import BadInput, Failure
from openeurollm.ledger import RunFolder, digest, files_below, outputs
from openeurollm.recipe import Recipe, load
from openeurollm.release import build, card, read_papers, verify, without_folders

Sealed = tuple[Path, dict[str, Any]]
Made = tuple[Recipe, RunFolder]


def engine() -> Engine:
    return Engine(workers=1, reporter=Reporter(quiet=True))


@pytest.fixture
def copied(made: Made, tmp_path: Path) -> Made:
    """A run of one's own, to break."""
    return made[0], RunFolder(Path(shutil.copytree(made[1].path, tmp_path / "run")))


def test_the_folder_holds_the_model_and_its_papers(sealed: Sealed) -> None:
    folder, results = sealed
    assert {path.relative_to(folder).as_posix() for path in files_below(folder)} == {
        *("config.json", "model.safetensors", "generation_config.json", "probe.safetensors"),
        *("tokenizer.json", "tokenizer_config.json"),
        *("README.md", "recipe.toml", "evaluation.json", "fairness.json", "manifest.json", "SHA256SUMS"),
        *(f"records/{stage}.json" for stage in ("corpus", "tokenizer", "model", "tuning", "evaluation")),
    }
    assert 0 <= results["logits_difference"] <= 1e-4
    assert results["counts"] == {
        "mt": {"in_card": 1},
        "el": {"in_card": 1},
        "sr-Latn": {"in_card": 1},
        "nb": {"gap": 1},
    }


def test_sha256sum_itself_agrees(sealed: Sealed) -> None:
    result = subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=sealed[0], capture_output=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count(b": OK") == len(files_below(sealed[0])) - 1


def test_building_again_gives_the_same_bytes(copied: Made, sealed: Sealed) -> None:
    build(*copied, engine())
    assert outputs(copied[1].folder("release")) == outputs(sealed[0])


def test_front_matter_is_what_the_hub_reads(sealed: Sealed) -> None:
    page = ModelCard.load(sealed[0] / "README.md")
    assert page.data.license == "apache-2.0"
    assert page.data.language == ["mt", "el", "sr"]
    assert (page.data.library_name, page.data.pipeline_tag) == ("transformers", "text-generation")


def test_a_licence_that_the_hub_does_not_list_is_named(release: Path) -> None:
    text = (release / "recipe.toml").read_text("utf-8")
    text = text.replace('nb = "no source yet"', "").replace('licence = "Apache-2.0"', 'licence = "EUPL-1.2"')
    (release / "recipe.toml").write_text(text, "utf-8")
    front = yaml.safe_load(card(read_papers(release)).split("---")[1])
    assert front["language"] == ["mt", "el", "sr", "nb"]
    assert (front["license"], front["license_name"]) == ("other", "EUPL-1.2")


def test_the_card_says_what_the_records_say(sealed: Sealed) -> None:
    page = (sealed[0] / "README.md").read_text("utf-8")
    same = "7 | 1,234 | 33.33 % | 2.50 | 31.5 | 2.345 (2.245–2.445) | 310.0 (309.9–310.1)"
    for line in (
        f"| Maltese | `mt` | {same} | 50 % of 2 |",
        f"| Greek | `el` | {same} | — |",
        "| Norwegian Bokmål | `nb` | — | — | — | — | — | — | — | — |",
        "- Norwegian Bokmål (`nb`): no source yet",
        "| Parameters | 31,234 |",
        "| unknown | 18 |",
        "| rights_reserved | 6 |",
        "| email | 3 |",
        '| held_out_in_training | {"documents": 3, "overlapping": 0} |',
        "| tuning | 12 | 20 | 0.000 | 0.002 (0.001–0.006) | a test's guess |",
        "| all | 62 | 100 | 0.000 | 0.01 (0.005–0.03) | the sum of the stages |",
    ):
        assert line in page.splitlines(), line
    assert "33 documents were read; 21 were kept for training, 3 set aside" in page.replace("\n", " ")
    assert "6 pages were dropped because their owner reserved" in page.replace("\n", " ")


def test_names_from_a_recipe_cannot_change_the_page(sealed: Sealed) -> None:
    row = next(line for line in (sealed[0] / "README.md").read_text("utf-8").splitlines() if line.startswith("| web"))
    assert "Some \\| &lt;b>crawler&lt;/b>" in row


def test_nothing_tells_of_the_machine(sealed: Sealed, made: Made) -> None:
    home = str(made[1].path.parent.parent)
    for path in files_below(sealed[0]):
        data = path.read_bytes()
        for secret in (home, str(Path.home()), "home of anna", "annas-laptop"):
            assert secret.encode() not in data, (path, secret)


def test_the_released_recipe_is_the_recipe_without_its_folders(sealed: Sealed, made: Made) -> None:
    released, recipe = load(sealed[0] / "recipe.toml"), made[0]
    assert (released.name, released.languages, released.gaps) == (recipe.name, recipe.languages, recipe.gaps)
    assert released.sources["web"].path == sealed[0] / "web.warc.gz"
    assert released.sources["web"].obtained == "made for this test, from web.warc.gz"
    assert (sealed[0] / "recipe.toml").read_text("utf-8").startswith("# The resolved recipe. Paths are cut")


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ('path = "/home/a/web/x.warc"', 'path = "x.warc"'),
        ('path = "/home/a"', 'path = "a"'),
        ("/home/ab/x", "/home/ab/x"),
        ("https://example.org/home/a/x", "https://example.org/home/a/x"),
        ('"see /home/a/b/, and /home/a/c."', '"see b, and c."'),
    ],
)
def test_paths_are_cut_to_their_last_part(text: str, left: str) -> None:
    assert without_folders(text, ["/home/a"]) == left


def _other_logits(tuned: Path) -> None:
    tensors = load_file(tuned / "probe.safetensors")
    tensors["logits"] = tensors["logits"] + 2e-4
    save_file(tensors, tuned / "probe.safetensors")


def _not_a_number(tuned: Path) -> None:
    tensors = load_file(tuned / "probe.safetensors")
    tensors["logits"][3, 5] = torch.nan
    save_file(tensors, tuned / "probe.safetensors")


def _another_class(tuned: Path) -> None:
    path = tuned / "tokenizer_config.json"
    path.write_text(path.read_text("utf-8").replace("PreTrainedTokenizerFast", "Qwen2Tokenizer"), "utf-8")


def _lost(tuned: Path) -> None:
    (tuned / "generation_config.json").unlink()


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (_other_logits, "differ from the model's by 0.0002"),
        (_not_a_number, "differ from the model's by inf"),
        (_another_class, "does not give the ids of tokenizer.json"),
        (_lost, "no generation_config.json"),
    ],
)
def test_a_model_that_others_cannot_load_alike_is_refused(
    copied: Made, harm: Callable[[Path], None], words: str
) -> None:
    recipe, run = copied
    harm(run.folder("tuning"))
    _record_anew(run)
    with pytest.raises(Failure, match=words):
        build(recipe, run, engine())


def _record_anew(run: RunFolder) -> None:
    """Write the records of tuning and evaluation for the files that are there now."""
    import json

    tuned = run.folder("tuning") / "record.json"
    statement = json.loads(tuned.read_text("utf-8"))
    made = outputs(run.folder("tuning"))
    statement["subject"] = [{"name": name, "digest": {"sha256": sha}} for name, sha in made.items()]
    tuned.write_text(json.dumps(statement), "utf-8")
    evaluated = run.folder("evaluation") / "record.json"
    statement = json.loads(evaluated.read_text("utf-8"))
    for part in statement["predicate"]["buildDefinition"]["resolvedDependencies"]:
        if part["uri"] == "stage/tuning":
            part["digest"]["sha256"] = run.need("tuning").made
    evaluated.write_text(json.dumps(statement), "utf-8")


def test_a_model_changed_after_its_record_is_refused(copied: Made) -> None:
    recipe, run = copied
    path = run.folder("tuning") / "generation_config.json"
    before = digest(path)
    path.write_text(path.read_text("utf-8") + "\n", "utf-8")
    assert digest(path) != before
    with pytest.raises(Failure, match=r"is not the generation_config\.json that records/tuning"):
        build(recipe, run, engine())


def test_a_language_without_a_number_or_a_gap_is_refused(copied: Made) -> None:
    recipe, run = copied
    path = run.path / "recipe.toml"
    path.write_text(path.read_text("utf-8").replace('nb = "no source yet"', ""), "utf-8")
    with pytest.raises(Failure, match=r"no text in the card for Norwegian Bokmål \(nb\)"):
        build(recipe, run, engine())


def test_a_missing_stage_is_named(copied: Made) -> None:
    recipe, run = copied
    (run.folder("evaluation") / "record.json").unlink()
    with pytest.raises(BadInput, match="evaluation is not built"):
        build(recipe, run, engine())


def _in_parts(run: RunFolder) -> None:
    """The tuned model again, in several files."""
    tuned = run.folder("tuning")
    model = Qwen3ForCausalLM.from_pretrained(tuned)
    (tuned / "model.safetensors").unlink()
    model.save_pretrained(tuned, max_shard_size="30KB")
    replace(run.need("tuning"), outputs=outputs(tuned)).write(tuned)
    evaluation = run.need("evaluation")
    replace(evaluation, inputs={**evaluation.inputs, "stage/tuning": run.need("tuning").made}).write(
        run.folder("evaluation")
    )


def test_a_model_of_several_files_is_released_with_its_index(copied: Made) -> None:
    _in_parts(copied[1])
    results = build(*copied, engine())[1]
    folder = copied[1].folder("release")
    assert len(list(folder.glob("model-*.safetensors"))) > 1 and (folder / "model.safetensors.index.json").is_file()
    assert not (folder / "model.safetensors").exists()
    assert 0 <= results["logits_difference"] <= 1e-4
    assert all(check["ok"] for check in verify(folder, logits=True))


@pytest.mark.parametrize("index", ['{"weight_map": {"a": "absent.safetensors"}}', '{"weight_map": []}', "[]", "{"])
def test_an_index_that_does_not_name_the_weights_is_found(copied: Made, index: str) -> None:
    _in_parts(copied[1])
    build(*copied, engine())
    folder = copied[1].folder("release")
    (folder / "model.safetensors.index.json").write_text(index)
    assert not next(check["ok"] for check in verify(folder) if check["check"] == "weights")
    (folder / "model.safetensors.index.json").unlink()
    assert "is missing" in next(check["detail"] for check in verify(folder) if check["check"] == "weights")


def test_a_model_that_goes_on_from_another_says_so_and_names_no_folder(copied: Made) -> None:
    run = copied[1]
    start = run.path.parent / "private" / "some-model"
    text = (run.path / "recipe.toml").read_text("utf-8")
    (run.path / "recipe.toml").write_text(f'{text}\n[model]\nstart = "{start}"\n', "utf-8")
    build(load(run.path / "recipe.toml"), run, engine())
    card = (run.folder("release") / "README.md").read_text("utf-8")
    assert "the weights in some-model, whose terms hold here too" in card
    assert not any("private" in path.read_text("utf-8") for path in run.folder("release").glob("**/*.toml"))
