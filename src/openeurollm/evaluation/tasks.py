"""The work of measuring: one model in one language at a time, in one thread, so that any number of processes finds the
same. PyTorch is imported where a model is measured: what searches, and what shares the work out, does without.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openeurollm.evaluation.material import Material
from openeurollm.ledger import read_json, write_json

if TYPE_CHECKING:
    from openeurollm.evaluation.model import Model


@dataclass(frozen=True)
class Measuring:
    """A model to be measured in one language; what is found goes to `out`."""

    model: Path
    material: Material
    resamples: int
    seed: int
    out: Path

    def __str__(self) -> str:
        return f"{self.model.name} in {self.material.tag}"


def measurings(model: Path, materials: Sequence[Material], resamples: int, seed: int, work: Path) -> list[Measuring]:
    """The tasks that measure the model in a Hugging Face folder; what they find goes into `work`."""
    return [Measuring(model, each, resamples, seed, work / f"{each.tag}.json") for each in materials]


def measure(task: Measuring) -> None:
    """Write the values of all measures that there is material for; raises `BadInput` where there is no such model.

    Questions are put to a model that has a chat template.
    """
    from openeurollm.evaluation import measures

    if task.out.is_file():
        return
    material, found = task.material, dict[str, Any]()
    documents, sentences, asked = material.documents(), material.sentences(), material.asked()
    with _one_thread():
        model = _loaded(task.model, _newest(task.model))
        if documents:
            texts = [text for _, text in documents]
            found["bits_per_byte"] = measures.bits_per_byte(model, texts, task.resamples, task.seed)
        if sentences:
            found["bits_per_sentence"] = measures.bits_per_sentence(model, sentences, task.resamples, task.seed)
        if asked and model.tokenizer.chat_template:
            found["language_consistency"] = measures.language_consistency(model, material.tag, asked)
    write_json(task.out, found)


def gathered(tasks: Sequence[Measuring]) -> dict[str, dict[str, Any]]:
    """What the tasks of a model found: measure → language → value; `language_consistency` where a question was put."""
    found: dict[str, dict[str, Any]] = {"bits_per_byte": {}, "bits_per_sentence": {}}
    for task in tasks:
        for measured, value in read_json(task.out).items():
            found.setdefault(measured, {})[task.material.tag] = value
    return found


@lru_cache(maxsize=1)
def _loaded(folder: Path, newest: int) -> "Model":
    """The model in a folder whose `newest` file is of that time; a process keeps the last one."""
    from openeurollm.evaluation.model import Model

    return Model(folder)


def _newest(folder: Path) -> int:
    return max((file.stat().st_mtime_ns for file in folder.glob("*")), default=0)


@contextmanager
def _one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
