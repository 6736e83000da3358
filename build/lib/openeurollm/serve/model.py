"""The model behind the server: a Hugging Face folder in transformers, one answer at a time."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from openeurollm.errors import BadInput, Failure
from openeurollm.ledger import cores
from openeurollm.recipe import load as load_recipe
from openeurollm.serve.text import Letters, Stops

_GREEDY_BELOW = 1e-3
"""Temperatures below are greedy: dividing by less overflows."""
_NEEDED = ("config.json", "tokenizer.json", "tokenizer_config.json")


@dataclass(frozen=True)
class Sampling:
    """How an answer is drawn: `temperature` 0 is greedy; with a `seed` it can be drawn again."""

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ended:
    """How an answer ended: `stop` or `length`, and the tokens it took, the one that ends it counted."""

    reason: str
    tokens: int


class ChatModel:
    """A loaded model. `prompt` may be called from any thread, `answer` from one at a time."""

    def __init__(self, name: str, model: Any, tokenizer: Any, plain: Any, context: int, stops: frozenset[int]) -> None:
        self.name, self.context = name, context
        self._model, self._tokenizer, self._plain, self._stops = model, tokenizer, plain, stops
        self._lock = Lock()

    def prompt(self, messages: Sequence[dict[str, str]]) -> list[int]:
        """Tokens of a conversation, ready to be answered.

        Special tokens that a message spells out are encoded as plain text. Raises `BadInput` where the model's chat
        template refuses the conversation.
        """
        with self._lock:
            try:
                ids: list[int] = self._tokenizer.apply_chat_template(
                    list(messages), add_generation_prompt=True, return_dict=False, sanitize_control_tokens=True
                )
            except Exception as error:  # the template is the model's own and may raise anything
                raise BadInput(f"the model's chat template refuses this conversation: {error}") from None
        return ids

    def answer(
        self, prompt: Sequence[int], sampling: Sampling, tell: Callable[[str], None], halted: Callable[[], bool]
    ) -> Ended:
        """Answer `prompt`, telling the text piece by piece, until it ends or `halted` says so."""
        import torch

        listener = _Listener(self._plain, self._stops, sampling.stop, tell, halted)
        if sampling.seed is None:
            torch.seed()
        else:
            torch.manual_seed(sampling.seed % 2**63)
        with torch.inference_mode():
            self._model.generate(
                input_ids=torch.tensor([list(prompt)]),
                attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
                generation_config=self._generation(sampling, min(sampling.max_tokens, self.context - len(prompt))),
                stopping_criteria=[listener],
            )
        return listener.close()

    def _generation(self, sampling: Sampling, room: int) -> Any:
        from transformers import GenerationConfig

        greedy = sampling.temperature < _GREEDY_BELOW
        drawn = {} if greedy else {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
        return GenerationConfig(
            max_new_tokens=room,
            do_sample=not greedy,
            eos_token_id=sorted(self._stops) or None,
            pad_token_id=min(self._stops, default=0),
            **drawn,
        )


class _Listener:
    """A stopping criterion of transformers: hears every token as it is chosen, tells its text, says when to stop."""

    def __init__(
        self,
        tokenizer: Any,
        ends: frozenset[int],
        stop: Sequence[str],
        tell: Callable[[str], None],
        halted: Callable[[], bool],
    ) -> None:
        self._letters, self._stops, self._ends = Letters(tokenizer), Stops(stop), ends
        self._tell, self._halted = tell, halted
        self._tokens, self._ended = 0, False

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        import torch

        token = int(input_ids[0, -1])
        self._tokens += 1
        self._ended = token in self._ends
        if not self._ended:
            self._say(self._stops.push(self._letters.push(token)))
        return torch.tensor([self._stops.hit or self._halted()], device=input_ids.device)

    def close(self) -> Ended:
        """Tell what was held back, and say how the answer ended."""
        self._say(self._stops.rest())
        return Ended("stop" if self._ended or self._stops.hit else "length", self._tokens)

    def _say(self, text: str) -> None:
        if text:
            self._tell(text)


def load(folder: Path) -> ChatModel:
    """Load the model at `folder` in float32 on the processor.

    Raises `BadInput` where the folder holds no chat model, `Failure` where the library is too old to keep the special
    tokens of a message apart from the template's.
    """
    _look(folder)
    import torch
    from tokenizers import Tokenizer
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    here: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, **here)
        plain = Tokenizer.from_file(str(folder / "tokenizer.json"))
        model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, use_safetensors=True, **here)
    except Exception as error:  # the library raises many kinds for a folder it cannot read
        raise BadInput(f"{folder}: transformers cannot load this model: {error}") from None
    if not tokenizer.chat_template:
        raise BadInput(f"{folder}: the tokenizer has no chat template; this is a base model, serve the tuned one")
    stops = _stops(model, tokenizer)
    context = int(getattr(model.config, "max_position_embeddings", 0)) or 2048
    chat = ChatModel(_name(folder), model.eval(), tokenizer, plain, context, stops)
    _keeps_apart(chat, plain)
    return chat


def _look(folder: Path) -> None:
    if not folder.is_dir():
        raise BadInput(f"{folder}: no such folder")
    missing = next((name for name in _NEEDED if not (folder / name).is_file()), None)
    if missing is None and not any(folder.glob("*.safetensors")):
        missing = "*.safetensors"
    if missing is None:
        return
    if (folder / "release" / "config.json").is_file():
        raise BadInput(f"{folder}: this is a run; its model is {folder / 'release'}")
    raise BadInput(f"{folder}: no model here (it has no {missing}); name a release or another Hugging Face folder")


def _name(folder: Path) -> str:
    """The recipe's name where the folder has its recipe, else the folder's."""
    try:
        return load_recipe(folder / "recipe.toml").name
    except BadInput:
        return folder.resolve().name


def _stops(model: Any, tokenizer: Any) -> frozenset[int]:
    named = model.generation_config.eos_token_id
    ids = named if isinstance(named, list) else [named]
    return frozenset(int(each) for each in [*ids, tokenizer.eos_token_id] if each is not None)


def _keeps_apart(chat: ChatModel, plain: Any) -> None:
    """See that no special token in a message acts as one. A library without that feature would not complain."""
    special = {token: str(added.content) for token, added in plain.get_added_tokens_decoder().items() if added.special}

    def controls(content: str) -> int:
        return sum(token in special for token in chat.prompt([{"role": "user", "content": content}]))

    if controls(f"a {' '.join(special.values())} a") != controls("a"):
        raise Failure("special tokens in a message would act as control tokens; install a newer transformers")


def threads() -> int:
    """Physical cores that this process may use, less one for everything else, at least one."""
    place = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
    try:
        physical = {Path(place.format(number)).read_text("ascii") for number in os.sched_getaffinity(0)}
    except (OSError, AttributeError):  # not Linux
        return max(1, cores() - 1)
    return max(1, len(physical) - 1)
