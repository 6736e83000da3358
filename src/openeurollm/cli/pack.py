"""`openeurollm pack`: all that a cluster without internet needs, in one folder."""

from pathlib import Path
from typing import Annotated, Any

import typer

from openeurollm.cli.frame import AsJson, app, print_json
from openeurollm.cli.run import RecipePath, Settings
from openeurollm.errors import BadInput

_Words = list[str] | None


@app.command()
def pack(
    recipe: RecipePath,
    on: Annotated[str, typer.Option("--on", help="The site that it is for.", show_default=False)],
    out: Annotated[Path, typer.Option(help="A new folder, or a pack to go on with.", show_default=False)],
    settings: Settings = None,
    python: Annotated[str, typer.Option(help="The site's Python.")] = "3.11",
    index_url: Annotated[str | None, typer.Option(help="Where pip looks, in place of its own setting.")] = None,
    extra_index_url: Annotated[_Words, typer.Option(help="Where pip looks as well. Repeatable.")] = None,
    find_links: Annotated[_Words, typer.Option(help="A folder or page of wheels. Repeatable.")] = None,
    no_index: Annotated[bool, typer.Option("--no-index", help="Only what --find-links names.")] = False,
    no_wheels: Annotated[bool, typer.Option("--no-wheels", help="The recipe and its data alone.")] = False,
    copy_links: Annotated[
        bool, typer.Option("--copy-links", help="Pack the files that links out of a folder lead to.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Gather the recipe, its data and all wheels for a site without internet, with install.sh and SHA256SUMS.

    PyTorch for ROCm, and for CUDA other than the registry's own, comes from an index of PyTorch's: --extra-index-url.
    """
    from openeurollm import recipe as recipes
    from openeurollm.engine import Reporter
    from openeurollm.engine import pack as packing
    from openeurollm.engine.site import load

    site = load(on)
    target = _target(site.machine, site.accelerator, python)
    indexes = [f"--index-url={index_url}"] if index_url else []
    indexes += [f"--extra-index-url={url}" for url in extra_index_url or ()]
    indexes += [f"--find-links={place}" for place in find_links or ()]
    indexes += ["--no-index"] if no_index else []
    if target.accelerator == "rocm" and not indexes and not no_wheels:
        raise BadInput(
            f"{on} has ROCm, for which common registries have no PyTorch: name PyTorch's own index for its version of "
            "ROCm with --extra-index-url, or give --no-wheels"
        )
    loaded = recipes.load(recipe, settings or ())
    remote = next((name for name, source in loaded.sources.items() if source.remote), None)
    if remote and not site.internet:
        raise BadInput(f"[sources.{remote}] is read over the network, which {on} may lack; fetch it and name the files")
    paths = recipes.paths(loaded)
    data = packing.survey(paths, out, copy_links)
    project = None if no_wheels else _checkout()
    text = _moved(loaded, packing.names(paths))
    made = packing.pack(out, text, data, on, target, project, indexes, Reporter(quiet=as_json))
    if as_json:
        print_json(made)
    else:
        _show(out, made)


def _target(machine: str | None, accelerator: str | None, python: str) -> Any:
    """What the wheels are for; a site that says nothing is taken to be like this machine."""
    import platform
    import re

    from openeurollm.engine.wheels import Target

    if not re.fullmatch(r"3\.\d{1,2}", python) or int(python[2:]) < 11:
        raise BadInput(f"`{python}`: --python takes 3.11 or newer, written so")
    machine = machine or platform.machine()
    if machine not in ("x86_64", "aarch64"):
        raise BadInput(f"no wheels are made for {machine}; a site's `machine` is x86_64 or aarch64")
    return Target(machine, python, accelerator or "none")


def _checkout() -> Path:
    """The checkout that this program runs from."""
    root = Path(__file__).resolve().parents[3]
    if not (root / "requirements.lock").is_file():
        raise BadInput("pack builds the project's own wheel, so it runs from a checkout (or give --no-wheels)")
    return root


def _moved(recipe: Any, names: dict[str, str]) -> str:
    """The recipe as TOML, with other paths, relative to itself."""
    from functools import reduce

    from openeurollm.recipe import Recipe
    from openeurollm.run import to_toml

    raw = recipe.model_dump()
    for place, name in names.items():
        *tables, key = place.split("/")
        reduce(dict.__getitem__, tables, raw)[key] = name
    return to_toml(Recipe.model_validate(raw))


def _show(out: Path, made: dict[str, Any]) -> None:
    for name, why in list(made["left_out"].items())[:10]:
        typer.echo(f"left out: {name!r}: {why}")
    if len(made["left_out"]) > 10:
        typer.echo(f"left out: {len(made['left_out']) - 10:,} more, all in {out / 'pack.json'}")
    sizes = ", ".join(f"{part} {size / 1e6:,.1f} MB" for part, size in made["bytes"].items())
    typer.echo(f"{out}: {len(made['wheels'])} wheels, {sum(p['files'] for p in made['data'].values())} files; {sizes}")
    typer.echo(f"bring the folder to {made['site']}" + (", and there: sh install.sh" if made["wheels"] else ""))
