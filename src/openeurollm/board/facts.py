"""The numbers of one run, as the page, the JSON and the report all show them: computed here, worded elsewhere."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from openeurollm.board.records import STAGES, Papers, read
from openeurollm.board.training import Training, training
from openeurollm.errors import BadInput
from openeurollm.languages import languages, name
from openeurollm.ledger import RunFolder
from openeurollm.recipe import tags

_NOT_DROPPED = ("kept", "held_out")


@dataclass(frozen=True)
class Cell:
    """A number with its interval, or None with the reason why there is none."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    why: str = ""


@dataclass(frozen=True)
class StageFacts:
    """A stage: its state, and what it cost where it is built. Energy is None where it was not measured."""

    name: str
    state: str
    wall_seconds: float | None = None
    cpu_seconds: float | None = None
    gpu_hours: float | None = None
    kwh: float | None = None
    kwh_low: float | None = None
    kwh_high: float | None = None
    method: str = ""
    attempts: int | None = None
    site: str = ""
    finished: str = ""
    machine: str = ""


@dataclass(frozen=True)
class LanguageFacts:
    """One row of the table of languages; sizes in bytes of UTF-8, shares in [0, 1]."""

    tag: str
    name: str
    autonym: str
    status: str
    gap: str
    kept: Cell
    held_out: Cell
    dropped: Cell
    text: Cell
    share: Cell
    tokens: Cell
    epochs: Cell
    tokens_a_sentence: Cell
    base_bits_per_byte: Cell
    tuned_bits_per_byte: Cell
    base_bits_per_sentence: Cell
    tuned_bits_per_sentence: Cell
    consistency: Cell


@dataclass(frozen=True)
class Learnt:
    """Bits a byte of a language's held-out text during a training, as measured first and last."""

    tag: str
    name: str
    first: Cell
    last: Cell


@dataclass(frozen=True)
class Fate:
    """Where the documents of one language went; also for languages outside the contract."""

    tag: str
    name: str
    read: int
    kept: int
    held_out: int
    dropped: Mapping[str, int]


@dataclass(frozen=True)
class Check:
    """Something that must hold: `holds` is None where the numbers alone do not say."""

    name: str
    holds: bool | None
    detail: str
    source: str


@dataclass(frozen=True)
class Facts:
    """A run in numbers. What is not built yet is None or empty."""

    name: str
    folder: str
    title: str
    languages: int
    served: int | None
    documents_read: int | None
    documents_kept: int | None
    text_bytes: int | None
    stages: list[StageFacts]
    hours: float
    kwh: float | None
    kwh_low: float | None
    kwh_high: float | None
    parameters: int | None
    vocabulary: int | None
    training_tokens: int | None
    tuning_tokens: int | None
    shape: Mapping[str, Any]
    flop: float | None
    precision: str
    compiled: bool | None
    processes: int | None
    layout: Mapping[str, Any]
    mean_bits_per_byte: Mapping[str, float]
    by_language: list[LanguageFacts]
    fates: list[Fate]
    reasons: Mapping[str, int]
    sources: list[Mapping[str, Any]]
    licences: Mapping[str, int]
    masked: Mapping[str, Mapping[str, int]]
    masked_by_kind: Mapping[str, int]
    gaps: Mapping[str, str]
    sentences: int | None
    tokenizers: list[Mapping[str, Any]]
    conversations: int | None
    training: Mapping[str, Training]
    """`base` and `tuned` → its training, as far as it has come."""
    learnt: Mapping[str, list[Learnt]]
    """`base` and `tuned` → a row a language of the recipe, where held-out text was measured during the training."""
    checks: list[Check]
    notes: list[str] = field(default_factory=list)
    """Reasons for blank cells, in the order of their first use; a blank's footnote is its place here."""


def facts(run: RunFolder) -> Facts:
    """The numbers of the run at hand. Raises `BadInput` for records that cannot be used."""
    papers = read(run)
    rows = [_language(papers, tag) for tag in tags(papers.recipe)]
    fates = _fates(papers)
    stages = [_stage(papers, name) for name in STAGES]
    measured = [stage for stage in stages if stage.kwh is not None]
    model, corpus = papers.model, papers.corpus
    trainings = {name: training(metrics) for name, metrics in papers.metrics.items()}
    reasons = _totals(fate.dropped for fate in fates)
    masked = {tag: dict(kinds) for tag, kinds in (corpus.masked if corpus else {}).items() if any(kinds.values())}
    return Facts(
        name=papers.recipe.name,
        folder=papers.name,
        title=papers.recipe.release.title,
        languages=len(rows),
        served=sum(bool(row.text.value) for row in rows) if corpus else None,
        documents_read=sum(fate.read for fate in fates) if corpus else None,
        documents_kept=sum(fate.kept + fate.held_out for fate in fates) if corpus else None,
        text_bytes=sum(size.bytes for size in corpus.text.values()) if corpus else None,
        stages=stages,
        hours=sum(stage.wall_seconds or 0.0 for stage in stages) / 3600,
        kwh=sum(stage.kwh or 0.0 for stage in measured) if measured else None,
        kwh_low=sum(stage.kwh_low or 0.0 for stage in measured) if measured else None,
        kwh_high=sum(stage.kwh_high or 0.0 for stage in measured) if measured else None,
        parameters=model.parameters if model else None,
        vocabulary=papers.fairness.tokenizers[0].vocabulary if papers.fairness else None,
        training_tokens=model.tokens if model else None,
        tuning_tokens=papers.tuning.tokens if papers.tuning else None,
        shape=dict(model.shape) if model else {},
        flop=model.flop if model else None,
        precision=model.precision if model else "",
        compiled=model.compiled if model else None,
        processes=model.processes if model else None,
        layout=dict(model.layout) if model else {},
        mean_bits_per_byte=_means(rows),
        by_language=rows,
        fates=fates,
        reasons=reasons,
        sources=_sources(papers),
        licences=_totals((corpus.licences if corpus else {}).values()),
        masked=masked,
        masked_by_kind=_totals(masked.values()),
        gaps=dict(papers.recipe.gaps),
        sentences=papers.fairness.sentences if papers.fairness else None,
        tokenizers=[
            tokenizer.model_dump(exclude={"languages"})
            for tokenizer in (papers.fairness.tokenizers if papers.fairness else [])
        ],
        conversations=sum(papers.tuning.conversations.values()) if papers.tuning else None,
        training=trainings,
        learnt={name: _learnt(papers, found) for name, found in trainings.items() if found.held_out},
        checks=_checks(papers, fates, rows),
        notes=_notes(rows),
    )


def name_of(tag: str) -> str:
    """The English name of a language; the tag itself for what names none."""
    known = {"und": "undetermined", "mul": "several"}
    try:
        return known.get(tag) or name(tag)
    except (BadInput, ValueError):
        return tag


def _language(papers: Papers, tag: str) -> LanguageFacts:
    known, gap = languages()[tag], papers.recipe.gaps.get(tag, "")
    stage = papers.stages.get("corpus")
    buckets = dict(stage.counts.get(tag, {})) if stage else {}
    text = papers.corpus.text.get(tag) if papers.corpus else None
    portion = papers.model.mixture.get(tag) if papers.model else None
    fairness = papers.fairness.tokenizers[0].languages if papers.fairness else {}

    def counted(number: float) -> Cell:
        return Cell(number) if papers.corpus else Cell(why="the corpus is not built")

    def cell(number: float | None, built: bool, room: str, lacking: str) -> Cell:
        why = (f"gap: {gap}" if gap else lacking) if built else f"the {room} is not built"
        return Cell(number) if number is not None else Cell(why=why)

    def measured(model: str, measure: str) -> Cell:
        return _measured(papers, model, measure, tag, gap)

    mixed = papers.model is not None
    return LanguageFacts(
        tag=tag,
        name=known.name,
        autonym=known.autonym,
        status=known.status,
        gap=gap,
        kept=counted(buckets.get("kept", 0)),
        held_out=counted(buckets.get("held_out", 0)),
        dropped=counted(sum(number for bucket, number in buckets.items() if bucket not in _NOT_DROPPED)),
        text=counted(text.bytes if text else 0),
        share=cell(portion.share if portion else None, mixed, "model", "not in the mixture"),
        tokens=cell(portion.tokens if portion else None, mixed, "model", "not in the mixture"),
        epochs=cell(portion.epochs if portion else None, mixed, "model", "not in the mixture"),
        tokens_a_sentence=cell(
            fairness.get(tag), papers.fairness is not None, "tokenizer", "no parallel sentences in this language"
        ),
        base_bits_per_byte=measured("base", "bits_per_byte"),
        tuned_bits_per_byte=measured("tuned", "bits_per_byte"),
        base_bits_per_sentence=measured("base", "bits_per_sentence"),
        tuned_bits_per_sentence=measured("tuned", "bits_per_sentence"),
        consistency=measured("tuned", "language_consistency"),
    )


def _measured(papers: Papers, model: str, measure: str, tag: str, gap: str) -> Cell:
    if papers.evaluation is None:
        return Cell(why="the evaluation is not built")
    found = papers.evaluation.measure(model, measure).get(tag)
    if found is not None:
        return Cell(found.value, found.low, found.high)
    said = papers.coverage.measures.get(measure, {}).get(tag, "") if papers.coverage else ""
    if said and said != "measured":
        return Cell(why=said)
    return Cell(why=f"gap: {gap}" if gap else "not measured, and no reason is recorded")


def _learnt(papers: Papers, found: Training) -> list[Learnt]:
    def cell(tag: str, bits: float | None) -> Cell:
        gap = papers.recipe.gaps.get(tag, "")
        why = f"gap: {gap}" if gap else "no held-out text of this language was measured during the training"
        return Cell(bits) if bits is not None else Cell(why=why)

    return [Learnt(tag, name_of(tag), *(cell(tag, bits) for bits in found.ends(tag))) for tag in tags(papers.recipe)]


def _means(rows: list[LanguageFacts]) -> dict[str, float]:
    """Mean over languages, each counting the same, of the bits a byte of held-out text takes."""
    cells = {
        "base": [row.base_bits_per_byte for row in rows],
        "tuned": [row.tuned_bits_per_byte for row in rows],
    }
    values = {model: [each.value for each in column if each.value is not None] for model, column in cells.items()}
    return {model: sum(column) / len(column) for model, column in values.items() if column}


def _fates(papers: Papers) -> list[Fate]:
    """Every language that was met: those of the contract in its order, then the others by tag."""
    stage = papers.stages.get("corpus")
    if stage is None:
        return []
    promised = tags(papers.recipe)
    order = [*promised, *sorted(tag for tag in stage.counts if tag not in promised)]
    return [_fate(tag, stage.counts.get(tag, {})) for tag in order]


def _fate(tag: str, buckets: Mapping[str, int]) -> Fate:
    dropped = {name: number for name, number in sorted(buckets.items()) if name not in _NOT_DROPPED and number}
    kept, held_out = buckets.get("kept", 0), buckets.get("held_out", 0)
    return Fate(tag, name_of(tag), sum(buckets.values()), kept, held_out, dropped)


def _totals(parts: Any) -> dict[str, int]:
    """Sums by name over all `parts`, largest first."""
    total: Counter[str] = Counter()
    for part in parts:
        total.update(part)
    return dict(sorted(total.items(), key=lambda item: (-item[1], item[0])))


def _stage(papers: Papers, name: str) -> StageFacts:
    state, stage = papers.states[name], papers.stages.get(name)
    if stage is None:
        return StageFacts(name, state)
    cost, energy, host = stage.cost, stage.cost.energy, stage.host
    measured = energy if energy.kwh > 0 else None
    parts = (
        host.processor,
        f"{host.cores} cores" if host.cores else "",
        f"{host.memory_bytes / 1e9:.0f} GB memory" if host.memory_bytes else "",
        host.system,
        f"Python {host.python}" if host.python else "",
    )
    return StageFacts(
        name=name,
        state=state,
        wall_seconds=cost.wall_seconds,
        cpu_seconds=cost.cpu_seconds,
        gpu_hours=cost.gpu_hours,
        kwh=measured.kwh if measured else None,
        kwh_low=measured.low if measured else None,
        kwh_high=measured.high if measured else None,
        method=energy.method,
        attempts=cost.attempts,
        site=stage.site,
        finished=stage.finished,
        machine=", ".join(part for part in parts if part),
    )


def _sources(papers: Papers) -> list[Mapping[str, Any]]:
    """Name, terms and documents read of each source; from the recipe, without its path, while no corpus is built."""
    if papers.corpus:
        return [
            {"name": name, **terms.model_dump(), "documents": papers.corpus.read.get(name)}
            for name, terms in papers.corpus.sources.items()
        ]
    shown = {"kind", "licence", "publisher", "date", "obtained"}
    return [
        {"name": name, **source.model_dump(include=shown), "documents": None}
        for name, source in papers.recipe.sources.items()
    ]


def _checks(papers: Papers, fates: list[Fate], rows: list[LanguageFacts]) -> list[Check]:
    checks = []
    if papers.corpus:
        read, counted = sum(papers.corpus.read.values()), sum(fate.read for fate in fates)
        detail = f"{read:,} documents read, {counted:,} counted as kept, held out or dropped for a reason"
        checks.append(Check("every document read is accounted for", read == counted, detail, "corpus/record.json"))
        bare = [row.name for row in rows if not row.text.value and not row.gap]
        detail = f"without text and without a reason: {', '.join(bare)}" if bare else f"{len(rows)} languages looked at"
        name = "every language has text, or a gap with its reason"
        checks.append(Check(name, not bare, detail, "corpus/record.json, recipe.toml"))
    for name, found in (papers.evaluation.checks if papers.evaluation else {}).items():
        checks.append(_recorded_check(name, found))
    return checks


def _recorded_check(name: str, found: Any) -> Check:
    """A check of the evaluation. That held-out documents are not in training holds where none overlaps."""
    fields = found if isinstance(found, Mapping) else {"result": found}
    shown = {key: value for key, value in fields.items() if isinstance(value, bool | int | float | str)}
    detail = ", ".join(f"{key.replace('_', ' ')}: {str(value)[:200]}" for key, value in shown.items())
    overlapping = shown.get("overlapping")
    holds = overlapping == 0 if isinstance(overlapping, int) else None
    words = {"held_out_in_training": "no held-out document is in the training text"}
    return Check(words.get(name, name.replace("_", " ")), holds, detail, "evaluation/results.json")


def _notes(rows: list[LanguageFacts]) -> list[str]:
    cells = (value for row in rows for value in vars(row).values() if isinstance(value, Cell))
    return list(dict.fromkeys(cell.why for cell in cells if cell.value is None))
