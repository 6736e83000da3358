"""A byte-level BPE in Hugging Face's format and in tiktoken's, with the same ids.

tiktoken knows no merges: it joins the two neighbours whose bytes together are the token of the lowest rank. That is the
same as going through the merges in order where every token, by itself, comes about through its own merge, which
`BytePairs` makes sure of.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from openeurollm.errors import BadInput
from openeurollm.ledger import read_json, whole, write_json

MAX_BYTES = 256 << 20
"""Bytes of a tokenizer's file at most; the largest published ones have 40 million."""
_MAX_TOKENS, _LONGEST = 1 << 20, 512
"""Tokens, and bytes of one."""

RANKS, SETTINGS = "tokenizer.tiktoken", "tiktoken.json"
"""The files of tiktoken's format: on each line a token in base64 and its rank; other arguments of its `Encoding`."""


@dataclass(frozen=True)
class BytePairs:
    """A byte-level BPE.

    `tokens` gives each sequence of bytes its id, which is its rank too; `merges` are the pairs that make the tokens of
    several bytes, in order of their ids; `special` are the control tokens and their ids; merges never cross a match of
    `pattern`, a regular expression. Raises `BadInput` where these do not belong together.
    """

    tokens: Mapping[bytes, int]
    merges: tuple[tuple[bytes, bytes], ...]
    special: Mapping[str, int]
    pattern: str

    def __post_init__(self) -> None:
        check(self.tokens, self.special)
        if self.merges != merges(self.tokens):
            raise BadInput("a tokenizer whose merges are not in the order of its ids: it cannot be told by ranks")


def check(tokens: Mapping[bytes, int], special: Mapping[str, int]) -> None:
    """Raise `BadInput` for tokens that cannot encode all text, are too many or too long, or have no id of their own."""
    lacking = next((byte for byte in range(256) if bytes([byte]) not in tokens), None)
    if lacking is not None:
        raise BadInput(f"a tokenizer without a token for the byte {lacking}: it cannot encode all text")
    if len(tokens) > _MAX_TOKENS or any(not 0 < len(token) <= _LONGEST for token in tokens):
        raise BadInput(f"a tokenizer of over {_MAX_TOKENS:,} tokens, or of tokens of over {_LONGEST} bytes")
    ids = [*tokens.values(), *special.values()]
    if len(set(ids)) != len(ids) or min(ids) < 0 or max(ids) >= 2 * _MAX_TOKENS:
        raise BadInput("a tokenizer in which two tokens have the same id, or an id is out of bounds")


def merges(tokens: Mapping[bytes, int]) -> tuple[tuple[bytes, bytes], ...]:
    """The pairs from which tokens of several bytes are made, told from their ranks alone, in order of ranks.

    Raises `BadInput` for a token that tokens of lower rank do not make.
    """
    several = sorted((rank, token) for token, rank in tokens.items() if len(token) > 1)
    return tuple(_pair(token, rank, tokens) for rank, token in several)


def _pair(token: bytes, rank: int, tokens: Mapping[bytes, int]) -> tuple[bytes, bytes]:
    parts = [token[at : at + 1] for at in range(len(token))]
    while len(parts) > 2:
        ranks = [tokens.get(one + other, rank) for one, other in pairwise(parts)]
        lowest = min(ranks)
        if lowest >= rank:
            break
        at = ranks.index(lowest)
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    if len(parts) != 2:
        raise BadInput(f"a tokenizer in which tokens of lower rank do not make the token {token!r}")
    return parts[0], parts[1]


@cache
def alphabet() -> tuple[str, ...]:
    """The printable character that stands for each byte in `tokenizer.json` and GGUF, as GPT-2 set it."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = iter(range(0x100, 0x200))
    return tuple(chr(byte) if byte in shown else chr(next(others)) for byte in range(256))


@cache
def _bytes() -> Mapping[str, int]:
    return {character: byte for byte, character in enumerate(alphabet())}


def spelled(token: bytes) -> str:
    """A token in the characters of `alphabet`."""
    return "".join(map(alphabet().__getitem__, token))


def read(path: Path) -> BytePairs:
    """The tokenizer at `path`: a `tokenizer.json`, ranks with their settings beside, or a folder with either.

    Raises `BadInput` for a file that is none, and for a tokenizer of another kind, whose ids tiktoken cannot give.
    """
    file = place(path)
    try:
        return _from_ranks(file) if file.suffix == ".tiktoken" else _from_json(bounded_json(file))
    except BadInput as error:
        raise BadInput(f"{file}: {str(error).removeprefix(f'{file}: ')}") from None


def place(path: Path) -> Path:
    """The file of the tokenizer at `path`; raises `BadInput` where there is none."""
    names = ("tokenizer.json", "tokenizer/tokenizer.json", RANKS)
    file = next((place for place in (path, *(path / name for name in names)) if place.is_file()), None)
    if file is None:
        raise BadInput(f"{path}: no tokenizer.json and no {RANKS} here")
    return file


def bounded_json(file: Path) -> Any:
    """The content of a JSON file of bounded size; raises `BadInput`."""
    _bounded(file)
    return read_json(file)


def _bounded(file: Path) -> None:
    if file.stat().st_size > MAX_BYTES:
        raise BadInput(f"{file}: over {MAX_BYTES >> 20} MiB, too large for a tokenizer")


def _from_json(raw: Any) -> BytePairs:
    match raw:
        case {
            "normalizer": None,
            "pre_tokenizer": {
                "pretokenizers": [
                    {"type": "Split", "pattern": {"Regex": str(pattern)}, "behavior": "Isolated", "invert": False},
                    {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
                ]
            },
            "model": {"type": "BPE", "vocab": dict(vocabulary), "merges": list(pairs)} as model,
        } if not any(model.get(key) for key in ("dropout", "continuing_subword_prefix", "end_of_word_suffix")):
            pass
        case _:
            raise BadInput("not a byte-level BPE that splits text by one regular expression")
    try:
        special = {token["content"]: int(token["id"]) for token in raw.get("added_tokens", ())}
        tokens = {_unspelled(token): int(rank) for token, rank in vocabulary.items() if token not in special}
        both = [pair.split(" ") if isinstance(pair, str) else pair for pair in pairs]
        return BytePairs(tokens, tuple((_unspelled(one), _unspelled(other)) for one, other in both), special, pattern)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BadInput(f"not a byte-level BPE: {type(error).__name__} at {str(error)[:80]}") from None


def _unspelled(token: str) -> bytes:
    return bytes(map(_bytes().__getitem__, token))


def _from_ranks(file: Path) -> BytePairs:
    settings = bounded_json(file.with_name(SETTINGS))
    match settings:
        case {"pat_str": str(pattern), "special_tokens": dict(special)}:
            tokens = ranks(file)
        case _:
            raise BadInput(f"{SETTINGS} beside it does not give `pat_str` and `special_tokens`")
    if not all(isinstance(number, int) for number in special.values()):
        raise BadInput(f"{SETTINGS} beside it has an id that is no number")
    return BytePairs(tokens, merges(tokens), special, pattern)


def ranks(file: Path) -> dict[bytes, int]:
    """The tokens of a file of tiktoken's ranks; raises `BadInput` where it is none."""
    _bounded(file)
    found: dict[bytes, int] = {}
    with open(file, "rb") as lines:
        for number, line in enumerate(iter(lambda: lines.readline(4 * _LONGEST), b""), 1):
            try:
                token, rank = line.split()
                found[base64.b64decode(token, validate=True)] = int(rank)
            except (ValueError, binascii.Error):
                raise BadInput(f"{file}: line {number} is no token in base64 with its rank") from None
            if number > _MAX_TOKENS:
                raise BadInput(f"{file}: over {_MAX_TOKENS:,} tokens")
    if not found:
        raise BadInput(f"{file}: no ranks here")
    return found


def write_tiktoken(tokenizer: BytePairs, folder: Path, name: str) -> None:
    """Write `tokenizer.tiktoken` and `tiktoken.json` into `folder`.

    The tokenizer is then `tiktoken.Encoding(mergeable_ranks=load_tiktoken_bpe("tokenizer.tiktoken"), **settings)` with
    the settings of `tiktoken.json`. Special tokens have the lowest ids here, so ranks start after them.
    """
    with whole(folder / RANKS) as partial, open(partial, "wb") as file:
        for token, rank in sorted(tokenizer.tokens.items(), key=lambda pair: pair[1]):
            file.write(b"%s %d\n" % (base64.b64encode(token), rank))
    write_json(
        folder / SETTINGS,
        {
            "name": name,
            "pat_str": tokenizer.pattern,
            "special_tokens": dict(tokenizer.special),
            "explicit_n_vocab": len(tokenizer.tokens) + len(tokenizer.special),
        },
    )


def write_huggingface(tokenizer: BytePairs, path: Path) -> None:
    """Write the tokenizer as Hugging Face's `tokenizer.json` to `path`."""
    vocabulary = {**tokenizer.special, **{spelled(token): rank for token, rank in tokenizer.tokens.items()}}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    split = {"type": "Split", "pattern": {"Regex": tokenizer.pattern}, "behavior": "Isolated", "invert": False}
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    value = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": number, "content": token, **plain}
            for token, number in sorted(tokenizer.special.items(), key=lambda pair: pair[1])
        ],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": dict(sorted(vocabulary.items(), key=lambda pair: pair[1])),
            "merges": [(spelled(one), spelled(other)) for one, other in tokenizer.merges],
        },
    }
    with whole(path) as partial:
        partial.write_text(json.dumps(value, ensure_ascii=False, indent=2), "utf-8")
