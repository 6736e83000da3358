"""Batches depend on seed and step alone; every language gets its exact share, in bytes and never in tokens."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from openeurollm.corpus.document import rows
from openeurollm.errors import Failure
from openeurollm.languages import script_bytes
from openeurollm.model.data import Batches, Tokens, budget, bytes_of_tokens, shares
from openeurollm.model.data import tokens as read_tokens
from openeurollm.run import run

TAGS = ("mt", "ga", "el", "ka", "en", "sr-Latn", "sr-Cyrl", "bg")
RANGE = 1_000_000


def _text(**lengths):
    """Every language counts upwards in a range of its own, so that a row tells where it is from."""
    return {tag: np.arange(length, dtype=np.uint32) + RANGE * n for n, (tag, length) in enumerate(lengths.items())}


def _all(batches):
    return np.concatenate([batches.batch(step) for step in range(batches.steps)])


def _batches(tokens, wanted, seed=1, context=16, rows=4):
    return Batches({tag: Tokens([ids]) for tag, ids in tokens.items()}, wanted, context, rows, seed)


def test_a_batch_is_a_function_of_seed_and_step():
    tokens = _text(mt=500, ga=300)
    one, other = (_batches(tokens, {"mt": 2_000, "ga": 2_000}) for _ in range(2))
    forward = [one.batch(step) for step in range(one.steps)]
    backward = [other.batch(step) for step in reversed(range(other.steps))][::-1]
    assert all(np.array_equal(a, b) for a, b in zip(forward, backward, strict=True))
    third = _batches(tokens, {"mt": 2_000, "ga": 2_000}, seed=2)
    assert not np.array_equal(np.stack(forward), np.stack([third.batch(step) for step in range(third.steps)]))


@given(st.dictionaries(st.sampled_from(TAGS), st.integers(1, 5_000), min_size=1), st.integers(0, 2**31 - 1))
def test_every_language_comes_in_its_exact_number_of_sequences(wanted, seed):
    tokens = _text(**{tag: 200 + 7 * n for n, tag in enumerate(wanted)})
    batches = _batches(tokens, wanted, seed)
    rows = _all(batches)
    assert rows.shape == (batches.steps * 4, 17)
    assert batches.steps == max(1, round(sum(wanted.values()) / 64))
    found = {tag: int((rows[:, 0] // RANGE == n).sum()) for n, tag in enumerate(wanted)}
    assert found == batches.sequences
    seats = batches.steps * 4
    for tag, size in wanted.items():
        exact = size / sum(wanted.values()) * seats
        assert abs(found[tag] - exact) < 1 + len(wanted)
        assert found[tag] >= 1 or seats < len(wanted)


def test_a_row_is_one_languages_text_as_it_stands():
    for row in _all(_batches(_text(mt=500, ga=100), {"mt": 3_000, "ga": 3_000})):
        assert np.array_equal(row, np.arange(row[0], row[0] + 17))


def test_an_epoch_takes_every_part_of_the_text_once():
    """320 tokens are 19 chunks of 16 behind an offset: no start comes twice, and the next epoch has another order."""
    batches = _batches(_text(mt=320), {"mt": 19 * 16 * 4}, rows=19)
    epochs = [batches.batch(step)[:, 0] for step in range(batches.steps)]
    assert len(epochs) == 4
    for starts in epochs:
        assert len(set(starts)) == 19
        assert set(np.diff(np.sort(starts))) == {16}
    assert len({tuple(starts) for starts in epochs}) == 4
    assert len({starts.min() for starts in epochs}) > 1


@pytest.mark.parametrize("length", [1, 5, 16, 17, 31, 32])
def test_a_text_shorter_than_the_context_comes_round(length):
    rows = _all(_batches(_text(mt=length), {"mt": 200}))
    assert np.array_equal(rows, (rows[:, :1] + np.arange(17)) % length)


def test_languages_are_spread_over_the_training():
    batches = _batches(_text(mt=500, ga=500), {"mt": 32_000, "ga": 32_000})
    for quarter in np.split(_all(batches)[:, 0] // RANGE, 4):
        assert 0.4 < quarter.mean() < 0.6


# The mixture.


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


def test_a_tokenizer_that_is_poor_at_a_language_does_not_cost_it_bytes():
    """Georgian in four times as many tokens a byte gets four times as many tokens, so the same text."""
    text, share = {"mt": 10**6, "ka": 10**6}, {"mt": 0.5, "ka": 0.5}
    tokens = {"mt": 250_000, "ka": 1_000_000}
    wanted = budget(500_000, share, text, tokens, 4)
    read = {tag: wanted[tag] / tokens[tag] * text[tag] / script_bytes(tag) for tag in wanted}
    assert read["ka"] == pytest.approx(read["mt"], rel=1e-4)


_LANGUAGE = st.tuples(st.integers(100, 10**9), st.floats(0.05, 1.0))


@given(
    st.dictionaries(st.sampled_from(TAGS), _LANGUAGE, min_size=1),
    st.floats(0, 1),
    st.floats(0.1, 40),
    st.integers(1, 10**10),
)
def test_no_language_is_repeated_too_often_and_what_it_leaves_goes_to_the_others(found, temperature, epochs, total):
    text = {tag: size for tag, (size, _) in found.items()}
    tokens = {tag: max(1, round(size * rate)) for tag, (size, rate) in found.items()}
    share = shares(text, temperature, {})
    most = {tag: epochs * tokens[tag] for tag in tokens}
    wanted = budget(total, share, text, tokens, epochs)
    assert list(wanted) == list(share)
    assert all(0 <= wanted[tag] <= most[tag] for tag in wanted)
    assert sum(wanted.values()) <= total + 1e-6 * total
    assert sum(wanted.values()) >= min(total, sum(most.values())) * (1 - 1e-9) - len(wanted)
    rate = {tag: share[tag] * script_bytes(tag) * tokens[tag] / text[tag] for tag in share}
    free = [tag for tag in wanted if wanted[tag] < int(most[tag])]
    assume(free)
    scale = max((wanted[tag] + 1) / rate[tag] for tag in free)
    assert all(wanted[tag] / rate[tag] <= scale for tag in wanted)  # a full language has no more than its share
    assert all(
        abs(wanted[tag] - rate[tag] * scale) <= 2 + rate[tag] * max(1 / rate[one] for one in free) for tag in free
    )


def test_a_short_language_leaves_its_share_to_the_others_by_theirs():
    text = {"mt": 1_000, "ga": 10**6, "en": 10**6}
    share = {"mt": 0.5, "ga": 0.375, "en": 0.125}
    assert budget(40_000, share, text, text, 4) == {"mt": 4_000, "ga": 27_000, "en": 9_000}


def test_the_real_mixture_adds_up_and_is_even_in_bytes(tiny):
    """At temperature 0 every language has the same share of script-corrected bytes, to a sequence."""
    results = tiny.run.need("model").results
    assert sum(part["tokens"] for part in results["mixture"].values()) == results["tokens"]
    corrected = [part["bytes"] / script_bytes(tag) for tag, part in results["mixture"].items()]
    found = [part["share"] for part in results["mixture"].values()]
    assert found == pytest.approx([size / sum(corrected) for size in corrected], abs=1e-5)
    assert max(corrected) / min(corrected) < 1.05
    assert all(part["epochs"] <= tiny.recipe.mixture.max_epochs for part in results["mixture"].values())


def test_a_budget_too_small_for_every_language_stops_the_run_and_names_who_is_left_out(tiny, tmp_path):
    recipe = tiny.change("model.batch_tokens=64", "model.compute=2e8")
    with pytest.raises(Failure, match=r"no text in the mixture for .*\((mt|ga|el|ka|en|sr-Latn)\)"):
        run(recipe, tiny.copy(tmp_path), tiny.engine, until="model")


# Shards.


def test_the_tokens_of_a_language_are_the_text_of_its_documents_each_with_its_end(tiny):
    tokens, documents = read_tokens(tiny.run.folder("tokenizer") / "tokens", ("mt",))
    texts = [row["text"] for part in sorted((tiny.run.folder("corpus") / "mt").glob("part*")) for row in rows(part)]
    ids = tokens["mt"].take(0, len(tokens["mt"]))
    ends = np.flatnonzero(ids == 0)
    assert len(ends) == len(texts) == documents["mt"]
    tokenizer = Tokenizer.from_file(str(tiny.run.folder("tokenizer") / "tokenizer.json"))
    starts = [0, *(ends[:-1] + 1)]
    assert [tokenizer.decode(ids[a:b].tolist()) for a, b in zip(starts, ends, strict=True)] == texts
    assert tiny.run.need("model").counts["mt"] == {"encoded": len(texts)}


@given(st.lists(st.integers(0, 9), min_size=1, max_size=5), st.integers(0, 100), st.integers(1, 60))
def test_several_shards_are_read_as_one_and_begin_again_at_their_end(sizes, start, number):
    if not sum(sizes):
        return
    whole = np.arange(sum(sizes), dtype=np.uint16)
    tokens = Tokens(np.split(whole, np.cumsum(sizes)[:-1]))
    assert len(tokens) == sum(sizes)
    assert tokens.take(start, number).tolist() == np.take(whole, np.arange(start, start + number), mode="wrap").tolist()


def test_every_token_stands_for_its_bytes(tiny):
    tokenizer = Tokenizer.from_file(str(tiny.run.folder("tokenizer") / "tokenizer.json"))
    sizes = bytes_of_tokens(tokenizer)
    special = len(tokenizer.get_added_tokens_decoder())
    assert special >= 4
    assert not sizes[:special].any()
    assert sizes[special:].min() == 1
    text = "Il-ħobż, το ψωμί, პური, € 🥖\n"
    assert sizes[tokenizer.encode(text).ids].sum() == len(text.encode())
