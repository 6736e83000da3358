"""How a command can end before its work is done, and how a mistake in a file of the user's is told."""

import difflib
from collections.abc import Iterable, Sequence
from typing import Any


class BadInput(Exception):
    """What the user gave cannot be used; the message says what to change. Exit code 2."""


class Failure(Exception):
    """The work itself failed; the message says what is lost and what to do. Exit code 1."""


class Lost(Failure):
    """Another process of the same work has ended; the same again, with all of them, may go well."""


class Stopped(Exception):
    """The work was asked to stop; what it had done is kept, and starting it again goes on from there. Exit code 75."""


def explain(kind: str, message: str, place: Sequence[str], value: Any, known: Iterable[str]) -> str:
    """One mistake in plain words: its `kind` and `message` as pydantic tells them, the `place` of the key below its
    tables, the `value` there, and the keys that are `known` in its table, of which the nearest is named for an unknown
    one.
    """
    *table, key = place or [""]
    where = f" in [{'.'.join(table)}]" if table else ""
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
        return f"unknown key `{key}`{where}" + (f", did you mean `{near[0]}`?" if near else "")
    if kind == "missing":
        return f"`{key}` is missing{where}"
    message = message.removeprefix("Value error, ")
    shown = f" (it is {value!r})" if isinstance(value, str | int | float | bool) else ""
    said = f"{message[0].lower()}{message[1:]}{shown}"
    return f"`{key}`{where}: {said}" if key else said
