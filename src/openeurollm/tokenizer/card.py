"""The tokenizer's card: what it is, how it was trained and what each language pays, all of it from the records."""

from collections.abc import Mapping
from typing import Any

from openeurollm.languages import languages
from openeurollm.tokenizer.train import Trained, special_tokens


def text(trained: Trained, fairness: Mapping[str, Any], fitted: bool) -> str:
    """The card in Markdown; `fitted` says that the weights were set on the sentences of the fairness table."""
    found, told, limits = fairness["tokenizers"][0], trained.told, trained.limits
    special = special_tokens(limits.reserved)
    lines = [
        f"# Tokenizer {found['name']}",
        "",
        f"Byte-level BPE of {found['vocabulary']:,} slots: {len(special)} special tokens ({', '.join(special[:6])} and "
        f"{limits.reserved} reserved), 256 bytes, {told['merges']:,} merges. Every text comes back as it was. "
        f"Digits are cut {'by threes from the right' if limits.digits == 'threes' else 'singly'}.",
        "",
        "## How it was trained",
        "",
        f"From counts of words in {len(told['languages'])} languages (digest `{told['counts']}`), weighted so that "
        "each language has the same say: first by the text that it brought, corrected for its script, then in "
        f"{len(told['rounds']) - 1} rounds by what it paid for the same sentences. `training.json` has the weights and "
        "costs of each round, and what was counted.",
        "",
    ]
    little = [tag for tag, each in told["languages"].items() if each["little_text"]]
    if little:
        lines += [f"Languages with little text, which the weights cannot make up for: {', '.join(little)}.", ""]
    for name, table in told["tables"].items():
        lines += [f"`{name}` is {100 * table['share']:.0f} % of what was learnt from ({table['words']:,} words).", ""]
    if limits.parity:
        lines += [f"{100 * limits.parity.share:.0f} % of the merges were chosen for the language that paid most.", ""]
    lines += [
        *_paid(fairness, "on which the weights were set" if fitted else "which had no part in the training"),
        "| language | tokens a sentence | weight | text, bytes |",
        "| --- | ---: | ---: | ---: |",
    ]
    for tag, cost in _dearest_first(found):
        of = told["languages"].get(tag, {"weight": 0.0, "bytes": 0})
        lines.append(f"| {_named(tag)} | {cost:.1f} | {of['weight']:.2f} | {of['bytes']:,} |")
    return "\n".join(lines) + "\n"


def taken(end: int, digest: str, fairness: Mapping[str, Any]) -> str:
    """The card of a tokenizer that others made; `end` is the id that closes a document, `digest` its file's SHA-256."""
    found = fairness["tokenizers"][0]
    lines = [
        f"# Tokenizer {found['name']}",
        "",
        f"Byte-level BPE of {found['vocabulary']:,} slots that others made, used as it is (`tokenizer.json` has the "
        f"SHA-256 `{digest}`). The id {end} closes a document.",
        "",
        *_paid(fairness, "which had no part in its choice"),
        "| language | tokens a sentence |",
        "| --- | ---: |",
        *(f"| {_named(tag)} | {cost:.1f} |" for tag, cost in _dearest_first(found)),
    ]
    return "\n".join(lines) + "\n"


def _paid(fairness: Mapping[str, Any], said: str) -> list[str]:
    found = fairness["tokenizers"][0]
    return [
        "## What each language pays",
        "",
        f"Tokens for each of the same {fairness['sentences']} sentences, {said}. "
        f"Mean {found['mean']:.1f}, dearest to cheapest {found['max_min']:.2f}, Gini {found['gini']:.3f}.",
        "",
    ]


def _dearest_first(found: Mapping[str, Any]) -> list[tuple[str, float]]:
    return sorted(found["languages"].items(), key=lambda pair: -pair[1])


def _named(tag: str) -> str:
    return f"{languages()[tag].name if tag in languages() else tag} ({tag})"
