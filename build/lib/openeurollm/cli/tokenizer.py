"""`openeurollm tokenizer compare`."""

from pathlib import Path
from typing import Annotated

import typer

from openeurollm.cli.frame import AsJson, app, print_json, print_table

tokenizer = typer.Typer(help="Look at tokenizers.", no_args_is_help=True)
app.add_typer(tokenizer, name="tokenizer")


@tokenizer.command()
def compare(
    tokenizers: Annotated[list[Path], typer.Argument(help="Folders with tokenizer.json, or such files.")],
    parallel: Annotated[Path, typer.Option(help="Folder of parallel text, TAG.txt, one sentence a line.")],
    as_json: AsJson = False,
) -> None:
    """What each language pays for the same sentences, by tokenizer."""
    from openeurollm import tokenizer as room

    found = room.compare(tokenizers, parallel)
    if as_json:
        print_json(found)
        return
    several = found["tokenizers"]
    tags = sorted(several[0]["languages"], key=lambda tag: -several[0]["languages"][tag])
    rows = [(tag, *(each["languages"][tag] for each in several)) for tag in tags]
    for key in ("vocabulary", "mean", "max_min", "gini"):
        rows.append((key.replace("max_min", "max / min"), *(each[key] for each in several)))
    title = f"tokens a sentence, {found['sentences']} sentences"
    print_table(title, ("language", *(each["name"] for each in several)), rows, numbers=len(several))
