"""The language identifier: its kernel, its model, its training and its card."""

from pathlib import Path

LIST = Path(__file__).with_name("sources.toml")
"""The list of sources that the bundled model was trained on."""
