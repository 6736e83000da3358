"""`openeurollm run` and `openeurollm status`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from openeurollm.cli.frame import AsJson, RunPath, app, print_json, print_table

RecipePath = Annotated[Path, typer.Argument(help="Recipe, such as recipes/quickstart.toml.", show_default=False)]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="Put a value over the recipe's: table.key=value. Repeatable.")
]


@app.command()
def run(
    recipe: RecipePath,
    settings: Settings = None,
    until: Annotated[str | None, typer.Option(help="Stop after this stage.")] = None,
    again: Annotated[list[str] | None, typer.Option(help="Build this stage anew. Repeatable.")] = None,
    runs: Annotated[Path, typer.Option(help="Folder that holds the run folders.")] = Path("runs"),
    on: Annotated[str, typer.Option("--on", help="Where to run: a site, or a file of your own.")] = "laptop",
    nodes: Annotated[list[str] | None, typer.Option(help="Nodes of each job, or JOB=NODES. Repeatable.")] = None,
    account: Annotated[str, typer.Option(help="Account that a cluster bills.")] = "",
    walltime: Annotated[str | None, typer.Option(help="Time limit of each job, such as 12:00:00.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask, however much it may cost.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the jobs of a cluster are over.")] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes and threads; all cores when not given.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be built, why and at what cost.")] = False,
    as_json: AsJson = False,
) -> None:
    """Build what the recipe names; what is built already and has not changed is left alone."""
    from openeurollm import recipe as recipes
    from openeurollm.cli.summary import show, summary
    from openeurollm.engine import Engine, Reporter, site
    from openeurollm.ledger import RunFolder, cores
    from openeurollm.run import plan
    from openeurollm.run import run as build

    where = site.load(on)
    loaded = recipes.load(recipe, settings or ())
    folder = RunFolder(runs / loaded.name)
    if where.scheduler == "slurm":
        _on_cluster(
            loaded,
            folder,
            where,
            until=until,
            again=again or [],
            nodes=nodes or [],
            account=account,
            walltime=walltime,
            yes=yes,
            wait=wait,
            dry_run=dry_run,
            as_json=as_json,
        )
        return
    engine = Engine(workers or cores(), Reporter(quiet=as_json), where.name)
    if (folder.path / ".work").is_dir():
        from openeurollm.cli import cluster

        cluster.idle(folder)
    if dry_run:
        _show_plan(loaded, folder, plan(loaded, folder, until, again or ()), as_json)
        return
    steps = build(loaded, folder, engine, until, again or ())
    built = [step.stage for step in steps if step.build]
    if as_json:
        print_json({"run": str(folder.path), "built": built, "steps": [vars(step) for step in steps]})
    elif not built:
        notes = [f"{step.stage}: {step.why}" for step in steps if step.why != "built"]
        print("\n".join([f"{folder.path}: everything is built already, nothing to do", *notes]))
    else:
        print(f"{folder.path}: built {', '.join(built)}\n")
        show(summary(folder))


def _on_cluster(
    recipe: Any,
    folder: Any,
    site: Any,
    *,
    until: str | None,
    again: list[str],
    nodes: list[str],
    account: str,
    walltime: str | None,
    yes: bool,
    wait: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    from openeurollm import plan as planning
    from openeurollm.cli import cluster
    from openeurollm.run import jobs, plan

    steps = plan(recipe, folder, until, again)
    if not any(step.build for step in steps):
        if as_json:
            print_json({"run": str(folder.path), "jobs": []})
        else:
            print(f"{folder.path}: everything is built already, nothing to do")
        return
    site = cluster.at(site, account)
    found = jobs(recipe, steps, site, _nodes(nodes), walltime)
    costs = planning.forecast(recipe, found)
    if dry_run:
        cluster.dry_run(found, costs, folder, as_json)
        return
    if not as_json:
        cluster.show_costs(found, costs)
    noted = cluster.submit(recipe, folder, found, costs, again, yes)
    if not as_json:
        words = ", ".join(f"{job['job']} {job['id']}" for job in noted)
        print(f"submitted: {words}\nopeneurollm status {folder.path} --watch shows how far they are")
    if wait:
        cluster.wait(folder, steps, as_json)
    if as_json:
        print_json({"run": str(folder.path), "jobs": noted})


def _nodes(given: list[str]) -> dict[str, int]:
    """`4` and `model=2` as numbers by job, "" for all others."""
    from openeurollm.errors import BadInput

    found = {}
    for each in given:
        job, _, number = each.rpartition("=")
        if not (number.isascii() and number.isdigit() and 0 < int(number) <= 100_000):
            raise BadInput(f"--nodes {each}: give a number of nodes, or JOB=NODES such as model=2")
        found[job] = int(number)
    return found


def _show_plan(recipe: Any, folder: Any, steps: Any, as_json: bool) -> None:
    from openeurollm.model.numerics import training_speed
    from openeurollm.model.outlook import outlook
    from openeurollm.plan import plan

    cost: dict[str, Any] | None = None
    if any(step.build and step.stage == "model" for step in steps):
        ahead, speed = outlook(recipe, folder), training_speed()
        found = plan(ahead.budget, speed)
        cost = {
            "training_flop": found.flop,
            "training_flop_per_s": round(speed),
            "training_minutes": round(found.seconds / 60, 1),
            "model": ahead.asdict(),
        }
    if as_json:
        print_json({"steps": [vars(step) for step in steps], "cost": cost})
        return
    print_table("", ("stage", "", "why"), [(s.stage, "build" if s.build else "keep", s.why) for s in steps])
    if cost:
        show_outlook(ahead)
        minutes = max(1, round(cost["training_minutes"]))
        print(f"training: {cost['training_flop']:.2g} FLOP, about {minutes} minutes here")


def show_outlook(ahead: Any) -> None:
    """Print what model is ahead, in a few lines."""
    shape, loss = ahead.shape, ahead.bits_per_byte
    known = "" if ahead.text_known else ", if there is text enough"
    print(f"model: {shape.parameters:,} parameters ({shape.layers} layers of {shape.width})", end="")
    print(f", {ahead.tokens:,} tokens in steps of {ahead.batch_tokens:,}{known}")
    between = f"({loss.low:.2f} to {loss.high:.2f})"
    print(f"held-out text: {loss.value:.2f} bits a byte predicted {between}, mean over languages")
    if not 0.5 <= ahead.suitable_vocabulary / shape.vocabulary <= 2:
        print(f"vocabulary: about {ahead.suitable_vocabulary:,} is usual for this size; here are {shape.vocabulary:,}")
    if ahead.unspent > 0.05:
        print(f"unspent: {ahead.unspent:.0%} of the budget; the text has been repeated as often as it may be")


@app.command()
def cancel(path: RunPath, as_json: AsJson = False) -> None:
    """Cancel the jobs of a run on a cluster; what they have finished is kept."""
    from openeurollm.cli import cluster
    from openeurollm.ledger import open_run

    jobs = cluster.cancel(open_run(path))
    if as_json:
        print_json({"run": str(path), "cancelled": jobs})
    else:
        print(f"{path}: cancelled {', '.join(map(str, jobs))}" if jobs else f"{path}: no job is under way")


@app.command()
def status(
    path: RunPath,
    watch: Annotated[bool, typer.Option("--watch", help="Show it again and again while jobs are under way.")] = False,
    as_json: AsJson = False,
) -> None:
    """What is built, what is missing, what it cost, the jobs under way, and the counts of every stage."""
    import time

    from openeurollm.cli import cluster
    from openeurollm.engine import slurm
    from openeurollm.ledger import open_run

    run = open_run(path)
    while True:
        jobs = cluster.progress(run)
        if watch and not as_json:
            print("\033[2J\033[H", end="")
        _show_status(run, jobs, as_json)
        if not watch or not any(slurm.active(job["states"]) for job in jobs):
            return
        time.sleep(5)


def _show_status(run: Any, jobs: list[dict[str, Any]], as_json: bool) -> None:
    from openeurollm.cli import cluster
    from openeurollm.engine.transfer import transfers
    from openeurollm.ledger import FOLDERS, sums

    path = run.path
    stages: dict[str, Any] = {}
    for stage in FOLDERS:
        record = run.record(stage)
        state = "built" if record else "unfinished" if (run.work(stage) / "key").is_file() else "missing"
        stages[stage] = {
            "state": state,
            "finished": record.finished if record else None,
            "cost": record.cost if record else None,
            "counts": record.counts if record else {},
            "results": record.results if record else {},
            "files": len(record.outputs) if record else 0,
        }
    total = _total([part["cost"] for part in stages.values() if part["cost"]])
    if as_json:
        rest = {"sums": sums(run), "jobs": jobs, "transfers": transfers(path)}
        print_json({"run": path.name, "stages": stages, "cost": total, **rest})
        return
    rows = [(stage, part["state"], *_cost_cells(part["cost"])) for stage, part in stages.items()]
    rows.append(("total", "", *_cost_cells(total)))
    print_table(str(path), ("stage", "state", "wall s", "CPU s", "kWh"), rows, numbers=3)
    for stage in ("model", "tuning"):
        if stages[stage]["state"] == "unfinished" and (words := _training(run.folder(stage) / "metrics.jsonl")):
            print(f"{stage}: {words}; openeurollm metrics {path} --stage {stage} shows more")
    if jobs:
        cluster.show_progress(jobs, {stage: part["state"] == "built" for stage, part in stages.items()})
    for each in transfers(path):
        print(f"brought here: {each['statement']}")
    print(f"energy: between {total['energy']['low']:.5f} and {total['energy']['high']:.5f} kWh, estimated")
    for each in sums(run):
        print(f"{'ok ' if each['ok'] else 'BAD'} {each['check']}: {each['left']:,} = {each['right']:,}")
    _show_counts(stages["corpus"]["counts"])


def _training(file: Path) -> str:
    """How far a training under way has come, in words; empty where it tells nothing yet."""
    if not file.is_file():
        return ""
    from openeurollm.board import terminal
    from openeurollm.board.training import training
    from openeurollm.ledger.metrics import read_metrics

    return terminal.line(training(read_metrics(file)))


def _cost_cells(cost: dict[str, Any] | None) -> tuple[str, str, str]:
    if cost is None:
        return "", "", ""
    return f"{cost['wall_seconds']:,.1f}", f"{cost['cpu_seconds']:,.1f}", f"{cost['energy']['kwh']:.5f}"


def _total(costs: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        **{key: round(sum(cost[key] for cost in costs), 5) for key in ("wall_seconds", "cpu_seconds", "gpu_hours")},
        "energy": {key: round(sum(cost["energy"][key] for cost in costs), 8) for key in ("kwh", "low", "high")},
    }


def _show_counts(counts: dict[str, dict[str, int]]) -> None:
    if not counts:
        return
    rows = []
    for tag, buckets in counts.items():
        dropped = {name: number for name, number in buckets.items() if name not in ("kept", "held_out")}
        words = ", ".join(f"{name} {number}" for name, number in sorted(dropped.items(), key=lambda pair: -pair[1]))
        rows.append((tag, buckets.get("kept", 0), buckets.get("held_out", 0), sum(dropped.values()), words))
    print()
    print_table("corpus: records", ("language", "kept", "held out", "dropped", "why dropped"), rows)
