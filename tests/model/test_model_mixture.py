"""Every language gets its exact share, in bytes and never in tokens, in every block and phase, and not too often."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from openeurollm.errors import BadInput, Failure
from openeurollm.languages import script_bytes
from openeurollm.model import mixture
from openeurollm.model.mixture import Order, Phase, budget, decayed, phases, shares
from openeurollm.recipe.schema import Annealing, Mixture
from openeurollm.run import run

TAGS = ("mt", "ga", "el", "ka", "en", "sr-Latn", "sr-Cyrl", "bg")


def _languages(order):
    return [tag for tag, _ in order.places(0, order.total)]


# Shares.


def test_shares_that_are_set_by_hand_stay_and_the_others_divide_the_rest():
    text = {"mt": 1_000, "fi": 8_000, "sv": 1_000, "de": 0}
    share = shares({"mt": 1_000, "fi": 8_000, "sv": 1_000}, 1.0, {"mt": 0.5, "de": 0.1})
    assert share["mt"] == 0.5
    assert sum(share.values()) == pytest.approx(1)
    assert share["fi"] / share["sv"] == pytest.approx(8, rel=0.1)
    assert shares(text, 0.3, {"mt": 0.2, "fi": 0.1, "sv": 0.1, "de": 0.1})["mt"] == pytest.approx(0.4)


@pytest.mark.parametrize("temperature", [0.0, 0.3, 1.0])
def test_shares_are_in_bytes_corrected_for_the_script(temperature):
    """Greek needs more bytes to say the same: with so many more of them it has the same share."""
    text = {"mt": 100_000, "el": round(100_000 * script_bytes("el")), "ka": round(50_000 * script_bytes("ka"))}
    share = shares(text, temperature, {})
    assert sum(share.values()) == pytest.approx(1)
    assert share["el"] == pytest.approx(share["mt"], rel=1e-4)
    assert share["ka"] / share["mt"] == pytest.approx(0.5**temperature, rel=1e-4)


@pytest.mark.parametrize("table", [Mixture, Annealing])
def test_shares_over_one_are_refused(table):
    with pytest.raises(ValidationError, match=r"add up to 1\.2, over 1"):
        table(shares={"mt": 0.6, "ga": 0.6})


# The budget.


def test_a_tokenizer_that_is_poor_at_a_language_does_not_cost_it_bytes():
    """Georgian in four times as many rows a byte gets four times as many rows, so the same text."""
    text, rows = {"mt": 10**6, "ka": 10**6}, {"mt": 250_000, "ka": 1_000_000}
    (wanted,) = budget([500_000], [{"mt": 0.5, "ka": 0.5}], text, rows, 4, {})
    read = {tag: wanted[tag] / rows[tag] * text[tag] / script_bytes(tag) for tag in wanted}
    assert read["ka"] == pytest.approx(read["mt"], rel=1e-4)


_SHARE = st.integers(0, 100).map(lambda number: number / 100)
_LANGUAGE = st.tuples(st.integers(100, 10**9), st.floats(0.01, 1.0), _SHARE)
_FOUND = st.dictionaries(st.sampled_from(TAGS), _LANGUAGE, min_size=1)


@given(_FOUND, _SHARE, st.floats(0.1, 40), st.integers(1, 10**10))
def test_no_language_is_repeated_too_often_and_what_it_leaves_goes_to_the_others(found, temperature, epochs, total):
    text = {tag: size for tag, (size, _, _) in found.items()}
    rows = {tag: max(1, round(size * rate)) for tag, (size, rate, _) in found.items()}
    share = shares(text, temperature, {})
    most = {tag: int(epochs * rows[tag]) for tag in rows}
    (wanted,) = budget([total], [share], text, rows, epochs, {})
    assert all(0 <= wanted[tag] <= most[tag] for tag in wanted)
    assert sum(wanted.values()) == pytest.approx(min(total, sum(most.values())), rel=1e-9, abs=1)
    rate = {tag: share[tag] * script_bytes(tag) * rows[tag] / text[tag] for tag in share}
    free = [tag for tag in wanted if wanted[tag] < most[tag]]
    assume(free)
    assume(total > len(found))
    scale = max(wanted[tag] / rate[tag] for tag in free)
    for tag in wanted:  # a full language has no more than its share, the others have theirs
        assert wanted[tag] <= rate[tag] * scale + 2
        if tag in free:
            assert wanted[tag] >= rate[tag] * scale - 2 - rate[tag] * 2 / min(rate[one] for one in free)


@given(_FOUND, _SHARE, st.floats(0.1, 10), st.integers(0, 10**6), st.integers(0, 10**6))
def test_the_repeats_of_all_phases_together_are_limited(found, temperature, epochs, first, second):
    text = {tag: size for tag, (size, _, _) in found.items()}
    rows = {tag: max(1, round(size * rate * 1e-4)) for tag, (size, rate, _) in found.items()}
    weights = {tag: weight for tag, (_, _, weight) in found.items()}
    other = {tag: weight / max(1e-9, sum(weights.values())) for tag, weight in weights.items()}
    both = budget([first, second], [shares(text, temperature, {}), other], text, rows, epochs, {})
    spent = {tag: rows[tag] // 2 for tag in rows}
    after = budget([first, second], [shares(text, temperature, {}), other], text, rows, epochs, spent)
    for tag in rows:
        most = int(epochs * rows[tag])
        assert both[0][tag] + both[1][tag] <= most
        assert after[0][tag] + after[1][tag] <= max(0, most - spent[tag])
    for phase, total in zip(both, (first, second), strict=True):
        assert sum(phase.values()) <= total
    if sum(both[0].values()) < first:  # who could fill the first phase has nothing left but what gives each one a row
        most = {tag: int(epochs * rows[tag]) for tag in rows}
        assert all(both[0][tag] + both[1][tag] >= most[tag] - 2 - len(rows) for tag in rows)


def test_a_short_language_leaves_its_share_to_the_others_by_theirs():
    text = {"mt": 1_000, "ga": 10**6, "en": 10**6}
    share = {"mt": 0.5, "ga": 0.375, "en": 0.125}
    assert budget([40_000], [share], text, text, 4, {}) == [{"mt": 4_000, "ga": 27_000, "en": 9_000}]


def test_a_language_that_two_phases_want_is_divided_between_them():
    text = {"mt": 1_000, "en": 10**6}
    first, second = budget([3_000, 1_000], [{"mt": 1.0, "en": 0.0}, {"mt": 0.5, "en": 0.5}], text, text, 1, {})
    assert first == {"mt": pytest.approx(857, abs=1), "en": 0}
    assert second == {"mt": pytest.approx(143, abs=1), "en": pytest.approx(857, abs=1)}


def test_every_language_with_a_share_has_a_row_where_there_are_enough():
    text = {"mt": 10, "ga": 10**6, "en": 10**6}
    share = {"mt": 1e-6, "ga": 0.5, "en": 0.5}
    assert budget([100], [share], text, text, 4, {})[0]["mt"] == 1
    assert budget([2], [share], text, text, 4, {})[0]["mt"] == 0


# Phases.

TEXT = {"mt": 10**6, "ga": 10**6, "en": 4 * 10**6}
ROWS = {"mt": 1_000, "ga": 1_000, "en": 4_000}


def test_without_annealing_there_is_one_phase():
    (only,) = phases(Mixture(temperature=0), 0.5, 3_000, TEXT, ROWS)
    assert set(only.rows.values()) == {1_000}


def test_annealing_has_a_mixture_of_its_own_for_the_last_rows():
    recipe = Mixture(temperature=0, annealing=Annealing(temperature=1.0, shares={"mt": 0.5}))
    first, last = phases(recipe, 0.25, 4_000, TEXT, ROWS)
    assert first.rows == {"mt": 1_000, "ga": 1_000, "en": 1_000}
    assert last.rows == {"mt": 500, "ga": 100, "en": 400}
    assert phases(recipe, 1.0, 4_000, TEXT, ROWS)[0].rows["mt"] == 2_000
    assert len(phases(recipe, 0.0, 4_000, TEXT, ROWS)) == 1


def test_text_that_is_too_little_makes_the_training_shorter_and_none_is_bad_input():
    (only,) = phases(Mixture(max_epochs=2), 0.5, 10**6, TEXT, ROWS)
    assert only.rows == {tag: 2 * rows for tag, rows in ROWS.items()}
    with pytest.raises(BadInput, match=r"no text to train on.* 0\.5 times"):
        phases(Mixture(max_epochs=0.5), 0.5, 10, {"mt": 100}, {"mt": 1})
    with pytest.raises(BadInput, match="no text to train on"):
        phases(Mixture(), 0.5, 10, {}, {})


def test_a_decay_may_go_off_from_any_row_of_the_plateau():
    """What was trained stays as it was, and no language is repeated too often by what comes after."""
    recipe = Mixture(temperature=0, max_epochs=1, annealing=Annealing(shares={"mt": 0.9}))
    planned = phases(recipe, 0.25, 4_000, TEXT, ROWS)
    whole = Order(planned, 7)
    for place in (1, 700, 2_999, 3_000, 3_500):
        branch = decayed(planned, place, 500, recipe, TEXT, ROWS, 7)
        other = Order(branch, 7)
        assert list(other.places(0, place)) == list(whole.places(0, place))
        assert whole.before(place) == {tag: other.before(place)[tag] for tag in whole.tags}
        found = other.before(other.total)
        assert all(found[tag] <= ROWS[tag] for tag in ROWS)
        assert other.total == place + 500
        wanted = min(450, ROWS["mt"] - whole.before(place)["mt"])
        assert found["mt"] - whole.before(place)["mt"] == pytest.approx(wanted, abs=1)


# The order.

_PHASE = st.dictionaries(st.sampled_from(TAGS), st.integers(0, 900), min_size=1)


@given(st.lists(_PHASE, min_size=1, max_size=3), st.integers(0, 2**31 - 1), st.integers(1, 60))
def test_every_block_and_phase_has_its_exact_share_and_every_row_its_rank(wanted, seed, size):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mixture, "_ROWS", size)
        order = Order([Phase(rows) for rows in wanted], seed)
        found = list(order.places(0, order.total))
    ranks = Counter()
    for tag, rank in found:
        assert rank == ranks[tag]
        ranks[tag] += 1
    start = 0
    for rows in wanted:
        total = sum(rows.values())
        languages = [tag for tag, _ in found[start : start + total]]
        assert Counter(languages) == Counter(rows)
        for end in range(0, total, size):
            counts = Counter(languages[:end])
            assert all(abs(counts[tag] - end * number / total) < 1 for tag, number in rows.items())
        start += total
    assert start == order.total


@given(_PHASE, st.integers(0, 2**31 - 1), st.data())
def test_a_place_is_a_function_of_seed_and_place(rows, seed, data):
    assume(sum(rows.values()))
    order = Order([Phase(rows)], seed)
    whole = list(order.places(0, order.total))
    first = data.draw(st.integers(0, order.total - 1))
    number = data.draw(st.integers(0, order.total - first))
    other = Order([Phase(rows)], seed)
    assert list(other.places(first, number)) == whole[first : first + number]
    counts = Counter(tag for tag, _ in whole[:first])
    assert other.before(first) == {tag: counts[tag] for tag in rows}


def test_other_seeds_give_other_orders():
    rows = Phase({"mt": 500, "ga": 500})
    assert len({tuple(_languages(Order([rows], seed))) for seed in range(5)}) == 5


def test_inside_a_block_the_order_is_random():
    found = np.array(_languages(Order([Phase({"mt": 5_000, "ga": 5_000})], 1)))
    runs = int((found[1:] != found[:-1]).sum())
    assert 4_600 < runs < 5_400


def test_a_long_training_keeps_few_blocks():
    order = Order([Phase({"mt": 10**9, "ga": 2 * 10**9, "en": 1})], 1)
    (tag, rank), (_, after) = order.places(3 * 10**8, 2)
    assert tag in ("mt", "ga") and 10**8 * 0.99 < rank < 2 * 10**8 * 1.01 and after > 0
    assert sum(order.before(10**9 + 17).values()) == 10**9 + 17


# A real run.


def test_the_real_mixture_adds_up_and_is_even_in_bytes(tiny):
    """At temperature 0 every language has the same share of script-corrected bytes, to a row."""
    results = tiny.run.need("model").results
    assert sum(part["tokens"] for part in results["mixture"].values()) == results["tokens"]
    corrected = [part["bytes"] / script_bytes(tag) for tag, part in results["mixture"].items()]
    found = [part["share"] for part in results["mixture"].values()]
    assert found == pytest.approx([size / sum(corrected) for size in corrected], abs=1e-5)
    assert max(corrected) / min(corrected) < 1.05
    assert all(part["epochs"] <= tiny.recipe.mixture.max_epochs for part in results["mixture"].values())


def test_a_budget_too_small_for_every_language_stops_the_run_and_names_who_is_left_out(tiny, tmp_path):
    recipe = tiny.change("model.batch_tokens=64", "model.compute=1e8")  # four rows
    with pytest.raises(Failure, match=r"no text in the mixture for .*\((mt|ga|el|ka|en|sr-Latn)\)"):
        run(recipe, tiny.copy(tmp_path), tiny.engine, until="model")
