"""Measures by language: bits per byte, bits per parallel sentence, answering in the language asked."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from openeurollm.evaluation.model import Model, Scored
from openeurollm.languages import identify_batch

_LEAST_DOCUMENTS = 10
"""From this many documents on, documents are resampled for the interval; below it, paragraphs."""
_ANSWER_TOKENS = 48


def bits_per_byte(model: Model, documents: Sequence[str], resamples: int, seed: int) -> dict[str, Any]:
    """Bits per UTF-8 byte of held-out documents of one language, with a 95 % bootstrap interval.

    `unit` says what was resampled and `n` how many: documents, or paragraphs where there are few documents (whose
    interval is then somewhat too narrow, as paragraphs of one document are alike).
    """
    unit = "document" if len(documents) >= _LEAST_DOCUMENTS else "paragraph"
    texts = list(documents) if unit == "document" else [p for text in documents for p in text.split("\n") if p.strip()]
    scored = model.score(texts)
    return {**interval(_ratio(scored), [(s.bits, s.bytes) for s in scored], resamples, seed), "unit": unit}


def bits_per_sentence(model: Model, sentences: Sequence[str], resamples: int, seed: int) -> dict[str, Any]:
    """Mean bits for a parallel sentence: comparable between languages, as all say the same; with a 95 % interval."""
    scored = model.score(sentences)
    value = sum(s.bits for s in scored) / len(scored)
    return {**interval(value, [(s.bits, 1.0) for s in scored], resamples, seed), "unit": "sentence"}


def language_consistency(model: Model, tag: str, questions: Sequence[str]) -> dict[str, Any]:
    """Share of the model's answers to questions in a language that are identified as that language.

    The language asked is the claim: inside a close group it decides an answer that two languages share.
    """
    answers: list[str] = []
    for start in range(0, len(questions), 32):
        answers += model.answers(questions[start : start + 32], _ANSWER_TOKENS)
    right = [answer.language == tag for answer in identify_batch(answers, [tag] * len(answers))]
    return {"value": round(sum(right) / len(right), 4), "n": len(right)}


def interval(value: float, pairs: Sequence[tuple[float, float]], resamples: int, seed: int) -> dict[str, Any]:
    """`value` with the 2.5th and 97.5th percentile of the ratio of sums over bootstrap resamples of `pairs`."""
    rows = np.array(pairs, np.float64)
    generator = np.random.Generator(np.random.PCG64(seed))
    ratios = []
    for _ in range(resamples):
        sums = rows[generator.integers(len(rows), size=len(rows))].sum(axis=0)
        ratios.append(sums[0] / sums[1])
    low, high = np.percentile(ratios, [2.5, 97.5])
    return {"value": round(value, 4), "low": round(float(low), 4), "high": round(float(high), 4), "n": len(rows)}


def _ratio(scored: Sequence[Scored]) -> float:
    return sum(s.bits for s in scored) / sum(s.bytes for s in scored)
