"""The language identifier: its kernel, its model, its training and its card."""

from dataclasses import dataclass
from pathlib import Path

LIST = Path(__file__).with_name("sources.toml")
"""The list of sources that the bundled model was trained on."""


@dataclass(frozen=True)
class Settings:
    """How an identifier is trained; the defaults are those of the bundled one.

    `examples` a label and epoch (more for close languages), `rows` kept, `epochs`, the `rate` of Adagrad, `seed`.
    """

    examples: int = 12_000
    rows: int = 200_000
    epochs: int = 4
    rate: float = 0.4
    seed: int = 1
