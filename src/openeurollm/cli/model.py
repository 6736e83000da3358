"""`openeurollm model sweep`, `decay` and `export`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from openeurollm.cli.frame import AsJson, RunPath, app, print_json, print_table
from openeurollm.cli.run import Settings

model = typer.Typer(help="Choose a model's size, and make models of checkpoints.", no_args_is_help=True)
app.add_typer(model, name="model")


@model.command()
def sweep(
    path: Annotated[
        Path,
        typer.Argument(
            help="Recipe, or run folder, whose corpus and tokenizer are built (`openeurollm run --until tokenizer`).",
            show_default=False,
        ),
    ],
    settings: Settings = None,
    points: Annotated[int, typer.Option(min=6, max=300, help="Trainings, three of each size.")] = 12,
    compute: Annotated[
        float | None,
        typer.Option(min=1, help="FLOP of all of them together; a fifth of the recipe's budget when not given."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for what is found; RUN/sweep when not given.")] = None,
    runs: Annotated[Path, typer.Option(help="Folder that holds the run folders.")] = Path("runs"),
    workers: Annotated[int | None, typer.Option(min=1, help="Threads; all cores when not given.")] = None,
    as_json: AsJson = False,
) -> None:
    """Train small models of several sizes and lengths on a run's text, and fit the scaling law that predicts larger
    ones; a recipe names it as `model.law`. A sweep that was stopped goes on where it was."""
    from openeurollm import recipe as recipes
    from openeurollm.engine import Engine, Reporter
    from openeurollm.ledger import RunFolder, cores, open_run
    from openeurollm.model.sweep import sweep as swept

    if path.is_dir():
        run = open_run(path)
        loaded = recipes.load(path / "recipe.toml", settings or ())
    else:
        loaded = recipes.load(path, settings or ())
        run = RunFolder(runs / loaded.name)
    folder = out or run.path / "sweep"
    told = swept(loaded, run, Engine(workers or cores(), Reporter(quiet=as_json)), points, compute, folder)
    if as_json:
        print_json({"sweep": str(folder), **told})
        return
    law = told["law"]
    formula = f"{law['floor']:.3g} + {law['a']:.3g} / N^{law['alpha']:.3g} + {law['b']:.3g} / D^{law['beta']:.3g}"
    print(f"{told['points']} trainings: bits a byte = {formula}, give or take {100 * told['noise']:.1f} %")
    print("N are the parameters that multiply every token, D bytes of text")
    title = f"\nwhat {told['flop']:.2g} FLOP buy, by it"
    columns = ("", "layers", "width", "parameters", "tokens", "epochs", "bits/byte", "95 % interval")
    print_table(title, columns, map(_row, told["choices"]), numbers=7)
    print(f"\n{folder / 'law.json'}: name it as `law` in [model] of a recipe; {folder / 'sweep.svg'} shows it")


@model.command()
def decay(
    path: RunPath,
    step: Annotated[int, typer.Option(min=1, help="Step of a checkpoint on the plateau.", show_default=False)],
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Steps in which the rates fall; the recipe's share of all when not given."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the model; RUN/decayed/step-STEP when not given.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Threads; all cores when not given.")] = None,
    as_json: AsJson = False,
) -> None:
    """End a training from a checkpoint that was kept: the rates fall from there, and a model comes out. One that was
    stopped goes on where it was."""
    from openeurollm import recipe as recipes
    from openeurollm.engine import Engine, Reporter
    from openeurollm.ledger import cores, open_run
    from openeurollm.model.pretraining import decay as decayed

    run = open_run(path)
    folder = out or path / "decayed" / f"step-{step:08d}"
    engine = Engine(workers or cores(), Reporter(quiet=as_json))
    told = decayed(recipes.load(path / "recipe.toml"), run, engine, step, steps, folder)
    if as_json:
        print_json({"model": str(folder / "base"), **told})
        return
    print(f"{folder / 'base'}: after {told['steps']:,} steps, of which the rates fell from step {step:,} on")
    _held_out(told["held_out"])


@model.command()
def export(
    path: RunPath,
    step: Annotated[int, typer.Option(min=1, help="Step of the checkpoint.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder for the model.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Write the base model as it was at a checkpoint, as a Hugging Face folder."""
    from openeurollm import recipe as recipes
    from openeurollm.ledger import open_run
    from openeurollm.model.pretraining import export_checkpoint

    export_checkpoint(recipes.load(path / "recipe.toml"), open_run(path), step, out)
    if as_json:
        print_json({"model": str(out), "step": step})
        return
    print(f"{out}: the model at step {step:,}")


def _held_out(measured: dict[str, dict[str, float]]) -> None:
    from openeurollm.languages import name

    rows = [(tag, name(tag), measured["first"][tag], last) for tag, last in measured.get("last", {}).items()]
    print_table("\nbits per byte on held-out text", ("language", "", "before", "after"), rows, numbers=2)


def _row(choice: dict[str, Any]) -> list[Any]:
    numbers = [choice[key] for key in ("layers", "width", "parameters", "tokens")]
    loss = [f"{choice['epochs']:.2f}", f"{choice['bits_per_byte']:.3f}", f"{choice['low']:.2f}–{choice['high']:.2f}"]
    return ["chosen" if choice["chosen"] else "", *numbers, *loss]
