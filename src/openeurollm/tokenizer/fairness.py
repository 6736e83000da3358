"""Fairness: how many tokens each language pays for the same sentences."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import Any

from tokenizers import Tokenizer

from openeurollm.errors import BadInput
from openeurollm.languages import declaration, languages

_MAX_BYTES = 50_000_000


def load(path: Path) -> Tokenizer:
    """The tokenizer at `path`: a `tokenizer.json`, a folder that holds one, or a run folder.

    Raises `BadInput` where there is none or the file is no tokenizer.
    """
    places = (path, path / "tokenizer.json", path / "tokenizer" / "tokenizer.json")
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        raise BadInput(f"{path}: no tokenizer.json here")
    with refused(f"{file}: not a tokenizer"):
        tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_padding()  # both may be set in the file, and would count as tokens that are not there or hide some
    tokenizer.no_truncation()
    return tokenizer


@contextmanager
def refused(what: str) -> Iterator[None]:
    """Turn what the tokenizers library raises into `BadInput`: bare exceptions, and panics (no `Exception`)."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        raise BadInput(f"{what}: {str(error)[:200]}") from None


def parallel(folder: Path, tags: Sequence[str] | None = None) -> dict[str, list[str]]:
    """Parallel sentences by language from `TAG.txt`, one a line; only `tags` where given.

    Raises `BadInput` where the folder has none, or the files differ in their number of lines.
    """
    if not folder.is_dir():
        raise BadInput(f"{folder}: no such folder of parallel text")
    files = {path.stem: path for path in sorted(folder.glob("*.txt")) if tags is None or path.stem in tags}
    sentences = {tag: _lines(path) for tag, path in files.items()}
    if not sentences:
        raise BadInput(f"{folder}: no files named TAG.txt for the languages asked for")
    lengths = {len(lines) for lines in sentences.values()}
    if len(lengths) != 1 or lengths == {0}:
        short = min(sentences, key=lambda tag: len(sentences[tag]))
        raise BadInput(f"{folder}: files must have the same number of lines; {short}.txt has {len(sentences[short])}")
    blank = next((tag for tag, lines in sentences.items() if not "".join(lines).strip()), None)
    if blank is not None:
        raise BadInput(f"{folder}: {blank}.txt has nothing but blank lines")
    return sentences


def _lines(path: Path) -> list[str]:
    if path.stat().st_size > _MAX_BYTES:
        raise BadInput(f"{path}: over {_MAX_BYTES:,} bytes of parallel text")
    try:
        return path.read_text("utf-8").splitlines()
    except UnicodeDecodeError:
        raise BadInput(f"{path}: not UTF-8 text") from None


def measure(name: str, tokenizer: Tokenizer, sentences: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Tokens a sentence in each language, and how unequal they are.

    `mean` is over languages, `worst` the largest, `max_min` largest over smallest, `gini` Gini's coefficient over
    languages (0 is equality), `english` the figure for English or None. Raises `BadInput` for a tokenizer that cannot
    encode a language at all.
    """
    with refused(f"{name}: cannot encode text"):
        costs = {
            tag: fmean(len(each.ids) for each in tokenizer.encode_batch(list(lines), add_special_tokens=False))
            for tag, lines in sentences.items()
        }
    silent = next((tag for tag, cost in costs.items() if cost == 0), None)
    if silent is not None:
        raise BadInput(f"{name}: makes no token of the text in {silent}")
    worst = max(costs, key=lambda tag: costs[tag])
    return {
        "name": name,
        "vocabulary": tokenizer.get_vocab_size(),
        "mean": round(fmean(costs.values()), 3),
        "worst": round(costs[worst], 3),
        "worst_language": worst,
        "max_min": round(costs[worst] / min(costs.values()), 4),
        "gini": round(_gini(list(costs.values())), 4),
        "english": round(costs["en"], 3) if "en" in costs else None,
        "languages": {tag: round(cost, 3) for tag, cost in costs.items()},
    }


def on_declaration(tokenizer: Tokenizer, tags: Sequence[str]) -> dict[str, float]:
    """Characters a token on the packaged excerpts of the Declaration of Human Rights, by language."""
    texts = {tag: "\n".join(declaration(tag)) for tag in tags if tag in languages()}
    return {
        tag: round(len(text) / len(tokenizer.encode(text, add_special_tokens=False).ids), 3)
        for tag, text in texts.items()
        if text
    }


def _gini(values: list[float]) -> float:
    ordered = sorted(values)
    weighted = sum(place * value for place, value in enumerate(ordered, 1))
    return 2 * weighted / (len(ordered) * sum(ordered)) - (len(ordered) + 1) / len(ordered)
