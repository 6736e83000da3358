"""Duplicates over runs: pairs by exact Jaccard similarity, clusters through chains, the best copy, in any order."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openeurollm.corpus import duplicates, minhash, runs
from openeurollm.corpus.document import hashed, number
from openeurollm.corpus.words import Words

GRAM = minhash.GRAM


def _words(many, seed=1):
    letters = random.Random(seed)
    return ["".join(letters.choices("abdeghiklmnoprstu", k=7)) for _ in range(many)]


def _pair(jaccard, grams=800, seed=1):
    """Two texts whose sets of word five-grams have this Jaccard similarity: one changed at its end."""
    shared = round(grams * 2 * jaccard / (1 + jaccard))
    words = _words(3 * grams, seed)
    one = words[: grams + GRAM - 1]
    other = words[: shared + GRAM - 1] + words[2 * grams :][: grams - shared]
    return " ".join(one), " ".join(other)


def entry(text, tag="en"):
    """A document as the first pass would put it into a run."""
    words = Words.of(text)
    bands, sketch = minhash.sketch(words)
    fingerprint = minhash.fingerprint(words)
    document = {"id": hashed(text), "text": text, "language": tag, "language_score": 1.0, "url": "", "signals": []}
    row = (number(document["id"]), 0, fingerprint, len(text.encode()), 0, float("nan"))
    return runs.Entry(document, row, np.append(bands, np.uint64(fingerprint)), sketch, np.unique(words.lines.hashes))


@pytest.fixture
def found(tmp_path):
    """Pairs of numbers that a search over some runs of texts finds, as pairs of texts."""

    def search(*shards, ranges=1, threshold=minhash.SAME):
        for place, texts in enumerate(shards):
            runs.write(tmp_path / f"{place}" / "run-000", [entry(text) for text in texts])
        listed = runs.note((tmp_path / f"{place}" for place in range(len(shards))), tmp_path)["en"]
        some = runs.noted(listed)
        text_of = {
            at: row["text"] for run in some for at, row in run.documents(np.arange(run.number("rows")) + run.offset)
        }
        pairs = set()
        for part, (low, high) in enumerate(runs.ranges(ranges)):
            out = tmp_path / f"pairs-{part}.npy"
            duplicates.search(duplicates.Search("en", listed, low, high, threshold, out))
            pairs |= {frozenset(text_of[at] for at in pair) for pair in np.load(out).tolist()}
            out.unlink()
        return pairs

    return search


@pytest.mark.parametrize("seed", range(12))
def test_texts_of_similarity_point_eight_are_found_and_of_point_six_are_not(found, seed):
    like, unlike = _pair(0.85, seed=seed), _pair(0.6, seed=seed + 100)
    assert found(like, unlike) == {frozenset(like)}


def test_the_same_words_are_found_however_short_and_however_written(found):
    assert found(["Bonġu, dinja!", "Good day"], ["bonġu dinja"]) == {frozenset(["Bonġu, dinja!", "bonġu dinja"])}


def test_any_number_of_ranges_and_any_order_of_shards_finds_the_same(found):
    texts = [text for seed in range(6) for text in _pair(0.9, 200, seed)] + [" ".join(_words(50, 99))] * 1
    once = found(texts)
    assert len(once) == 6
    assert found(texts[:5], texts[5:], ranges=7) == once
    assert found(texts[7:][::-1], texts[:7], ranges=3) == once


def test_a_key_that_thousands_share_costs_no_square(found):
    page = _words(300)
    texts = [" ".join([*page, str(n)]) for n in range(1_000)]
    pairs = found(texts)
    assert len(pairs) < 100_000
    numbers = {text: at for at, text in enumerate(texts)}
    members, roots = duplicates.clusters(np.array([[numbers[text] for text in pair] for pair in pairs]))
    assert len(members) == 1_000
    assert len(set(roots.tolist())) == 1


@settings(max_examples=200)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=40))
def test_clusters_are_connected_components(pairs):
    members, roots = duplicates.clusters(np.array(pairs, np.int64).reshape(-1, 2))
    neighbours = {node: {node} for pair in pairs for node in pair}
    for one, other in pairs:
        joined = neighbours[one] | neighbours[other]
        for node in joined:
            neighbours[node] = joined
    assert members.tolist() == sorted(neighbours)
    assert roots.tolist() == [min(neighbours[node]) for node in members.tolist()]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30))
def test_the_winner_of_a_cluster_is_the_first_by_rank(rows):
    roots, first, second = (np.array(column) for column in zip(*rows, strict=True))
    best = duplicates.winners(roots, (first, second, np.arange(len(rows))))
    for place, (root, _, _) in enumerate(rows):
        cluster = [(row[1], row[2], at) for at, row in enumerate(rows) if row[0] == root]
        assert best[place] == min(cluster)[2]
