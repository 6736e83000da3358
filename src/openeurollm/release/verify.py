"""Verifying a release from its folder alone: is every file what was sealed, and do the papers agree with the records.

The folder is hostile until shown otherwise: no link is followed, only safetensors and text are read, all within bounds.
"""

import os
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from openeurollm.errors import BadInput
from openeurollm.languages import named
from openeurollm.ledger import NAME, digest, read
from openeurollm.ledger.results import MAX_BYTES, read_bounded
from openeurollm.recipe import lacking
from openeurollm.release.card import card, figures
from openeurollm.release.manifest import MANIFEST, SUMS, read_manifest, sums
from openeurollm.release.manifest import MAX_BYTES as MAX_MANIFEST
from openeurollm.release.papers import STAGES, Papers, read_papers

_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".dill", ".npy", ".npz", ".h5", ".keras")
_CODE = (".py", ".pyc", ".so", ".dll", ".pyd")
_BESIDE = (MANIFEST, SUMS, NAME, ".gitattributes")
"""Files that a manifest does not list: itself, its sums, the stage's own record, and what the hub puts in."""
_NOT_OURS = (".git", ".cache")
"""Folders that git and the hub's client keep beside a download; models are never loaded from there."""
_MAX_ENTRIES = 20_000
INDEX = "model.safetensors.index.json"
"""Where each tensor is, in a model of several files."""


class Wrong(Exception):
    """A check that does not hold; the message says where."""


class Folder:
    """A release on disk, walked once and read as each check asks for it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def files(self) -> set[str]:
        """Names of all plain files; raises `Wrong` at a link or anything else that is not a file or folder."""
        found: set[str] = set()
        for top, folders, names in os.walk(self.path, followlinks=False):
            here = Path(top)
            if here == self.path:
                folders[:] = [name for name in folders if name not in _NOT_OURS]
            for entry in (here / name for name in [*folders, *names]):
                name = entry.relative_to(self.path).as_posix()
                if entry.is_symlink():
                    raise Wrong(f"{name!r} is a link; a release holds plain files (download it with --local-dir)")
                if not entry.is_file() and not entry.is_dir():
                    raise Wrong(f"{name!r} is neither a file nor a folder")
                if entry.is_file():
                    found.add(name)
            if len(found) > _MAX_ENTRIES:
                raise Wrong(f"over {_MAX_ENTRIES:,} files")
        return found

    @cached_property
    def manifest(self) -> dict[str, str]:
        """What the manifest lists."""
        return read_manifest(self.path)

    @cached_property
    def papers(self) -> Papers:
        """The papers, read and checked; the walk goes before, so that no link is followed."""
        if not self.files:
            raise Wrong("the folder is empty")
        return read_papers(self.path)

    def text(self, name: str, most: int) -> str:
        """A text file of at most `most` bytes."""
        if name not in self.files:
            raise Wrong(f"{name} is missing")
        with open(self.path / name, "rb") as file:
            data = file.read(most + 1)
        if len(data) > most:
            raise Wrong(f"{name} has over {most:,} bytes")
        return data.decode("utf-8")


def verify(folder: Path, logits: bool = False) -> list[dict[str, Any]]:
    """Check the release at `folder`; returns `{"check", "ok", "detail"}` for each check, in order.

    With `logits` the model is also loaded with transformers and compared to its probe. Raises `BadInput` where the
    folder is no release at all.
    """
    if not folder.is_dir():
        raise BadInput(f"{folder}: no such folder")
    if not (folder / MANIFEST).is_file():
        raise BadInput(f"{folder}: no release (it has no {MANIFEST}); a run keeps its release in RUN/release")
    release = Folder(folder.resolve())
    checks = {**_CHECKS, "logits": _logits, "tokens": _tokens} if logits else _CHECKS
    found: list[dict[str, Any]] = []
    for name, check in checks.items():
        if check in (_logits, _tokens) and not all(each["ok"] for each in found):
            found.append({"check": name, "ok": False, "detail": "not loaded, because a check before it failed"})
            continue
        found.append(_outcome(name, check, release))
    return found


def _outcome(name: str, check: Callable[[Folder], str], release: Folder) -> dict[str, Any]:
    try:
        return {"check": name, "ok": True, "detail": check(release)}
    except Exception as error:  # hostile files may break any part of a check, and then it does not hold
        known = isinstance(error, Wrong | BadInput)
        detail = str(error) if known else f"{type(error).__name__}: {error}"
        return {"check": name, "ok": False, "detail": detail[:500]}


def _manifest(release: Folder) -> str:
    return f"{len(release.manifest)} plain names inside the folder"


def _files(release: Folder) -> str:
    for name, sha in release.manifest.items():
        if name not in release.files:
            raise Wrong(f"{name} is missing")
        if digest(release.path / name) != sha:
            raise Wrong(f"{name} is not what was sealed: its digest differs")
    return "every file is there with its digest"


def _nothing_else(release: Folder) -> str:
    stray = sorted(release.files - set(release.manifest) - set(_BESIDE))
    if stray:
        raise Wrong(f"{stray[0]!r} is not in the manifest" + (f", nor are {len(stray) - 1} more" if stray[1:] else ""))
    return "no file that the manifest does not list"


def _sums(release: Folder) -> str:
    own = digest(release.path / MANIFEST)
    if release.text(SUMS, MAX_MANIFEST) != sums({**release.manifest, MANIFEST: own}):
        raise Wrong(f"{SUMS} does not agree with {MANIFEST}")
    return f"{SUMS} and {MANIFEST} say the same"


def _weights(release: Folder) -> str:
    from safetensors import safe_open

    for name in sorted(release.files):
        if name.lower().endswith((*_PICKLES, *_CODE)):
            raise Wrong(f"{name!r} may run code when it is loaded")
        if not name.endswith(".safetensors") and _looks_loaded(release.path / name):
            raise Wrong(f"{name!r} is a pickle or an archive under another name")
    weights = [name for name in sorted(release.files) if name.endswith(".safetensors")]
    if "model.safetensors" not in weights:
        _parts(release, weights)
    for name in weights:
        try:
            with safe_open(release.path / name, "numpy") as file:
                file.keys()
        except Exception as error:  # the library raises its own kind
            raise Wrong(f"{name} is not safetensors: {error}") from None
    return f"safetensors only: {', '.join(weights)}"


def _parts(release: Folder, weights: list[str]) -> None:
    """Raise `Wrong` where the weights are not in several files that an index names."""
    if INDEX not in release.files:
        raise Wrong("model.safetensors is missing")
    told = read_bounded(release.path / INDEX, INDEX, MAX_MANIFEST)
    named = told.get("weight_map") if isinstance(told, dict) else None
    if not isinstance(named, dict) or not named:
        raise Wrong(f"{INDEX} names no file")
    absent = next((name for name in named.values() if name not in weights), None)
    if absent is not None:
        raise Wrong(f"{str(absent)[:120]!r}, which {INDEX} names, is missing")


def _looks_loaded(path: Path) -> bool:
    with open(path, "rb") as file:
        head = file.read(4)
    pickled = head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")
    return pickled or head == b"PK\x03\x04" or head == b"\x7fELF"


def _records(release: Folder) -> str:
    """Each record names the stages before it by what they made, and the files of the release are what they made."""
    records = release.papers.records
    for stage, record in records.items():
        for name, sha in record.inputs.items():
            before = name.removeprefix("stage/")
            if name.startswith("stage/") and before in records and records[before].made != sha:
                raise Wrong(f"records/{stage}.json speaks of another {before} than records/{before}.json")
    for name, (stage, made) in _origins(release).items():
        if records[stage].outputs.get(made) != release.manifest[name]:
            raise Wrong(f"{name} is not the {made} that records/{stage}.json speaks of")
    if NAME in release.files:
        _own_record(release)
    return f"{', '.join(STAGES)}: each goes on from the one before, and made these files"


def _origins(release: Folder) -> dict[str, tuple[str, str]]:
    """File of the release → the stage that made it, and its name there."""
    known = {"evaluation.json": ("evaluation", "results.json"), "fairness.json": ("tokenizer", "fairness.json")}
    papers = {"README.md", "recipe.toml", *(f"records/{stage}.json" for stage in STAGES)}
    return {name: known.get(name, ("tuning", name)) for name in release.manifest if name not in papers}


def _own_record(release: Folder) -> None:
    release.text(NAME, MAX_BYTES)
    record = read(release.path)
    sealed = {**release.manifest, MANIFEST: digest(release.path / MANIFEST), SUMS: digest(release.path / SUMS)}
    if record is None or dict(record.outputs) != sealed:
        raise Wrong(f"{NAME} speaks of other files than {MANIFEST}")


def _card(release: Folder) -> str:
    told, computed = release.text("README.md", MAX_BYTES).splitlines(), card(release.papers).splitlines()
    for number, (theirs, ours) in enumerate(zip(told, computed, strict=False), 1):
        if theirs != ours:
            raise Wrong(f"README.md, line {number} says {theirs[:120]!r}; the records say {ours[:120]!r}")
    if len(told) != len(computed):
        raise Wrong(f"README.md has {len(told)} lines; from the records it has {len(computed)}")
    return "every line of README.md is what the records say"


def _languages(release: Folder) -> str:
    for what, figure in figures(release.papers).items():
        missing = lacking(release.papers.recipe, figure)
        if missing:
            raise Wrong(f"no {what} for {named(missing)}, and no gap that says why")
    return "every language of the contract has text and a measure, or a gap with its reason"


def _logits(release: Folder) -> str:
    from openeurollm.release.probe import TOLERANCE, difference

    largest = difference(release.path)
    if largest > TOLERANCE:
        raise Wrong(f"transformers differs from the probe by {largest:.2g}, over {TOLERANCE:g}")
    return f"transformers differs from the probe by at most {largest:.2g}"


def _tokens(release: Folder) -> str:
    from openeurollm.release.probe import same_tokens

    if not same_tokens(release.path):
        raise Wrong("transformers splits text otherwise than tokenizer.json; tokenizer_config.json must name its class")
    return "transformers gives the ids of tokenizer.json"


_CHECKS: dict[str, Callable[[Folder], str]] = {
    "manifest": _manifest,
    "files": _files,
    "nothing else": _nothing_else,
    "sums": _sums,
    "weights": _weights,
    "records": _records,
    "card": _card,
    "languages": _languages,
}
