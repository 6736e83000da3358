"""What a tokenizer's folder holds, but for its fairness: the files that libraries read, and how it was trained."""

from pathlib import Path
from typing import Any

from openeurollm.ledger import whole, write_json
from openeurollm.tokenizer.train import CHAT_TEMPLATE, SPECIAL, Trained, special_tokens


def write(trained: Trained, folder: Path) -> None:
    """Write `tokenizer.json`, `tokenizer_config.json` and `training.json` into a folder."""
    with whole(folder / "tokenizer.json") as partial:
        trained.tokenizer.save(str(partial))
    write_json(folder / "tokenizer_config.json", configuration(trained.limits.reserved))
    write_json(folder / "training.json", trained.told)


def configuration(reserved: int = 0) -> dict[str, Any]:
    """`tokenizer_config.json` as transformers reads it."""
    end, _, _, pad = SPECIAL
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": end,
        "pad_token": pad,
        "extra_special_tokens": [token for token in special_tokens(reserved) if token not in (end, pad)],
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }
