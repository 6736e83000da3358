"""Do the counts of a run add up, from stage to stage."""

from typing import Any

from openeurollm.ledger.record import Record
from openeurollm.ledger.run_folder import RunFolder


def sums(run: RunFolder) -> list[dict[str, Any]]:
    """What must be equal in the records that are there: `check`, `left`, `right`, and whether it is `ok`.

    Every record read by the corpus is in one bucket; tokenizer and model account for every document kept, language by
    language; the evaluation for every document held out; the mixture for every token of the training.
    """
    corpus, tokenizer, model, evaluation = map(run.record, ("corpus", "tokenizer", "model", "evaluation"))
    if corpus is None:
        return []
    counted = sum(sum(buckets.values()) for buckets in corpus.counts.values())
    found = [_equal("records read = records counted", sum(corpus.results["read"].values()), counted)]
    for record, bucket in ((tokenizer, "kept"), (model, "kept"), (evaluation, "held_out")):
        if record is not None:
            check = f"documents {bucket.replace('_', ' ')} = documents of the {record.stage}, in every language"
            found.append(_equal(check, _bucket(corpus, bucket), _totals(record)))
    if model is not None:
        mixture = sum(part["tokens"] for part in model.results["mixture"].values())
        found.append(_equal("tokens trained on = tokens of the mixture", model.results["tokens"], mixture))
    return found


def _bucket(record: Record, bucket: str) -> dict[str, int]:
    return {tag: buckets[bucket] for tag, buckets in record.counts.items() if buckets.get(bucket)}


def _totals(record: Record) -> dict[str, int]:
    return {tag: total for tag, buckets in record.counts.items() if (total := sum(buckets.values()))}


def _equal(check: str, left: Any, right: Any) -> dict[str, Any]:
    total = {"left": _sum(left), "right": _sum(right)}
    return {"check": check, **total, "ok": left == right}


def _sum(value: Any) -> int:
    return int(sum(value.values()) if isinstance(value, dict) else value)
