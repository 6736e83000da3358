"""`openeurollm board`: one page over any number of runs; `openeurollm report`: a run in Markdown."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from openeurollm.cli.frame import AsJson, RunPath, app, print_json
from openeurollm.errors import BadInput
from openeurollm.ledger import open_run, write_text

_Folders = Annotated[list[Path], typer.Argument(help="Run folders, such as runs/quickstart.", show_default=False)]
_Page = Annotated[Path, typer.Option(help="Where to write the page.")]
_Beside = Annotated[
    list[Path] | None, typer.Option(help="Another run, to hold this one against, language by language. Repeatable.")
]
_Markdown = Annotated[Path | None, typer.Option(help="Where to write the report; without it, it is printed.")]


@app.command()
def board(folders: _Folders, out: _Page = Path("board.html"), as_json: AsJson = False) -> None:
    """One static page over any number of runs: languages, numbers, charts, sources and costs. Opens from disk."""
    from openeurollm.board import facts, page

    _writable(out)
    runs = [facts(open_run(folder)) for folder in folders]
    write_text(out, page(runs))
    if as_json:
        print_json({"page": str(out), "runs": [asdict(run) for run in runs]})
    else:
        typer.echo(out)


@app.command()
def report(run: RunPath, beside: _Beside = None, out: _Markdown = None, as_json: AsJson = False) -> None:
    """A run's report in Markdown, from its records alone: no text of the corpus and no paths, fit to be published."""
    from openeurollm.board import report as written

    text = written(open_run(run), [open_run(other) for other in beside or []])
    if out is not None:
        _writable(out)
        write_text(out, text)
    if as_json:
        print_json({"report": str(out) if out else None, "text": text})
    else:
        typer.echo(out if out is not None else text.rstrip("\n"))


def _writable(out: Path) -> None:
    if out.is_dir():
        raise BadInput(f"{out}: is a folder; --out names a file")
