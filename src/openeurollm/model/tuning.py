"""Instruction tuning: the base model learns to answer, from conversations in every language."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from openeurollm.engine import Engine
from openeurollm.errors import BadInput
from openeurollm.ledger import Counts, RunFolder, write_text
from openeurollm.model import distributed, trainer
from openeurollm.model.checkpoint import FOLDER
from openeurollm.model.data import Batch, bytes_of_tokens
from openeurollm.model.distributed import World
from openeurollm.model.export import export, load
from openeurollm.model.memory import micro, state_bytes
from openeurollm.model.pretraining import agreed
from openeurollm.model.schedule import Schedule
from openeurollm.recipe import Recipe, parts, prove

_MAX_LINE = 1_000_000
_ROLES = ("system", "user", "assistant")

Ids = NDArray[np.int64]


def build(recipe: Recipe, run: RunFolder, engine: Engine) -> tuple[Counts, dict[str, Any]]:
    """Tune the base model on the recipe's conversations and write a Hugging Face folder.

    The conversations held out go to `held-out.jsonl`, for the evaluation. Raises `BadInput` for a file that holds no
    conversations, `Failure` where a language of the contract has none; over several processes as the base model's.
    """
    with distributed.start() as world:
        return _build(recipe, run, engine, world)


def _build(recipe: Recipe, run: RunFolder, engine: Engine, world: World) -> tuple[Counts, dict[str, Any]]:
    trainer.prepare(engine.workers)
    out, tuning = run.folder("tuning"), recipe.tuning
    decoder = load(run.folder("model") / "base")
    context = decoder.shape.context
    rows = max(1, tuning.batch_tokens // context)
    tokenizer = Tokenizer.from_file(str(run.folder("tokenizer") / "tokenizer.json"))
    tokenizer.encode_special_tokens = True
    counts, learnt, held_out = _split(recipe)
    if world.first:
        lines = (json.dumps({"language": tag, "messages": messages}, ensure_ascii=False) for tag, messages in held_out)
        write_text(out / "held-out.jsonl", "".join(f"{line}\n" for line in lines))
    examples = []
    for tag, messages in learnt:
        ids, targets = example(messages, tokenizer)
        fits = len(ids) <= context + 1
        counts[tag]["used" if fits else "too_long"] += 1
        if fits:
            examples.append((ids, targets))
    used = {tag: buckets["used"] for tag, buckets in counts.items()}
    proof = prove(recipe, "tuning", {"conversation to learn from": used})
    conversations = Conversations(examples, recipe.seed)
    schedule = Schedule.of(max(1, round(tuning.epochs * len(examples) / rows)) * rows, rows, 0.0, 1.0)
    world = world.lay_out(recipe.model.sharding, parts(recipe.model, tuning.batch_tokens), state_bytes(decoder.shape))
    flop = schedule.total * context * decoder.shape.flop_per_token
    numerics = agreed(recipe.model, decoder, flop, world)
    training = trainer.Training(
        title="tune on conversations",
        take=conversations.take,
        schedule=schedule,
        rates=recipe.model,
        factor=tuning.rate,
        checkpoint_steps=tuning.checkpoint_steps,
        keep_steps=None,
        bytes_of_tokens=bytes_of_tokens(tokenizer),
        numerics=numerics,
        micro=micro(decoder.shape, world, recipe.model.recompute, numerics.dtype.itemsize),
        fingerprint=conversations.fingerprint(),
    )
    told = trainer.train(
        decoder, training, run.work("tuning"), out / FOLDER, out / "metrics.jsonl", world.reporter(engine), world
    )
    whole = world.gathered(decoder)
    if world.first:
        _, stop = turns(tokenizer)
        export(whole, out, run.folder("tokenizer"), end=stop)
    return {tag: dict(buckets) for tag, buckets in counts.items()}, {
        "conversations": used,
        "licence": tuning.licence,
        "steps": schedule.steps,
        **{name: told[name] for name in ("tokens", "final_loss", "threads", "processes")},
        "contract": proof,
    }


Conversation = tuple[str, list[dict[str, str]]]


def _split(recipe: Recipe) -> tuple[dict[str, Counter[str]], list[Conversation], list[Conversation]]:
    """Counts of invalid and held-out conversations by language, those to learn from, and those held out."""
    counts: dict[str, Counter[str]] = {}
    by_language: dict[str, list[Conversation]] = {}
    for tag, messages in read(recipe.tuning.conversations):
        buckets = counts.setdefault(tag, Counter())
        if messages is None:
            buckets["invalid"] += 1
        else:
            by_language.setdefault(tag, []).append((tag, messages))
    learnt: list[Conversation] = []
    held_out: list[Conversation] = []
    for tag, conversations in by_language.items():
        keep = max(1, len(conversations) - recipe.tuning.held_out)
        learnt += conversations[:keep]
        held_out += conversations[keep:]
        counts[tag]["held_out"] = len(conversations) - keep
    return counts, learnt, held_out


def read(path: Path) -> Iterator[tuple[str, list[dict[str, str]] | None]]:
    """Language and messages of every line of a JSONL file or a folder of such files; None for an invalid line."""
    files = [path] if path.is_file() else sorted(path.glob("*.jsonl"))
    if not files:
        raise BadInput(f"[tuning] {path} holds no .jsonl file of conversations")
    for file in files:
        with open(file, "rb") as lines:
            while line := lines.readline(_MAX_LINE):
                yield _conversation(line)


def _conversation(line: bytes) -> tuple[str, list[dict[str, str]] | None]:
    try:
        fields = json.loads(line.decode("utf-8"))
        tag = str(fields.get("language", "und"))[:40]
        messages = [{"role": str(part["role"]), "content": str(part["content"])} for part in fields["messages"]]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return "und", None
    valid = messages and all(part["role"] in _ROLES for part in messages) and messages[-1]["role"] == "assistant"
    return tag, messages if valid else None


def example(messages: list[dict[str, str]], tokenizer: Tokenizer) -> tuple[Ids, Ids]:
    """Ids of a conversation in the chat template, and the same ids as targets where the assistant speaks, else -100.

    The tokenizer must encode special tokens as text, so that a message cannot hold control tokens.
    """
    start, stop = turns(tokenizer)

    def plain(text: str) -> list[int]:
        return list(tokenizer.encode(text, add_special_tokens=False).ids)

    ids: list[int] = []
    learn: list[bool] = []
    for message in messages:
        head, body, tail = [start, *plain(f"{message['role']}\n")], [*plain(message["content"]), stop], plain("\n")
        ids += head + body + tail
        learn += [False] * len(head) + [message["role"] == "assistant"] * len(body) + [False] * len(tail)
    return np.array(ids, np.int64), np.where(learn, ids, -100)


def turns(tokenizer: Tokenizer) -> tuple[int, int]:
    """The ids that open and close a turn; raises `BadInput` where the tokenizer has none."""
    start, stop = tokenizer.token_to_id("<|im_start|>"), tokenizer.token_to_id("<|im_end|>")
    if start is None or stop is None:
        raise BadInput("the tokenizer has no <|im_start|> and <|im_end|>")
    return int(start), int(stop)


class Conversations:
    """The rows of a tuning: a conversation each, padded on the right; every epoch is a fresh permutation."""

    def __init__(self, examples: Sequence[tuple[Ids, Ids]], seed: int) -> None:
        self._examples, self._seed = examples, seed

    def take(self, first: int, number: int) -> Batch:
        """`number` rows from the `first` on, as long as the longest conversation of all."""
        length = max(len(ids) for ids, _ in self._examples) - 1
        inputs, targets = np.full((number, length), 3, np.int64), np.full((number, length), -100, np.int64)
        for row in range(number):
            epoch, place = divmod(first + row, len(self._examples))
            ids, wanted = self._examples[int(self._order(epoch)[place])]
            inputs[row, : len(ids) - 1] = ids[:-1]
            targets[row, : len(ids) - 1] = wanted[1:]
        return Batch(inputs, targets)

    def fingerprint(self) -> str:
        """SHA-256 over all conversations."""
        found = hashlib.sha256()
        for ids, wanted in self._examples:
            found.update(np.concatenate([ids, wanted]).tobytes())
        return found.hexdigest()

    def _order(self, epoch: int) -> Ids:
        return _order(self._seed, epoch, len(self._examples))


@lru_cache(maxsize=2)  # a batch may end one epoch and begin the next
def _order(seed: int, epoch: int, number: int) -> Ids:
    return np.random.Generator(np.random.PCG64([seed, epoch])).permutation(number)
