"""Rows and rates of each step."""

from hypothesis import given
from hypothesis import strategies as st

from openeurollm.model.schedule import Schedule

shares = st.sampled_from([0.0, 0.03, 0.25, 0.5, 1.0])


@given(st.integers(1, 5_000), st.integers(1, 64), shares, shares, shares)
def test_every_row_comes_once_and_in_order(total, rows, warmup, decay, ramp):
    schedule = Schedule.of(total, rows, min(warmup, 0.9), decay, ramp)
    at = 0
    for step in range(schedule.steps):
        first, number = schedule.span(step)
        assert first == at
        assert 0 < number <= rows
        at += number
    assert at == total


@given(st.integers(20, 5_000), st.integers(1, 64))
def test_rates_rise_stay_and_fall_to_nearly_nothing(total, rows):
    schedule = Schedule.of(total, rows, 0.1, 0.5)
    rates = [schedule.rate(step) for step in range(schedule.steps)]
    assert all(0 < rate <= 1 for rate in rates)
    top = rates.index(max(rates))
    assert rates[:top] == sorted(rates[:top])
    assert rates[-schedule.decay :] == sorted(rates[-schedule.decay :], reverse=True)
    if schedule.decay:
        assert rates[-1] == 1 / schedule.decay


def test_a_ramp_has_steps_of_a_quarter_then_of_half():
    schedule = Schedule.of(1_000, 16, 0, 0, ramp=0.32)
    numbers = [schedule.span(step)[1] for step in range(schedule.steps)]
    assert numbers == [4] * 40 + [8] * 20 + [16] * 42 + [8]


def test_without_a_ramp_steps_are_alike():
    schedule = Schedule.of(100, 3, 0, 0)
    assert [schedule.span(step)[1] for step in range(schedule.steps)] == [3] * 33 + [1]


@given(st.integers(200, 5_000), st.integers(1, 16), st.integers(1, 10), st.sampled_from([0.0, 0.25]))
def test_a_decay_on_demand_leaves_the_steps_before_it_as_they_were(total, rows, steps, ramp):
    plateau = Schedule.of(total, rows, 0.05, 0.0, ramp)
    step = next(step for step in range(plateau.steps) if plateau.span(step)[1] == rows) + plateau.warmup
    decayed = plateau.decayed(step, steps)
    assert [decayed.span(each) for each in range(step)] == [plateau.span(each) for each in range(step)]
    assert [decayed.rate(each) for each in range(step)] == [plateau.rate(each) for each in range(step)]
    assert decayed.rate(decayed.steps - 1) == 1 / decayed.decay
    first, number = decayed.span(decayed.steps - 1)
    assert first + number == decayed.total
