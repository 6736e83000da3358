"""`openeurollm corpus inspect`."""

from itertools import islice
from typing import Annotated, Any

import typer

from openeurollm.cli.frame import AsJson, RunPath, app, print_json, print_table

corpus = typer.Typer(help="Look at a corpus.", no_args_is_help=True)
app.add_typer(corpus, name="corpus")


@corpus.command()
def inspect(
    path: RunPath,
    language: Annotated[str | None, typer.Option(help="Only this language.")] = None,
    reason: Annotated[
        str | None, typer.Option(help="Only documents dropped for this reason; kept for kept ones.")
    ] = None,
    number: Annotated[int, typer.Option(min=1, help="At most this many documents.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Documents that were kept and dropped, and why."""
    from openeurollm.corpus.document import rows
    from openeurollm.ledger import open_run

    run = open_run(path)
    run.need("corpus")
    folder = run.folder("corpus")
    parts = sorted(folder.glob("*/part-*.parquet")) if reason in (None, "kept") else []
    kept = [path for path in parts if language in (None, path.parent.name)]
    found: list[dict[str, Any]] = []
    if reason != "kept":
        dropped = (row for row in rows(folder / "dropped.parquet") if language in (None, row["language"]))
        found += islice((row for row in dropped if reason in (None, row["reason"])), number)
    for file in kept:
        documents = rows(file, ["id", "url", "source", "language", "text", "licence", "rights", "duplicates"])
        for row in islice(documents, max(0, number - len(found))):
            found.append({**row, "reason": "kept", "excerpt": row.pop("text")[:300]})
    if as_json:
        print_json(found)
        return
    shown = [
        (row["language"], row["reason"], row["url"] or row["id"], row["excerpt"][:80].replace("\n", " "))
        for row in found
    ]
    print_table("", ("language", "reason", "document", "begins"), shown)
