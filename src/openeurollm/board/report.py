"""A run's report in Markdown, made from its records alone: no text of the corpus, no path of the machine."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from openeurollm.board import headline, numbers
from openeurollm.board.facts import Cell, Facts, LanguageFacts, facts, name_of
from openeurollm.ledger import RunFolder

_BLANK = "–"
_ADDRESS_OR_PATH = re.compile(
    r"https?://\S+|(?<![\w.~/])(?:file:/*|~|[A-Za-z]:)?[/\\](?:[^\s/\\|`'\"<>]+[/\\])+[^\s/\\|`'\"<>,;)]*"
)
"""A web address, which stays, or an absolute path of two names and more, which does not."""


def report(run: RunFolder, beside: Sequence[RunFolder] = ()) -> str:
    """The report of the run, with its base model held against those of others.

    Raises `BadInput` for records that cannot be used.
    """
    found, others = facts(run), [facts(other) for other in beside]
    blocks = [
        [f"# {_plain(found.title)}", "", headline.sentence(found), "", *_about(found, others)],
        _languages(found),
        _blanks(found),
        _beside(found, others) if others else [],
        _documents(found),
        _sources(found),
        _tokenizers(found),
        _training(found),
        _checks(found),
        _cost(found),
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def _about(found: Facts, others: Sequence[Facts]) -> list[str]:
    beside = "".join(f" --beside {other.folder}" for other in others)
    return [
        f"Report of the run in the folder `{found.folder}` (recipe `{found.name}`), written from its records alone by",
        f"`openeurollm report RUN{beside}`, which writes it again; RUN is the run folder.",
        "`openeurollm board RUN --json` gives the same numbers as JSON, and `openeurollm run RUN/recipe.toml` makes",
        "the run itself again.",
    ]


def _languages(found: Facts) -> list[str]:
    head = ("language", "kept", "held out", "dropped", "text, kB", "tokens", "epochs", "tokens a sentence")
    bits = ("bits/byte, base", "bits/byte, tuned", "bits/sentence, base", "bits/sentence, tuned", "in the language")
    return ["## Languages", "", *_table([*head, *bits], [_row(row) for row in found.by_language])]


def _row(row: LanguageFacts) -> list[str]:
    return [
        _named(row.tag),
        _cell(row.kept, numbers.count),
        _cell(row.held_out, numbers.count),
        _cell(row.dropped, numbers.count),
        _cell(row.text, numbers.kilobytes),
        _cell(row.tokens, numbers.count),
        _cell(row.epochs, numbers.decimal),
        _cell(row.tokens_a_sentence, numbers.tenths),
        _cell(row.base_bits_per_byte, numbers.decimal),
        _cell(row.tuned_bits_per_byte, numbers.decimal),
        _cell(row.base_bits_per_sentence, numbers.tenths),
        _cell(row.tuned_bits_per_sentence, numbers.tenths),
        _cell(row.consistency, numbers.percent),
    ]


def _blanks(found: Facts) -> list[str]:
    gaps = [f"- {_named(tag)}: {_plain(reason)}" for tag, reason in found.gaps.items()]
    notes = [f"- {_plain(note)}" for note in found.notes]
    intervals = any(row.base_bits_per_byte.low is not None for row in found.by_language)
    return [
        *(["Gaps that the recipe allows:", "", *gaps] if gaps else ["The recipe allows no gap."]),
        *(["", f"Why a number is blank ({_BLANK}):", "", *notes] if notes else []),
        *(["", "Numbers in brackets are 95 % intervals."] if intervals else []),
    ]


def _beside(found: Facts, others: Sequence[Facts]) -> list[str]:
    """The base models of several runs: what each took, and the bits a byte of each language's held-out text."""
    runs = {"this run": found, **{f"({number}) {other.folder}": other for number, other in enumerate(others, start=1)}}
    ours, *theirs = [{row.tag: row.base_bits_per_byte.value for row in each.by_language} for each in runs.values()]
    rows = [
        [
            _named(tag),
            *(_BLANK if bits is None else f"{bits:.3f}" for bits in (mine, *(each.get(tag) for each in theirs))),
            *(_off(mine, each.get(tag)) for each in theirs),
        ]
        for tag, mine in ours.items()
    ]
    _, *names = runs
    return [
        "## Beside other runs",
        "",
        *_table(
            ["run", "parameters", "tokens", "operations", "wall clock of training"],
            [_effort(name, each) for name, each in runs.items()],
        ),
        "",
        *(_lower(name, ours, each) for name, each in zip(names, theirs, strict=True)),
        *(_held_out(name, found, other) for name, other in zip(names, others, strict=True)),
        "",
        "Bits/byte of the base models on held-out text, and how far this run's are off the other's:",
        "",
        *_table(["language", *runs, *(f"off ({number})" for number in range(1, len(runs)))], rows),
    ]


def _effort(name: str, found: Facts) -> list[str]:
    cells = (
        (found.parameters, numbers.count),
        (found.training_tokens, numbers.count),
        (found.flop, numbers.scientific),
        (next(stage.wall_seconds for stage in found.stages if stage.name == "model"), numbers.span),
    )
    return [name, *(_number(value, words) or _BLANK for value, words in cells)]


def _lower(name: str, ours: Mapping[str, float | None], theirs: Mapping[str, float | None]) -> str:
    off = [mine - other for tag, mine in ours.items() if mine is not None and (other := theirs.get(tag)) is not None]
    if not off:
        return f"- No language is measured in this run and in {_plain(name)}."
    mean = sum(off) / len(off)
    return (
        f"- Lower than in {_plain(name)} in {sum(each < 0 for each in off)} of the {len(off)} languages that both "
        f"measure, and in the mean {abs(mean):.3f} {'lower' if mean < 0 else 'higher'}."
    )


def _held_out(name: str, found: Facts, other: Facts) -> str:
    theirs = {row.tag: row.held_out.value for row in other.by_language}
    differ = [row.tag for row in found.by_language if theirs.get(row.tag, row.held_out.value) != row.held_out.value]
    if not differ:
        return f"- As many documents are held out in {_plain(name)}, in each language."
    return f"- Not as many documents are held out in {_plain(name)}: {', '.join(map(_named, differ))}."


def _off(ours: float | None, theirs: float | None) -> str:
    return _BLANK if ours is None or theirs is None else f"{ours - theirs:+.3f}"


def _named(tag: str) -> str:
    name = name_of(tag)
    return name if name == tag else f"{name} ({tag})"


def _documents(found: Facts) -> list[str]:
    if not found.fates:
        return ["## Documents", "", "The corpus is not built."]
    reasons = list(found.reasons)
    totals = [[_words(reason), numbers.count(number)] for reason, number in found.reasons.items()]
    rows = [
        [
            _named(fate.tag),
            *map(numbers.count, [fate.read, *(fate.dropped.get(name, 0) for name in reasons)]),
        ]
        for fate in found.fates
        if fate.read
    ]
    read, kept = numbers.count(found.documents_read or 0), numbers.count(found.documents_kept or 0)
    masked = ", ".join(f"{_words(kind)} {numbers.count(times)}" for kind, times in found.masked_by_kind.items())
    return [
        "## Documents",
        "",
        f"{read} documents were read and {kept} kept, those held out for evaluation included. Dropped, by reason:",
        "",
        *_table(["reason", "documents"], totals),
        "",
        "Dropped, by language and reason:",
        "",
        *_table(["language", "read", *(_words(reason) for reason in reasons)], rows),
        "",
        f"Personal data masked: {masked or 'none found'}.",
    ]


def _sources(found: Facts) -> list[str]:
    rows = [
        [
            str(one["name"]),
            str(one["licence"]),
            str(one["publisher"]),
            str(one["date"]),
            str(one["obtained"]),
            _BLANK if one["documents"] is None else numbers.count(one["documents"]),
        ]
        for one in found.sources
    ]
    head = ["source", "licence", "publisher", "date", "how obtained", "documents"]
    return ["## Sources", "", *_table(head, rows, words=5)]


def _tokenizers(found: Facts) -> list[str]:
    if not found.tokenizers:
        return ["## Tokenizer", "", "The tokenizer is not built."]
    rows = [
        [
            str(one["name"]),
            numbers.count(one["vocabulary"]),
            numbers.tenths(one["mean"]),
            numbers.tenths(one["worst"]),
            name_of(one["worst_language"]),
            numbers.decimal(one["max_min"]),
            numbers.decimal(one["gini"], 3),
        ]
        for one in found.tokenizers
    ]
    head = ["tokenizer", "vocabulary", "mean", "worst", "paid by", "dearest/cheapest", "Gini"]
    sentences = numbers.count(found.sentences or 0)
    said = f"Tokens for the same {sentences} sentences in each language; the first tokenizer is this run's."
    return ["## Tokenizer", "", said, "", *_table(head, rows)]


def _training(found: Facts) -> list[str]:
    if found.training_tokens is None and not found.training:
        return ["## Training", "", "The model is not built."]
    rows = [row for model in found.training for row in _curve(found, model)]
    head = ["model", "step", "tokens", "training loss, nats a token", "bits/byte", "learning rate", "tokens/s"]
    shares = ["matrix share", "peak share"]
    return [
        "## Training",
        "",
        _trained(found),
        *(["", *_table([*head, *shares], rows)] if rows else []),
        *(line for model in found.training for line in [*_events(found, model), *_learnt(found, model)]),
    ]


def _trained(found: Facts) -> str:
    if found.training_tokens is None:
        return "The training of the base model is not over; this is how far it has come."
    shape = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in found.shape.items())
    return (
        f"{numbers.count(found.parameters or 0)} parameters{f' ({_plain(shape)})' if shape else ''}, "
        f"{numbers.count(found.training_tokens)} tokens. {_plain(headline.training(found))}".rstrip()
    )


def _curve(found: Facts, model: str) -> list[list[str]]:
    """Five points of the curve: the start, the quarters and the end."""
    columns = (
        ("step", numbers.count),
        ("tokens", numbers.count),
        ("loss", numbers.decimal),
        ("bits_per_byte", numbers.decimal),
        ("rate", numbers.decimal),
        ("tokens_per_s", numbers.count),
        ("matmul_share", numbers.percent),
        ("peak_share", numbers.percent),
    )
    return [
        [model, *(_number(step[key], words) or _BLANK for key, words in columns)]
        for step in _quarters(found.training[model].steps)
    ]


def _quarters(entries: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    places = dict.fromkeys(round(quarter * (len(entries) - 1) / 4) for quarter in range(5)) if entries else ()
    return [entries[place] for place in places]


def _events(found: Facts, model: str) -> list[str]:
    training = found.training[model]
    told = ", ".join(f"{_words(kind)} {numbers.count(times)}" for kind, times in training.counted.items())
    lines = [
        f"- step {numbers.count(each['step'])}: {_plain(_words(each['event']))}"
        f"{': ' + _plain(each['reason'][:300]) if each['reason'] else ''}"
        for each in training.events[:20]
    ]
    more = ["- and so on"] if sum(training.counted.values()) > len(lines) else []
    return ["", f"In the training of the {model} model: {_plain(told)}.", "", *lines, *more] if lines else []


def _learnt(found: Facts, model: str) -> list[str]:
    """Bits a byte of each language's held-out text at five points of the training."""
    rows = found.learnt.get(model)
    if not rows:
        return []
    points = _quarters(found.training[model].held_out)
    head = ["language", *(f"{numbers.count(each['tokens'])} tokens" for each in points)]
    mean = ["mean", *(_number(each["mean"], numbers.decimal) or _BLANK for each in points)]
    cells = [
        [_named(row.tag), *(_number(each["languages"].get(row.tag), numbers.decimal) or _BLANK for each in points)]
        for row in rows
    ]
    reasons = dict.fromkeys(row.last.why for row in rows if row.last.why)
    return [
        "",
        f"Bits/byte of held-out text during the training of the {model} model:",
        "",
        *_table(head, [*cells, mean]),
        *(["", *(f"- {_BLANK}: {_plain(why)}" for why in reasons)] if reasons else []),
    ]


def _checks(found: Facts) -> list[str]:
    result = {True: "holds", False: "does not hold", None: "reported"}
    lines = [f"- {_plain(check.name)}: {result[check.holds]} ({_plain(check.detail)})" for check in found.checks]
    return ["## Checks", "", *(lines or ["None yet: no stage with a check is built."])]


def _cost(found: Facts) -> list[str]:
    rows = [
        [
            stage.name,
            _number(stage.wall_seconds, numbers.span) or stage.state,
            _number(stage.cpu_seconds, numbers.span),
            _number(stage.gpu_hours, numbers.decimal),
            _number(stage.kwh, numbers.energy),
            f"{numbers.energy(stage.kwh_low)} – {numbers.energy(stage.kwh_high)}"
            if stage.kwh_low is not None and stage.kwh_high is not None
            else "",
        ]
        for stage in found.stages
    ]
    energy = numbers.energy(found.kwh) if found.kwh is not None else ""
    rows.append(["together", numbers.span(3600 * found.hours), "", "", energy, headline.interval(found)])
    methods = dict.fromkeys(stage.method for stage in found.stages if stage.method)
    machines = dict.fromkeys(stage.machine for stage in found.stages if stage.machine)
    return [
        "## Cost",
        "",
        *_table(["stage", "wall clock", "processor time", "GPU hours", "energy", "between"], rows),
        "",
        *(f"- Energy by: {_plain(method)}." for method in methods),
        *(f"- Machine: {_plain(machine)}." for machine in machines),
    ]


def _number(value: float | None, words: object) -> str:
    return str(words(value)) if value is not None and callable(words) else ""


def _cell(cell: Cell, words: object) -> str:
    shown = _number(cell.value, words)
    bounds = [_number(end, words) for end in (cell.low, cell.high)]
    return f"{shown} ({'–'.join(bounds)})" if shown and all(bounds) else shown or _BLANK


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], words: int = 1) -> list[str]:
    """A table in Markdown; the first `words` columns are aligned left, the rest right."""
    rule = ["---" if place < words else "---:" for place in range(len(head))]
    return [f"| {' | '.join(cells)} |" for cells in (map(_plain, head), rule, *(map(_plain, row) for row in rows))]


def _words(name: str) -> str:
    return name.replace("_", " ")


def _plain(text: str) -> str:
    """Text from a record as text: one line, no Markdown or HTML that would take effect, no path of a machine."""
    found = _ADDRESS_OR_PATH.sub(lambda part: part[0] if part[0].startswith("http") else "(a path)", text)
    return re.sub(r"([\\`*_\[\]<>|#~])", r"\\\1", " ".join(found.split())).replace("&", "&amp;")
