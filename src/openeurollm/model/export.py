"""A decoder on disk as Hugging Face has it: any tool that reads Qwen3 reads it, and what others wrote is read here."""

import math
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from openeurollm.errors import BadInput
from openeurollm.ledger import host, inside_model, whole, write_json
from openeurollm.model import safe
from openeurollm.model.decoder import NORM_EPSILON, Decoder
from openeurollm.model.shape import Shape

_CONFIG, _WEIGHTS, _INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
_TOKENIZER, _TOKENIZER_CONFIG = "tokenizer.json", "tokenizer_config.json"
_OPTIONAL = "chat_template.jinja"
_PROBE = 48
"""Tokens of the probe: enough to see a difference at any depth, small enough to travel with every model."""
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_MAX_CONFIG, _MAX_VOCABULARY_FILE = 1 << 20, 64 << 20
"""Bytes of a configuration, and of a `tokenizer.json`; the largest published ones have 35 million."""
_MAX_FILES = 1_000
_LOADED = {"F32", "BF16", "F16"}


def export(
    decoder: Decoder,
    folder: Path,
    tokenizer: Path,
    end: int,
    dtype: torch.dtype = torch.float32,
    shard_bytes: int = 5_000_000_000,
) -> None:
    """Write configuration, weights, tokenizer and probe into `folder`; generation stops at the id `end`.

    Weights are rounded to `dtype` (float32 or bfloat16), in files of at most `shard_bytes`, or one tensor; several
    have an index. The decoder stays as it is, and where it is. `probe.safetensors` holds `input_ids` (48) and `logits`
    (48, vocabulary) as our decoder computes them from the written files in float32, so that any other program that
    loads the model can be checked against it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pad = _pad(tokenizer, end)
    write_json(folder / _CONFIG, configuration(decoder.shape, dtype, end, pad))
    ends = {"pad_token_id": pad, "eos_token_id": end}
    write_json(folder / "generation_config.json", {**ends, "max_new_tokens": 128, "do_sample": False})
    _write(dict(decoder.named_parameters()), folder, dtype, shard_bytes)
    for name in (_TOKENIZER, _TOKENIZER_CONFIG, _OPTIONAL):
        if name != _OPTIONAL or (tokenizer / name).is_file():
            shutil.copyfile(tokenizer / name, folder / name)
    generator = np.random.Generator(np.random.PCG64(0))
    ids = torch.from_numpy(generator.integers(0, decoder.shape.vocabulary, _PROBE))
    with torch.no_grad():
        logits = load(folder).eval()(ids[None])[0].contiguous()
    _save({"input_ids": ids, "logits": logits}, folder / "probe.safetensors")


def configuration(
    shape: Shape, dtype: torch.dtype = torch.float32, end: int = 0, pad: int | None = None
) -> dict[str, Any]:
    """`config.json` of Qwen3, with positions both as transformers 5 reads them and as older versions do."""
    name = str(dtype).removeprefix("torch.")
    rope, scaling = _rope(shape)
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.width,
        "intermediate_size": shape.feed_forward,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.key_value_heads,
        "head_dim": shape.head,
        "max_position_embeddings": shape.context,
        "hidden_act": "silu",
        "rms_norm_eps": NORM_EPSILON,
        "rope_theta": shape.rope_base,
        "rope_scaling": scaling,
        "rope_parameters": rope,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "tie_word_embeddings": shape.tied,
        "use_sliding_window": False,
        "bos_token_id": None,
        "eos_token_id": end,
        "pad_token_id": end if pad is None else pad,
        "initializer_range": 0.02,
        "use_cache": True,
        "dtype": name,
        "torch_dtype": name,
    }


def _rope(shape: Shape) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """`rope_parameters`, and `rope_scaling` of older versions."""
    if shape.rope_scaling == "none":
        return {"rope_type": "default", "rope_theta": shape.rope_base}, None
    scaling: dict[str, Any] = {"rope_type": shape.rope_scaling, "factor": shape.rope_factor}
    if shape.rope_scaling == "yarn":
        scaling["original_max_position_embeddings"] = shape.original_context
    return {"rope_theta": shape.rope_base, **scaling}, scaling


def _write(parameters: Mapping[str, Tensor], folder: Path, dtype: torch.dtype, shard_bytes: int) -> None:
    """The weights as one file or several; what an earlier model left in the folder goes."""
    for old in (*folder.glob("model*.safetensors"), folder / _INDEX):
        old.unlink(missing_ok=True)
    parts = list(_parts(parameters, dtype.itemsize, shard_bytes))
    names: dict[str, str] = {}
    for number, part in enumerate(parts, 1):
        file = _WEIGHTS if len(parts) == 1 else f"model-{number:05d}-of-{len(parts):05d}.safetensors"
        tensors = {name: parameters[name].detach().to("cpu", dtype).contiguous() for name in part}
        _save(tensors, folder / file, {"format": "pt"})  # two keys would come in any order
        names |= dict.fromkeys(part, file)
    if len(parts) > 1:
        total = sum(each.numel() for each in parameters.values()) * dtype.itemsize
        write_json(folder / _INDEX, {"metadata": {"total_size": total}, "weight_map": names})


def _save(tensors: dict[str, Tensor], file: Path, metadata: dict[str, str] | None = None) -> None:
    with whole(file) as partial:
        save_file(tensors, str(partial), metadata=metadata)
        partial.chmod((file.parent / _CONFIG).stat().st_mode & 0o777)  # the library lets nobody else read it


def _parts(parameters: Mapping[str, Tensor], itemsize: int, most: int) -> Iterator[list[str]]:
    part: list[str] = []
    size = 0
    for name, parameter in parameters.items():
        bytes_ = parameter.numel() * itemsize
        if part and size + bytes_ > most:
            yield part
            part, size = [], 0
        part.append(name)
        size += bytes_
    yield part


def load(folder: Path, **changes: Any) -> Decoder:
    """The decoder in a Hugging Face folder of the dense Qwen3 family, in float32 on the processor.

    `changes` are fields of `Shape` that leave the weights as they are: `context`, and how positions turn. Raises
    `BadInput` for a folder of another family or with features that our decoder lacks, for weights that are pickled,
    quantised, truncated, missing, too many, of another shape than the configuration says or no numbers, for files that
    lead out of the folder, and for a model that this machine has no memory for; nothing is allocated before.
    """
    shape = replace(shape_of(folder), **changes)
    needed, there = 4 * shape.parameters, int(host()["memory_bytes"])
    if needed > there:
        raise BadInput(
            f"{folder}: a model of {shape.parameters:,} parameters takes {needed / 1e9:,.1f} GB in float32; "
            f"this machine has {there / 1e9:,.1f} GB"
        )
    with torch.device("meta"):
        decoder = Decoder(shape, seed=0)
    stored = _stored(folder)
    _agree(folder, shape, {name: tuple(each.shape) for name, each in decoder.named_parameters()}, stored)
    decoder.to_empty(device="cpu")
    if shape.tied:  # emptied one by one, they are two
        decoder.lm_head.weight = decoder.model.embed_tokens.weight
    _fill(decoder, stored, folder)
    return decoder


def shape_of(folder: Path) -> Shape:
    """The shape that a folder's `config.json` tells; raises `BadInput` where our decoder has no such shape."""
    file = folder / _CONFIG
    if not folder.is_dir():
        raise BadInput(f"{folder}: no such folder")
    told = safe.table(inside_model(folder, _CONFIG), _MAX_CONFIG)
    strange = next(_unsupported(told), None)
    if strange is not None:
        raise BadInput(f"{file}: not a dense Qwen3 model that can be trained on here: {strange}")

    def number(key: str, most: int, default: int | None = None) -> int:
        value = told.get(key, default)
        if type(value) is not int or not 1 <= value <= most:
            raise BadInput(f"{file}: `{key}` is {str(value)[:40]}, where a whole number up to {most:,} is due")
        return int(value)

    heads, head = number("num_attention_heads", 4_096), number("head_dim", 4_096, 128)
    key_value_heads, context = number("num_key_value_heads", 4_096), number("max_position_embeddings", 1 << 27)
    if heads % key_value_heads or head % 2:
        raise BadInput(f"{file}: {heads} heads of {head} do not share {key_value_heads} keys, or cannot turn")
    return Shape(
        vocabulary=number("vocab_size", 1 << 24),
        layers=number("num_hidden_layers", 1_000),
        width=number("hidden_size", 1 << 18),
        heads=heads,
        key_value_heads=key_value_heads,
        head=head,
        feed_forward=number("intermediate_size", 1 << 20),
        context=context,
        tied=bool(told.get("tie_word_embeddings", False)),
        **_positions(file, told, context),
    )


def _unsupported(told: Mapping[str, Any]) -> Iterator[str]:
    """What a configuration asks for that our decoder does not do."""
    if told.get("model_type") != "qwen3":
        yield f"model_type is {str(told.get('model_type'))[:40]!r}, not 'qwen3'"
    if told.get("attention_bias"):
        yield "attention_bias (Qwen2 has it)"
    layers = told.get("layer_types") or ()
    if told.get("use_sliding_window") or not isinstance(layers, list | tuple) or set(map(str, layers)) - {_FULL}:
        yield "sliding windows"
    if told.get("quantization_config"):
        yield "quantised weights"
    if told.get("hidden_act", "silu") != "silu":
        yield f"hidden_act {str(told['hidden_act'])[:40]!r}"
    if told.get("rms_norm_eps", NORM_EPSILON) != NORM_EPSILON:
        yield f"rms_norm_eps {str(told['rms_norm_eps'])[:40]}, not {NORM_EPSILON}"
    if told.get("partial_rotary_factor", 1.0) != 1.0:
        yield "partial_rotary_factor"


_FULL = "full_attention"
_YARN = {
    "attention_factor": (None,),
    "beta_fast": (None, 32),
    "beta_slow": (None, 1),
    "mscale": (None, 0),
    "mscale_all_dim": (None, 0),
    "truncate": (True,),
    "partial_rotary_factor": (None, 1),
}
"""Settings of rotary positions beside the usual ones, and the values at which they change nothing."""


def _positions(file: Path, told: Mapping[str, Any], context: int) -> dict[str, Any]:
    """How positions turn, as fields of `Shape`; read as transformers 5 reads it, where `rope_scaling` goes first."""
    rope = told.get("rope_scaling") or told.get("rope_parameters") or {}
    if not isinstance(rope, dict) or any(isinstance(value, dict) for value in rope.values()):
        raise BadInput(f"{file}: rotary positions that differ between layers are not supported")
    kind = rope.get("rope_type", rope.get("type", "default"))
    base = _real(file, "rope_theta", rope.get("rope_theta", told.get("rope_theta", 10_000.0)), 1e12)
    if kind not in ("default", "linear", "yarn"):
        raise BadInput(f"{file}: rotary positions of type {str(kind)[:40]!r}; default, linear and yarn are supported")
    usual = {"rope_type", "type", "rope_theta", "factor", "original_max_position_embeddings"}
    strange = next((key for key in rope.keys() - usual if rope[key] not in _YARN.get(key, ())), None)
    if strange is not None:
        raise BadInput(f"{file}: the setting {strange[:40]!r} of its rotary positions is not supported")
    if kind == "default":
        return {"rope_base": base}
    factor = _real(file, "factor", rope.get("factor"), 1e6)
    original = rope.get("original_max_position_embeddings", context) if kind == "yarn" else round(context / factor)
    whole_number = int(_real(file, "original_max_position_embeddings", original, 1 << 27))
    return {"rope_base": base, "rope_scaling": kind, "rope_factor": factor, "original_context": whole_number}


def _real(file: Path, key: str, value: Any, most: float) -> float:
    if type(value) not in (int, float) or not 1 <= value <= most:
        raise BadInput(f"{file}: `{key}` is {str(value)[:40]}, where a number from 1 to {most:,.0f} is due")
    return float(value)


Stored = Mapping[str, tuple[Path, safe.Entry]]
"""Where each tensor of a folder lies: its file, and what the header says of it."""


def _stored(folder: Path) -> Stored:
    """The tensors of a folder's weights, one file or several with their index, none of them read."""
    if (folder / _WEIGHTS).exists():
        file = inside_model(folder, _WEIGHTS)
        return {name: (file, entry) for name, entry in safe.check(file).tensors.items()}
    if not (folder / _INDEX).exists():
        if any(path.suffix in _PICKLES for path in folder.iterdir()):
            raise BadInput(f"{folder}: pickled weights are not read, they can run code; convert them to safetensors")
        raise BadInput(f"{folder}: no weights here, neither {_WEIGHTS} nor {_INDEX}")
    index = folder / _INDEX
    named = safe.table(inside_model(folder, _INDEX), safe.MAX_HEADER).get("weight_map")
    if not isinstance(named, dict) or not all(isinstance(name, str) for name in named.values()):
        raise BadInput(f"{index}: no `weight_map` of tensors and their files")
    files = sorted(set(named.values()))
    if len(files) > _MAX_FILES:
        raise BadInput(f"{index}: {len(files):,} files; {_MAX_FILES:,} are the most")
    found: dict[str, tuple[Path, safe.Entry]] = {}
    for name in files:
        if not name.endswith(".safetensors") or Path(name).name != name:
            raise BadInput(f"{index}: {name[:80]!r} is no name of a file of safetensors beside it")
        file = inside_model(folder, name)
        for tensor, entry in safe.check(file).tensors.items():
            if named.get(tensor) != name:
                raise BadInput(f"{index}: says nothing of {tensor[:80]!r} in {name}, or that it is elsewhere")
            found[tensor] = (file, entry)
    absent = next((tensor for tensor in named if tensor not in found), None)
    if absent is not None:
        raise BadInput(f"{index}: {absent[:80]!r} is not in {named[absent]}")
    return found


def _agree(folder: Path, shape: Shape, due: Mapping[str, tuple[int, ...]], stored: Stored) -> None:
    """Raise `BadInput` where the stored tensors are not those that are due, by name, shape and type."""
    spare = {_HEAD} if shape.tied else set()
    for what, names in (("lack", due.keys() - stored.keys()), ("hold the unknown", stored.keys() - due.keys() - spare)):
        if names:
            raise BadInput(f"{folder}: its weights {what} {min(names)[:80]!r}; is config.json of another model?")
    for name, (file, entry) in stored.items():
        shaped = due[name] if name in due else due[_EMBEDDING]
        if entry.shape != shaped:
            raise BadInput(f"{file}: {name} is of shape {entry.shape}, config.json says {shaped}")
        if entry.dtype not in _LOADED:
            raise BadInput(f"{file}: {name} is of type {entry.dtype}; {', '.join(sorted(_LOADED))} are read")


_HEAD, _EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"


def _fill(decoder: Decoder, stored: Stored, folder: Path) -> None:
    """Copy the stored tensors into the decoder, one at a time from where they lie on disk."""
    parameters = dict(decoder.named_parameters())
    with torch.no_grad():
        for file in sorted({file for file, _ in stored.values()}):
            for name, tensor in _read(file, (name for name, (place, _) in stored.items() if place == file)):
                if name not in parameters:
                    continue
                parameters[name].copy_(tensor)
                if not all(map(math.isfinite, map(float, parameters[name].aminmax()))):
                    raise BadInput(f"{file}: {name} holds what is no number")
        if decoder.shape.tied and _HEAD in stored:
            for _, head in _read(stored[_HEAD][0], [_HEAD]):
                if not torch.equal(head.float(), parameters[_EMBEDDING]):
                    raise BadInput(f"{folder}: its head is not its embedding, though config.json says so")


def _read(file: Path, names: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
    try:
        with safe_open(file, framework="pt") as opened:
            for name in names:
                yield name, opened.get_tensor(name)
    except (OSError, SafetensorError) as error:
        raise BadInput(f"{file}: cannot be read: {str(error)[:200]}") from None


def fits(folder: Path, tokenizer: Path) -> None:
    """Raise `BadInput` where the model in `folder` was not made with the tokenizer of the file `tokenizer`.

    Every token must have the same id in both, and the model a row for each id; rows beyond, as many models have them,
    are no matter.
    """
    theirs, ours = vocabulary(inside_model(folder, _TOKENIZER)), vocabulary(tokenizer)
    if theirs != ours:
        other = min(token for token in theirs.keys() | ours.keys() if theirs.get(token) != ours.get(token))
        raise BadInput(
            f"{folder}: made with another tokenizer than {tokenizer}: {other[:40]!r} has the id {theirs.get(other)} "
            f"there and {ours.get(other)} here; set [tokenizer] path to the model's folder"
        )
    rows, ids = shape_of(folder).vocabulary, max(ours.values()) + 1
    if rows < ids:
        raise BadInput(f"{folder}: a model of {rows:,} ids cannot read {ids:,} of its tokenizer")


def vocabulary(file: Path) -> dict[str, int]:
    """The id of each token of a `tokenizer.json`, those added to it included; raises `BadInput` where it is none."""
    match safe.table(file, _MAX_VOCABULARY_FILE):
        case {"model": {"vocab": dict(tokens)}, **rest}:
            added = rest.get("added_tokens") or []
        case _:
            raise BadInput(f"{file}: no tokenizer with a vocabulary")
    try:
        found = {**tokens, **{each["content"]: each["id"] for each in added}}
    except (TypeError, KeyError):
        raise BadInput(f"{file}: no tokenizer with a vocabulary: `added_tokens` has other entries") from None
    if not found or not all(type(number) is int and number >= 0 for number in found.values()):
        raise BadInput(f"{file}: no tokenizer with a vocabulary: some id is no whole number")
    return found


def _pad(tokenizer: Path, end: int) -> int:
    """The id that fills what is empty, as the tokenizer's configuration names it; else `end`."""
    told = safe.table(tokenizer / _TOKENIZER_CONFIG, _MAX_VOCABULARY_FILE).get("pad_token")
    name = told.get("content") if isinstance(told, dict) else told
    return vocabulary(tokenizer / _TOKENIZER).get(str(name), end)
