"""The recipe: its schema, loading it, messages that say what to fix, and what it promises its languages."""

from openeurollm.recipe.contract import falls, lacking, previous_shares, prove, shares
from openeurollm.recipe.load import load, parts, paths, tags
from openeurollm.recipe.schema import (
    Corpus,
    Evaluation,
    EvaluationSet,
    Mixture,
    Model,
    Recipe,
    Release,
    Rights,
    SafetyList,
    Shape,
    Source,
    Tokenizer,
    Tuning,
)

__all__ = [
    "Corpus",
    "Evaluation",
    "EvaluationSet",
    "Mixture",
    "Model",
    "Recipe",
    "Release",
    "Rights",
    "SafetyList",
    "Shape",
    "Source",
    "Tokenizer",
    "Tuning",
    "falls",
    "lacking",
    "load",
    "parts",
    "paths",
    "previous_shares",
    "prove",
    "shares",
    "tags",
]
