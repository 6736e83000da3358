"""Steps that are left out, and when a training goes back."""

import json
import math

import pytest

from openeurollm.errors import Failure
from openeurollm.model.guard import Guard


def _seen(number=64):
    guard = Guard("train")
    for step in range(number):
        assert guard.judge(step, 5.0 + 0.01 * (step % 7), 1.0 + 0.1 * (step % 5)) == ("update", "")
    return guard


def test_a_fall_of_the_loss_or_a_hard_batch_is_no_harm():
    guard = _seen()
    assert guard.judge(64, 2.0, 30.0)[0] == "update"
    assert guard.judge(65, 9.0, 2.0)[0] == "update"
    assert guard.skipped == 0


@pytest.mark.parametrize(
    ("loss", "norm", "words"),
    [
        (math.nan, 1.0, "the loss is nan"),
        (math.inf, 1.0, "the loss is inf"),
        (5.0, math.nan, "the gradient's norm is nan"),
        (9.0, 60.0, "the loss is 9.000, usually 5.030, the gradient 50 times as long"),
    ],
)
def test_a_step_that_stands_out_is_left_out(loss, norm, words):
    guard = _seen()
    assert guard.judge(64, loss, norm) == ("skipped", words)
    assert guard.judge(65, 5.0, 1.0) == ("update", "")
    assert guard.skipped == 1


def test_the_first_steps_cannot_stand_out_but_must_be_numbers():
    guard = Guard("train")
    assert guard.judge(0, 50.0, 1e9)[0] == "update"
    assert guard.judge(1, math.nan, 1.0)[0] == "skipped"


def test_eight_in_a_row_send_the_training_back_and_are_passed_over():
    guard = _seen()
    at_checkpoint = json.loads(json.dumps(_seen(50).asdict()))
    verdicts = [guard.judge(step, math.nan, 1.0)[0] for step in range(64, 72)]
    assert verdicts == ["skipped"] * 7 + ["rolled_back"]
    guard.go_back(50, Guard("train", at_checkpoint))
    assert guard.avoided == set(range(56, 72))
    assert (guard.skipped, guard.rolled_back) == (8, 1)
    assert guard.judge(50, 5.0, 1.0) == ("update", "")


def test_it_goes_back_three_times_and_then_fails_in_words():
    guard = _seen()
    for turn in range(4):
        for step in range(100 * turn + 64, 100 * turn + 72):
            guard.judge(step, math.nan, 1.0)
        if turn < 3:
            guard.go_back(40, Guard("train", _seen(40).asdict()))
    assert guard.rolled_back == 3
    with pytest.raises(Failure, match="train: losses or gradients are no numbers, or far too large, from step 364 on"):
        guard.go_back(40, Guard("train"))


def test_without_a_checkpoint_there_is_nowhere_to_go():
    guard = Guard("train")
    for step in range(8):
        guard.judge(step, math.nan, 1.0)
    with pytest.raises(Failure, match="from step 0 on; lower its rates"):
        guard.go_back(0, Guard("train"))


def test_what_a_checkpoint_holds_is_enough_for_the_same_decisions():
    guard = _seen()
    guard.judge(64, math.nan, 1.0)
    other = Guard("train", json.loads(json.dumps(guard.asdict())))
    for step in range(65, 90):
        loss, norm = (9.0, 80.0) if step % 6 == 0 else (5.0, 1.0)
        assert guard.judge(step, loss, norm) == other.judge(step, loss, norm)
    assert guard.asdict() == other.asdict()
