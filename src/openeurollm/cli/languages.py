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
    locale: Annotated[str, typer.Option("--in", metavar="LOCALE", help="Language to name them in, such as fi.")] = "en",
    as_json: AsJson = False,
) -> None:
    """The language contract: names, status, script, speakers, and how well the bundled identifier knows each."""
    from openeurollm import languages as known

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
