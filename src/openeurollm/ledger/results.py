"""What every stage reports, as types: the seam between the room that writes a number and the rooms that show it.

A stage leaves its numbers in its record and in a few files beside it. What they look like and in which unit they are is
said here alone, for `board` and `release` to read them by; what no room reads has no type. A run or a release may come
from anywhere: every file is bounded before it is read, numbers must be finite and in bounds, text must be text, and all
else is refused by the name of the file.

This module is not part of what `openeurollm.ledger` brings along: the command line imports the ledger as it starts, and
should not wait for pydantic.
"""

import json
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from openeurollm.errors import BadInput
from openeurollm.ledger.files import digest_of

MAX_BYTES = 100_000_000
"""Largest file that is read, in bytes; the record of a corpus of a hundred thousand shards has about 30 MB."""


_MOST = 1e30


def _usable(value: Any) -> Any:
    return None if isinstance(value, float) and not value <= _MOST else value


Count = Annotated[int, Field(ge=0, le=10**18)]
"""How many: documents, bytes, tokens, steps."""
Amount = Annotated[float, Field(ge=0, le=_MOST, allow_inf_nan=False)]
"""How much, in the unit that the field names."""
Reading = Annotated[Amount | None, BeforeValidator(_usable)]
"""What was read off a training, such as a loss; None where it had run away and this was no number, or beyond any."""


class Part(BaseModel):
    """A part of what a stage reports; keys that it does not name are passed over."""

    model_config = ConfigDict(frozen=True)


class Energy(Part):
    """Energy in kWh, the interval it lies in, and how it was measured; `kwh` is 0 where it was not."""

    kwh: Amount
    low: Amount
    high: Amount
    method: str


class Cost(Part):
    """What a stage cost, over all its attempts: seconds of the clock and of the processors, hours of GPUs, energy."""

    wall_seconds: Amount
    cpu_seconds: Amount
    gpu_hours: Amount
    attempts: Count = 1
    energy: Energy


class Host(Part):
    """The machine, without its name: where a run was made is nobody's business, on what it was made is."""

    processor: str = ""
    cores: Count | None = None
    memory_bytes: Count | None = None
    system: str = ""
    python: str = ""


class Statement(Part):
    """The part of a record that every stage has, checked; the fields are those of `Record`.

    `inputs` and `outputs` map names to SHA-256; `counts` are documents by language and bucket; `finished` is a time as
    in-toto writes it. `results` is as `CorpusResults`, `ModelResults` or `TuningResults` has it; the tokenizer and the
    evaluation report in files.
    """

    inputs: dict[str, str]
    outputs: dict[str, str]
    counts: dict[str, dict[str, Count]]
    results: dict[str, Any]
    cost: Cost
    host: Host = Host()
    site: str = ""
    finished: str = ""

    @property
    def made(self) -> str:
        """One digest of all that the stage made, as `Record.made` computes it."""
        return digest_of(self.outputs)


class Contract(Part):
    """The proof that a stage serves each language of the recipe.

    `figures` has, by what the stage gives a language, how much each got: documents of the corpus, tokens a sentence of
    the tokenizer, bytes of the mixture, conversations of the tuning, bits a sentence of the evaluation. `exceptions`
    are languages that lack one, or whose share of the mixture fell far, with the reason.
    """

    figures: Annotated[dict[str, dict[str, Amount]], Field(min_length=1)]
    exceptions: dict[str, str]


class Results(Part):
    """What every stage reports, whatever else it does."""

    contract: Contract


class Size(Part):
    """Documents of a language, their bytes in UTF-8 and their characters (code points)."""

    documents: Count
    bytes: Count
    characters: Count = 0


class Terms(Part):
    """On what terms a source came, in the words of the recipe."""

    kind: str
    licence: str
    publisher: str
    date: str = ""
    obtained: str


class CorpusResults(Part):
    """What the corpus reports.

    `read` and `kept` are documents by source; `text` is the training text by language, `held_out` what was set aside to
    measure with; `bytes` is bytes of text by language and bucket; `masked` is places masked, by language and kind of
    personal data; `licences` is training documents, by language and licence; `reserved` is documents and bytes that
    were left out for their owner's reservation, by its signal; `repeated_lines` and `contaminated` are bytes of lines
    that were taken out of documents, by language, the latter also by the set that holds them.
    """

    read: dict[str, Count]
    kept: dict[str, Count] = {}
    text: dict[str, Size]
    held_out: dict[str, Size] = {}
    bytes: dict[str, dict[str, Count]] = {}
    reserved: dict[str, Size] = {}
    masked: dict[str, dict[str, Count]]
    licences: dict[str, dict[str, Count]]
    sources: dict[str, Terms] = {}
    repeated_lines: dict[str, Count] = {}
    contaminated: dict[str, dict[str, Count]] = {}


class CorpusSummary(Part):
    """Training documents of a language in the corpus's `summary.json`: by source, licence, rights and domain; by size
    (the power of two at or below their bytes), and by score of language and of quality (in steps of a twentieth).
    """

    sources: dict[str, Count] = {}
    licences: dict[str, Count] = {}
    rights: dict[str, Count] = {}
    domains: dict[str, Count] = {}
    lengths: dict[Annotated[float, Field(ge=1, le=2**60)], Count] = {}
    scores: dict[Annotated[float, Field(ge=-1000, le=1000)], Count] = {}
    qualities: dict[Annotated[float, Field(ge=-1000, le=1000)], Count] = {}


class CorpusSummaries(Part):
    """The corpus's `summary.json`, by language."""

    languages: dict[str, CorpusSummary]


class Tokenizer(Part):
    """Tokens a sentence that a tokenizer needs for the same sentences in each language.

    `languages` has them by language; `mean` is over languages, `worst` what `worst_language` pays, `english` what
    English pays; `max_min` is dearest over cheapest; `gini` is 0 where all pay the same and 1 where one pays all;
    `vocabulary` is in slots.
    """

    name: str
    vocabulary: Count
    mean: Amount
    worst: Amount
    worst_language: str
    max_min: Amount
    gini: Amount
    english: Amount | None = None
    languages: dict[str, Amount]


class Fairness(Part):
    """The tokenizer's `fairness.json`: parallel sentences and what they take; the first tokenizer is the run's own."""

    sentences: Count
    tokenizers: Annotated[list[Tokenizer], Field(min_length=1)]


class Portion(Part):
    """A language's part of the training mixture.

    `share` is of one, in bytes corrected for script; `bytes` and `tokens` are as read in training, repeats counted;
    `epochs` is how often the language's text was gone through.
    """

    share: Amount
    bytes: Count
    tokens: Count
    epochs: Amount


class ModelResults(Part):
    """What training the base model reports.

    `shape` is layers, widths and heads by name; `tokens` are those trained on, repeats counted; `flop` is the
    floating-point operations of the whole training, `matmul_flop_per_s` what the machine does in a second of matrix
    products alone; `threads` are those of each of the `processes`; `final_loss` is in nats a token; `mixture` is by
    language.

    `held_out` is bits a byte of held-out text by language, `first` before the training and `last` after it; `precision`
    is that of the matrix products; `layout` is how processes and weights were laid out; `skipped` are steps whose
    update was left out and `rolled_back` how often the training went back to a checkpoint; `law` is what
    the scaling law foretold; `checkpoints` are the steps at which one is kept.
    """

    shape: dict[str, Count | Amount | str | bool | None]
    parameters: Count
    tokens: Count
    steps: Count | None = None
    flop: Amount
    matmul_flop_per_s: Amount | None = None
    threads: Count | None = None
    processes: Count | None = None
    final_loss: Reading = None
    mixture: dict[str, Portion]
    held_out: dict[str, dict[str, Reading]] = {}
    precision: str = ""
    compiled: bool | None = None
    layout: dict[str, Count | Amount | str | bool | None] = {}
    skipped: Count = 0
    rolled_back: Count = 0
    law: dict[str, Any] | None = None
    checkpoints: list[Count] = []


class TuningResults(Part):
    """What tuning reports: conversations by language, steps, tokens trained on, and the last loss in nats a token."""

    conversations: dict[str, Count]
    steps: Count | None = None
    tokens: Count
    final_loss: Reading = None


class Measured(Part):
    """A measured value; `low` and `high` bound its 95 % interval, `n` is how many of `unit` it was measured on."""

    value: Amount
    low: Amount | None = None
    high: Amount | None = None
    n: Count | None = None
    unit: str = ""


class Scores(Part):
    """What was measured of one model, `base` or `tuned`: measure → language → value.

    The measures are `bits_per_byte` and `bits_per_sentence` (lower is better), and of the tuned model
    `language_consistency`, the share of one of answers that are in the language of the request.
    """

    model: str
    measures: dict[str, dict[str, Measured]]


class Evaluation(Part):
    """The evaluation's `results.json`, which a release calls `evaluation.json`; `checks` are shown as they are."""

    models: list[Scores]
    checks: dict[str, Any]

    def measure(self, model: str, name: str) -> dict[str, Measured]:
        """A measure of `base` or `tuned` by language; empty where it was not taken."""
        return next((scores.measures.get(name, {}) for scores in self.models if scores.model == model), {})


class Coverage(Part):
    """The evaluation's `coverage.json`: measure → language → `measured` or the reason why not."""

    measures: dict[str, dict[str, str]]


PartType = TypeVar("PartType", bound=Part)


def read_as(kind: type[PartType], path: Path, name: str = "") -> PartType:
    """The JSON file at `path` as `kind`; raises `BadInput` as `read_bounded` and `checked` do."""
    return checked(kind, read_bounded(path, name), name or str(path))


def read_bounded(path: Path, name: str = "", most: int = MAX_BYTES) -> Any:
    """Read a JSON file of at most `most` bytes; `name` is what errors call it, the path where none is given.

    Raises `BadInput` where it is absent, a link, larger, not JSON in UTF-8, nested too deep, or holds text that is no
    Unicode.
    """
    return read_value(read_bytes(path, name, most), name or str(path))


def checked(kind: type[PartType], value: Any, name: str) -> PartType:
    """`value` as `kind`; raises `BadInput` that says of the file `name` which part cannot be used and why."""
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])[:200]
        raise BadInput(f"{name}: {where!r} cannot be used: {first['msg'].lower()}") from None


def read_bytes(path: Path, name: str = "", most: int = MAX_BYTES) -> bytes:
    """Read a plain file of at most `most` bytes; raises `BadInput` as `read_bounded` does."""
    name = name or str(path)
    if path.is_symlink():
        raise BadInput(f"{name}: is a link; only plain files are read")
    if not path.is_file():
        raise BadInput(f"{name}: no such file")
    with open(path, "rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise BadInput(f"{name}: over {most:,} bytes")
    return data


def read_value(data: bytes, name: str) -> Any:
    """The JSON value that `data`, which errors call `name`, holds; raises `BadInput` as `read_bounded` does."""
    try:
        value = json.loads(data.decode("utf-8"))
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise BadInput(f"{name}: nested too deep") from None
    except UnicodeEncodeError:  # what no page can hold, though JSON may say it: half of a surrogate pair
        raise BadInput(f"{name}: holds text that is no Unicode (half a surrogate pair)") from None
    except ValueError as error:
        raise BadInput(f"{name}: not JSON: {error}") from None
    return value
