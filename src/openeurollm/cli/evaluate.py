"""`openeurollm evaluate`: any Hugging Face folder on parallel and held-out text."""

from pathlib import Path
from typing import Annotated, Any

import typer

from openeurollm.cli.frame import AsJson, app, print_json, print_table


@app.command()
def evaluate(
    model: Annotated[Path, typer.Argument(help="Hugging Face folder of a causal language model.", show_default=False)],
    parallel: Annotated[
        Path | None, typer.Option(help="Folder of parallel text, TAG.txt, one sentence a line.", show_default=False)
    ] = None,
    run: Annotated[Path | None, typer.Option(help="Run folder whose held-out text and questions are used.")] = None,
    languages: Annotated[str, typer.Option(help="Contract, or tags separated by commas.")] = "europe",
    resamples: Annotated[int, typer.Option(min=100, help="Bootstrap resamples behind each interval.")] = 1000,
    as_json: AsJson = False,
) -> None:
    """Measure bits per byte, bits per parallel sentence and language consistency, by language."""
    from tempfile import TemporaryDirectory

    from openeurollm import evaluation
    from openeurollm.engine import Engine, Reporter
    from openeurollm.errors import BadInput
    from openeurollm.languages import contract
    from openeurollm.ledger import open_run

    if parallel is None and run is None:
        raise BadInput("name --parallel DIR, --run RUN, or both: there is nothing to measure on")
    served = contract(_tags(languages))
    corpus, questions = None, None
    if run is not None:
        folder = open_run(run)
        corpus, asked = folder.folder("corpus"), folder.folder("tuning") / "held-out.jsonl"
        questions = asked if asked.is_file() else None
    engine = Engine(reporter=Reporter(quiet=as_json))
    model = model.resolve()
    with TemporaryDirectory() as place:
        work = Path(place)
        materials, _ = evaluation.prepare(served, corpus, 50_000, parallel, questions, engine, work / "search")
        tasks = evaluation.measurings(model, materials, resamples, 1, work / "model")
        engine.map(f"evaluate {model.name}", evaluation.measure, tasks)
        found = evaluation.gathered(tasks)
    if as_json:
        print_json({"model": model.name, "measures": found})
    else:
        _show(model.name, served, found)


def _tags(text: str) -> str | list[str]:
    from openeurollm.languages import contracts

    return text if text in contracts() else [tag.strip() for tag in text.split(",") if tag.strip()]


def _show(name: str, served: tuple[str, ...], found: dict[str, dict[str, Any]]) -> None:
    def cell(measure: str, tag: str) -> str:
        value = found.get(measure, {}).get(tag)
        if value is None:
            return ""
        span = f" ({value['low']:.3f}–{value['high']:.3f})" if "low" in value else f" of {value['n']}"
        return f"{value['value']:.3f}{span}"

    columns = [measure for measure in found if found[measure]]
    rows = [(tag, *(cell(measure, tag) for measure in columns)) for tag in served]
    print_table(name, ("language", *(column.replace("_", " ") for column in columns)), rows, numbers=len(columns))
