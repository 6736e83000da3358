"""Duplicates: exact copies, near ones by their Jaccard similarity, clusters through chains."""

import random

import numpy as np
import pytest
from archives import PROSE
from hypothesis import given, settings
from hypothesis import strategies as st

from openeurollm.corpus.duplicates import BANDS, GRAM, HASHES, clusters, fingerprint, signature, sizes


def _words(number, seed=1):
    letters = random.Random(seed)
    return ["".join(letters.choices("abdeghiklmnoprstu", k=7)) for _ in range(number)]


def _pair(jaccard, grams=800, seed=1):
    """Two texts whose sets of word five-grams have this Jaccard similarity: one changed at its end."""
    shared = round(grams * 2 * jaccard / (1 + jaccard))
    words = _words(3 * grams, seed)
    one = words[: grams + GRAM - 1]
    other = words[: shared + GRAM - 1] + words[2 * grams :][: grams - shared]
    return " ".join(one), " ".join(other)


def _jaccard(one, other):
    sets = [
        {tuple(words[n : n + GRAM]) for n in range(len(words) - GRAM + 1)} for words in (one.split(), other.split())
    ]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def _clusters(texts, threshold=0.7):
    return clusters(
        [fingerprint(text) for text in texts], np.stack([signature(text) for text in texts]), threshold
    ).tolist()


def test_case_space_and_punctuation_do_not_make_another_text():
    assert fingerprint("Il-Belt  Valletta.\n") == fingerprint("il belt valletta")
    assert fingerprint("Il-Belt Valletta") != fingerprint("Il-Belt Vallettax")


def test_a_signature_is_the_same_on_every_machine():
    """The numbers themselves: a corpus made elsewhere must find the same duplicates."""
    assert signature(PROSE).shape == (HASHES,)
    assert signature(PROSE)[:4].tolist() == [94702048, 19594328, 64137091, 46471960]
    assert signature("").tolist() == [0] * HASHES
    assert HASHES % BANDS == 0


@pytest.mark.parametrize("seed", range(12))
def test_texts_of_similarity_point_eight_are_the_same_and_of_point_three_are_not(seed):
    like, unlike = _pair(0.8, seed=seed), _pair(0.3, seed=seed)
    assert _jaccard(*like) == pytest.approx(0.8, abs=0.01)
    assert _jaccard(*unlike) == pytest.approx(0.3, abs=0.01)
    assert _clusters(like) == [0, 0]
    assert _clusters(unlike) == [0, 1]


@pytest.mark.parametrize("jaccard", [0.1, 0.3, 0.5, 0.8, 0.95])
def test_signatures_agree_in_as_many_hashes_as_the_texts_are_similar(jaccard):
    agree = [
        (signature(one) == signature(other)).mean() for one, other in (_pair(jaccard, seed=seed) for seed in range(20))
    ]
    assert np.mean(agree) == pytest.approx(jaccard, abs=0.03)


def test_a_chain_is_one_cluster():
    words = _words(1000)
    texts = [" ".join(words[start : start + 600]) for start in (0, 60, 120, 180, 240)]
    assert _jaccard(texts[0], texts[4]) < 0.5
    assert _clusters([*texts, PROSE]) == [0, 0, 0, 0, 0, 5]
    assert sizes(np.array([0, 0, 0, 3])) == {0: 3, 3: 1}


def test_order_does_not_matter():
    texts = [*_pair(0.8, seed=1), *_pair(0.8, seed=2), PROSE, PROSE.upper(), *_pair(0.3, seed=3)]
    expected = {frozenset({0, 1}), frozenset({2, 3}), frozenset({4, 5}), frozenset({6}), frozenset({7})}
    for seed in range(5):
        order = random.Random(seed).sample(range(len(texts)), len(texts))
        roots = _clusters([texts[n] for n in order])
        assert {frozenset(order[at] for at, r in enumerate(roots) if r == root) for root in roots} == expected


def test_copies_are_found_however_short_they_are():
    assert _clusters(["Bonġu", "bonġu!", "Saħħa", "", "  "]) == [0, 0, 2, 3, 3]


def test_many_copies_of_one_page_are_one_cluster():
    """More than are compared pair by pair."""
    texts = [f"{PROSE} Copy number {number}." for number in range(500)]
    assert set(_clusters(texts)) == {0}


@given(st.lists(st.text(max_size=60), min_size=1, max_size=12), st.floats(0.1, 1))
@settings(max_examples=100, deadline=None)
def test_clusters_of_anything(texts, threshold):
    roots = _clusters(texts, threshold)
    assert len(roots) == len(texts)
    for number, root in enumerate(roots):
        assert root <= number
        assert roots[root] == root, "the first of a cluster is its name"
    for number, text in enumerate(texts):
        assert roots[number] == roots[texts.index(text)], "equal texts are one cluster"
