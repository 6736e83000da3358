"""Checkpoints: weights, states of the optimisers and the position, written while the training goes on.

A checkpoint is a folder `step-00000100`: safetensors files as PyTorch's distributed checkpoints have them, from which
any number of processes can read, and `position.json`, written last, with what is not a tensor. Until it is whole the
folder has another name. Nothing in it is pickled.
"""

import json
import shutil
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import async_save

from openeurollm.errors import BadInput, Failure
from openeurollm.ledger import read_json, write_json
from openeurollm.model.decoder import Decoder
from openeurollm.model.distributed import World
from openeurollm.model.optimizer import begin
from openeurollm.model.safe import check

FOLDER = "checkpoints"
"""Where the checkpoints of a training lie, under what it makes and under its work."""
_LAST = 2
"""Checkpoints that stay where no others are kept."""
_POSITION = "position.json"
_FILES, _MAX_BYTES = 100_000, 50_000_000

# What a process alone is told in any case.
warnings.filterwarnings("ignore", message="torch.distributed is disabled", category=UserWarning)

Position = dict[str, Any]
Optimizers = list[torch.optim.Optimizer]


class Checkpoints:
    """The checkpoints of a training: the last two in `work`, and in `kept` those that stay for ever.

    All processes call its methods, in the same order. A checkpoint that cannot be written is told to `say`, and the
    training goes on with those before it.
    """

    def __init__(self, work: Path, kept: Path, world: World, say: Callable[[str], None]) -> None:
        self._work, self._kept, self._world, self._say = work, kept, world, say
        self._writing: threading.Thread | None = None
        self.failed = ""

    def save(self, decoder: Decoder, optimizers: Optimizers, position: Position, keep: bool) -> None:
        """Begin to write a checkpoint, once the one before is written; what may change is copied before it returns."""
        self.wait()
        place = folder_of(position["step"], self._kept if keep else self._work)
        partial = place.with_name(f".{place.name}.part")
        alone = self._world.mesh is None
        if alone and not self._world.first:
            return
        if not self._ready(partial):
            return
        writer = HuggingFaceStorageWriter(str(partial), save_distributed=True)
        tensors = _tensors(decoder, optimizers)
        try:
            future = async_save(tensors, storage_writer=writer, process_group=self._world.writers, no_dist=alone)
        except (OSError, CheckpointException) as error:
            self._fail(partial, error)
            return

        def seal() -> None:
            try:
                future.result()  # type: ignore[union-attr]
                if self._world.first:
                    self._seal(partial, place, position)
            except (OSError, CheckpointException, SafetensorError, RuntimeError) as error:
                self._fail(partial, error)

        self._writing = threading.Thread(target=seal, name="checkpoint")
        self._writing.start()

    def wait(self) -> None:
        """Wait until the checkpoint that is being written is whole, or has failed."""
        if self._writing is not None:
            self._writing.join()
            self._writing = None

    def newest(self, before: int | None = None) -> Position:
        """The position of the newest whole checkpoint, one of a step up to `before`; of step 0 where there is none."""
        self.wait()
        found = _newest([self._work, self._kept], before, self._say) if self._world.first else {}
        told: Position = json.loads(self._world.words(json.dumps(found)))
        return told or {"step": 0}

    def restore(self, step: int, decoder: Decoder, optimizers: Optimizers) -> None:
        """Load the checkpoint of a step into decoder and optimisers. Raises `BadInput` where it does not fit them."""
        place = folder_of(step, self._work, self._kept)
        if not place.is_dir():
            raise Failure(f"processes do not see the same checkpoints in {self._work}")
        restore(place, decoder, optimizers, self._world)

    def _ready(self, partial: Path) -> bool:
        """Whether there is an empty folder to write into, for all processes that write."""
        there = 1.0
        if self._world.first:
            try:
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir(parents=True)
            except OSError as error:
                self._fail(partial, error)
                there = 0.0
        return bool(there if self._world.mesh is None else self._world.from_first(there))

    def _seal(self, partial: Path, place: Path, position: Position) -> None:
        files = {file.name: file.stat().st_size for file in sorted(partial.iterdir())}
        write_json(partial / _POSITION, {**position, "files": files})
        shutil.rmtree(place, ignore_errors=True)
        partial.rename(place)
        for old in _folders(self._work)[:-_LAST]:
            shutil.rmtree(old, ignore_errors=True)
        self.failed = ""

    def _fail(self, partial: Path, error: BaseException) -> None:
        shutil.rmtree(partial, ignore_errors=True)
        self.failed = f"the checkpoint could not be written: {_reason(error)}"
        self._say(f"  {self.failed}; training goes on with those before it")


def restore(place: Path, decoder: Decoder, optimizers: Optimizers, world: World) -> Position:
    """Load one checkpoint folder into decoder and optimisers; returns its position.

    Raises `BadInput` for one that is damaged, hostile or from another shape.
    """
    position = _checked(place)
    for optimizer in optimizers:
        begin(optimizer)
    tensors = _tensors(decoder, optimizers)
    try:
        reader = HuggingFaceStorageReader(str(place))
        load(tensors, storage_reader=reader, process_group=world.writers, no_dist=world.mesh is None)
    except (CheckpointException, RuntimeError, ValueError, KeyError, AssertionError, SafetensorError, OSError) as error:
        raise BadInput(f"{place}: does not fit this training: {_reason(error)}") from None
    return position


def steps_in(root: Path) -> list[int]:
    """The steps of the whole checkpoints in a folder, in order."""
    return [int(folder.name.removeprefix("step-")) for folder in _folders(root)]


def _tensors(decoder: Decoder, optimizers: Optimizers) -> dict[str, Tensor]:
    """All that a checkpoint holds, by name; the tensors are those in use."""
    names: dict[Tensor, str] = {parameter: name for name, parameter in decoder.named_parameters()}
    tensors = {f"weights.{name}": parameter.detach() for parameter, name in names.items()}
    for optimizer in optimizers:
        for parameter, state in optimizer.state.items():
            tensors |= {f"{kind}.{names[parameter]}": value.detach() for kind, value in state.items()}
    return tensors


def _newest(roots: list[Path], before: int | None, say: Callable[[str], None]) -> Position:
    """The position of the newest checkpoint that is whole; damaged ones are told and passed over."""
    for place in sorted((each for root in roots for each in _folders(root)), key=lambda each: each.name, reverse=True):
        if before is not None and int(place.name.removeprefix("step-")) > before:
            continue
        try:
            return _checked(place)
        except BadInput as error:
            say(f"  passed over: {error}")
            shutil.rmtree(place, ignore_errors=True)
    return {}


def _checked(place: Path) -> Position:
    """The position in a checkpoint whose files are all there, of the size they had, and safe to read."""
    try:
        if (place / _POSITION).stat().st_size > _MAX_BYTES:
            raise ValueError(f"over {_MAX_BYTES:,} bytes")
        position = read_json(place / _POSITION)
        files = position["files"]
        step = position["step"]
        whole = isinstance(files, dict) and 0 < len(files) <= _FILES and isinstance(step, int) and step > 0
    except (BadInput, OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{place}: {_POSITION} cannot be read: {_reason(error)}") from None
    there = {file.name: file.stat().st_size for file in place.iterdir() if file.name != _POSITION}
    if not whole or there != files:
        raise BadInput(f"{place}: files are missing, too many or cut off")
    for name in files:
        check(place / name)
    told: Position = position
    return told


def folder_of(step: int, *roots: Path) -> Path:
    """Where the checkpoint of a step lies in the first of these folders that has it, or would lie in the first."""
    places = [root / f"step-{step:08d}" for root in roots]
    return next((place for place in places if place.is_dir()), places[0])


def _folders(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    return sorted(path for path in root.glob("step-*") if path.name[5:].isdigit() and path.is_dir())


def _reason(error: BaseException) -> str:
    if isinstance(error, CheckpointException) and error.failures:
        error = next(iter(error.failures.values()))[0]
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
