"""`openeurollm release`: look at what is published."""

from pathlib import Path
from typing import Annotated

import typer

from openeurollm.cli.frame import AsJson, app, print_json, print_table
from openeurollm.errors import Failure

release = typer.Typer(help="Releases: what is published.", no_args_is_help=True)
app.add_typer(release, name="release")


@release.command()
def verify(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a release.", show_default=False)],
    as_json: AsJson = False,
    logits: Annotated[
        bool, typer.Option("--logits", help="Load the model with transformers and compare it to its probe.")
    ] = False,
) -> None:
    """Is this what was sealed, and do its papers agree with its records?"""
    from openeurollm.release.verify import verify as checks_of

    checks = checks_of(folder, logits)
    broken = [check for check in checks if not check["ok"]]
    if as_json:
        print_json({"release": str(folder), "ok": not broken, "checks": checks})
    else:
        rows = [(check["check"], "ok" if check["ok"] else "FAILED", check["detail"]) for check in checks]
        print_table("", ("check", "", "detail"), rows)
    if broken:
        raise Failure(f"{folder}: {len(broken)} of {len(checks)} checks failed; do not rely on this release")
