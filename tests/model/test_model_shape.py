"""The shape follows from the budget: more compute never makes a smaller model, and the count of FLOP is right."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from openeurollm.errors import BadInput
from openeurollm.model.decoder import Decoder
from openeurollm.model.shape import Shape, derive
from openeurollm.recipe import Model


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


@given(st.floats(10, 19), st.floats(0, 2), st.sampled_from([1e5, 1e7, 1e10]))
def test_more_compute_never_makes_a_smaller_model_or_fewer_tokens_than_it_pays(exponent, more, text):
    smaller, few = derive(_model(10**exponent), 4096, text, 4)
    larger, many = derive(_model(10 ** (exponent + more)), 4096, text, 4)
    assert larger.parameters >= smaller.parameters
    for shape, tokens, compute in ((smaller, few, 10**exponent), (larger, many, 10 ** (exponent + more))):
        assert tokens % 1024 == 0
        assert tokens * shape.flop_per_token <= compute
        assert tokens <= max(1024, 4 * text)


@given(st.floats(11, 20), st.integers(300, 200_000))
def test_every_derived_shape_is_one_that_divides(exponent, vocabulary):
    shape, _ = derive(_model(10**exponent, batch_tokens=64), vocabulary, 1e9, 4)
    assert shape.heads * shape.head == shape.width
    assert shape.heads % shape.key_value_heads == 0
    assert shape.head % 2 == 0
    assert shape.vocabulary == vocabulary


def test_the_same_budget_gives_the_same_shape():
    assert derive(_model(1e15), 8192, 1e7, 4) == derive(_model(1e15), 8192, 1e7, 4)


def test_where_text_is_short_a_larger_model_is_not_trained_on_more_of_it():
    _, tokens = derive(_model(1e16), 4096, 100_000, 4)
    assert tokens == 400_000 // 1024 * 1024


@pytest.mark.parametrize("compute", [1.0, 1e6, 1e8])
def test_a_budget_that_pays_for_no_batch_is_bad_input_that_names_the_least(compute):
    with pytest.raises(BadInput, match=r"does not pay for one batch; the least is .* FLOP"):
        derive(_model(compute), 4096, 1e6, 4)


def test_the_least_that_is_named_is_enough():
    with pytest.raises(BadInput) as told:
        derive(_model(1.0), 4096, 1e6, 4)
    least = float(str(told.value).rpartition("the least is ")[2].removesuffix(" FLOP"))
    _, tokens = derive(_model(1.05 * least), 4096, 1e6, 4)
    assert tokens == 1024


def test_a_given_shape_is_taken_as_it_is(tiny):
    given = "{layers=3,width=48,heads=6,key_value_heads=2,feed_forward=100}"
    model = tiny.change(f"model.shape={given}").model
    shape, tokens = derive(model, 800, 1e6, 4)
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
    shape, tokens = derive(_model(1e9, batch_tokens=batch_tokens), 400, 1e9, 4)
    assert tokens % size == 0
    assert tokens * shape.flop_per_token <= 1e9
