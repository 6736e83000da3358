"""`openeurollm identify`: the language of many texts."""

import json
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.cells import set_cell_size

from openeurollm.cli.frame import AsJson, app

if TYPE_CHECKING:
    from openeurollm.languages.batch import Text
    from openeurollm.languages.identify import Answer, Document

_COMPLAINTS = 10
_EXCERPT = 400
"""Characters at the start of a text from which a line of the terminal is filled."""
_Batches = Iterator["list[Text]"]
_Unit = tuple[dict[str, Any], str]
"""What is told of a sentence, document or segment, and its first characters."""


@app.command()
def identify(
    files: Annotated[
        list[Path],
        typer.Argument(help="Text, JSON lines or Parquet, packed or not; - is standard input.", show_default=False),
    ],
    by: Annotated[
        Literal["sentence", "document", "segment"],
        typer.Option(help="A line or record; a text file or record; or the parts of those in one language each."),
    ] = "sentence",
    field: Annotated[str, typer.Option(help="The field or column that holds the text.")] = "text",
    as_json: AsJson = False,
) -> None:
    """Which language each text of the files is in, with the probability.

    The name of a file says what it is: .jsonl, .ndjson and .json hold an object a line, .parquet a text a row,
    others a text a line; .gz, .bz2 and .zst are unpacked. --json prints an object a line, with the best three
    languages, where the text stands and, by document, the languages it mixes. Of a line of over a million characters
    the first million are read, and `cut` says so. A record that cannot be read is told of and passed over; then the
    exit code is 2.
    """
    from openeurollm.engine import Reporter
    from openeurollm.languages.batch import batches, check, size

    for file in files:
        check(file)
    out, encode = sys.stdout, json.JSONEncoder(ensure_ascii=False).encode
    counts, complain = Counter[str](), _Complaints()
    # On a terminal, the answers that scroll by are the progress.
    with nullcontext() if out.isatty() else Reporter().task("identify", sum(map(size, files))) as task:

        def read() -> _Batches:
            for batch, done in batches(files, field, by != "sentence", complain):
                yield batch
                out.flush()
                if task:
                    task.update(done, f"{counts.total():,} {by}s")

        for told, start in _UNITS[by](read()):
            counts[told["language"]] += 1
            out.write((encode(told) if as_json else _readable(told, start)) + "\n")
        out.flush()
    summary = ", ".join(f"{language} {count:,}" for language, count in counts.most_common())
    lost = f"; could not be read: {complain.number:,}" if complain.number else ""
    print(f"{by}s: {counts.total():,}{f' ({summary})' if summary else ''}{lost}", file=sys.stderr)
    if complain.number:
        raise typer.Exit(2)


class _Complaints:
    """What could not be read: counted, and the first of it told on standard error."""

    number = 0

    def __call__(self, problem: str) -> None:
        self.number += 1
        if self.number <= _COMPLAINTS:
            print(f"error: {_printable(problem)}", file=sys.stderr)


def _sentences(batches: _Batches) -> Iterator[_Unit]:
    from openeurollm.languages.identify import identify_batch

    for batch in batches:
        for text, answer in zip(batch, identify_batch([text.text for text in batch])):
            yield _told(answer, text.where, **({"cut": True} if text.cut else {})), text.text[:_EXCERPT]


def _segments(batches: _Batches) -> Iterator[_Unit]:
    from openeurollm.languages.identify import segments

    for batch in batches:
        found = segments([text.text for text in batch])
        for text, segment in ((text, segment) for text, cut in zip(batch, found) for segment in cut):
            start, end = segment.start, segment.end
            place = {"start": text.start + start, "end": text.start + end}
            yield _told(segment.answer, text.where, **place), text.text[start : min(end, start + _EXCERPT)]


def _documents(batches: _Batches) -> Iterator[_Unit]:
    from openeurollm.languages.identify import documents

    parts: list[tuple[Text, int, Document]] = []
    for batch in batches:
        for text, document in zip(batch, documents([text.text for text in batch])):
            if parts and not text.start:
                yield _document(parts)
                parts = []
            parts.append((replace(text, text=text.text[:_EXCERPT]), len(text.text), document))
    if parts:
        yield _document(parts)


def _document(parts: list[tuple["Text", int, "Document"]]) -> _Unit:
    (first, _, whole), *more = parts
    if more:
        whole = _mean([(length, document) for _, length, document in parts])
    shares = {language: round(share, 4) for language, share in whole.languages.items()}
    return _told(whole.answer, first.where, languages=shares), first.text


def _mean(parts: list[tuple[int, "Document"]]) -> "Document":
    """A document that was read in parts: the mean of its parts by their length."""
    from openeurollm.languages.identify import Answer, Document

    answers = _blend([(length, {part.answer.language: part.answer.probability}) for length, part in parts])
    best = _blend([(length, dict(part.answer.top)) for length, part in parts])
    language, probability = answers[0]
    shares = _blend([(length, part.languages) for length, part in parts])
    return Document(Answer(language, probability, tuple(best[:3])), dict(shares))


def _blend(parts: list[tuple[int, dict[str, float]]]) -> list[tuple[str, float]]:
    whole, blended = sum(length for length, _ in parts), dict[str, float]()
    for length, shares in parts:
        for language, share in shares.items():
            blended[language] = blended.get(language, 0.0) + share * length / whole
    return sorted(blended.items(), key=lambda item: -item[1])


_UNITS = {"sentence": _sentences, "document": _documents, "segment": _segments}


def _told(answer: "Answer", where: dict[str, str | int], **more: Any) -> dict[str, Any]:
    top = [[language, round(probability, 4)] for language, probability in answer.top]
    return {"language": answer.language, "probability": round(answer.probability, 4), "top": top, **where, **more}


def _readable(told: dict[str, Any], start: str) -> str:
    """A line of the terminal's width: language, probability, the mix where there is one, and how the text begins."""
    mix = told.get("languages", {})
    shares = " ".join(f"{language} {100 * share:.0f} %" for language, share in mix.items()) if len(mix) > 1 else ""
    line = f"{shares}; {_printable(start)}" if shares else _printable(start)
    width = max(20, shutil.get_terminal_size((100, 24)).columns - 16)
    return f"{told['language']}\t{told['probability']:.2f}\t{set_cell_size(line, width).rstrip()}"


def _printable(text: str) -> str:
    """Text as one line without control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
