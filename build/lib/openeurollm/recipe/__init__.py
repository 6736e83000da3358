"""The recipe: its schema, loading it, and messages that say what to fix."""

from openeurollm.recipe.load import load, tags
from openeurollm.recipe.schema import (
    Corpus,
    Evaluation,
    Mixture,
    Model,
    Recipe,
    Release,
    Shape,
    Source,
    Tokenizer,
    Tuning,
)

__all__ = [
    "Corpus",
    "Evaluation",
    "Mixture",
    "Model",
    "Recipe",
    "Release",
    "Shape",
    "Source",
    "Tokenizer",
    "Tuning",
    "load",
    "tags",
]
