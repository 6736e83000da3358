"""A tokenizer that others made, used as it is: byte-level BPE with any rules for splitting text, as Qwen's or Llama's.

Hugging Face's library encodes with it, since our encoder knows our own rules alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from openeurollm.errors import BadInput
from openeurollm.ledger import inside_model, read_json, whole, write_json
from openeurollm.tokenizer import formats
from openeurollm.tokenizer.fairness import load, refused
from openeurollm.tokenizer.train import CHAT_TEMPLATE, SPECIAL

END, START_TURN, END_TURN, _ = SPECIAL
CONFIG, TEMPLATE = "tokenizer_config.json", "chat_template.jinja"
_MAX_CONFIG, _MAX_TEMPLATE = 16 << 20, 1 << 20
"""Bytes; that of Llama 3, with its list of tokens, has 50,000."""
_ANY = "Mitä, 1999?\n\tΑθήνα  ქართული 😀\x00 <|x|>"
"""Text of several scripts and signs, in normal form C."""


@dataclass(frozen=True)
class Taken:
    """A tokenizer of the library; `end` is the id that closes a document, `vocabulary` the number of ids."""

    tokenizer: Tokenizer
    end: int
    vocabulary: int

    def encode_buffer(
        self, data: NDArray[np.uint8], bounds: NDArray[np.int64], close: int
    ) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """The ids of documents, as `Encoder.encode_buffer` gives them; what the tokenizer holds for control tokens is
        text in a document.
        """
        ids = []
        for start, stop in pairwise(bounds):
            text = data[start:stop].tobytes().decode("utf-8", "replace")
            with refused("the tokenizer cannot encode a document"):  # one at a time, since other processes do the same
                encoded = self.tokenizer.encode_batch_fast([text], add_special_tokens=False)
            ids.append(np.array([*encoded[0].ids, close], np.int32))
        places = np.cumsum([0, *map(len, ids)], dtype=np.int64)
        return np.concatenate(ids) if ids else np.zeros(0, np.int32), places


def opened(file: Path) -> Taken:
    """The tokenizer of a `tokenizer.json`.

    Raises `BadInput` for one that is not byte-level, loses text, has gaps between its ids, or no token to close
    documents with.
    """
    match formats.bounded_json(file):
        case {
            "model": {"type": "BPE"},
            "decoder": {"type": "ByteLevel"} | {"type": "Sequence", "decoders": [*_, {"type": "ByteLevel"}]},
            "added_tokens": list(added),
        }:
            tokenizer = load(file)
        case _:
            raise BadInput(f"{file}: no byte-level BPE; only such tokenizers can be taken")
    tokenizer.encode_special_tokens = True
    with refused(f"{file}: cannot encode text"):
        back = tokenizer.decode(tokenizer.encode(_ANY, add_special_tokens=False).ids, skip_special_tokens=False)
    ids = tokenizer.get_vocab()
    if back != _ANY or not ids.keys() >= set(formats.alphabet()):
        raise BadInput(f"{file}: some text does not come back from its tokens; only tokenizers that keep all are taken")
    said = {token["content"]: token["id"] for token in added}  # where that cannot be, the library gives other ids
    if sorted(ids.values()) != list(range(len(ids))) or not said.items() <= ids.items():
        raise BadInput(f"{file}: has gaps between its ids, or an id twice")
    return Taken(tokenizer, end_of(file, ids), len(ids))


def end_of(file: Path, ids: Mapping[str, int]) -> int:
    """The id that closes a document: that of `<|endoftext|>`, else of the `eos_token` that the file beside names.

    Raises `BadInput` where there is neither.
    """
    if END in ids:
        return ids[END]
    beside = file.with_name(CONFIG)
    token = configuration(beside).get("eos_token") if beside.is_file() else None
    name = token.get("content") if isinstance(token, dict) else token
    if not isinstance(name, str) or name not in ids:
        raise BadInput(f"{file}: has no token {END} to close documents with, and {CONFIG} beside it names no other")
    return ids[name]


def configuration(file: Path) -> dict[str, Any]:
    """The content of a `tokenizer_config.json`; raises `BadInput` where it is none, or asks for code of its own."""
    if file.stat().st_size > _MAX_CONFIG:
        raise BadInput(f"{file}: over {_MAX_CONFIG:,} bytes")
    told = read_json(file)
    if not isinstance(told, dict):
        raise BadInput(f"{file}: no table of settings")
    if told.get("auto_map"):
        raise BadInput(f"{file}: a tokenizer that needs code of its own (`auto_map`) is not taken")
    return told


def take(path: Path, folder: Path) -> Taken:
    """Copy the tokenizer at `path`, a `tokenizer.json` or the folder of a model or a run with one, into `folder`.

    With it go its configuration and chat template; what it lacks of these is set as our own tokenizers have it. Raises
    `BadInput` as `opened` does, where a file leads out of its folder, and for a tokenizer without the tokens around a
    turn, which tuning needs.
    """
    places = (path, path / "tokenizer.json", path / "tokenizer" / "tokenizer.json")
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise BadInput(f"{path}: no tokenizer.json here")
    home = found.parent
    source = inside_model(home, found.name)
    told = configuration(inside_model(home, CONFIG)) if (home / CONFIG).is_file() else {}
    config = {"tokenizer_class": "PreTrainedTokenizerFast", **told, "eos_token": told.get("eos_token") or END}
    with whole(folder / "tokenizer.json") as partial:
        partial.write_bytes(_bounded(source, formats.MAX_BYTES))
    write_json(folder / CONFIG, config)
    taken = opened(folder / "tokenizer.json")
    lacking = [token for token in (START_TURN, END_TURN) if taken.tokenizer.token_to_id(token) is None]
    if lacking:
        raise BadInput(f"{source}: has no token {lacking[0]}, which conversations are tuned with")
    if (home / TEMPLATE).is_file():
        with whole(folder / TEMPLATE) as partial:
            partial.write_bytes(_bounded(inside_model(home, TEMPLATE), _MAX_TEMPLATE))
    elif "chat_template" not in config:
        write_json(folder / CONFIG, {**config, "chat_template": CHAT_TEMPLATE})
    return taken


def _bounded(file: Path, most: int) -> bytes:
    with open(file, "rb") as opened_file:
        raw = opened_file.read(most + 1)
    if len(raw) > most:
        raise BadInput(f"{file}: over {most:,} bytes")
    return raw
