"""`openeurollm trace`: where in the training text do these words stand."""

from pathlib import Path
from typing import Annotated

import typer

from openeurollm.cli.frame import AsJson, app, print_json, print_table


@app.command()
def trace(
    release: Annotated[Path, typer.Argument(help="Run folder, or the release folder inside it.", show_default=False)],
    text: Annotated[str, typer.Argument(help="The text to trace.", show_default=False)],
    least: Annotated[int, typer.Option(min=2, help="Words in a row that count as a match.")] = 5,
    as_json: AsJson = False,
) -> None:
    """Which training documents hold these words."""
    from openeurollm import trace as room

    corpus = next(
        (place for place in (release / "corpus", release.resolve().parent / "corpus") if place.is_dir()), release / "corpus"
    )
    spans = room.trace(corpus, text, least)
    if as_json:
        print_json([{**vars(span), "documents": list(span.documents)} for span in spans])
        return
    rows = [
        (span.text, span.words, document["language"], document["url"] or document["id"], document["licence"])
        for span in spans
        for document in span.documents
    ]
    if rows:
        print_table("", ("words", "length", "language", "document", "licence"), rows)
    else:
        print(f"no run of {least} words of this text stands in the training documents")
