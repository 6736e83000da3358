"""A model to be evaluated: any Hugging Face folder, through transformers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from openeurollm.errors import BadInput

_BATCH_TOKENS = 4_096
_END = "<|endoftext|>"
"""What stands between documents in training, also where the token that a tuned model ends with is another."""


@dataclass(frozen=True)
class Scored:
    """What a model gave to one text: its negative log-likelihood in bits and the text's UTF-8 bytes."""

    bits: float
    bytes: int


class Model:
    """A causal language model and its tokenizer from a folder; never from the network, never from pickles.

    Raises `BadInput` where the folder holds no such model.
    """

    def __init__(self, folder: Path) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from transformers.utils.logging import disable_progress_bar

        if not (folder / "config.json").is_file():
            raise BadInput(f"{folder}: no model here (a Hugging Face folder holds config.json)")
        disable_progress_bar()
        try:
            options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
            self.tokenizer = AutoTokenizer.from_pretrained(str(folder), **options)
            model, told = AutoModelForCausalLM.from_pretrained(
                str(folder), dtype=torch.float32, use_safetensors=True, output_loading_info=True, **options
            )
            usable = len(self._ids("Europe")) > 0
        except Exception as error:  # a broken folder makes transformers raise nearly anything
            reason = (str(error).splitlines() or [""])[0] or type(error).__name__
            raise BadInput(f"{folder}: cannot be loaded: {reason}") from None
        if told["missing_keys"]:  # transformers would go on with random numbers in their place
            raise BadInput(f"{folder}: its weights lack {min(told['missing_keys'])}")
        if not usable:
            raise BadInput(f"{folder}: its tokenizer makes no token of a word; is tokenizer.json there?")
        self.model = model.eval()
        self.name = folder.resolve().name
        self.context = int(getattr(self.model.config, "max_position_embeddings", 2048))
        named = self.tokenizer.bos_token_id, self.tokenizer.get_vocab().get(_END), self.tokenizer.eos_token_id
        start = next((token for token in named if token is not None), None)
        if start is None:
            raise BadInput(f"{folder}: its tokenizer names neither a first nor an end-of-text token")
        self.start = int(start)

    def score(self, texts: Sequence[str]) -> list[Scored]:
        """Bits that the model needs for each text, read from its beginning after an end-of-text token.

        Texts longer than the context are scored in windows that overlap by half: every token counts once, with at
        least half a context before it from the second window on.
        """
        pieces: list[tuple[int, list[int], int]] = []  # text, ids with what goes before, how many of them count
        for number, text in enumerate(texts):
            ids = self._ids(text)
            pieces += [(number, window, fresh) for window, fresh in windows(self.start, ids, self.context)]
        bits = [0.0] * len(texts)
        order = sorted(range(len(pieces)), key=lambda place: len(pieces[place][1]))
        rows = max(1, _BATCH_TOKENS // (self.context + 1))
        for at in range(0, len(order), rows):
            group = [pieces[place] for place in order[at : at + rows]]
            for (number, _, _), nats in zip(group, self._nats(group), strict=True):
                bits[number] += nats / math.log(2)
        return [Scored(total, len(text.encode("utf-8"))) for total, text in zip(bits, texts, strict=True)]

    def _ids(self, text: str) -> list[int]:
        found: list[int] = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return found

    def _nats(self, group: Sequence[tuple[int, list[int], int]]) -> list[float]:
        length = max(len(ids) for _, ids, _ in group)
        batch = torch.full((len(group), length), 0)
        for row, (_, ids, _) in enumerate(group):
            batch[row, : len(ids)] = torch.tensor(ids)
        with torch.no_grad():
            logits = self.model(input_ids=batch[:, :-1]).logits.float()
        losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), batch[:, 1:], reduction="none")
        return [
            float(losses[row, len(ids) - 1 - fresh : len(ids) - 1].double().sum())
            for row, (_, ids, fresh) in enumerate(group)
        ]

    def answers(self, questions: Sequence[str], longest: int) -> list[str]:
        """The model's greedy answers in the chat template, at most `longest` tokens (and half the context) each."""
        longest = min(longest, self.context // 2)
        prompts = [
            self.tokenizer.apply_chat_template(
                [{"role": "user", "content": question}], add_generation_prompt=True, tokenize=True, return_dict=False
            )
            for question in questions
        ]
        room = self.context - longest
        prompts = [prompt[-room:] for prompt in prompts]
        pad = self.tokenizer.pad_token_id or 0
        length = max(map(len, prompts))
        ids = torch.tensor([[pad] * (length - len(prompt)) + prompt for prompt in prompts])
        mask = torch.tensor([[0] * (length - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        with torch.no_grad():
            out = self.model.generate(
                input_ids=ids, attention_mask=mask, max_new_tokens=longest, do_sample=False, pad_token_id=pad
            )
        return [str(self.tokenizer.decode(row[length:], skip_special_tokens=True)) for row in out]


def windows(start: int, ids: list[int], context: int) -> list[tuple[list[int], int]]:
    """Cut a text's ids into windows of at most `context` + 1, each with the number of its last ids that count."""
    ids = [start, *ids]
    if len(ids) <= context + 1:
        return [(ids, len(ids) - 1)] if len(ids) > 1 else []
    found = [(ids[: context + 1], context)]
    done = context + 1
    while done < len(ids):
        fresh = min(context // 2, len(ids) - done)
        found.append((ids[done + fresh - context - 1 : done + fresh], fresh))
        done += fresh
    return found
