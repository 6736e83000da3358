"""Does another library compute what our decoder computed? The release is loaded with transformers and compared."""

from pathlib import Path
from typing import Any

from openeurollm.errors import BadInput

TOLERANCE = 1e-4
"""Largest absolute difference of a logit in float32; kernels that add in another order differ by about 1e-5."""
_MAX_BYTES = 500_000_000
_SLOTS = 5_000
"""First slots of the vocabulary whose texts, put together, are what two tokenizers must split alike."""


def difference(folder: Path) -> float:
    """Largest absolute difference between the logits of `probe.safetensors` and those transformers computes in float32.

    Raises `BadInput` where the probe does not fit the model or transformers cannot load the folder.
    """
    import torch

    ids, expected = _probe(folder / "probe.safetensors")
    with torch.inference_mode():
        logits = _model(folder)(input_ids=ids[None]).logits[0].float()
    if logits.shape != expected.shape:
        raise BadInput(
            f"probe.safetensors: logits of shape {tuple(expected.shape)}, the model's are {tuple(logits.shape)}"
        )
    largest = float((logits - expected).abs().max())
    return largest if largest == largest else float("inf")  # not a number is no agreement


def same_tokens(folder: Path) -> bool:
    """Whether transformers' tokenizer gives the ids of `tokenizer.json`.

    A folder of the Qwen3 family whose `tokenizer_config.json` names no class is split into words in Qwen's own way.
    """
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    ours = Tokenizer.from_file(str(folder / "tokenizer.json"))
    text = ours.decode(list(range(min(_SLOTS, ours.get_vocab_size()))))
    loaded: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    return bool(loaded.encode(text, add_special_tokens=False) == ours.encode(text, add_special_tokens=False).ids)


def _probe(path: Path) -> tuple[Any, Any]:
    import torch
    from safetensors.torch import load_file

    if path.stat().st_size > _MAX_BYTES:
        raise BadInput(f"{path.name}: over {_MAX_BYTES:,} bytes")
    try:
        tensors = load_file(path)
        ids, logits = tensors["input_ids"], tensors["logits"]
    except Exception as error:  # the library raises its own kind, and KeyError
        raise BadInput(f"{path.name}: not a probe: {error}") from None
    if ids.dtype != torch.int64 or ids.ndim != 1 or not len(ids) or logits.ndim != 2 or len(logits) != len(ids):
        raise BadInput(f"{path.name}: not a probe: shapes {tuple(ids.shape)} and {tuple(logits.shape)}")
    if int(ids.min()) < 0 or int(ids.max()) >= logits.shape[1]:
        raise BadInput(f"{path.name}: not a probe: a token outside the vocabulary")
    return ids, logits.float()


def _model(folder: Path) -> Any:
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    model: Any = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, local_files_only=True, trust_remote_code=False, use_safetensors=True
    )
    return model.eval()
