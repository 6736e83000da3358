"""A decoder on disk as Hugging Face has it: any tool that reads Qwen3 reads it."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from openeurollm.errors import BadInput
from openeurollm.ledger import read_json, whole, write_json
from openeurollm.model.decoder import NORM_EPSILON, ROPE_BASE, Decoder
from openeurollm.model.shape import Shape

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
_PROBE = 48
"""Tokens of the probe: enough to see a difference at any depth, small enough to travel with every model."""


def export(decoder: Decoder, folder: Path, tokenizer: Path, end: int) -> None:
    """Write configuration, weights, tokenizer and probe into `folder`; generation stops at the id `end`.

    `probe.safetensors` holds `input_ids` (48) and `logits` (48, vocabulary) as this decoder computes them, so that any
    other program that loads the model can be checked against it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    decoder = decoder.cpu().eval()
    write_json(folder / "config.json", configuration(decoder.shape))
    pad = {"pad_token_id": 3, "eos_token_id": end}
    write_json(folder / "generation_config.json", {**pad, "max_new_tokens": 128, "do_sample": False})
    weights = {name: parameter.detach().contiguous() for name, parameter in decoder.named_parameters()}
    with whole(folder / "model.safetensors") as partial:
        save_file(weights, str(partial), metadata={"format": "pt"})  # two keys would come in any order
    generator = np.random.Generator(np.random.PCG64(0))
    ids = torch.from_numpy(generator.integers(4, decoder.shape.vocabulary, _PROBE))
    with torch.no_grad():
        logits = decoder(ids[None])[0].contiguous()
    with whole(folder / "probe.safetensors") as partial:
        save_file({"input_ids": ids, "logits": logits}, str(partial))
    for name in _TOKENIZER_FILES:
        shutil.copyfile(tokenizer / name, folder / name)


def configuration(shape: Shape) -> dict[str, Any]:
    """`config.json` of Qwen3."""
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
        "rope_theta": ROPE_BASE,
        "rope_parameters": {"rope_type": "default", "rope_theta": ROPE_BASE},
        "attention_bias": False,
        "attention_dropout": 0.0,
        "tie_word_embeddings": False,
        "use_sliding_window": False,
        "bos_token_id": None,
        "eos_token_id": 0,
        "pad_token_id": 3,
        "initializer_range": 0.02,
        "use_cache": True,
        "dtype": "float32",
    }


def load(folder: Path) -> Decoder:
    """The decoder in a folder that `export` wrote; raises `BadInput` where it is none."""
    told = read_json(folder / "config.json")
    try:
        shape = Shape(
            vocabulary=told["vocab_size"],
            layers=told["num_hidden_layers"],
            width=told["hidden_size"],
            heads=told["num_attention_heads"],
            key_value_heads=told["num_key_value_heads"],
            head=told["head_dim"],
            feed_forward=told["intermediate_size"],
            context=told["max_position_embeddings"],
        )
        decoder = Decoder(shape, seed=0)
        decoder.load_state_dict(load_file(folder / "model.safetensors"))
    except (KeyError, TypeError, RuntimeError, OSError, SafetensorError) as error:
        raise BadInput(f"{folder}: not a model of this project: {error}") from None
    return decoder
