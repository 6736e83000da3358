"""The model card: a pure function of a release's papers, so that anyone can compute it again and compare."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined

from openeurollm.languages import languages
from openeurollm.ledger.results import Measured
from openeurollm.recipe import tags
from openeurollm.release.papers import Papers

BLANK = "—"
"""What stands where there is no number."""
_SET_ASIDE = ("kept", "held_out")
_RESERVED = "rights_reserved"
"""The corpus's bucket of pages whose owner reserved text and data mining."""
_HUB_LICENCES = {
    "Apache-2.0": "apache-2.0",
    "MIT": "mit",
    "CC0-1.0": "cc0-1.0",
    "CC-BY-4.0": "cc-by-4.0",
    "CC-BY-SA-4.0": "cc-by-sa-4.0",
    "CC-BY-NC-4.0": "cc-by-nc-4.0",
}
"""SPDX → the hub's name (https://huggingface.co/docs/hub/repositories-licenses); others go as `other`."""
_VERY_SMALL = 1e9
"""Parameters below which the card calls a model very small."""


def card(papers: Papers) -> str:
    """The text of `README.md`: front matter for the hub, then Markdown."""
    template = resources.files(__package__).joinpath("templates", "card.md").read_text("utf-8")
    page = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, finalize=_plain
    ).from_string(template)
    return _front_matter(papers) + page.render(
        recipe=papers.recipe,
        release=papers.recipe.release,
        facts=_facts(papers),
        languages=_languages(papers),
        gaps=[(_name(tag), tag, reason) for tag, reason in papers.recipe.gaps.items()],
        sources=_sources(papers),
        licences=_licences(papers),
        documents=_documents(papers),
        drops=_drops(papers),
        masked=_masked(papers),
        sentences=papers.fairness.sentences,
        checks=[(name, json.dumps(found, ensure_ascii=False)) for name, found in papers.evaluation.checks.items()],
        cost=_cost(papers),
        parameters=_count(papers.model.parameters),
        very_small=papers.model.parameters < _VERY_SMALL,
    )


def figures(papers: Papers) -> dict[str, dict[str, int]]:
    """What the card has of each language: bytes of training text, and how many measures of guessing unseen text."""
    measured = Counter(
        tag for name in ("bits_per_byte", "bits_per_sentence") for tag in papers.evaluation.measure("tuned", name)
    )
    return {
        "text in the card": {tag: size.bytes for tag, size in papers.corpus.text.items()},
        "measure in the card": dict(measured),
    }


def _plain(value: Any) -> str:
    """A value as text that cannot change the Markdown around it; None is shown as a blank."""
    if value is None:
        return BLANK
    text = "".join(letter if letter.isprintable() else " " for letter in str(value))
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _front_matter(papers: Papers) -> str:
    licence = papers.recipe.release.licence
    served = [tag for tag in tags(papers.recipe) if tag not in papers.recipe.gaps]
    codes = dict.fromkeys(tag.partition("-")[0] for tag in served)
    lines = [f"license: {_HUB_LICENCES.get(licence, 'other')}"]
    if licence not in _HUB_LICENCES:
        lines.append(f"license_name: {json.dumps(licence)}")
    lines += ["language:", *(f"- {json.dumps(code)}" for code in codes)]
    lines += ["library_name: transformers", "pipeline_tag: text-generation", "tags:", "- openeurollm"]
    return "\n".join(["---", *lines, "---", "", ""])


def _facts(papers: Papers) -> list[tuple[str, str]]:
    model, tuning, start = papers.model, papers.tuning, papers.recipe.model.start
    return [
        *([("Goes on from", f"the weights in {start.name}, whose terms hold here too")] if start else ()),
        ("Parameters", _count(model.parameters)),
        ("Shape", ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in model.shape.items())),
        ("Context", f"{_count(papers.recipe.model.context)} tokens"),
        ("Vocabulary", _count(papers.fairness.tokenizers[0].vocabulary)),
        ("Training", f"{_count(model.tokens)} tokens, {model.flop:.3g} floating-point operations"),
        ("Tuning", f"{_count(sum(tuning.conversations.values()))} conversations, {_count(tuning.tokens)} tokens"),
        ("Licence", papers.recipe.release.licence),
        ("Publisher", papers.recipe.release.publisher),
        ("Contact", papers.recipe.release.contact),
    ]


def _languages(papers: Papers) -> list[list[str | None]]:
    """One row a language of the contract, None where there is no number."""
    measure = papers.evaluation.measure
    bits, sentence = measure("tuned", "bits_per_byte"), measure("tuned", "bits_per_sentence")
    answers, tokens = measure("tuned", "language_consistency"), papers.fairness.tokenizers[0].languages
    rows: list[list[str | None]] = []
    for tag in tags(papers.recipe):
        text, part = papers.corpus.text.get(tag), papers.model.mixture.get(tag)
        rows.append(
            [
                _name(tag),
                tag,
                _count(text.documents) if text else None,
                _count(text.bytes) if text else None,
                f"{100 * part.share:.2f} %" if part else None,
                f"{part.epochs:.2f}" if part else None,
                f"{tokens[tag]:.1f}" if tag in tokens else None,
                _interval(bits.get(tag), 3),
                _interval(sentence.get(tag), 1),
                _share(answers.get(tag)),
            ]
        )
    return rows


def _interval(found: Measured | None, digits: int) -> str | None:
    if found is None:
        return None
    value = f"{found.value:.{digits}f}"
    if found.low is None or found.high is None:
        return value
    return f"{value} ({found.low:.{digits}f}–{found.high:.{digits}f})"


def _share(found: Measured | None) -> str | None:
    if found is None:
        return None
    return f"{100 * found.value:.0f} %" + (f" of {_count(found.n)}" if found.n is not None else "")


def _sources(papers: Papers) -> list[list[str | None]]:
    read, kept = papers.corpus.read, papers.corpus.kept
    return [
        [
            name,
            source.kind,
            source.licence,
            source.publisher,
            source.date,
            source.obtained,
            _count(read[name]) if name in read else None,
            _count(kept[name]) if name in kept else None,
        ]
        for name, source in papers.recipe.sources.items()
    ]


def _licences(papers: Papers) -> list[tuple[str, str]]:
    return _most_first(_total(papers.corpus.licences.values()))


def _documents(papers: Papers) -> dict[str, str]:
    counts = _total(papers.records["corpus"].counts.values())
    return {
        "read": _count(sum(counts.values())),
        "kept": _count(counts["kept"]),
        "held_out": _count(counts["held_out"]),
        "reserved": _count(counts[_RESERVED]),
    }


def _drops(papers: Papers) -> list[tuple[str, str]]:
    counts = _total(papers.records["corpus"].counts.values())
    return _most_first({bucket: number for bucket, number in counts.items() if bucket not in _SET_ASIDE and number})


def _masked(papers: Papers) -> list[tuple[str, str]]:
    return _most_first(_total(papers.corpus.masked.values()))


def _cost(papers: Papers) -> list[list[str]]:
    """A row a stage, and the sum."""
    costs = {stage: record.cost for stage, record in papers.records.items()}
    rows = [
        _cost_row(
            stage,
            [c.wall_seconds, c.cpu_seconds, c.gpu_hours],
            [c.energy.kwh, c.energy.low, c.energy.high],
            c.energy.method,
        )
        for stage, c in costs.items()
    ]
    total = [sum(getattr(c, part) for c in costs.values()) for part in ("wall_seconds", "cpu_seconds", "gpu_hours")]
    energy = [sum(getattr(c.energy, part) for c in costs.values()) for part in ("kwh", "low", "high")]
    return [*rows, _cost_row("all", total, energy, "the sum of the stages")]


def _cost_row(name: str, times: list[float], energy: list[float], method: str) -> list[str]:
    wall, cpu, gpu = times
    kwh, low, high = energy
    return [name, f"{wall:,.0f}", f"{cpu:,.0f}", f"{gpu:.3f}", f"{kwh:.3g} ({low:.3g}–{high:.3g})", method]


def _total(parts: Iterable[Mapping[str, int]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for part in parts:
        total.update(part)
    return total


def _most_first(counts: Mapping[str, int]) -> list[tuple[str, str]]:
    return [(name, _count(number)) for name, number in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))]


def _name(tag: str) -> str:
    return languages()[tag].name


def _count(number: int) -> str:
    return f"{number:,}"
