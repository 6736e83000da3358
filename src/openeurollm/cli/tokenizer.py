"""`openeurollm tokenizer compare`, `export` and `encode`."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import typer

from openeurollm.cli.frame import AsJson, app, print_json, print_table

tokenizer = typer.Typer(help="Look at tokenizers.", no_args_is_help=True)
app.add_typer(tokenizer, name="tokenizer")


@tokenizer.command()
def compare(
    tokenizers: Annotated[
        list[str],
        typer.Argument(
            help="Folders or files: tokenizer.json, tiktoken's ranks, tekken.json, a SentencePiece model, a run; or an "
            "encoding that tiktoken has fetched before, such as o200k_base.",
            show_default=False,
        ),
    ],
    parallel: Annotated[
        Path, typer.Option(help="Folder of parallel text, TAG.txt, one sentence a line.", show_default=False)
    ],
    chart: Annotated[Path | None, typer.Option(help="Draw it into this file (SVG).")] = None,
    speed: Annotated[bool, typer.Option("--speed", help="Measure how fast each encodes, too.")] = False,
    as_json: AsJson = False,
) -> None:
    """What each language pays for the same sentences, by tokenizer."""
    from openeurollm.ledger import write_text
    from openeurollm.tokenizer import dots
    from openeurollm.tokenizer.compare import compare as compared

    found = compared(tokenizers, parallel, speed)
    several = found["tokenizers"]
    if chart:
        title = f"Tokens a parallel sentence, {found['sentences']:,} sentences"
        write_text(chart, dots.chart(several, title))
    if as_json:
        print_json(found)
        return
    columns = ["language"]
    for each in several:
        columns += [each["name"], "/ English", "/ mean"]
    title = f"tokens a sentence, over English and over the mean of all; {found['sentences']:,} sentences"
    print_table(title, columns, _by_language(several), numbers=3 * len(several))
    typer.echo()
    print_table("", ("", *(each["name"] for each in several)), _summary(several), numbers=len(several))


def _by_language(several: Sequence[Mapping[str, Any]]) -> Iterator[Sequence[Any]]:
    """A row a language, the one that pays most with the first tokenizer on top."""
    from openeurollm.languages import languages, name

    costs = several[0]["languages"]
    for tag in sorted(costs, key=lambda tag: (-costs[tag], tag)):
        cells: list[Any] = [f"{name(tag)} ({tag})" if tag in languages() else tag]
        for each in several:
            premium = each["premium"][tag]
            cells += [f"{each['languages'][tag]:.1f}", _ratio(premium["english"]), _ratio(premium["mean"])]
        yield cells


def _ratio(value: float | None) -> str | None:
    return None if value is None else f"{value:.2f}"


def _summary(several: Sequence[Mapping[str, Any]]) -> Iterator[Sequence[Any]]:
    """A row a figure of each tokenizer; what is told by language as the mean over languages."""

    def row(title: str, told: Any) -> Sequence[Any]:
        return (title, *(told(each) for each in several))

    def mean(key: str) -> Any:
        return lambda each: f"{fmean(value for value in each[key].values() if value is not None):.2f}"

    yield row("tokens in all", lambda each: each["vocabulary"])
    yield row("mean", lambda each: f"{each['mean']:.1f}")
    yield row("worst", lambda each: f"{each['worst']:.1f} {each['worst_language']}")
    yield row("max / min", lambda each: f"{each['max_min']:.2f}")
    yield row("Gini", lambda each: f"{each['gini']:.3f}")
    yield row("tokens a word", mean("fertility"))
    yield row("bytes a token", mean("bytes_a_token"))
    yield row("words kept whole", mean("whole_words"))
    if "mb_per_s" in several[0]:
        yield row("MB/s, one core", lambda each: f"{each['mb_per_s']:.1f}")


@tokenizer.command()
def export(
    path: Annotated[Path, typer.Argument(help="Tokenizer or run folder: tokenizer.json, or tiktoken's ranks.")],
    out: Annotated[Path, typer.Option(help="Folder for the files.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Write a tokenizer for Hugging Face and for tiktoken, with the same ids."""
    from openeurollm.tokenizer import formats

    read = formats.read(path)
    formats.write_huggingface(read, out / "tokenizer.json")
    formats.write_tiktoken(read, out, path.resolve().name)
    files = [str(out / name) for name in ("tokenizer.json", formats.RANKS, formats.SETTINGS)]
    print_json({"files": files}) if as_json else typer.echo("\n".join(files))


@tokenizer.command()
def encode(
    path: Annotated[Path, typer.Argument(help="Tokenizer or run folder.", show_default=False)],
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="Parquet files with a column `text`; the run's training text when not given."),
    ] = None,
    *,
    out: Annotated[Path, typer.Option(help="Folder for the shards.", show_default=False)],
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; all cores when not given.")] = None,
    as_json: AsJson = False,
) -> None:
    """Encode documents into shards of ids that numpy reads in place."""
    from openeurollm.engine import Engine, Reporter
    from openeurollm.ledger import cores
    from openeurollm.tokenizer import shards

    engine = Engine(workers or cores(), Reporter(quiet=as_json))
    written = shards.encode(path, files or sorted(path.glob("corpus/*/part-*.parquet")), out, engine)
    if as_json:
        print_json(written)
        return
    rows = [(each["shard"], *(each[key] for key in ("language", "documents", "tokens", "bytes"))) for each in written]
    print_table("", ("shard", "language", "documents", "tokens", "bytes"), rows, numbers=3)
