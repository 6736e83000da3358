"""Loading a recipe, and messages that say what to fix."""

import math
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from openeurollm.errors import BadInput, explain
from openeurollm.languages import contract
from openeurollm.recipe.schema import Model, Recipe, on_disk

MAX_BYTES = 1_000_000
_PARTS, PART = 8, 4_096
"""Into how many parts a step is cut at most, and the least positions of each; smaller ones cost time: docs/diary.md."""
_COMPUTE = 3e13
"""Budget of a recipe that sets no dial."""
_TOKENS_A_PARAMETER = 20
_BATCH, _BATCH_POWER, _MOST_BATCH = 0.6 * 0.292, 0.3271, 2**26
_PATHS = (
    *("path", "parallel", "conversations", "previous", "today", "quality", "thresholds", "development"),
    *("law", "start"),
)


def load(path: Path, settings: Iterable[str] = ()) -> Recipe:
    """Read the recipe at `path`, with `settings` of the form `table.key=value` put over it.

    Paths in the file are relative to the file, paths in `settings` to the current folder. Raises `BadInput` with a line
    for each mistake.
    """
    raw = _read(path)
    for setting in settings:
        _set(raw, setting)
    _absolute(raw, path.resolve().parent)
    try:
        recipe = Recipe.model_validate(raw)
    except ValidationError as error:
        raise BadInput("\n".join(f"{path}: {_explain(detail)}" for detail in error.errors())) from None
    tags = contract(recipe.languages)
    mixture = recipe.mixture
    named = {"gaps": set(recipe.gaps), "mixture.falls": set(mixture.falls), "mixture.shares": set(mixture.shares)}
    for table, listed in named.items():
        stray = sorted(listed.difference(tags))
        if stray:
            raise BadInput(f"{path}: `{stray[0]}` in [{table}] is not in the recipe's languages")
    return recipe


def tags(recipe: Recipe) -> tuple[str, ...]:
    """The language tags that the recipe promises to serve, gaps included."""
    return contract(recipe.languages)


def parts(model: Model, batch_tokens: int) -> int:
    """Parts of a step, between which processes can share it: a power of two, whatever the number of processes."""
    most = min(_PARTS, batch_tokens // max(PART, model.context))
    return model.parts or 1 << (max(1, most).bit_length() - 1)


def compute(model: Model) -> float:
    """Training budget in FLOP, whichever dial was given; parameters and tokens in Chinchilla's proportion, 20.

    With `parameters` or `tokens` it is a first guess: what the scaling law makes of them is known with the vocabulary.
    """
    if model.compute is not None:
        return model.compute
    if model.parameters is None and model.tokens is None:
        return _COMPUTE
    parameters = model.parameters or _layers(model) or (model.tokens or 0) / _TOKENS_A_PARAMETER
    return 6 * parameters * (model.tokens or parameters * _TOKENS_A_PARAMETER)


def _layers(model: Model) -> float:
    """Parameters of the layers of a shape that is given, 0 where none is."""
    if model.shape is None:
        return 0.0
    shape, keys = model.shape, model.shape.width // model.shape.heads * model.shape.key_value_heads
    return shape.layers * shape.width * (2.0 * (shape.width + keys) + 3 * shape.feed_forward)


def batch_tokens(model: Model) -> int:
    """Positions of a step: those given, or what the budget asks for, a power of two.

    0.29 C^0.327 of DeepSeek-AI 2024, "DeepSeek LLM: scaling open-source language models with longtermism", times 0.6:
    of 2·10¹² FLOP our own best is 1,500 (docs/diary.md).
    """
    if model.batch_tokens is not None:
        return model.batch_tokens
    wished = _BATCH * compute(model) ** _BATCH_POWER
    return int(min(_MOST_BATCH, 1 << round(math.log2(max(wished, model.context)))))


def paths(recipe: Recipe) -> dict[str, Path]:
    """Every path of a file or folder that a recipe names, by its place in it: `sources/text/path`."""
    found: dict[str, Path] = {}

    def walk(value: Any, place: str) -> None:
        if isinstance(value, Path):
            found[place] = value
        elif isinstance(value, dict):
            for key, part in value.items():
                walk(part, f"{place}/{key}".strip("/"))

    walk(recipe.model_dump(), "")
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise BadInput(f"{path}: a recipe has at most {MAX_BYTES:,} bytes")
        return tomllib.loads(path.read_text("utf-8-sig"))
    except FileNotFoundError:
        raise BadInput(f"{path}: no such recipe") from None
    except IsADirectoryError:
        raise BadInput(f"{path}: is a folder; a recipe is a TOML file") from None
    except UnicodeDecodeError:
        raise BadInput(f"{path}: not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{path}: not valid TOML: {error}") from None
    except RecursionError:
        raise BadInput(f"{path}: not valid TOML: nested too deep") from None
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror}") from None


def _set(raw: dict[str, Any], setting: str) -> None:
    name, equals, value = setting.partition("=")
    if not equals or not name.strip():
        raise BadInput(f"`{setting}`: a setting has the form table.key=value")
    *tables, key = name.strip().split(".")
    for table in tables:
        raw = raw.setdefault(table, {})
        if not isinstance(raw, dict):
            raise BadInput(f"`{name}`: `{table}` is not a table")
    try:
        raw[key] = tomllib.loads(f"value = {value}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        raw[key] = value
    given = raw[key] if isinstance(raw[key], str) else value
    if key in _PATHS and not isinstance(raw[key], list) and on_disk(raw.get("kind"), given):
        # A folder may be named 2024_10, which TOML takes for a number.
        raw[key] = str(Path(given).expanduser().resolve())


def _absolute(raw: dict[str, Any], base: Path) -> None:
    """Take the paths in a table and those below it from the recipe's folder."""
    for key, value in raw.items():
        if isinstance(value, dict):
            _absolute(value, base)
        elif key in _PATHS and isinstance(value, str) and on_disk(raw.get("kind"), value):
            raw[key] = str((base / Path(value).expanduser()).resolve())


def _explain(detail: Any) -> str:
    """One mistake in plain words, with the nearest known key for an unknown one."""
    place = [str(part) for part in detail["loc"]]
    if place and place[-1] == "[key]":
        return f"`{place[-2]}` is no name for a table in [{'.'.join(place[:-2])}]: use a-z, 0-9, - and _"
    return explain(detail["type"], detail["msg"], place, detail.get("input"), _keys(place[:-1]))


def _keys(table: list[str]) -> list[str]:
    """Keys that the schema knows in the table at this path."""
    model: Any = Recipe
    for part in table:
        annotation = model.model_fields[part].annotation if _is_table(model) and part in model.model_fields else model
        candidates = [annotation, *get_args(annotation)]
        model = next((candidate for candidate in candidates if _is_table(candidate)), annotation)
    return list(model.model_fields) if _is_table(model) else []


def _is_table(model: Any) -> bool:
    return isinstance(model, type) and issubclass(model, BaseModel)
