"""The identifier's model: a row of small integers for each known feature, a column for each language."""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from openeurollm.errors import BadInput
from openeurollm.languages.contract import languages
from openeurollm.languages.identifier import kernel
from openeurollm.languages.identifier.letters import OTHER_SCRIPT, SCRIPTS, tables

FORMAT = 1
SINGLE = {"Grek": "el", "Geor": "ka", "Armn": "hy"}
"""Scripts that tell the language by themselves: one language of the contract is written in each."""
WINDOW = 1 << 14
WINDOWS = 4
"""Of a text longer than `WINDOWS` windows of `WINDOW` bytes, that many are read, evenly spread over it."""
_MEMBERS = ("hashes", "weights", "step", "bias", "calibration", "latin", "cyrillic")


@dataclass(frozen=True)
class Model:
    """A trained identifier.

    `hashes` [features] uint32 are the known features, `weights` [features, columns] int8 what each adds to a label in
    units of `step`. The labels of `latin` and of `cyrillic` share the columns, as no feature is in both scripts;
    `bias` [2, columns] is added to them. A label outside the contract stands for languages that are to be refused.
    `calibration` (a, b): logits are multiplied by exp(a + b log(1 + known features)) before the softmax.
    """

    hashes: NDArray[np.uint32]
    weights: NDArray[np.int8]
    step: float
    bias: NDArray[np.float32]
    calibration: tuple[float, float]
    latin: tuple[str, ...]
    cyrillic: tuple[str, ...]

    def write(self, path: Path) -> None:
        """Write the model as a compressed NumPy archive without pickled objects."""
        np.savez_compressed(
            path,
            allow_pickle=False,
            format=np.array(FORMAT),
            hashes=self.hashes,
            weights=self.weights,
            step=np.array(self.step),
            bias=self.bias,
            calibration=np.array(self.calibration),
            latin=np.array(self.latin),
            cyrillic=np.array(self.cyrillic),
        )


def read(source: Path | IO[bytes]) -> Model:
    """A written model. Raises `BadInput` for a file that is none."""
    try:
        with np.load(source, allow_pickle=False) as archive:
            if int(archive["format"]) != FORMAT:
                raise BadInput(f"{source} is an identifier of format {archive['format']}, not {FORMAT}")
            part: dict[str, NDArray[Any]] = {name: archive[name] for name in _MEMBERS}
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise BadInput(f"{source} is no identifier's model: {error}") from None
    a, b = part["calibration"]
    model = Model(
        part["hashes"].astype(np.uint32, copy=False),
        part["weights"].astype(np.int8, copy=False),
        float(part["step"]),
        part["bias"].astype(np.float32, copy=False),
        (float(a), float(b)),
        tuple(map(str, part["latin"])),
        tuple(map(str, part["cyrillic"])),
    )
    rows, columns = model.weights.shape
    if rows != len(model.hashes) or rows >= 1 << kernel.ROW_BITS or len(model.latin) != columns:
        raise BadInput(f"{source} is no identifier's model: its parts do not fit together")
    return model


@cache
def bundled() -> "Scorer":
    """The identifier that comes with the package."""
    with resources.files(__package__).joinpath("model.npz").open("rb") as stream:
        return Scorer(read(stream))


class Scorer:
    """Texts in, probabilities out: one column a language of the contract and a last one for everything else."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.tags = tuple(languages())
        self.slots = kernel.vocabulary(model.hashes)
        self.codes, self.scripts = tables()
        self._place = {tag: i for i, tag in enumerate(self.tags)}
        self._latin = np.array([self.place(label) for label in model.latin])
        self._cyrillic = np.array([self.place(label) for label in model.cyrillic])

    def place(self, label: str) -> int:
        """Column of a label's probability: the last for every label outside the contract."""
        return self._place.get(label, len(self.tags))

    def sums(
        self, text: NDArray[np.uint8], spans: NDArray[np.int64], units: int
    ) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
        """What `kernel.score` adds up of the spans [spans, 3] of `text`: sums, known features, letters, by unit."""
        sums = np.zeros((units, self.model.weights.shape[1]), np.int32)
        known = np.zeros((units, 2), np.int64)
        letters = np.zeros((units, kernel.SIGNS + 1), np.int64)
        kernel.score(text, spans, self.codes, self.scripts, self.slots, self.model.weights, sums, known, letters)
        return sums, known, letters

    def probabilities(
        self, sums: NDArray[np.int32], known: NDArray[np.int64], letters: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Probability [units, tags + 1] of each language, the last column for what is in none of them.

        A row is zero where there is nothing to go by: no letter at all.
        """
        found = np.zeros((len(sums), len(self.tags) + 1), np.float32)
        of_script = letters[:, 1 : OTHER_SCRIPT + 1]
        count = of_script.sum(1)
        main = of_script.argmax(1)
        a, b = self.model.calibration
        sharpness = np.exp(a + b * np.log1p(known[:, 0]))
        logits = sums * (self.model.step / np.sqrt(known[:, :1] + 1.0))
        for number, (script, places) in enumerate((("Latn", self._latin), ("Cyrl", self._cyrillic))):
            rows = np.flatnonzero(main == SCRIPTS.index(script))
            scaled = (logits[rows, : len(places)] + self.model.bias[number, : len(places)]) * sharpness[rows, None]
            scaled = np.exp(scaled - scaled.max(1, keepdims=True, initial=-np.inf))
            scaled /= scaled.sum(1, keepdims=True)
            np.add.at(found, (rows[:, None], places[None, :]), scaled)
        familiar = known[:, 0] / np.maximum(1, known[:, 1])
        for script, tag in SINGLE.items():
            rows = np.flatnonzero(main == SCRIPTS.index(script))
            familiar[rows] = 1
            found[rows, self.place(tag)] = 1
        # What mixed scripts, signs and unknown words take from the languages goes to the last column.
        share = of_script.max(1) / np.maximum(1, count)
        lettered = count / np.maximum(1, count + letters[:, kernel.SIGNS])
        belief = share * np.clip(4 * lettered - 1, 0, 1) * np.clip(8 * familiar - 1, 0, 1)
        found[:, :-1] *= belief[:, None]
        found[:, -1] = 1 - found[:, :-1].sum(1)
        found[count == 0] = 0
        return found


def packed(texts: Sequence[bytes]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Bytes of the texts in a row, and where each begins and the last ends."""
    return np.frombuffer(b"".join(texts), np.uint8), np.cumsum([0, *map(len, texts)], dtype=np.int64)


def whole(data: NDArray[np.uint8], offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Spans [spans, 3] that read text number i, bytes offsets[i] to offsets[i + 1], as unit i."""
    starts, lengths = offsets[:-1], np.diff(offsets)
    units = np.arange(len(starts))
    long = lengths > WINDOW * WINDOWS
    spans = [np.stack([starts[~long], offsets[1:][~long], units[~long]], 1)]
    for i in np.flatnonzero(long):
        begins = starts[i] + (np.arange(WINDOWS) * (lengths[i] - WINDOW)) // (WINDOWS - 1)
        spans.append(np.stack([begins, begins + WINDOW, np.full(WINDOWS, i)], 1))
    return np.concatenate(spans)
