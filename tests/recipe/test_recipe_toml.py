"""The resolved recipe in the run folder: TOML that loads to the same recipe, whatever its strings hold."""

import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_recipe_load import RECIPE

from openeurollm.recipe import Recipe
from openeurollm.run import to_toml

BASE = Recipe.model_validate(tomllib.loads(RECIPE))
NO_TEXT = ["Cs"]  # surrogates: no TOML file can hold them


def _with(title):
    return BASE.model_copy(update={"release": BASE.release.model_copy(update={"title": title})})


def _back(recipe):
    return Recipe.model_validate(tomllib.loads(to_toml(recipe)))


def test_a_recipe_comes_back_the_same():
    assert _back(BASE) == BASE
    assert _back(BASE.model_copy(update={"gaps": {}})).gaps == {}


@pytest.mark.parametrize(
    "odd",
    ["\"quotes\" and 'others'", "back\\slash", "two\nlines\r\n", "\0\x1b[31m", "\u2028\u0085", "😀", "]\n[evil]\n"],
)
def test_odd_strings_come_back_the_same(odd):
    assert _back(_with(odd)).release.title == odd


@given(st.text(st.characters(exclude_categories=NO_TEXT), min_size=1))
@settings(max_examples=200, deadline=None)
def test_any_string_comes_back_the_same(title):
    assert _back(_with(title)).release.title == title


@given(st.floats(min_value=1e-300, allow_infinity=False, allow_nan=False))
@settings(max_examples=100, deadline=None)
def test_any_number_comes_back_the_same(compute):
    recipe = BASE.model_copy(update={"model": BASE.model.model_copy(update={"compute": compute})})
    assert _back(recipe).model.compute == compute
