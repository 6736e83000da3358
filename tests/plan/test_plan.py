"""What a budget buys, in numbers that a person can work out by hand."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openeurollm.plan import plan


def test_an_hour_at_a_kilowatt_is_a_kilowatt_hour():
    found = plan(3.6e15, 1e12, watts=1_000, euros_per_kwh=0.25)
    assert found.asdict() == {"flop": 3.6e15, "flop_per_s": 1e12, "seconds": 3_600, "kwh": 1.0, "euros": 0.25}


def test_without_power_or_price_there_is_no_energy_and_no_cost():
    assert plan(1e12, 1e12).kwh is None
    assert plan(1e12, 1e12, euros_per_kwh=1).euros is None
    assert plan(1e12, 1e12, watts=100).euros is None
    assert plan(1e12, 1e12, watts=0, euros_per_kwh=0).euros == 0


@given(st.floats(1, 1e26), st.floats(1, 1e20), st.floats(1, 1e6), st.floats(0.01, 10))
def test_twice_the_work_takes_twice_of_all(flop, speed, watts, price):
    one, two = plan(flop, speed, watts, price), plan(2 * flop, speed, watts, price)
    for part in ("seconds", "kwh", "euros"):
        assert getattr(two, part) == pytest.approx(2 * getattr(one, part))
    assert plan(flop, 2 * speed, watts, price).seconds == pytest.approx(one.seconds / 2)


@pytest.mark.parametrize("speed", [0, -1, math.nan, math.inf])
def test_a_speed_that_is_none_is_refused(speed):
    with pytest.raises(ValueError, match="above zero"):
        plan(1e12, speed)


@pytest.mark.parametrize("figures", [{"watts": math.nan}, {"watts": math.inf}, {"euros_per_kwh": math.nan}])
def test_a_figure_that_is_no_number_is_refused(figures):
    with pytest.raises(ValueError, match="finite"):
        plan(1e12, 1e12, **{"watts": 1, **figures})
