"""`openeurollm languages` and `openeurollm identify`."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from openeurollm.cli.frame import AsJson, app, print_json, print_table

_MAX_LINE = 1_000_000


@app.command()
def languages(
    contract: Annotated[str, typer.Argument(help="Contract: eu24, candidates or europe.")] = "europe",
    as_json: AsJson = False,
) -> None:
    """The language contract: tags, names, scripts, countries, status."""
    from openeurollm import languages as known

    rows = [known.languages()[tag] for tag in known.contract(contract)]
    if as_json:
        print_json([{**vars(row), "scripts": list(row.scripts), "countries": list(row.countries)} for row in rows])
        return
    cells = ((r.tag, r.name, r.autonym, " ".join(r.scripts), " ".join(r.countries), r.status) for r in rows)
    print_table(
        f"{contract}: {len(rows)} languages", ("tag", "name", "autonym", "script", "countries", "status"), cells
    )


@app.command()
def identify(
    files: Annotated[list[Path], typer.Argument(help="Text files, one text a line, or JSONL with a field `text`.")],
    as_json: AsJson = False,
) -> None:
    """Which language each line of the files is in, with the probability and the best three."""
    from openeurollm.languages import identify as ask

    for file in files:
        for text in _texts(file):
            answer = ask(text)
            if as_json:
                found = {"language": answer.language, "probability": round(answer.probability, 4)}
                found["top"] = [[tag, round(p, 4)] for tag, p in answer.top]
                sys.stdout.write(json.dumps(found, ensure_ascii=False) + "\n")
            else:
                print(f"{answer.language}\t{answer.probability:.3f}\t{text[:80].strip()}")


def _texts(file: Path) -> Iterator[str]:
    from openeurollm.errors import BadInput

    if not file.is_file():
        raise BadInput(f"{file}: no such file")
    with open(file, "rb") as lines:
        for number, line in enumerate(iter(lambda: lines.readline(_MAX_LINE), b""), 1):
            text = line.decode("utf-8", "replace").rstrip("\n")
            if file.suffix == ".jsonl":
                try:
                    text = str(json.loads(text)["text"])
                except (ValueError, KeyError, TypeError, RecursionError):
                    raise BadInput(f"{file}: line {number} is no JSON object with a field `text`") from None
            yield text
