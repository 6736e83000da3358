"""A pack: all that a cluster without internet needs for a recipe, in one folder that installs and checks itself."""

import os
import shlex
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Any

from openeurollm import __version__
from openeurollm.engine.progress import Reporter, Task
from openeurollm.engine.wheels import GLIBC, Target, gather
from openeurollm.errors import BadInput
from openeurollm.ledger import digest, now, remove, remove_partial, whole, write_json, write_text

NAME, SUMS, RECIPE, INSTALL = "pack.json", "SHA256SUMS", "recipe.toml", "install.sh"
_WORK = ".pack"


@dataclass(frozen=True)
class Data:
    """The files of a recipe: `files` maps names in the pack to files here; `left_out` names what stays, and why."""

    files: dict[str, Path] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


def names(paths: Mapping[str, Path]) -> dict[str, str]:
    """Where what a recipe names lies in a pack, by its place in the recipe: `data/sources/web/path/web.warc.gz`.

    Every place has a folder of its own, so that no two can collide.
    """
    return {place: f"data/{place}/{path.name}" for place, path in paths.items()}


def survey(paths: Mapping[str, Path], out: Path, copy_links: bool = False) -> Data:
    """The files behind `paths` (place in the recipe → file or folder), hidden ones left out, as stages pass them over.

    A link to a file of the same folder counts as that file. Raises `BadInput` for a path that is not there, and for
    a link that leads out of its folder, unless `copy_links` takes it for the file that it leads to.
    """
    found = Data()
    for place, path in paths.items():
        if not path.exists():
            raise BadInput(f"{place}: {path} does not exist; --set can name another path")
        if path.is_relative_to(out.resolve()) or out.resolve().is_relative_to(path):
            raise BadInput(f"{place}: {path} and {out} lie in one another; choose another folder for the pack")
        name = names({place: path})[place]
        if path.is_file():
            found.files[name] = path
            continue
        for file in _below(path):
            _take(found, f"{name}/{file.relative_to(path).as_posix()}", file, path, copy_links)
    _printable(found.files)
    return found


def _below(folder: Path) -> Iterator[Path]:
    """All that is no folder below `folder`, links not followed, in sorted order."""
    for root, folders, files in os.walk(folder, followlinks=False):
        links = [name for name in folders if Path(root, name).is_symlink()]
        folders[:] = sorted(set(folders) - set(links))
        yield from (Path(root, name) for name in sorted([*files, *links]))


def _take(found: Data, name: str, file: Path, root: Path, copy_links: bool) -> None:
    parts = file.relative_to(root).parts
    if any(part.startswith(".") for part in parts):
        found.left_out[name] = "hidden"
    elif not file.exists():
        found.left_out[name] = "a link to nothing"
    elif file.is_dir():
        found.left_out[name] = "a link to a folder"
    elif not file.is_file():
        found.left_out[name] = f"no file ({stat.filemode(file.stat().st_mode)[0]})"
    elif copy_links or file.resolve().is_relative_to(root.resolve()):
        found.files[name] = file
    else:
        raise BadInput(f"{file}: a link that leads out of {root}; --copy-links packs the file it leads to")


def _printable(found: Mapping[str, Path]) -> None:
    """Raises `BadInput` for a name that is not UTF-8: neither recipe nor list could hold it."""
    for name in found:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise BadInput(f"{os.fsencode(name)!r}: this name is not UTF-8; rename the file") from None


def pack(
    out: Path,
    recipe: str,
    data: Data,
    site: str,
    target: Target,
    project: Path | None = None,
    indexes: Sequence[str] = (),
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Make the folder `out` a pack: `recipe` (TOML, with the paths that `names` gives), its data, and the wheels of the
    checkout `project`, unless that is None. Returns what `pack.json` says.

    `SHA256SUMS` is written last; without it a pack is not whole. Files that are there with the right digest are kept.
    Raises `BadInput` where `out` holds something else, `Failure` where pip fails.
    """
    reporter = reporter or Reporter(quiet=True)
    _claim(out)
    wheels: dict[str, Any] = {}
    if project is None:
        remove(out / "wheels")
    else:
        reporter.say(f"wheels: for Python {target.python} on {target.machine}, {target.accelerator}")
        wheels = gather(out / "wheels", out / _WORK, target, project, indexes, reporter)["wheels"]
    sums = {f"wheels/{name}": wheel["sha256"] for name, wheel in wheels.items()}
    sums |= {"wheels/list.json": digest(out / "wheels" / "list.json")} if wheels else {}
    sums |= _copy(out, data, reporter)
    write_text(out / RECIPE, recipe)
    if wheels:
        write_text(out / INSTALL, _installer(target, site))
    else:
        (out / INSTALL).unlink(missing_ok=True)
    made = {
        "pack": 1,
        "openeurollm": __version__,
        "made": now(),
        "site": site,
        **vars(target),
        "wheels": {wheel["name"]: wheel["version"] for wheel in wheels.values()},
        "data": _sizes(data),
        "left_out": data.left_out,
        "bytes": {
            "wheels": sum(wheel["bytes"] for wheel in wheels.values()),
            "data": sum((out / name).stat().st_size for name in data.files),
        },
    }
    write_json(out / NAME, made)
    written = [name for name in (RECIPE, INSTALL, NAME) if (out / name).is_file()]
    _write_sums(out / SUMS, sums | {name: digest(out / name) for name in written})
    remove(out / _WORK)
    return made


def _claim(out: Path) -> None:
    """Take the folder; what it held stops being a whole pack. Raises `BadInput` where it is not ours."""
    if out.is_file():
        raise BadInput(f"{out}: is a file; --out names a folder")
    ours = (out / NAME).is_file() or (out / _WORK).is_dir()
    if out.is_dir() and not ours and any(out.iterdir()):
        raise BadInput(f"{out}: holds something else; --out names a new folder, an empty one, or a pack to go on with")
    (out / _WORK).mkdir(parents=True, exist_ok=True)
    (out / SUMS).unlink(missing_ok=True)


def _copy(out: Path, data: Data, reporter: Reporter) -> dict[str, str]:
    """Copy what is not there yet, remove what does not belong, and give the digests."""
    (out / "data").mkdir(exist_ok=True)
    remove_partial(out / "data")
    for path in list(_below(out / "data")):
        if path.is_symlink() or path.relative_to(out).as_posix() not in data.files:
            path.unlink()
    for folder in sorted((path for path in (out / "data").rglob("*") if path.is_dir()), reverse=True):
        if not any(folder.iterdir()):
            folder.rmdir()
    sums: dict[str, str] = {}
    done = 0
    with reporter.task("data", sum(path.stat().st_size for path in data.files.values())) as task:
        for name, source in data.files.items():
            sums[name] = _copied(source, out / name, task, done)
            done += (out / name).stat().st_size
    return sums


def _copied(source: Path, target: Path, task: Task, done: int) -> str:
    """The digest of `target`, which is a copy of `source` when this returns."""
    if target.is_file() and target.stat().st_size == source.stat().st_size:
        sha = digest(source)
        if digest(target) == sha:
            return sha
    with whole(target) as partial:
        with open(source, "rb") as read, open(partial, "wb") as write:
            while piece := read.read(1 << 22):
                write.write(piece)
                done += len(piece)
                task.update(done, PurePosixPath(target).name)
        return digest(partial)


def _sizes(data: Data) -> dict[str, dict[str, int]]:
    """Files and bytes by table of the recipe."""
    found: dict[str, dict[str, int]] = {}
    for name, path in data.files.items():
        table = found.setdefault(name.split("/")[1], {"files": 0, "bytes": 0})
        table["files"] += 1
        table["bytes"] += path.stat().st_size
    return found


def _write_sums(path: Path, sums: Mapping[str, str]) -> None:
    """Write digests as `sha256sum` reads them: a name with a line break or a backslash is escaped, and marked so."""
    lines = []
    for name, sha in sorted(sums.items()):
        escaped = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
        mark = "" if escaped == name else "\\"
        lines.append(f"{mark}{sha}  {escaped}\n")
    write_text(path, "".join(lines))


def _installer(target: Target, site: str) -> str:
    """`install.sh`, with the pack's own values put into the template."""
    template = resources.files(__package__).joinpath("install.sh").read_text("utf-8")
    values = {
        "MACHINE": target.machine,
        "PYTHON": target.python,
        "GLIBC": str(GLIBC),
        "VERSION": __version__,
        "SITE": shlex.quote(site),
    }
    for key, value in values.items():
        template = template.replace(f"@{key}@", value)
    return template
