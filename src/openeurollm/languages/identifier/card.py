"""What an identifier reaches on text that it was not trained on, and the card that says so."""

import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openeurollm.languages.contract import languages
from openeurollm.languages.identifier.model import Model, Scorer, packed, whole
from openeurollm.languages.identifier.sources import Text, split_sentences

SENTENCES = 10
"""Sentences that are scored together as a document."""
_EACH = 400
"""Sentences of each language and stratum that are scored."""
Labelled = list[tuple[str, str]]
"""Label and text."""


def held_sentences(kept: Mapping[str, Sequence[Text]]) -> Labelled:
    """The development sentences: the first of each language and stratum, 40 characters or longer."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for label, held in kept.items():
        for text in held:
            into = found[label, text.stratum]
            if len(into) < _EACH:
                into += [sentence for sentence in split_sentences(text.text) if len(sentence) >= 40]
    return [(label, sentence) for (label, _), held in found.items() for sentence in held[:_EACH]]


def as_documents(sentences: Labelled) -> Labelled:
    """The same sentences, ten consecutive ones of a language at a time."""
    by_label: dict[str, list[str]] = defaultdict(list)
    for label, sentence in sentences:
        by_label[label].append(sentence)
    return [
        (label, "\n".join(held[at : at + SENTENCES]))
        for label, held in by_label.items()
        for at in range(0, len(held), SENTENCES)
    ]


def _parts(model: Model, texts: Sequence[str]) -> tuple[Scorer, tuple[Any, Any, Any]]:
    scorer = Scorer(model)
    data, offsets = packed([text.encode("utf-8", "replace") for text in texts])
    return scorer, scorer.sums(data, whole(data, offsets), len(texts))


def calibrated(model: Model, sentences: Labelled) -> Model:
    """The model with the calibration under which the sentences, their documents and their first words are likeliest."""
    draw = random.Random(0)
    short = [(label, " ".join(text.split()[: draw.randint(2, 6)])) for label, text in sentences]
    told = [*sentences, *as_documents(sentences), *short]
    scorer, parts = _parts(model, [text for _, text in told])
    target = np.array([scorer.place(label) for label, _ in told])

    def loss(a: float, b: float) -> float:
        scorer.model = replace(model, calibration=(a, b))
        found = scorer.probabilities(*parts)[np.arange(len(target)), target]
        return float(-np.log(found + 1e-4).mean())

    grid = [(a / 8, b / 16) for a in range(-16, 13) for b in range(-6, 7)]
    return replace(model, calibration=min(grid, key=lambda at: loss(*at)))


def scores(model: Model, sentences: Labelled) -> dict[str, Any]:
    """F1 by language of sentences and documents, their means, confusions, refusals, and the error of the probabilities.

    Every share is in [0, 1]. `refused` is the share of text in languages outside the contract that is called `und`.
    """
    by_unit = {"sentence": sentences, "document": as_documents(sentences)}
    told: dict[str, Any] = {"scores": defaultdict(dict), "macro": {}, "refused": {}, "calibration_error": {}}
    for unit, labelled in by_unit.items():
        scorer, parts = _parts(model, [text for _, text in labelled])
        found = scorer.probabilities(*parts)
        answers = found.argmax(1)
        target = np.array([scorer.place(label) for label, _ in labelled])
        right = answers == target
        for tag in languages():
            place = scorer.place(tag)
            both = int((right & (target == place)).sum())
            if (target == place).any():
                told["scores"][tag][unit] = round(2 * both / int((answers == place).sum() + (target == place).sum()), 4)
        told["macro"][unit] = round(float(np.mean([by[unit] for by in told["scores"].values()])), 4)
        outside = target == len(scorer.tags)
        for label in sorted({label for label, _ in labelled if scorer.place(label) == len(scorer.tags)}):
            rows = np.array([name == label for name, _ in labelled])
            told["refused"].setdefault(label, {})[unit] = round(float(right[rows].mean()), 4)
        if outside.any():
            told["refused"].setdefault("all", {})[unit] = round(float(right[outside].mean()), 4)
        told["calibration_error"][unit] = round(_calibration_error(found.max(1), right), 4)
        if unit == "sentence":
            names = (*scorer.tags, "und")
            pairs = Counter((names[t], names[a]) for t, a in zip(target, answers, strict=True) if t != a)
            told["confusions"] = [[*pair, count] for pair, count in pairs.most_common(25)]
        told[f"{unit}s"] = len(labelled)
    return told


def _calibration_error(confidence: NDArray[np.float32], right: NDArray[np.bool_]) -> float:
    """Expected calibration error: mean gap between probability and share right, over ten bins of equal count."""
    order = np.argsort(confidence)
    gaps = [abs(float(confidence[part].mean() - right[part].mean())) for part in np.array_split(order, 10) if len(part)]
    return float(np.mean(gaps))


def markdown(card: Mapping[str, Any]) -> str:
    """The card as a page."""
    macro, known = card["macro"], languages()
    lines = [
        "# Language identifier: model card",
        "",
        f"Labels: {len(known)} languages of the contract; anything else is `und`. Licence of the model: Apache-2.0.",
        f"{card['features']:,} features, {card['bytes'] / 1e6:.1f} MB. Made by `openeurollm languages train`; the",
        "record of its training is beside this card (`record.json`), the list of sources in `sources.toml`.",
        "",
        "## What it reaches",
        "",
        f"On {card['sentences']:,} sentences and {card['documents']:,} documents of ten sentences from sources kept",
        "out of the training (settings were chosen on them; the bundled model was then trained on them as well):",
        f"macro F1 {macro['sentence']:.1%} by sentence, {macro['document']:.1%} by document; error of the",
        f"probabilities {card['calibration_error']['sentence']:.1%} and {card['calibration_error']['document']:.1%}.",
        "",
        "| language | sentence F1 | document F1 |",
        "| --- | ---: | ---: |",
    ]
    for tag, by in card["scores"].items():
        lines.append(f"| {known[tag].name} ({tag}) | {by['sentence']:.1%} | {by['document']:.1%} |")
    lines += [
        "",
        "## Languages outside the contract",
        "",
        "Share that is answered `und`; `gem`, `roa`, … are families,",
    ]
    lines += ["`mis` other languages, `zxx` noise.", "", "| label | sentence | document |", "| --- | ---: | ---: |"]
    for label, by in card["refused"].items():
        lines.append(f"| {label} | {by['sentence']:.1%} | {by['document']:.1%} |")
    lines += ["", "## What it mistakes", "", "| is | called | sentences |", "| --- | --- | ---: |"]
    lines += [f"| {is_} | {called} | {count} |" for is_, called, count in card["confusions"]]
    lines += [
        "",
        "## What it was trained on",
        "",
        "| source | licences | languages | MB |",
        "| --- | --- | --- | ---: |",
    ]
    for name, source in card["sources"].items():
        tags = " ".join(source["labels"])
        lines.append(f"| {name} | {'; '.join(source['licences'])} | {tags} | {source['bytes'] / 1e6:.2f} |")
    lines += [
        "",
        "Made by rule from these: Serbian in each script from the other; Bosnian from Serbian in Latin script",
        "(ijekavian forms found by comparing vocabularies, and a short list of stems); Montenegrin with ś and ź from",
        "Bosnian; noise.",
        "",
        "## Limits",
        "",
        "- Bosnian, Croatian, Serbian and Montenegrin share most sentences; trust a document more than a sentence.",
        "- Montenegrin is known by ś and ź and by Bosnian-like words; text without them is called Bosnian or Serbian.",
        "- A language outside the contract that was not trained on is refused only when it is unlike all that were.",
        "",
    ]
    return "\n".join(lines)
