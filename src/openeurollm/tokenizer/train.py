"""Training a byte-level BPE in which every language has the same say."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from openeurollm.errors import BadInput
from openeurollm.languages import script_bytes

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>")
"""Slots 0 to 3 of every tokenizer: end of a document, start and end of a turn, padding."""

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}"
    "{% else %}{{ message['content'] + '<|im_end|>' }}{% endif %}{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""ChatML; what stands between the generation marks is what tuning learns from."""

PATTERN = (
    r"[^\r\n\p{L}\p{M}\p{N}]?[\p{L}\p{M}]+(?:['’·‑][\p{L}\p{M}]+)*"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Pieces that merges never cross: words with inner apostrophes, middle dots and hyphens kept, digits by threes."""

_MOST_REPEATS = 10
"""A language with little text is repeated to make up its share, but not more often than this."""


def train(
    texts: dict[str, list[Path]], vocabulary: int, bytes_per_language: int
) -> tuple[Tokenizer, dict[str, dict[str, int]]]:
    """Train on the Parquet files of each language, `bytes_per_language` script-corrected bytes of each.

    Returns the tokenizer and how many documents of each language were learnt from or not needed. Deterministic:
    documents are taken in the order of their ids. Raises `BadInput` where the text is too little for any merge.
    """
    counts: dict[str, dict[str, int]] = {}
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=2,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in SPECIAL],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_balanced(texts, bytes_per_language, counts), trainer)
    if tokenizer.get_vocab_size() <= len(SPECIAL) + 256:
        raise BadInput("tokenizer: the corpus is too small to learn any merge from")
    return tokenizer, counts


def _balanced(
    texts: dict[str, list[Path]], bytes_per_language: int, counts: dict[str, dict[str, int]]
) -> Iterator[str]:
    for tag, files in texts.items():
        wanted = round(bytes_per_language * script_bytes(tag))
        documents = _documents(files)
        counts[tag] = {"learnt": 0, "not_needed": len(documents)}
        for repeat in range(_MOST_REPEATS):
            for document in documents:
                if wanted <= 0:
                    break
                if repeat == 0:
                    counts[tag]["learnt"] += 1
                    counts[tag]["not_needed"] -= 1
                piece = document.encode("utf-8")[:wanted].decode("utf-8", "ignore")
                wanted -= max(1, len(piece.encode("utf-8")))
                yield piece


def _documents(files: list[Path]) -> list[str]:
    rows = [row for file in files for row in pq.read_table(file, columns=["id", "text"]).to_pylist()]
    return [row["text"] for row in sorted(rows, key=lambda row: str(row["id"]))]


def configuration() -> dict[str, Any]:
    """`tokenizer_config.json` as transformers reads it."""
    end, start, stop, pad = SPECIAL
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": end,
        "pad_token": pad,
        "extra_special_tokens": [start, stop],
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }
