"""A small run folder with the shapes that the stages leave, written through the real ledger."""

import json
import math
from pathlib import Path
from typing import Any

from openeurollm.languages import contract
from openeurollm.ledger import Record, RunFolder, write_json, write_text
from openeurollm.recipe import load
from openeurollm.run import to_toml

TAGS = contract("europe")
GAP = "cnr"
REASON = "no source in this run is told apart from Serbian and Croatian"
SERVED = [tag for tag in TAGS if tag != GAP]
REASONS = (
    "other_language",
    "too_short",
    "near_duplicate",
    "exact_duplicate",
    "rights_reserved",
    "repeated_lines",
    "too_few_letters",
    "page_too_deep",
)
RECIPE = """
name = "fake"
languages = "europe"
parallel = "/home/someone/parallel"
[gaps]
cnr = "{reason}"
[sources.web]
kind = "warc"
path = "/home/someone/web.warc.gz"
licence = "CC0-1.0"
publisher = "the project"
date = 2026
languages = "unknown"
obtained = "written for this test"
[tuning]
conversations = "/home/someone/chat.jsonl"
licence = "CC0-1.0"
[release]
title = "A fake run"
licence = "Apache-2.0"
publisher = "nobody"
contact = "nobody@example.org"
"""


def spread(tag: str, low: float, high: float) -> float:
    """A number for a language between `low` and `high`, always the same."""
    return low + (high - low) * ((TAGS.index(tag) * 37 + 11) % 43) / 42


def cost(seconds: float) -> dict[str, Any]:
    kwh = seconds / 3600 * 0.03
    energy = {"kwh": kwh, "low": kwh / 3, "high": kwh * 3, "method": "CodeCarbon, this process: rated power"}
    return {"wall_seconds": seconds, "cpu_seconds": 1.8 * seconds, "gpu_hours": 0.0, "attempts": 1, "energy": energy}


def corpus() -> tuple[dict[str, Any], dict[str, Any]]:
    counts: dict[str, dict[str, int]] = {}
    for tag in SERVED:
        kept = int(spread(tag, 20, 400))
        dropped = {reason: int(kept * 0.3 / place) for place, reason in enumerate(REASONS, 1)}
        counts[tag] = {"kept": kept, "held_out": 2 + kept // 10, **{name: n for name, n in dropped.items() if n}}
    counts["und"] = {"too_short": 31}
    counts["ja"] = {"other_language": 12}
    text = {
        tag: {"documents": counts[tag]["kept"], "characters": 900, "bytes": 1 + int(spread(tag, 3e3, 9e4))}
        for tag in SERVED
    }
    return counts, {
        "read": {"web": sum(sum(buckets.values()) for buckets in counts.values())},
        "text": text,
        "held_out": {tag: {"documents": 2, "bytes": 4000} for tag in SERVED},
        "masked": {"bg": {"email": 3, "phone": 1}, "pt": {"email": 4, "ip": 2}},
        "licences": {tag: {"CC0-1.0": counts[tag]["kept"]} for tag in SERVED},
        "sources": {
            "web": {
                "kind": "warc",
                "licence": "CC0-1.0",
                "publisher": "the project",
                "obtained": "written for this test",
            }
        },
    }


def fairness() -> dict[str, Any]:
    def tokenizer(name: str, scale: float) -> dict[str, Any]:
        paid = {tag: scale * spread(tag, 24, 41) for tag in TAGS}
        worst = max(paid, key=lambda tag: paid[tag])
        return {
            "name": name,
            "vocabulary": 6144,
            "mean": sum(paid.values()) / len(paid),
            "worst": paid[worst],
            "worst_language": worst,
            "max_min": paid[worst] / min(paid.values()),
            "gini": 0.071,
            "english": paid["en"],
            "languages": paid,
        }

    return {"sentences": 32, "tokenizers": [tokenizer("fake", 1.0), tokenizer("bytes", 3.1)]}


def model() -> dict[str, Any]:
    share = {tag: 1 / len(SERVED) for tag in SERVED}
    share["bg"] *= 1.4
    share["en"] *= 0.6
    return {
        "shape": {"layers": 6, "width": 192, "heads": 6, "key_value_heads": 2, "feed_forward": 512},
        "parameters": 3_412_992,
        "tokens": 1_234_944,
        "steps": 300,
        "flop": 3.01e13,
        "flop_per_token": 2.4e7,
        "mixture": {
            tag: {"share": share[tag], "bytes": 70000, "tokens": 29000, "epochs": spread(tag, 1, 16)} for tag in SERVED
        },
        "matmul_flop_per_s": 5.1e10,
        "final_loss": 4.02,
        "precision": "bf16",
        "compiled": True,
        "processes": 8,
        "layout": {"processes": 8, "shard": 4},
    }


def steps(start: float, end: float, number: int) -> list[dict[str, Any]]:
    def step(place: int) -> dict[str, Any]:
        loss = end + (start - end) * math.exp(-place / number * 5) + 0.05 * math.sin(place)
        tokens = 4096 * (place + 1)
        return {
            "step": place + 1,
            "loss": loss,
            "bits_per_byte": loss / 3,
            "tokens": tokens,
            "rate": 1.0,
            "seconds": 0.4 * place,
            "gradient_norm": 1.5,
            "tokens_per_s": 10_000.0,
            "matmul_share": 0.61,
            "peak_share": None,
        }

    return [step(place) for place in range(number)]


def held_out(last: int, slower: float = 1.0) -> list[dict[str, Any]]:
    """Held-out text of every language but the gap and one more, before the training and at seven places of it."""

    def measured(step: int) -> dict[str, Any]:
        left = math.exp(-step / last * 5 / slower)
        bits = {tag: spread(tag, 1.3, 2.6) + left * spread(tag, 2, 3) for tag in SERVED if tag != "az"}
        return {"step": step, "tokens": 4096 * step, "held_out": bits}

    return [measured(last * place // 7) for place in range(8)]


EVENTS = [
    {"step": 40, "event": "skipped", "reason": "the loss was no number"},
    {"step": 120, "event": "skipped", "reason": "the gradient's norm of 91.2 was 40 times the usual"},
    {"step": 211, "event": "rolled_back", "reason": "three steps skipped in a row"},
]


def metrics(stage: str) -> list[dict[str, Any]]:
    """Lines of the training of a stage, as the trainer writes them."""
    if stage == "tuning":
        return steps(4.4, 3.1, 60)
    lines = [*steps(8.7, 4.0, 300), *held_out(300), *EVENTS]
    return sorted(lines, key=lambda line: line["step"])


def measures(shift: float, consistency: bool) -> dict[str, Any]:
    def measured(tag: str, low: float, high: float, unit: str) -> dict[str, Any]:
        value = spread(tag, low, high) * shift
        return {"value": value, "low": value * 0.96, "high": value * 1.05, "n": 40, "unit": unit}

    found = {
        "bits_per_byte": {tag: measured(tag, 1.3, 2.6, "bits per byte") for tag in SERVED},
        "bits_per_sentence": {tag: measured(tag, 180, 420, "bits per sentence") for tag in SERVED},
    }
    answers = {"language_consistency": {tag: {"value": spread(tag, 0.4, 1), "n": 2} for tag in SERVED if tag != "az"}}
    return {**found, **answers} if consistency else found


def evaluation(folder: Path) -> None:
    models = [
        {"model": "base", "measures": measures(1.0, False)},
        {"model": "tuned", "measures": measures(0.95, True)},
    ]
    checks = {"held_out_in_training": {"documents": 812, "overlapping": 0}}
    write_json(folder / "results.json", {"models": models, "checks": checks})
    covered = {
        name: {tag: "measured" if tag in SERVED else f"gap: {REASON}" for tag in TAGS}
        for name in ("bits_per_byte", "bits_per_sentence", "language_consistency")
    }
    covered["language_consistency"]["az"] = "the identifier does not know the answers' language"
    write_json(folder / "coverage.json", covered)


def write(run: RunFolder, stage: str, seconds: float, inputs: dict[str, str], **parts: Any) -> Record:
    """Write a stage's record, with the outputs that its inputs are compared to."""
    record = Record(
        stage=stage,
        parameters={"languages": list(TAGS)},
        inputs=inputs,
        outputs={"made": stage.ljust(64, "0")},
        cost=cost(seconds),
        code="0" * 64,
        host={
            "name": "secret-host",
            "processor": "A processor",
            "cores": 2,
            "memory_bytes": 8_000_000_000,
            "system": "Linux-6.1-x86_64",
            "python": "3.11.2",
        },
        started="2026-05-01T10:00:00+00:00",
        finished="2026-05-01T10:05:00+00:00",
        **parts,
    )
    run.folder(stage).mkdir(parents=True, exist_ok=True)
    record.write(run.folder(stage))
    return record


def make(path: Path, until: str = "release", name: str = "fake") -> RunFolder:
    """A run folder at `path` with the stages up to `until`; `recipe` alone builds none."""
    run = RunFolder(path)
    path.mkdir(parents=True)
    loose = path / ".loose.toml"
    loose.write_text(RECIPE.format(reason=REASON).replace('"fake"', json.dumps(name)), "utf-8")
    write_text(path / "recipe.toml", to_toml(load(loose)))
    loose.unlink()
    made: dict[str, str] = {}
    for stage, seconds in (
        ("corpus", 41.0),
        ("tokenizer", 12.5),
        ("model", 312.0),
        ("tuning", 64.0),
        ("evaluation", 55.0),
        ("release", 3.2),
    ):
        if until == "recipe":
            break
        inputs = {f"stage/{name}": digest for name, digest in made.items()}
        parts: dict[str, Any] = {}
        if stage == "corpus":
            parts["counts"], parts["results"] = corpus()
        elif stage == "tokenizer":
            write_json(run.folder(stage) / "fairness.json", fairness())
        elif stage == "model":
            parts["results"] = model()
        elif stage == "tuning":
            parts["results"] = {
                "conversations": {"bg": 20, "en": 22},
                "steps": 60,
                "tokens": 245_760,
                "final_loss": 3.1,
            }
        elif stage == "evaluation":
            evaluation(run.folder(stage))
        if stage in ("model", "tuning"):
            lines = "".join(json.dumps(line) + "\n" for line in metrics(stage))
            write_text(run.folder(stage) / "metrics.jsonl", lines)
        made[stage] = write(run, stage, seconds, inputs, **parts).made
        if stage == until:
            break
    return run
