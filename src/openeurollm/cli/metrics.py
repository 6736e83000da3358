"""`openeurollm metrics`: a training as it stands, on the terminal or in TensorBoard and trackio."""

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from openeurollm.cli.frame import AsJson, RunPath, app, print_json, print_table


@app.command()
def metrics(
    path: RunPath,
    stage: Annotated[Literal["model", "tuning"], typer.Option(help="Whose training.")] = "model",
    to: Annotated[
        Literal["tensorboard", "trackio"] | None, typer.Option(help="Show it in this program instead of here.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for that program's files; one of its name when not given.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Go on until the training is over.")] = False,
    as_json: AsJson = False,
) -> None:
    """Loss, speed and held-out text of a training, also of one under way."""
    from openeurollm.board import replay
    from openeurollm.errors import BadInput
    from openeurollm.ledger import open_run
    from openeurollm.ledger.metrics import read_metrics

    if out is not None and to is None:
        raise BadInput("--out is for --to; without it nothing is written")
    run = open_run(path)
    file = run.folder(stage) / "metrics.jsonl"
    if not file.is_file() and not (follow and run.record(stage) is None):
        raise BadInput(f"{path}: no {file.name} of the {stage}; `openeurollm run` trains it")
    found = replay.watch(file, lambda: run.record(stage) is not None) if follow else iter([read_metrics(file)])
    with suppress(KeyboardInterrupt):
        if to:
            _show_in(to, out or Path(to), run, stage, file, found, as_json)
        else:
            _show(run, stage, found, follow, as_json)


def _show_in(to: str, out: Path, run: Any, stage: str, file: Path, found: Iterator[Any], as_json: bool) -> None:
    from openeurollm.board import replay
    from openeurollm.errors import BadInput

    if out.exists() and not out.is_dir():
        raise BadInput(f"{out}: is a file; --out names a folder")
    name = run.path.resolve().name
    if to == "tensorboard":
        viewer: replay.Viewer = replay.TensorBoard(out / name / stage)
        command = f"tensorboard --logdir {out}"
    else:
        viewer = replay.Trackio(out, f"{name}/{stage}")
        command = f"TRACKIO_DIR={out.resolve()} trackio show --project {replay.Trackio.project}"
    if not as_json:
        typer.echo(command)
    replay.replay(found, viewer, file.stat().st_mtime if file.is_file() else time.time())
    if as_json:
        print_json({"run": str(run.path), "stage": stage, "to": to, "out": str(out), "command": command})


def _show(run: Any, stage: str, found: Iterator[Any], follow: bool, as_json: bool) -> None:
    import sys
    from dataclasses import asdict

    from openeurollm import recipe
    from openeurollm.board import terminal
    from openeurollm.board.training import training

    tags = recipe.tags(recipe.load(run.path / "recipe.toml"))
    screen = follow and sys.stdout.isatty()
    told: Any = None
    for each in found:
        told = training(each)
        if as_json:
            continue
        if follow and not screen:
            print(terminal.line(told) or "no step yet", flush=True)
            continue
        if screen:
            print("\033[2J\033[H", end="")
        state = "over" if run.record(stage) else "not over"
        _page(f"{run.path}: training of the {stage}, {state}", told, tags, terminal)
    if as_json:
        over = run.record(stage) is not None
        print_json({"run": str(run.path), "stage": stage, "over": over, "training": told and asdict(told)})


def _page(title: str, told: Any, tags: Any, terminal: Any) -> None:
    from rich.columns import Columns
    from rich.console import Console

    print_table(title, ("", ""), terminal.figures(told) or [("", "no step yet")])
    print("", *terminal.curve(told), sep="\n")
    cells = terminal.languages(told, tags)
    if cells:
        print("\nbits per byte of held-out text, by language")
        Console(width=None, markup=False, highlight=False).print(Columns(cells, padding=(0, 2)))
