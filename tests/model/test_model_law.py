"""The scaling law: found again from points that follow it, unshaken by a bad one, honest about what it cannot know."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openeurollm.errors import BadInput
from openeurollm.model import law as laws
from openeurollm.model.law import Curve, Law, Point, bundled, fit, read, useful, useful_size

TRUE = Curve(floor=0.6, a=40, alpha=0.3, b=2000, beta=0.4)


def _points(noise: float = 0.0, sizes: tuple[float, ...] = (3e5, 1e6, 2e6, 5e6)) -> list[Point]:
    generator = np.random.default_rng(5)
    found = []
    for size in sizes:
        for flop in (1e12, 3e12, 1e13):
            text = flop / size / 2
            loss = float(TRUE.loss(size, text) * math.exp(noise * generator.normal()))
            found.append(Point(size=size, text=text, loss=loss, flop=flop))
    return found


@pytest.mark.parametrize(("size", "text", "off"), [(2e6, 1e8, 0.03), (2e7, 1e9, 0.06)])
def test_a_law_is_found_again_and_its_interval_holds_the_truth(size, text, off):
    law = fit(_points(noise=0.004), 3.0)
    predicted, truth = law.predict(size, text), TRUE.loss(size, text)
    assert predicted.value == pytest.approx(truth, rel=off)
    assert predicted.low < truth < predicted.high


def test_the_further_off_the_wider_the_interval():
    law = fit(_points(noise=0.004), 3.0)
    widths = [law.predict(size, 100 * size) for size in (1e6, 1e8, 1e10)]
    ratios = [each.high / each.low for each in widths]
    assert ratios == sorted(ratios)
    assert ratios[-1] > 1.3 * ratios[0]


def test_one_training_that_failed_hardly_moves_the_law():
    points = _points(noise=0.002)
    spoilt = [point.model_copy(update={"loss": 2 * point.loss}) if n == 5 else point for n, point in enumerate(points)]
    good, bad = fit(points, 3.0).predict(1e7, 5e8), fit(spoilt, 3.0).predict(1e7, 5e8)
    assert bad.value == pytest.approx(good.value, rel=0.08)


def test_sizes_that_are_all_a_little_off_do_not_bend_the_law():
    """As layers and heads that do not divide make them: every training of a size by the same share."""
    points = _points(noise=0.001)
    off = dict(zip(sorted({point.size for point in points}), (-0.01, 0.01, 0.008, 0.004, -0.01), strict=False))
    bent = [point.model_copy(update={"loss": point.loss * (1 + off[point.size])}) for point in points]
    straight, found = fit(points, 3.0).best, fit(bent, 3.0).best
    assert found.alpha == pytest.approx(straight.alpha, abs=0.08)
    assert found.beta == pytest.approx(straight.beta, abs=0.03)


def test_points_far_from_any_answer_are_answered_by_the_prior():
    """Two sizes and two lengths close together say nothing of exponents."""
    points = [Point(size=n, text=d, loss=3.0, flop=6 * n * d) for n in (1e6, 1.01e6) for d in (1e7, 1.01e7)]
    best = fit(points, 3.0).best
    assert best.alpha == pytest.approx(0.35, abs=0.1)
    assert best.beta == pytest.approx(0.37, abs=0.1)
    assert best.loss(1e6, 1e7) == pytest.approx(3.0, rel=0.02)


def test_the_same_points_give_the_same_law():
    assert fit(_points(0.01), 3.0) == fit(_points(0.01), 3.0)


@given(st.integers(0, 2**32))
def test_whatever_the_losses_the_law_is_one_that_can_be_read_again(seed):
    generator = np.random.default_rng(seed)
    points = [point.model_copy(update={"loss": float(generator.uniform(0.5, 9))}) for point in _points()]
    law = fit(points, 3.0)
    assert Law.model_validate_json(law.model_dump_json()) == law
    low, value, high = (law.predict(1e7, 1e8)[place] for place in (1, 0, 2))
    assert 0 < low < value < high < math.inf


@pytest.mark.parametrize(
    "points",
    [[], _points()[:3], _points(sizes=(1e6,)) * 2, [Point(size=n, text=1e7, loss=3, flop=1e12) for n in (1, 2, 3, 4)]],
)
def test_too_few_trainings_are_refused(points):
    with pytest.raises(BadInput, match="4 trainings of 2 sizes and 2 durations"):
        fit(points, 3.0)


@given(st.integers(5, 11), st.integers(6, 13))
def test_the_best_text_of_a_size_is_where_compute_cannot_be_spent_better(size_power, text_power):
    size = 10.0**size_power
    text = TRUE.best_text(size)
    best = TRUE.loss(size, text)
    assert best <= min(TRUE.loss(size * 1.1, text / 1.1), TRUE.loss(size / 1.1, text * 1.1))
    assert TRUE.best_size(text) == pytest.approx(size)
    assert TRUE.best_text(TRUE.best_size(10.0**text_power)) == pytest.approx(10.0**text_power)


def test_repeated_text_is_worth_less_and_less_and_never_more_than_sixteen_times():
    worth = [useful(epochs * 100.0, 100.0) for epochs in (0.5, 1, 2, 4, 40, 4_000)]
    assert worth[:2] == [50, 100]
    assert worth[2] == pytest.approx(196.8, abs=0.1)
    assert worth == sorted(worth)
    assert worth[-1] == pytest.approx(1_639)
    assert useful_size(50.0, 100.0) == 50
    assert useful_size(1e9, 100.0) == pytest.approx(631)


# ---- files


def test_a_law_is_read_as_it_was_written(tmp_path):
    law = fit(_points(0.01), 3.0, {"what": "a test"})
    (tmp_path / "law.json").write_text(law.model_dump_json(), "utf-8")
    assert read(tmp_path / "law.json") == law


def test_the_bundled_law_says_where_it_comes_from():
    law = bundled()
    assert law.about["what"]
    assert law.predict(1e6, 1e8).low < law.predict(1e6, 1e8).high


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "something else"}, "kind"),
        ({"best": {"floor": -1, "a": 1, "alpha": 0.3, "b": 1, "beta": 0.3}}, "floor"),
        ({"best": {"floor": 1, "a": 1, "alpha": 50, "b": 1, "beta": 0.3}}, "alpha"),
        ({"best": {"floor": 1, "a": 1e400, "alpha": 0.3, "b": 1, "beta": 0.3}}, "best.a"),
        ({"draws": []}, "draws"),
        ({"points": []}, "points"),
        ({"noise": 0}, "noise"),
        ({"bytes_per_token": "many"}, "bytes_per_token"),
    ],
)
def test_a_file_that_is_no_law_is_refused_by_its_name(tmp_path, change, message):
    law = json.loads(fit(_points(0.01), 3.0).model_dump_json())
    file = tmp_path / "law.json"
    file.write_text(json.dumps({**law, **change}), "utf-8")
    with pytest.raises(BadInput, match=f"law.json: .*{message}"):
        read(file)


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", "[" * 100_000, '{"kind": "\\ud800"}', "NaN"])
def test_hostile_json_ends_in_one_line(tmp_path, text):
    file = tmp_path / "law.json"
    file.write_text(text, "utf-8")
    with pytest.raises(BadInput, match=r"law\.json") as told:
        read(file)
    assert "\n" not in str(told.value)


def test_a_file_without_end_is_not_read(tmp_path):
    file = tmp_path / "law.json"
    file.write_bytes(b" " * (laws._MOST_BYTES + 1))
    with pytest.raises(BadInput, match="over 2,000,000 bytes"):
        read(file)
    with pytest.raises(BadInput, match="no such file"):
        read(tmp_path / "absent.json")
