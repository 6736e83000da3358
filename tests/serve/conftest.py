"""Tiny Qwen3 models whose answer is known: each token leads to the next by the weights themselves."""

import json
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GenerationConfig, Qwen3Config, Qwen3ForCausalLM

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CHAT = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
ANSWER = "Ja, ž€шΩ"
"""Every byte is a token and comes once, so that the byte before names the byte after."""


def _tokenizer(folder: Path) -> Tokenizer:
    """Byte-level BPE without merges: a token a byte."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate((*SPECIAL, *letters))}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": SPECIAL[0], "chat_template": CHAT}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), "utf-8")
    return tokenizer


def _empty(context: int) -> Qwen3ForCausalLM:
    torch.manual_seed(1)
    config = Qwen3Config(
        vocab_size=259,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        max_position_embeddings=context,
    )
    return Qwen3ForCausalLM(config).eval()


def _lead(model: Qwen3ForCausalLM, steps: Sequence[tuple[int, int]]) -> None:
    """Set the weights so that each first token of `steps` is followed by its second: layers pass their input on."""
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        table = torch.nn.functional.normalize(torch.randn(259, 32))
        model.model.embed_tokens.weight.copy_(table)
        model.lm_head.weight.zero_()
        for before, after in steps:
            model.lm_head.weight[after] += 5 * table[before]


Make = Callable[..., Path]


@pytest.fixture(scope="session")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Make a model folder: `answer` is what it says, ended by <|im_end|> or, with `endless`, said again for ever.

    Without an answer its weights are random.
    """

    def made(name: str, answer: str = "", endless: bool = False, context: int = 256) -> Path:
        folder = tmp_path_factory.mktemp("models") / name
        folder.mkdir()
        tokenizer, model = _tokenizer(folder), _empty(context)
        if answer:
            ids = tokenizer.encode(f"\n{answer}").ids
            ids.append(ids[1] if endless else 2)
            _lead(model, list(pairwise(ids)))
        model.generation_config = GenerationConfig(eos_token_id=2, pad_token_id=0)
        model.save_pretrained(folder)
        return folder

    return made


@pytest.fixture(scope="session")
def speaking(make: Make) -> Path:
    """A model that answers `ANSWER` and ends."""
    return make("speaking", ANSWER)


@pytest.fixture(scope="session")
def rambling(make: Make) -> Path:
    """A model that never ends by itself, with a context of a minute's talk."""
    return make("rambling", "ab", endless=True, context=20_000)


@pytest.fixture(scope="session")
def guessing(make: Make) -> Path:
    """A model of random weights."""
    return make("guessing")
