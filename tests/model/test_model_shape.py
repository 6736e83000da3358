"""The shape follows from the budget: more compute never makes a smaller model, and the count of FLOP is right."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from openeurollm.errors import BadInput
from openeurollm.model.decoder import Decoder
from openeurollm.model.law import bundled
from openeurollm.model.shape import Shape, Text, choose, law_of, neighbours, suitable_vocabulary
from openeurollm.recipe import Model, batch_tokens, compute


def test_the_flop_of_a_small_shape_are_those_counted_by_hand():
    """One layer of width 8: queries 8·8, keys 8·4, values 8·4, output 8·8, three matrices 8·16, head 10·8: 656 weights.

    Each is multiplied and added once forward, twice backward: 6 FLOP. Attention: 2 heads of 4, scores and their use,
    over 8 of 16 positions on average: 2·2·2·4·8 forward, three times that in all.
    """
    shape = Shape(vocabulary=10, layers=1, width=8, heads=2, key_value_heads=1, head=4, feed_forward=16, context=16)
    assert shape.matrix_parameters == 64 + 32 + 32 + 64 + 3 * 128 + 80 == 656
    assert shape.flop_per_token == 6 * 656 + 3 * 256 == 4704
    assert shape.parameters == 656 + 80 + (2 * 8 + 2 * 4) + 8 == 768


@pytest.mark.parametrize("shape", [Shape(300, 2, 64, 4, 2, 16, 96, 64), Shape(500, 3, 48, 2, 1, 24, 144, 32)])
def test_the_flop_are_those_that_torch_counts(shape):
    """torch counts the forward pass, and attention over the whole context instead of its causal half."""
    decoder = Decoder(shape, 0)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        decoder(torch.zeros(2, shape.context, dtype=torch.long))
    attention = 4 * shape.layers * shape.heads * shape.head * shape.context
    forward = shape.flop_per_token / 3 + attention / 2
    assert counter.get_total_flops() == pytest.approx(2 * shape.context * forward)


def _model(compute, **parts):
    return Model(compute=compute, **{"context": 64, "batch_tokens": 1024, **parts})


def _derived(model, vocabulary, tokens, max_epochs):
    law = law_of(model)
    chosen = choose(model, vocabulary, Text(tokens, max_epochs, law.bytes_per_token), law)
    return chosen.shape, chosen.tokens


@given(st.floats(10, 19), st.floats(0, 2, allow_subnormal=False), st.sampled_from([1e5, 1e7, 1e10]))
def test_more_compute_never_makes_a_smaller_model_or_fewer_tokens_than_it_pays(exponent, more, text):
    smaller, few = _derived(_model(10**exponent), 4096, text, 4)
    larger, many = _derived(_model(10 ** (exponent + more)), 4096, text, 4)
    assert larger.parameters >= smaller.parameters
    for shape, tokens, budget in ((smaller, few, 10**exponent), (larger, many, 10 ** (exponent + more))):
        assert tokens % 1024 == 0
        assert tokens * shape.flop_per_token <= budget
        assert tokens <= max(1024, 4 * text)


@given(st.floats(11, 20), st.integers(300, 200_000))
def test_every_derived_shape_is_one_that_divides(exponent, vocabulary):
    shape, _ = _derived(_model(10**exponent, batch_tokens=64), vocabulary, 1e9, 4)
    assert shape.heads * shape.head == shape.width
    assert shape.heads % shape.key_value_heads == 0
    assert shape.head % 2 == 0
    assert shape.vocabulary == vocabulary


def test_the_same_budget_gives_the_same_shape():
    assert _derived(_model(1e15), 8192, 1e7, 4) == _derived(_model(1e15), 8192, 1e7, 4)


def test_where_text_is_short_a_larger_model_is_not_trained_on_more_of_it():
    _, tokens = _derived(_model(1e16), 4096, 100_000, 4)
    assert tokens == 400_000 // 1024 * 1024


@pytest.mark.parametrize("compute", [1.0, 1e6, 1e8])
def test_a_budget_that_pays_for_no_batch_is_bad_input_that_names_the_least(compute):
    with pytest.raises(BadInput, match=r"does not pay for one batch; the least is .* FLOP"):
        _derived(_model(compute), 4096, 1e6, 4)


def test_the_least_that_is_named_is_enough():
    with pytest.raises(BadInput) as told:
        _derived(_model(1.0), 4096, 1e6, 4)
    least = float(str(told.value).rpartition("the least is ")[2].removesuffix(" FLOP"))
    _, tokens = _derived(_model(1.05 * least), 4096, 1e6, 4)
    assert tokens == 1024


def test_a_given_shape_is_taken_as_it_is(tiny):
    given = "{layers=3,width=48,heads=6,key_value_heads=2,feed_forward=100}"
    model = tiny.change(f"model.shape={given}").model
    shape, tokens = _derived(model, 800, 1e6, 4)
    assert shape == Shape(800, 3, 48, 6, 2, 8, 100, 64)
    assert tokens == int(1e11 / shape.flop_per_token) // 1024 * 1024


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("{layers=2,width=50,heads=4,key_value_heads=2,feed_forward=64}", "even multiple of `heads`"),
        ("{layers=2,width=44,heads=4,key_value_heads=2,feed_forward=64}", "even multiple of `heads`"),
        ("{layers=2,width=64,heads=4,key_value_heads=3,feed_forward=64}", "multiple of `key_value_heads`"),
        ("{layers=2,width=64,heads=2,key_value_heads=4,feed_forward=64}", "multiple of `key_value_heads`"),
        ("{layers=0,width=64,heads=4,key_value_heads=4,feed_forward=64}", "layers"),
        ("{layers=2,width=64,heads=4,key_value_heads=4}", "`feed_forward` is missing"),
    ],
)
def test_a_given_shape_that_does_not_divide_is_refused(tiny, given, message):
    with pytest.raises(BadInput, match=message):
        tiny.change(f"model.shape={given}")


@pytest.mark.parametrize(("batch_tokens", "size"), [(1000, 960), (64, 64), (16, 64), (127, 64), (128, 128)])
def test_a_batch_is_whole_sequences_and_is_paid_for(batch_tokens, size):
    """The trainer makes at least one sequence of a batch; the budget counts what it makes."""
    shape, tokens = _derived(_model(1e9, batch_tokens=batch_tokens), 400, 1e9, 4)
    assert tokens % size == 0
    assert tokens * shape.flop_per_token <= 1e9


# ---- the other dials

ENOUGH = Text(1e15, 4, 3.0)


def _chosen(vocabulary=4096, text=ENOUGH, **dial):
    return choose(Model(context=64, **dial), vocabulary, text, bundled())


@pytest.mark.parametrize("parameters", [3e5, 1e6, 4.2e6, 33e6, 1.3e8, 1e9, 7e9])
def test_parameters_give_the_shape_that_is_nearest_and_the_length_that_suits_it(parameters):
    found = _chosen(parameters=parameters)
    assert found.shape.parameters == pytest.approx(parameters, rel=0.15)
    assert found.shape.heads * found.shape.head == found.shape.width
    suited = bundled().best.best_text(found.shape.matrix_parameters) / 3.0
    assert found.tokens == pytest.approx(suited, rel=0.01)


@given(st.floats(6, 12), st.floats(0, 2, allow_subnormal=False))
def test_more_tokens_never_make_a_smaller_model(exponent, more):
    fewer = _chosen(tokens=10**exponent, batch_tokens=1024)
    many = _chosen(tokens=10 ** (exponent + more), batch_tokens=1024)
    assert many.shape.parameters >= fewer.shape.parameters
    assert fewer.tokens == 10**exponent // 1024 * 1024


def test_parameters_and_tokens_are_both_taken():
    found = _chosen(parameters=5e6, tokens=3e6, batch_tokens=1024)
    assert found.shape.parameters == pytest.approx(5e6, rel=0.15)
    assert found.tokens == 3_000_000 // 1024 * 1024


def test_a_given_shape_and_tokens_are_both_taken():
    shape = {"layers": 3, "width": 48, "heads": 6, "key_value_heads": 2, "feed_forward": 100}
    found = _chosen(shape=shape, tokens=2e6, batch_tokens=1024)
    assert (found.shape.layers, found.shape.width) == (3, 48)
    assert found.tokens == 2_000_000 // 1024 * 1024


@pytest.mark.parametrize("dial", [{"compute": 1e9, "parameters": 1e6}, {"compute": 1e9, "tokens": 1e6}])
def test_two_dials_that_say_the_same_are_refused(dial):
    with pytest.raises(ValueError, match="`compute` sets parameters and tokens"):
        Model(**dial)


@pytest.mark.parametrize("parameters", [1e3, 1e5, 1e13])
def test_parameters_that_no_shape_has_are_refused_with_the_nearest(parameters):
    with pytest.raises(
        BadInput, match=r"no shape over a vocabulary of 4,096 has about so many; the nearest has [\d,]+"
    ):
        _chosen(parameters=parameters)


def test_more_tokens_than_the_corpus_has_are_refused():
    with pytest.raises(BadInput, match=r"tokens = 5,000,000: the corpus has 1,000,000, which .* lets be 4,000,000"):
        _chosen(text=Text(1e6, 4, 3.0), tokens=5e6)


@pytest.mark.parametrize("dial", [{"compute": 1e12}, {"parameters": 1e6}, {"tokens": 1_000.0}])
def test_a_corpus_smaller_than_a_batch_is_refused(dial):
    with pytest.raises(BadInput, match=r"the corpus has 400 tokens, .* do not fill a batch of 8,192"):
        _chosen(text=Text(400, 4, 3.0), batch_tokens=8192, **dial)


def test_where_text_is_short_more_compute_does_not_make_the_model_grow_without_end():
    short = Text(2e5, 4, 3.0)
    sizes = [_chosen(text=short, compute=10.0**power).shape.parameters for power in range(11, 20)]
    assert sizes == sorted(sizes)
    assert sizes[-1] < 100 * _chosen(text=short, parameters=5e5).shape.parameters


def test_neighbours_spend_as_much_and_none_is_better_by_more_than_two_trainings_differ():
    model = Model(compute=1e15, context=64)
    found = choose(model, 4096, ENOUGH, bundled())
    around = neighbours(model, found, 4096, ENOUGH, bundled())
    assert found in around
    assert [each.shape.width for each in around] == sorted({each.shape.width for each in around})
    for each in around:
        assert each.flop == pytest.approx(1e15, rel=0.01)
        assert each.predicted.value > found.predicted.value / 1.003


def test_a_tied_matrix_is_counted_once():
    shape = choose(Model(compute=1e12, tied=True), 4096, ENOUGH, bundled()).shape
    decoder = Decoder(shape, 0)
    assert shape.parameters == sum(each.numel() for each in decoder.parameters())


def test_the_law_of_a_sweep_is_used_where_the_recipe_names_it(tmp_path):
    law = bundled().model_copy(update={"bytes_per_token": 2.0})
    (tmp_path / "law.json").write_text(law.model_dump_json(), "utf-8")
    with pytest.raises(BadInput, match="no such file"):
        _derived(Model(compute=1e12, law=tmp_path / "absent.json"), 4096, 1e9, 4)
    assert _derived(Model(compute=1e12, law=tmp_path / "law.json"), 4096, 1e9, 4)[1] > 0


# ---- batch and vocabulary


def test_the_batch_grows_with_the_budget_and_can_be_given():
    sizes = [batch_tokens(Model(compute=10.0**power)) for power in range(9, 26)]
    assert sizes == sorted(sizes)
    assert all(size & (size - 1) == 0 for size in sizes)
    assert sizes[0] == 256  # one row
    assert batch_tokens(Model(compute=1e14)) == 8192
    assert batch_tokens(Model(compute=1e14, batch_tokens=100)) == 100


def test_what_a_dial_costs_is_guessed_before_the_vocabulary_is_known():
    assert compute(Model(compute=1e12)) == 1e12
    assert compute(Model(parameters=1e6, tokens=1e7)) == 6e13
    assert compute(Model(parameters=1e6)) == compute(Model(tokens=2e7)) == 1.2e14
    shape = {"layers": 2, "width": 64, "heads": 2, "key_value_heads": 1, "feed_forward": 192}
    assert compute(Model(shape=shape, tokens=1e6)) == 6e6 * 2 * 64 * (2 * 96 + 3 * 192)


def test_a_larger_model_is_suited_by_a_larger_vocabulary():
    found = [suitable_vocabulary(_chosen(parameters=size).shape) for size in (5e5, 1e7, 1e8, 2e9, 8e9)]
    assert found == sorted(found)
    assert found[0] == 1024
    assert found[3] == 2**17
