"""The scaling law: bits per byte on held-out text, by a model's size and the text it was trained on.

    loss(N, D) = floor + A / N^alpha + B / D^beta

N counts the parameters that multiply every token, D the bytes of training text (Hoffmann et al. 2022, "Training
compute-optimal large language models", with tokens for bytes; bytes let laws of different tokenizers be compared).
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from openeurollm.errors import BadInput
from openeurollm.ledger import results
from openeurollm.ledger.results import Part

Vector = NDArray[np.float64]

_REPEATS, _EXCESS = 15.39, 5.31
"""Repeated text counts less and less, and so do parameters beyond those that different text can fill: R*_D and R*_N of
Muennighoff et al. 2023, "Scaling data-constrained language models"."""
_EXPONENTS = {"alpha": (0.35, 0.1), "beta": (0.37, 0.1)}
"""What is believed of them before the sweep, mean and deviation: .34 and .28 in Hoffmann et al. 2022, .35 and .37 in
Besiroglu et al. 2024 ("Chinchilla scaling: a replication attempt"), .35 both in Muennighoff et al. 2023. A small sweep
says little of them, and a budget far beyond it is judged by them."""
_FLOOR = (math.log(0.5), 0.6)
"""The same of the logarithm of the floor, bits a byte: 1.8 nats a token of about 4.5 bytes of English, Besiroglu et al.
2024, and what other scripts, short contexts and small vocabularies make of it. With a deviation of .3 it, and not the
sweep, decided how size and text share a budget (docs/diary.md)."""
_WIDE = 3.0
_SIZE = 0.01
"""By so much of their loss sizes differ in what is not their number of parameters: layers and heads are whole."""
_HUBER = 1.345
"""Residuals over this many deviations count less: 95 % of the efficiency of least squares (Huber 1981)."""
_LEAST_NOISE = 0.003
"""Two trainings that differ in their seed differ by about this share of their loss."""
_DRAWS, _MOST_BYTES = 200, 2_000_000
_STARTS = ((0.35, 0.37), (0.2, 0.2), (0.6, 0.6), (0.2, 0.6), (0.6, 0.2))

Positive = Annotated[float, Field(gt=0, le=1e30, allow_inf_nan=False)]
Exponent = Annotated[float, Field(ge=0.01, le=2, allow_inf_nan=False)]


class Estimate(NamedTuple):
    """A predicted loss in bits a byte with its 95 % interval."""

    value: float
    low: float
    high: float


class Point(Part):
    """A training of the sweep: parameters, bytes of text (repeated ones counted for less), bits a byte, FLOP."""

    size: Positive
    text: Positive
    loss: Positive
    flop: Positive


class Curve(Part):
    """One set of the law's constants."""

    floor: Positive
    a: Positive
    alpha: Exponent
    b: Positive
    beta: Exponent

    def loss(self, size: Any, text: Any) -> Any:
        """Bits a byte of a model of `size` parameters after `text` bytes; numbers or arrays of them."""
        return self.floor + self.a / np.power(size, self.alpha) + self.b / np.power(text, self.beta)

    def best_text(self, size: float) -> float:
        """Bytes of text with which a model of this size is the best use of the compute.

        There, at constant N D, d loss / d log N is zero: alpha A / N^alpha = beta B / D^beta.
        """
        return float((self.beta * self.b * size**self.alpha / (self.alpha * self.a)) ** (1 / self.beta))

    def best_size(self, text: float) -> float:
        """Parameters for which so many bytes of text are the best use of the compute."""
        return float((self.alpha * self.a * text**self.beta / (self.beta * self.b)) ** (1 / self.alpha))


class Law(Part):
    """The constants that fit a sweep best, others that fit it nearly as well, and the sweep."""

    kind: Literal["openeurollm scaling law 1"] = "openeurollm scaling law 1"
    best: Curve
    draws: Annotated[list[Curve], Field(min_length=20, max_length=2_000)]
    noise: Annotated[float, Field(gt=0, le=10, allow_inf_nan=False)]
    """Deviation of the points from the best curve, as a share of the loss."""
    bytes_per_token: Annotated[float, Field(gt=0, le=1_000, allow_inf_nan=False)]
    """Of the sweep's mixture and tokenizer: to count tokens with where no tokenizer is known yet."""
    points: Annotated[list[Point], Field(min_length=1, max_length=10_000)]
    about: Annotated[dict[str, str | int | float], Field(max_length=40)] = Field(default_factory=dict)
    """Where it comes from, in words."""

    def predict(self, size: float, text: float) -> Estimate:
        """The loss of a model of `size` parameters after `text` bytes, repeated ones counted by `useful`."""
        value = float(self.best.loss(size, text))
        spread = np.log([draw.loss(size, text) for draw in self.draws]) - math.log(value)
        width = 1.96 * math.sqrt(float(np.mean(spread**2)) + self.noise**2 + _SIZE**2)
        return Estimate(value, value * math.exp(-width), value * math.exp(width))


def useful(text: float, available: float) -> float:
    """What `text` bytes are worth of which only `available` are different (Muennighoff et al. 2023)."""
    return _worth(text, available, _REPEATS)


def useful_size(size: float, suited: float) -> float:
    """What `size` parameters are worth where the different text that there is suits only so many (as above)."""
    return _worth(size, suited, _EXCESS)


def _worth(amount: float, full: float, rate: float) -> float:
    return min(amount, full) * (1 + rate * (1 - math.exp(-max(0.0, amount / full - 1) / rate)))


def fit(points: Sequence[Point], bytes_per_token: float, about: dict[str, str | int | float] | None = None) -> Law:
    """The law of a sweep: constants of the greatest posterior density, and draws around them.

    Errors are those of the logarithm of the loss, by Huber's rule; exponents and floor have weak priors from published
    laws. A draw fits the points anew with random weights (Rubin 1981, "The Bayesian bootstrap") and priors moved at
    random by as much as they are uncertain. The same points give the same law. Raises `BadInput` where they are too
    few.
    """
    sizes, texts = {point.size for point in points}, {point.text for point in points}
    if len(points) < 4 or len(sizes) < 2 or len(texts) < 2:
        raise BadInput(
            f"a law needs 4 trainings of 2 sizes and 2 durations at least; there are {len(points)} "
            f"of {len(sizes)} and {len(texts)}"
        )
    problem = _Problem(points)
    noise, best = 0.02, problem.start()
    for _ in range(3):
        best = problem.solve(best, noise)
        noise = problem.noise(best)
    generator = np.random.Generator(np.random.PCG64(len(points)))
    draws = [
        problem.solve(best, noise, generator.exponential(size=len(points)), generator.normal(size=best.size))
        for _ in range(_DRAWS)
    ]
    return Law(
        best=problem.curve(best),
        draws=[problem.curve(draw) for draw in draws],
        noise=round(noise, 6),
        bytes_per_token=round(bytes_per_token, 4),
        points=list(points),
        about=about or {},
    )


def read(path: Path) -> Law:
    """The law in a JSON file; raises `BadInput` where it is absent, too large, or no law."""
    return results.checked(Law, results.read_bounded(path, most=_MOST_BYTES), str(path))


@lru_cache(maxsize=1)
def bundled() -> Law:
    """The law of our own sweep; its `about` says of what."""
    return Law.model_validate_json(resources.files("openeurollm.model").joinpath("law.json").read_text("utf-8"))


class _Problem:
    """The least squares of a fit, over (log floor, log a, log b, alpha, beta, then how far each size is off the curve).

    `a` and `b` are taken at the sweep's middle, where they hardly depend on the exponents.
    """

    def __init__(self, points: Sequence[Point]) -> None:
        size, text = np.log([point.size for point in points]), np.log([point.text for point in points])
        self._middle = float(size.mean()), float(text.mean())
        self._x, self._y = size - size.mean(), text - text.mean()
        self._seen = np.log([point.loss for point in points])
        alpha, beta = _EXPONENTS.values()
        wide = float(self._seen.min()) - 1  # a third of the least loss each, give or take anything
        self._of_size: Vector = (size[:, None] == np.unique(size)).astype(np.float64)
        off = self._of_size.shape[1]
        self._prior = np.array([_FLOOR[0], wide, wide, alpha[0], beta[0], *[0.0] * off])
        self._width = np.array([_FLOOR[1], _WIDE, _WIDE, alpha[1], beta[1], *[_SIZE] * off])

    def start(self) -> Vector:
        """The best of several first guesses."""
        guesses = [np.array([*self._prior[:3], *exponents, *self._prior[5:]]) for exponents in _STARTS]
        solved = [self.solve(guess, 0.02) for guess in guesses]
        return min(solved, key=lambda theta: self._cost(theta, 0.02, np.ones_like(self._seen), self._prior))

    def solve(self, theta: Vector, noise: float, weights: Vector | None = None, moved: Vector | None = None) -> Vector:
        """Levenberg–Marquardt from `theta`; the priors `moved` by so many deviations."""
        weight = np.ones_like(self._seen) if weights is None else weights
        prior = self._prior if moved is None else self._prior + moved * self._width
        prior[3:5] = np.clip(prior[3:5], 0.05, 1.5)
        damping, cost = 1e-3, self._cost(theta, noise, weight, prior)
        for _ in range(100):
            residual, slopes = self._residual(theta), self._slopes(theta) / noise
            pull = weight / np.maximum(1.0, np.abs(residual / noise) / _HUBER)
            square = slopes.T * pull @ slopes + np.diag(self._width**-2)
            down = slopes.T * pull @ (residual / noise) + (theta - prior) / self._width**2
            step = np.linalg.solve(square + damping * np.diag(np.diag(square)), down)
            tried = theta - step
            tried[3:5] = np.clip(tried[3:5], 0.02, 1.9)
            lower = self._cost(tried, noise, weight, prior)
            if lower <= cost:
                done = cost - lower < 1e-10 * max(1.0, cost)
                theta, cost, damping = tried, lower, max(1e-9, damping / 5)
                if done:
                    break
            elif damping > 1e9:
                break
            else:
                damping *= 5
        return theta

    def noise(self, theta: Vector) -> float:
        """The points' deviation from the curve, corrected for what the curve was fitted to."""
        spread = 1.4826 * float(np.median(np.abs(self._residual(theta))))
        return max(_LEAST_NOISE, spread * math.sqrt(len(self._seen) / max(1, len(self._seen) - 3)))

    def curve(self, theta: Vector) -> Curve:
        """The constants in the law's own units."""
        floor, a, b, alpha, beta = map(float, theta[:5])
        a, b = a + alpha * self._middle[0], b + beta * self._middle[1]
        values = {"floor": math.exp(floor), "a": math.exp(a), "alpha": alpha, "b": math.exp(b), "beta": beta}
        return Curve(**{name: float(f"{value:.6g}") for name, value in values.items()})

    def _parts(self, theta: Vector) -> tuple[float, Vector, Vector]:
        floor, a, b, alpha, beta = theta[:5]
        return float(np.exp(floor)), np.exp(a - alpha * self._x), np.exp(b - beta * self._y)

    def _residual(self, theta: Vector) -> Vector:
        floor, size, text = self._parts(theta)
        return np.log(floor + size + text) + self._of_size @ theta[5:] - self._seen

    def _slopes(self, theta: Vector) -> Vector:
        floor, size, text = self._parts(theta)
        columns = (np.full_like(size, floor), size, text, -self._x * size, -self._y * text)
        return np.hstack([np.stack(columns, axis=1) / (floor + size + text)[:, None], self._of_size])

    def _cost(self, theta: Vector, noise: float, weight: Vector, prior: Vector) -> float:
        away = np.abs(self._residual(theta)) / noise
        huber = np.where(away <= _HUBER, away**2, 2 * _HUBER * away - _HUBER**2)
        return float((weight * huber).sum() + (((theta - prior) / self._width) ** 2).sum())
