"""Exact and near duplicates among all documents of a language, found over sorted keys.

Documents that share a band of their MinHash (`minhash`), or all their words, meet in a range of the keys; those whose
sketches agree well enough are a pair (Broder 1997; Leskovec et al., ch. 3). Pairs are joined to clusters, of which the
best copy is kept. Only keys and sketches are read, never a text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from openeurollm.corpus import minhash, runs
from openeurollm.languages.compiled import compiled, inlined
from openeurollm.ledger import whole

RANGE = 4_000_000
"""Keys that one range task sorts; about 200 MB."""
_MOST = 64
"""Documents that share a key and are all compared with each other; of more, each with the first and with the next."""
_PAIRS = 100_000
"""Pairs whose sketches are compared at a time."""

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Search:
    """A range of the band keys of a language to search for pairs, written to `out`."""

    language: str
    runs: Path
    """The file that lists the language's runs."""
    low: int
    high: int
    threshold: float
    out: Path

    def __str__(self) -> str:
        return f"{self.language} {self.out.stem}"


def search(task: Search) -> None:
    """Write the pairs of documents that are duplicates, shape (pairs, 2), by their numbers in the language."""
    if task.out.is_file():
        return
    some = runs.noted(task.runs)
    parts = [run.keys("bands", task.low, task.high) for run in some]
    keys = np.concatenate([part[0] for part in parts])
    numbers = np.concatenate([part[1] for part in parts])
    order = np.argsort(keys, kind="stable")
    keys, numbers = keys[order], numbers[order]
    shared = np.zeros(len(keys), bool)
    shared[1:] = keys[1:] == keys[:-1]
    shared[:-1] |= shared[1:]
    keys, numbers = keys[shared], numbers[shared]
    ids = runs.gathered(some, "id", numbers).astype(np.uint64)
    order = np.lexsort((ids, keys))
    candidates = _candidates(keys[order], numbers[order])
    with whole(task.out) as partial, open(partial, "wb") as file:
        np.save(file, _alike(candidates, task))


def _alike(pairs: Numbers, task: Search) -> Numbers:
    """The pairs whose sketches say that they are as similar as the threshold, each once."""
    pairs = np.unique(pairs, axis=0)
    kept, listed = [np.zeros((0, 2), np.int64)], runs.noted(task.runs)
    for start in range(0, len(pairs), _PAIRS):
        some = pairs[start : start + _PAIRS]
        one, other = (runs.gathered(listed, "sketches", some[:, side]) for side in (0, 1))
        kept.append(some[minhash.similarity(one, other) >= task.threshold])
    return np.concatenate(kept)


@compiled
def _candidates(keys: NDArray[np.uint64], numbers: Numbers) -> Numbers:
    """Pairs inside each group of equal keys; two passes, to count and to write."""
    found = np.empty((0, 2), np.int64)
    for writing in (False, True):
        at = start = 0
        while start < len(keys):
            end = start + 1
            while end < len(keys) and keys[end] == keys[start]:
                end += 1
            for one in range(start, end - 1):
                last = end if end - start <= _MOST or one == start else one + 2
                for other in range(one + 1, last):
                    if numbers[one] != numbers[other]:
                        if writing:
                            found[at, 0], found[at, 1] = numbers[one], numbers[other]
                        at += 1
            start = end
        if not writing:
            found = np.empty((at, 2), np.int64)
    return found


def clusters(pairs: Numbers) -> tuple[Numbers, Numbers]:
    """The documents that stand in a pair, in ascending order, and for each the first document of its cluster.

    `pairs` has shape (pairs, 2); documents are one cluster through chains of pairs.
    """
    members, places = np.unique(pairs, return_inverse=True)
    return members, members[_roots(places.reshape(-1, 2).astype(np.int64), len(members))]


def winners(roots: Numbers, rank: Sequence[NDArray[np.generic]]) -> Numbers:
    """For each document the place of the one of its cluster that `rank` puts first (least values, the first array
    counting most).
    """
    order = np.lexsort((*reversed(rank), roots))
    first = np.ones(len(order), bool)
    first[1:] = roots[order][1:] != roots[order][:-1]
    best = np.empty(len(order), np.int64)
    best[order] = order[np.flatnonzero(first)[np.cumsum(first) - 1]]
    return best


@inlined
def _root(parent: Numbers, number: int) -> int:
    while parent[number] != number:
        parent[number] = parent[parent[number]]
        number = parent[number]
    return number


@compiled
def _roots(pairs: Numbers, number: int) -> Numbers:
    """Union-find over `number` nodes; the root of a cluster is its least node."""
    parent = np.arange(number)
    for one, other in pairs:
        low, high = _root(parent, one), _root(parent, other)
        if low > high:
            low, high = high, low
        parent[high] = low
    for node in range(number):
        parent[node] = _root(parent, node)
    return parent
