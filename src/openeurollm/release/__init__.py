"""The release: the tuned model with the papers that say what it is made of, sealed by a manifest."""

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from openeurollm.engine import Engine
from openeurollm.errors import Failure
from openeurollm.ledger import NAME, Counts, RunFolder, read_json, remove, whole, write_text
from openeurollm.recipe import Recipe, paths, prove, tags
from openeurollm.release.card import card, figures
from openeurollm.release.manifest import seal
from openeurollm.release.papers import STAGES, read_papers
from openeurollm.release.verify import INDEX, verify

__all__ = ["build", "card", "read_papers", "seal", "verify"]

_MODEL = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "probe.safetensors",
)
_MAYBE = "chat_template.jinja"
_WEIGHTS, _PARTS = "model.safetensors", "model-*.safetensors"
"""One file, or several and their index."""


def build(recipe: Recipe, run: RunFolder, engine: Engine) -> tuple[Counts, dict[str, Any]]:
    """Gather the tuned model and its papers, seal them, and verify the result as a stranger would.

    Raises `Failure` where a file of the model is missing, the card has nothing of a language of the contract, or the
    release does not verify; verifying includes the comparison of logits with transformers.
    """
    out = run.folder("release")
    remove(out)
    out.mkdir(parents=True)
    with engine.reporter.task("gather and verify the release", 1) as task:
        _copy_model(run.folder("tuning"), out)
        _copy_papers(recipe, run, out)
        papers = read_papers(out)
        write_text(out / "README.md", card(papers))
        proof = prove(recipe, "release", figures(papers))
        files = seal(out, recipe.name)
        largest = _verified(out)
        task.advance()
    size = sum((out / name).stat().st_size for name in files)
    told = {"files": len(files), "bytes": size, "logits_difference": largest, "contract": proof}
    return _counts(recipe), told


def _copy_model(tuned: Path, out: Path) -> None:
    parts = sorted(file.name for file in tuned.glob(_PARTS))
    weights = (INDEX, *parts) if parts else (_WEIGHTS,)
    for name in (*_MODEL, *weights, _MAYBE):
        if (tuned / name).is_file():
            _copy(tuned / name, out / name)
        elif name != _MAYBE:
            raise Failure(f"release: the tuned model has no {name}; `openeurollm run … --again tuning` makes it anew")


def _copy_papers(recipe: Recipe, run: RunFolder, out: Path) -> None:
    folders = _private_folders(recipe, run)
    for stage in STAGES:
        run.need(stage)
        raw = read_json(run.folder(stage) / NAME)
        raw["openeurollm"]["host"].pop("name", None)  # on what it was made matters, on whose machine does not
        text = json.dumps(raw, ensure_ascii=False, indent=1) + "\n"
        write_text(out / "records" / f"{stage}.json", without_folders(text, folders))
    note = "# The resolved recipe. Paths are cut to their last part: the folders were those of another machine.\n\n"
    text = (run.path / "recipe.toml").read_text("utf-8")
    write_text(out / "recipe.toml", note + without_folders(text, folders))
    _copy(run.folder("evaluation") / "results.json", out / "evaluation.json")
    _copy(run.folder("tokenizer") / "fairness.json", out / "fairness.json")


def _copy(source: Path, target: Path) -> None:
    with whole(target) as partial:
        shutil.copyfile(source, partial)


def _private_folders(recipe: Recipe, run: RunFolder) -> list[str]:
    """Folders of this machine that papers could name, the longest first."""
    parents = {path.resolve().parent for path in paths(recipe).values()}
    folders = {run.path.resolve(), Path.cwd(), Path.home(), *parents}
    return sorted((str(folder) for folder in folders if len(folder.parts) > 1), key=len, reverse=True)


def without_folders(text: str, folders: Sequence[str]) -> str:
    """The text with every path that begins with one of `folders` cut to its last part."""
    for folder in folders:
        below = re.compile(rf"(?<![\w/.:-]){re.escape(folder)}(?:/[^\s\"'`,;)\]]*)?(?![\w.-])")
        text = below.sub(lambda found: found[0].rstrip("/").rpartition("/")[2], text)
    return text


def _verified(out: Path) -> float:
    """Verify the release; returns how far transformers' logits are from the probe."""
    from openeurollm.release.probe import TOLERANCE, difference, same_tokens

    for check in verify(out):
        if not check["ok"]:
            raise Failure(f"release: {check['check']}: {check['detail']}")
    if not same_tokens(out):
        raise Failure("release: transformers does not give the ids of tokenizer.json; see tokenizer_config.json")
    largest = difference(out)
    if largest > TOLERANCE:
        raise Failure(f"release: logits in transformers differ from the model's by {largest:.2g}, over {TOLERANCE:g}")
    return largest


def _counts(recipe: Recipe) -> dict[str, dict[str, int]]:
    """Each language of the contract in one bucket: excused as a `gap`, or `in_card` with its numbers."""
    return {tag: {"gap" if tag in recipe.gaps else "in_card": 1} for tag in tags(recipe)}
