"""`openeurollm work`: what the jobs of a run do on their nodes; the scripts of `openeurollm run --on` call it."""

import os
import signal
import sys
from contextlib import suppress
from typing import Annotated, Any

import typer

from openeurollm.cli.frame import RunPath, app


@app.command(hidden=True)
def work(
    path: RunPath,
    stages: Annotated[list[str], typer.Argument(help="Stages to build, in order.")],
    part: Annotated[str, typer.Option(help="array, single or training: how the stages are built.")],
    site: Annotated[str, typer.Option(help="Name of the site, for the record.")],
    lease: Annotated[float, typer.Option(min=0.1, help="Seconds that a silent process counts as alive.")] = 60.0,
    gpus: Annotated[int, typer.Option(min=0, help="Devices of a node, a process each.")] = 0,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes and threads.")] = None,
) -> None:
    """Build stages of a run as a job of a cluster does."""
    from openeurollm import recipe as recipes
    from openeurollm.engine import Crew, Engine, Reporter
    from openeurollm.engine.crew import noted, together
    from openeurollm.errors import Stopped
    from openeurollm.ledger import cores, open_run
    from openeurollm.run import work as build

    run = open_run(path)
    recipe = recipes.load(run.path / "recipe.toml")
    leases = run.crew("-".join(stages))
    usual: dict[str, Any] = {"workers": workers or cores(), "reporter": Reporter(), "site": site}
    usual["costs"] = leases / "costs"
    job = os.environ.get("SLURM_ARRAY_JOB_ID") or os.environ.get("SLURM_JOB_ID", "0")
    over = leases / f"over-{job}.json"
    if part == "training":
        first = os.environ.get("RANK", "0") == "0"
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # the script answers it
        engine = Engine(**usual, gpus=1 if gpus else 0)
        if first:
            with run.locked(), noted(over):
                build(recipe, run, stages, engine)
        else:
            with suppress(Stopped):  # how it went is for the first to say
                build(recipe, run, stages, engine, first=False)
        return
    for number, status in ((signal.SIGUSR1, 75), (signal.SIGTERM, 143)):
        signal.signal(number, lambda *_, status=status: sys.exit(status))
    if part == "single":
        with run.locked(), noted(over):
            build(recipe, run, stages, Engine(**usual))
        return
    crew = Crew(**usual, work=run.work(stages[0]), leases=leases, lease=lease)
    together(crew, over, lambda each: build(recipe, run, stages, each))
