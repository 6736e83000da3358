"""The chunked cross-entropy is the plain one: loss and gradients to the rounding of float32, in less memory."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from openeurollm.model.cross_entropy import cross_entropy, nats


def _made(positions, vocabulary, width=24, left_out=0.2, size=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(positions, width, generator=generator)
    head = torch.randn(vocabulary, width, generator=generator) * size / width**0.5
    targets = torch.randint(vocabulary, (positions,), generator=generator)
    targets[torch.rand(positions, generator=generator) < left_out] = -100
    return hidden, head, targets


def _exact(hidden, head, targets):
    """Loss and gradients in float64."""
    hidden, head = (tensor.double().requires_grad_() for tensor in (hidden, head))
    loss = F.cross_entropy(hidden @ head.T, targets, ignore_index=-100, reduction="sum")
    loss.backward()
    return loss.detach(), hidden.grad, head.grad


def _ours(hidden, head, targets):
    hidden, head = (tensor.clone().requires_grad_() for tensor in (hidden, head))
    loss = cross_entropy(hidden, head, targets)
    loss.backward()
    return loss.detach(), hidden.grad, head.grad


def _close(found, wanted, relative=1e-5):
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype == torch.float32
        assert (one.double() - other).norm() <= relative * other.norm() + 1e-12


@settings(max_examples=40, deadline=None)
@given(
    positions=st.sampled_from([1, 2, 5, 383, 384, 385, 900]),
    vocabulary=st.integers(2, 300),
    left_out=st.sampled_from([0.0, 0.3, 0.97]),
    size=st.sampled_from([0.0, 1.0, 30.0]),
    seed=st.integers(0, 5),
)
def test_loss_and_gradients_are_those_of_the_whole(positions, vocabulary, left_out, size, seed):
    made = _made(positions, vocabulary, left_out=left_out, size=size, seed=seed)
    _close(_ours(*made), _exact(*made))


def test_a_target_that_is_as_good_as_impossible_costs_what_it_should():
    """Its probability is zero in float32, its logarithm is not."""
    hidden, head, targets = torch.ones(3, 1), torch.tensor([[0.0], [300.0], [-500.0]]), torch.tensor([0, 1, 2])
    assert cross_entropy(hidden, head, targets).item() == 300 + 0 + 800
    assert nats(hidden, head, targets).tolist() == [300, 0, 800]
    _close(_ours(hidden, head, targets), _exact(hidden, head, targets))


def test_positions_without_a_target_cost_nothing():
    hidden, head, _ = _made(7, 30)
    nothing = torch.full((7,), -100)
    loss, to_hidden, to_head = _ours(hidden, head, nothing)
    assert (loss, to_hidden.abs().sum(), to_head.abs().sum()) == (0, 0, 0)
    assert nats(hidden, head, nothing).tolist() == [0] * 7


def test_each_position_costs_its_share():
    hidden, head, targets = _made(500, 70)
    wanted = F.cross_entropy(hidden @ head.T, targets, ignore_index=-100, reduction="none")
    torch.testing.assert_close(nats(hidden, head, targets), wanted)
    torch.testing.assert_close(nats(hidden, head, targets).sum(), cross_entropy(hidden, head, targets))


def test_the_gradient_is_of_what_is_made_of_the_loss():
    hidden, head, targets = _made(50, 40)
    _, to_hidden, to_head = _ours(hidden, head, targets)
    hidden.requires_grad_()
    head.requires_grad_()
    (cross_entropy(hidden, head, targets) / 8 + head.sum()).backward()
    torch.testing.assert_close(hidden.grad, to_hidden / 8)
    torch.testing.assert_close(head.grad, to_head / 8 + 1)


def test_only_the_head_may_be_learnt():
    hidden, head, targets = _made(50, 40)
    _, _, to_head = _ours(hidden, head, targets)
    head.requires_grad_()
    cross_entropy(hidden, head, targets).backward()
    assert torch.equal(head.grad, to_head)


def test_gradients_can_be_asked_for_once():
    hidden, head, targets = _made(5, 4)
    loss = cross_entropy(hidden.requires_grad_(), head, targets)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="once"):
        loss.backward()


def test_the_same_bits_every_time():
    made = _made(900, 1000)
    one, other = _ours(*made), _ours(*made)
    assert all(torch.equal(*pair) for pair in zip(one, other, strict=True))


@pytest.mark.parametrize("amx", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_under_autocast_factors_are_rounded_and_sums_are_not(dtype, amx, monkeypatch):
    """The error of a sum of many positions stays that of one: it would grow in a sum of eight bits. Processors with and
    without AMX make products by other ways.
    """
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": amx})
    hidden, head, targets = _made(4000, 50, left_out=0)
    with torch.autocast("cpu", torch.bfloat16):
        found = _ours(hidden.to(dtype), head.to(dtype), targets)
    assert (found[1].dtype, found[2].dtype) == (dtype, dtype)
    wanted = _exact(hidden, head, targets)
    assert abs(found[0] / wanted[0] - 1) < 1e-3
    for one, other in zip(found[1:], wanted[1:], strict=True):
        assert (one.double() - other).norm() < 0.01 * other.norm()
    assert torch.get_float32_matmul_precision() == "highest"


class _Largest(TorchDispatchMode):
    """Sees every operation and remembers the elements of the largest result."""

    elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        sizes = [each.numel() for each in tree_leaves(result) if isinstance(each, torch.Tensor)]
        self.elements = max(self.elements, *sizes, 0)
        return result


def test_the_logits_of_all_positions_are_never_there():
    made = _made(3000, 1000)
    with _Largest() as largest:
        _ours(*made)
        nats(*made)
    assert 1000 * 24 < largest.elements < 3000 * 1000 / 5
