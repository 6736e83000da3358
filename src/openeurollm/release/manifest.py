"""The manifest: the digest of every file of a release, as JSON and as `sha256sum -c` reads it."""

import re
from collections.abc import Mapping
from pathlib import Path

from openeurollm import __version__
from openeurollm.errors import BadInput
from openeurollm.ledger import digest, files_below, write_json, write_text
from openeurollm.ledger.results import read_bounded

MANIFEST, SUMS = "manifest.json", "SHA256SUMS"
MAX_BYTES = 10_000_000
_MAX_FILES = 10_000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}(?:/[A-Za-z0-9][A-Za-z0-9._-]{0,199}){0,5}")
"""Names that mean the same everywhere and stay inside a folder: no `..`, no leading slash or dot, no backslash."""
_DIGEST = re.compile(r"[0-9a-f]{64}")


def seal(folder: Path, name: str) -> dict[str, str]:
    """Write `manifest.json` over all of `folder`, then `SHA256SUMS` over that too; returns the manifest's files."""
    files = {path.relative_to(folder).as_posix(): digest(path) for path in files_below(folder)}
    files = {name: files[name] for name in sorted(files) if name not in (MANIFEST, SUMS)}
    write_json(folder / MANIFEST, {"release": name, "openeurollm": __version__, "files": files})
    write_text(folder / SUMS, sums({**files, MANIFEST: digest(folder / MANIFEST)}))
    return files


def sums(files: Mapping[str, str]) -> str:
    """The text of `SHA256SUMS` for these digests, sorted by name."""
    return "".join(f"{files[name]}  {name}\n" for name in sorted(files))


def read_manifest(folder: Path) -> dict[str, str]:
    """The files that the manifest of `folder` lists, with their digests.

    Raises `BadInput` for a manifest that is too large or not in the format, or a name that may lead out of the folder.
    """
    raw = read_bounded(folder / MANIFEST, MANIFEST, MAX_BYTES)
    files = raw.get("files") if isinstance(raw, dict) else None
    if not isinstance(files, dict) or not files:
        raise BadInput(f"{MANIFEST}: has no table `files`")
    if len(files) > _MAX_FILES:
        raise BadInput(f"{MANIFEST}: lists over {_MAX_FILES:,} files")
    for name, sha in files.items():
        if not _NAME.fullmatch(name):
            raise BadInput(f"{MANIFEST}: {name[:100]!r} is not a plain name inside the folder")
        if not isinstance(sha, str) or not _DIGEST.fullmatch(sha):
            raise BadInput(f"{MANIFEST}: the digest of {name} is not a SHA-256")
    return files
