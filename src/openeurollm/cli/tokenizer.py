"""`openeurollm tokenizer compare`, `count`, `train`, `export`, `encode` and `megatron`."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import typer

from openeurollm.cli.frame import AsJson, app, print_json, print_table

tokenizer = typer.Typer(help="Compare tokenizers, make them, use them.", no_args_is_help=True)
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


Digits = Annotated[str, typer.Option(help="How numbers are cut: threes, from the right, or single.")]


@tokenizer.command()
def count(
    data: Annotated[Path, typer.Option(help="Folder of TAG.jsonl.zst, TAG.txt or TAG.parquet.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder for the counts, TAG/*.parquet.", show_default=False)],
    bytes_per_language: Annotated[int, typer.Option(min=1_000, help="Text of each language, at most.")] = 10_000_000,
    digits: Digits = "threes",
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; all cores when not given.")] = None,
    as_json: AsJson = False,
) -> None:
    """Count the words of text by language, which is all that `train` needs to know of it."""
    from openeurollm import tokenizer as room
    from openeurollm.engine import Engine, Reporter
    from openeurollm.ledger import cores

    engine = Engine(workers or cores(), Reporter(quiet=as_json))
    tables = room.count_folder(data, _limits(bytes_per_language=bytes_per_language, digits=digits), out, engine)
    rows = [(tag, table.counted.documents, table.counted.bytes, len(table)) for tag, table in tables.items()]
    columns = ("language", "documents", "bytes", "words")
    if as_json:
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
    else:
        print_table("", columns, rows, numbers=3)


@tokenizer.command()
def train(
    counts: Annotated[list[Path], typer.Option(help="Folder of counts; repeatable, they add up.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder for the tokenizer.", show_default=False)],
    vocabulary: Annotated[int, typer.Option(help="Slots, bytes and special tokens included.")] = 32_768,
    development: Annotated[
        Path | None, typer.Option(help="Folder of parallel text, TAG.txt, on which languages are made to pay alike.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=0, max=10, help="Times that the weights are set anew on it.")] = 2,
    digits: Digits = "threes",
    as_json: AsJson = False,
) -> None:
    """Train a tokenizer from counts of words, balanced over the languages."""
    from openeurollm import tokenizer as room

    limits = _limits(vocabulary=vocabulary, rounds=rounds if development else 0, digits=digits)
    tables = room.read_counts(counts)
    trained = room.train(tables, room.parallel(development, list(tables)) if development else {}, limits)
    room.write(trained, out)
    told = {"tokenizer": str(out / "tokenizer.json"), "languages": len(tables), "merges": trained.told["merges"]}
    if as_json:
        print_json({**told, "rounds": trained.told["rounds"]})
    else:
        print(f"{told['tokenizer']}: {told['merges']:,} merges from {told['languages']} languages")


def _limits(**given: Any) -> Any:
    from pydantic import ValidationError

    from openeurollm.errors import BadInput
    from openeurollm.recipe import Tokenizer

    try:
        return Tokenizer(**given)
    except ValidationError as error:
        first = error.errors()[0]
        raise BadInput(f"--{first['loc'][0]}: {first['msg'].lower()}") from None


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


@tokenizer.command()
def megatron(
    path: Annotated[Path, typer.Argument(help="Run, or a folder of shards, TAG/NAME.npy.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder for the files.", show_default=False)],
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; all cores when not given.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write shards of ids for Megatron and NeMo, TAG.bin and TAG.idx for each language."""
    from openeurollm.engine import Engine, Reporter
    from openeurollm.ledger import cores
    from openeurollm.tokenizer.megatron import export as write

    written = write(path, out, Engine(workers or cores(), Reporter(quiet=as_json)))
    if as_json:
        print_json(written)
        return
    columns = ("pair", "language", "documents", "tokens", "bytes")
    print_table("", columns, [tuple(each[key] for key in columns) for each in written], numbers=3)
