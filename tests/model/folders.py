"""Folders of models: of ours, and as transformers itself writes them."""

import json

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import Qwen3Config, Qwen3ForCausalLM

from openeurollm.model.decoder import Decoder
from openeurollm.model.shape import Shape

SHAPE = Shape(vocabulary=300, layers=2, width=64, heads=4, key_value_heads=2, head=16, feed_forward=96, context=64)
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>")


def random(shape=SHAPE, seed=0):
    """A decoder of ours without zeros, so that every part of it shows in the logits."""
    decoder = Decoder(shape, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in decoder.parameters():
            bound = 0.5 / parameter.shape[-1] ** 0.5 if parameter.ndim == 2 else 0.5
            parameter.uniform_(-bound, bound, generator=generator).add_(1.0 if parameter.ndim == 1 else 0.0)
    return decoder


def theirs(seed=0, **changes):
    """A Qwen3 of transformers, small; `changes` are fields of its configuration."""
    torch.manual_seed(seed)
    sizes = {"vocab_size": 300, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "head_dim": 16}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64}
    model = Qwen3ForCausalLM(Qwen3Config(**{**sizes, **heads, "initializer_range": 0.2, **changes}))
    return model.eval()


def logits(model, ids):
    """What a model, ours or theirs, computes."""
    with torch.no_grad():
        found = model(ids)
    return getattr(found, "logits", found)


def tokenizer(folder, special=SPECIAL, first=True, **config):
    """A tokenizer of the 256 bytes and special tokens, before them or behind them; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    names = [*special, *alphabet] if first else alphabet
    made = Tokenizer(models.BPE(vocab={name: number for number, name in enumerate(names)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in special])
    made.save(str(folder / "tokenizer.json"))
    told = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": special[0], **config}
    (folder / "tokenizer_config.json").write_text(json.dumps(told))
    return folder
