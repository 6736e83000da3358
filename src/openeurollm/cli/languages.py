"""`openeurollm languages`: the language contract, and training the identifier."""

from pathlib import Path
from typing import Annotated

import typer

from openeurollm.cli.frame import AsJson, app, print_json, print_table
from openeurollm.languages.identifier import LIST, Settings

languages = typer.Typer(help="The language contract, and the identifier that keeps it.")
app.add_typer(languages, name="languages")


@languages.callback(invoke_without_command=True)
def table(
    context: typer.Context,
    contract: Annotated[str, typer.Option(help="Contract: eu24, candidates or europe.")] = "europe",
    locale: Annotated[str, typer.Option("--in", metavar="LOCALE", help="Language to name them in, such as fi.")] = "en",
    as_json: AsJson = False,
) -> None:
    """The language contract: names, status, script, speakers, and how well the bundled identifier knows each."""
    from openeurollm import languages as known

    if context.invoked_subcommand:
        return
    rows, scores = [known.languages()[tag] for tag in known.contract(contract)], known.identifier_scores()
    if as_json:
        told = []
        for row in rows:
            names = {"tag": row.tag, "name": known.name(row.tag, locale), "autonym": row.autonym}
            told.append({**names, **vars(row), "identifier_f1": scores.get(row.tag)})
        print_json(told)
        return
    cells = []
    for row in rows:
        f1 = scores.get(row.tag, {})
        called, script = (row.tag, known.name(row.tag, locale), row.autonym), " ".join(row.scripts)
        cells.append((*called, row.status, script, row.speakers, f1.get("sentence"), f1.get("document")))
    columns = ("tag", "name", "own name", "status", "script", "speakers", "F1 sentence", "F1 document")
    print_table(f"{contract}: {len(rows)} languages", columns, cells, numbers=3)
    print("\nspeakers: first language, worldwide, rounded; --json has the source of each")
    print("F1: of the bundled identifier, on a sentence and on a document" + ("" if scores else "; it has no card yet"))


@languages.command()
def train(
    out: Annotated[Path, typer.Option(help="Folder for model.npz, its card and its record.")],
    data: Annotated[Path, typer.Option(help="Folder of the sources; those with a repository are cloned into it.")],
    sources: Annotated[Path, typer.Option(help="List of sources.", show_default="the bundled one")] = LIST,
    examples: Annotated[int, typer.Option(min=100, help="Examples a language and epoch.")] = Settings.examples,
    rows: Annotated[int, typer.Option(min=1_000, max=500_000, help="Features to keep.")] = Settings.rows,
    epochs: Annotated[int, typer.Option(min=1, max=50)] = Settings.epochs,
    seed: Annotated[int, typer.Option()] = Settings.seed,
    as_json: AsJson = False,
) -> None:
    """Train the language identifier from listed open sources and write it with its card and record."""
    from datetime import UTC, datetime

    from openeurollm.engine import Reporter
    from openeurollm.languages.identifier.sources import paths, read_list
    from openeurollm.languages.identifier.train import train as fit
    from openeurollm.ledger import Meter, Record, code_digest, digest, host

    listed = read_list(sources)
    started, settings = datetime.now(UTC), Settings(examples, rows, epochs, seed=seed)
    with Meter(out / "cost.json") as meter:
        card = fit(listed, data, out, settings, Reporter().say)
    files = {path for source in listed for _, path in paths(source, data / source.name)}
    read = {path.relative_to(data).as_posix(): digest(path) for path in sorted(files)}
    names = ("model.npz", "card.json", "card.md")
    Record(
        stage="identifier",
        parameters=vars(settings),
        inputs={"sources": digest(sources), **read},
        outputs={name: digest(out / name) for name in names},
        results={key: card[key] for key in ("macro", "scores", "refused", "calibration_error")},
        cost=meter.cost,
        code=code_digest("languages"),
        host={key: value for key, value in host().items() if key not in ("name", "system")},
        started=started.isoformat(timespec="seconds"),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
    ).write(out)
    (out / "cost.json").unlink()
    if as_json:
        print_json({"out": str(out), **card})
        return
    sentence, document = card["macro"]["sentence"], card["macro"]["document"]
    print(f"{out}: {card['bytes'] / 1e6:.1f} MB, F1 {sentence:.1%} by sentence, {document:.1%} by document")
