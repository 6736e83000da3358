"""Exact and near duplicates: MinHash over word five-grams, banded (Broder 1997; Leskovec et al., ch. 3).

252 hashes in 42 bands of 6: two documents of Jaccard similarity .7 meet in at least one band with probability .995,
of .8 with probability above .99999; pairs that meet are then compared by their whole signatures.
"""

import hashlib
import re
import zlib
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

HASHES, BANDS = 252, 42
GRAM = 5
_WORD = re.compile(r"\w+")
_CHUNK = 2_048
_random = np.random.Generator(np.random.PCG64(20_250_201))
_FACTORS = _random.integers(0, 2**63, HASHES, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
_SHIFTS = _random.integers(0, 2**63, HASHES, dtype=np.uint64)
_BASE = np.uint64(0x9E3779B97F4A7C15)
_MOST = 200
"""Documents of one band that are compared with its first; larger groups are compared with that one only."""

Signature = NDArray[np.uint32]


def fingerprint(text: str) -> str:
    """Hash of the text's words alone: equal for texts that differ in case, space and punctuation only."""
    return hashlib.sha256(" ".join(_WORD.findall(text.lower())).encode("utf-8", "replace")).hexdigest()[:32]


def signature(text: str) -> Signature:
    """MinHash signature, shape (252,), of the set of word five-grams (of the words, where there are fewer than
    five).
    """
    words = np.array([zlib.crc32(word.encode("utf-8", "replace")) for word in _WORD.findall(text.lower())], np.uint64)
    if len(words) == 0:
        return np.zeros(HASHES, np.uint32)
    gram = min(GRAM, len(words))
    grams = np.zeros(len(words) - gram + 1, np.uint64)
    with np.errstate(over="ignore"):
        for offset in range(gram):
            grams = grams * _BASE + words[offset : offset + len(grams)]
        grams = np.unique(grams ^ (grams >> np.uint64(29)))
        least = np.full(HASHES, np.iinfo(np.uint64).max, np.uint64)
        for start in range(0, len(grams), _CHUNK):
            hashed = grams[start : start + _CHUNK, None] * _FACTORS[None, :] + _SHIFTS[None, :]
            np.minimum(least, hashed.min(axis=0), out=least)
    return (least >> np.uint64(32)).astype(np.uint32)


def clusters(fingerprints: Sequence[str], signatures: NDArray[np.uint32], threshold: float) -> NDArray[np.int64]:
    """For each document the number of the first document of its cluster.

    `signatures` has shape (documents, 252). Documents are one cluster when their fingerprints agree or their signatures
    agree in at least a share `threshold` of the hashes, and through chains of such pairs.
    """
    parent = np.arange(len(fingerprints))
    first: dict[str, int] = {}
    for number, mark in enumerate(fingerprints):
        _join(parent, first.setdefault(mark, number), number)
    width = HASHES // BANDS
    for band in range(BANDS):
        keys = np.ascontiguousarray(signatures[:, band * width : (band + 1) * width])
        order = np.lexsort(keys.T[::-1])
        ordered = keys[order]
        starts = np.flatnonzero(np.r_[True, (ordered[1:] != ordered[:-1]).any(axis=1)])
        for start, end in zip(starts, np.r_[starts[1:], len(order)], strict=True):
            if end - start > 1:
                _compare(order[start:end], signatures, threshold, parent)
    return np.array([_root(parent, number) for number in range(len(parent))], np.int64)


def sizes(roots: NDArray[np.int64]) -> Counter[int]:
    """Documents in each cluster, by the cluster's first document."""
    return Counter(roots.tolist())


def _compare(
    group: NDArray[np.int64], signatures: NDArray[np.uint32], threshold: float, parent: NDArray[np.int64]
) -> None:
    group = np.sort(group)
    for place in range(len(group) - 1 if len(group) <= _MOST else 1):
        one, others = group[place], group[place + 1 :]
        alike = (signatures[others] == signatures[one]).mean(axis=1) >= threshold
        for other in others[alike]:
            _join(parent, int(one), int(other))


def _root(parent: NDArray[np.int64], number: int) -> int:
    while parent[number] != number:
        parent[number] = parent[parent[number]]
        number = int(parent[number])
    return number


def _join(parent: NDArray[np.int64], one: int, other: int) -> None:
    low, high = sorted((_root(parent, one), _root(parent, other)))
    parent[high] = low
