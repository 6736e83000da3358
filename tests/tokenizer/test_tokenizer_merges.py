"""Merges are those of the definition: the heaviest pair of neighbours becomes a symbol, again and again."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from openeurollm.tokenizer.merges import Parity, Rows, learn

WORDS = st.dictionaries(st.text("abc", min_size=1, max_size=12), st.integers(1, 9), min_size=1, max_size=12)


def _rows(*groups, measured=()):
    words = [(word.encode(), weight, 0, group) for group, table in enumerate(groups) for word, weight in table.items()]
    words += [(word.encode(), 0, times, group) for group, table in enumerate(measured) for word, times in table.items()]
    return Rows(
        np.array([len(word) for word, *_ in words], np.int64),
        np.frombuffer(b"".join(word for word, *_ in words), np.uint8),
        np.array([weight for _, weight, *_ in words], np.int64),
        np.array([times for *_, times, _ in words], np.int32),
        np.array([group for *_, group in words], np.int16),
    )


def _merged(symbols, pair, new):
    at, out = 0, []
    while at < len(symbols):
        if tuple(symbols[at : at + 2]) == pair:
            out.append(new)
            at += 2
        else:
            out.append(symbols[at])
            at += 1
    return out


def _by_definition(words, number):
    texts = {symbol: bytes([symbol]) for symbol in range(256)}
    rows = [(list(word.encode()), weight) for word, weight in words.items()]
    merges, barred = [], set()
    while len(merges) < number:
        pairs = Counter()
        for symbols, weight in rows:
            for pair in pairwise(symbols):
                pairs[pair] += weight
        left = {pair: weight for pair, weight in pairs.items() if pair not in barred}
        if not left:
            break
        pair = min(left, key=lambda pair: (-left[pair], pair))
        text = texts[pair[0]] + texts[pair[1]]
        if text in texts.values():
            barred.add(pair)
            continue
        new = 256 + len(merges)
        texts[new] = text
        merges.append(pair)
        rows = [(_merged(symbols, pair, new), weight) for symbols, weight in rows]
    return merges


@given(WORDS, st.integers(1, 30))
@example({"aaaaaaaaaaa": 1, "aaaaa": 3, "aaa": 1}, 30)
@example({"abababab": 2, "bababa": 3, "aabbaabb": 2}, 30)
def test_merges_are_those_of_the_definition(words, number):
    assert [tuple(pair) for pair in learn(_rows(words), number).merges.tolist()] == _by_definition(words, number)


@given(WORDS, WORDS)
def test_words_in_two_groups_weigh_together(one, other):
    together = learn(_rows(dict(Counter(one) + Counter(other))), 20)
    assert learn(_rows(one, other), 20).merges.tolist() == together.merges.tolist()


@given(WORDS, WORDS, st.integers(1, 20))
def test_costs_are_the_tokens_of_the_text_that_is_measured(words, measured, number):
    learnt = learn(_rows(words, measured=(measured,)), number)
    tokens = 0
    for word, times in measured.items():
        symbols = list(word.encode())
        for new, pair in enumerate(learnt.merges.tolist(), 256):
            symbols = _merged(symbols, tuple(pair), new)
        tokens += times * len(symbols)
    assert learnt.costs.tolist() == [tokens]


def test_forced_merges_come_first_even_where_no_text_has_them():
    learnt = learn(_rows({"abab": 5}), 4, forced=[(ord("x"), ord("y")), (256, ord("z"))])
    assert learnt.merges.tolist() == [[120, 121], [256, 122], [97, 98], [258, 258]]
    assert learnt.weights.tolist() == [0, 0, 10, 5]


def test_parity_favours_the_language_that_pays_most():
    rows = _rows({"abcabc": 1000, "abcd": 900}, {"xyz": 1, "xyw": 1}, measured=({"ab": 1}, {"xyzxyz": 1}))
    plain, fair = learn(rows, 4), learn(rows, 4, parity=Parity(share=1.0, window=0))
    assert plain.costs[1] == 6
    assert fair.merges.tolist()[0] == [120, 121]
    assert fair.costs[1] < plain.costs[1]


@pytest.mark.parametrize("window", [0, 1, 5])
def test_the_window_gives_every_language_its_turn(window):
    words = ({"abcdefgh": 9}, {"ijklmnop": 9}, {"qrstuvwx": 9})
    learnt = learn(
        _rows(*words, measured=({"abcdefgh": 9}, {"ijklmnop": 3}, {"qrstuvwx": 1})), 2, parity=Parity(1.0, window)
    )
    firsts = [chr(pair[0])[0] for pair in learnt.merges.tolist() if pair[0] < 256]
    assert firsts[0] in "abcdefg"
    assert (firsts[1] in "ijklmno") == (window > 0)


def test_few_pairs_give_few_merges():
    assert learn(_rows({"abc": 7}), 50).merges.tolist() == [[97, 98], [256, 99]]
