"""`openeurollm plan`: what a budget costs here or elsewhere."""

from pathlib import Path
from typing import Annotated

import typer

from openeurollm.cli.frame import AsJson, app, print_json
from openeurollm.cli.run import RecipePath, Settings


@app.command()
def plan(
    recipe: RecipePath,
    settings: Settings = None,
    flop_per_s: Annotated[
        float | None,
        typer.Option("--flop-per-s", help="Sustained FLOP a second; half this machine's matmul by default."),
    ] = None,
    watts: Annotated[float | None, typer.Option(min=0, help="Power of the machine under load.")] = None,
    euros_per_kwh: Annotated[float | None, typer.Option("--euros-per-kwh", min=0, help="Price of energy.")] = None,
    runs: Annotated[Path, typer.Option(help="Folder that holds the run folders.")] = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """What training the recipe's budget takes in time, energy and money, and what comes of it."""
    from openeurollm import plan as room
    from openeurollm import recipe as recipes
    from openeurollm.cli.run import show_outlook
    from openeurollm.errors import BadInput
    from openeurollm.ledger import RunFolder
    from openeurollm.model.outlook import outlook

    loaded = recipes.load(recipe, settings or ())
    ahead = outlook(loaded, RunFolder(runs / loaded.name))
    if flop_per_s is None:
        from openeurollm.model.numerics import training_speed

        flop_per_s = training_speed()
    try:
        found = room.plan(ahead.budget, flop_per_s, watts, euros_per_kwh)
    except ValueError as error:
        raise BadInput(str(error)) from None
    if as_json:
        print_json({"recipe": loaded.name, **found.asdict(), "model": ahead.asdict()})
        return
    print(f"{loaded.name}: {found.flop:.3g} FLOP at {found.flop_per_s:.3g} FLOP/s")
    show_outlook(ahead)
    print(f"time: {found.seconds:,.0f} s ({found.seconds / 3600:,.2f} h)")
    print(f"energy: {found.kwh:,.4f} kWh" if found.kwh is not None else "energy: unknown, name --watts")
    print(f"cost: {found.euros:,.2f} euros" if found.euros is not None else "cost: unknown, name --euros-per-kwh")
