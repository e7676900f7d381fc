"""How many tokens prompts and answers have: one number or a distribution, with moments, quantiles and draws.

A length is a whole number from 1 up. `exponential` is the geometric distribution, its form on whole numbers.
`lognormal`: lengths below 1 count as 1 and the median is lowered so that the mean stays; draws are rounded up or down
at random, which keeps the mean. Draws are stratified: one from each of n equal parts of the distribution, in random
order, so that few requests have the right mean too. Most likely to be wrong: prompts and answers are drawn apart,
though those of real traffic go together.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

import numpy as np

from simcost.errors import SpecError
from simcost.frozen import frozen
from simcost.num import Array, Ints, normal

if TYPE_CHECKING:
    from numpy.random import Generator

MOST_TOKENS = 10**8  # beyond any context window by two orders: a larger number is a slip
_MOST_SIGMA = 5.0  # P99 is then 100,000 times the median
_BELOW_ONE = 1.0 - 2.0**-53


class Lengths(Protocol):
    """A distribution of tokens. Moments are of whole lengths [tokens, tokens^2]; of `LogNormal` before rounding, which
    adds at most 1/4 to the second."""

    @property
    def mean(self) -> float:
        """Expected tokens."""

    @property
    def second_moment(self) -> float:
        """Expected square of tokens."""

    @property
    def longest(self) -> float:
        """Most tokens; infinite where the distribution has no end."""

    def quantile(self, u: Array) -> Array:
        """The tokens that a share u of requests does not exceed, elementwise; 0 <= u <= 1."""

    def samples(self, rng: Generator, n: int) -> Ints:
        """n whole lengths in random order, one from each of n equal parts; the same generator state gives the same
        lengths."""

    def cap(self, most: float) -> Lengths:
        """The same with every length above `most` cut to it, as a maximum of new tokens does. Raises SpecError below
        1."""


@frozen
class Discrete:
    """Whole lengths, ascending, and the probability of each."""

    values: tuple[int, ...]
    shares: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Expected tokens."""
        return math.fsum(value * share for value, share in zip(self.values, self.shares, strict=True))

    @property
    def second_moment(self) -> float:
        """Expected square of tokens."""
        return math.fsum(value**2 * share for value, share in zip(self.values, self.shares, strict=True))

    @property
    def longest(self) -> float:
        """Most tokens."""
        return float(self.values[-1])

    def quantile(self, u: Array) -> Array:
        """The tokens that a share u does not exceed."""
        bounds = np.cumsum(self.shares)
        at = np.minimum(np.searchsorted(bounds / bounds[-1], u, side="left"), len(self.values) - 1)
        return np.asarray(self.values, np.float64)[at]

    def samples(self, rng: Generator, n: int) -> Ints:
        """n lengths in random order."""
        return self.quantile(_strata(rng, n)).astype(np.int64)

    def cap(self, most: float) -> Discrete:
        """Every length above `most` cut to it."""
        last = _checked_cap(most)
        kept = [value for value in self.values if value < last]
        if len(kept) == len(self.values):
            return self
        head = self.shares[: len(kept)]
        return Discrete((*kept, last), (*head, math.fsum(self.shares[len(kept) :])))


@frozen
class Uniform:
    """Every whole length from `least` to `most` alike."""

    least: int
    most: int

    @property
    def mean(self) -> float:
        """Expected tokens."""
        return (self.least + self.most) / 2.0

    @property
    def second_moment(self) -> float:
        """Expected square of tokens."""
        return self.mean**2 + ((self.most - self.least + 1.0) ** 2 - 1.0) / 12.0

    @property
    def longest(self) -> float:
        """Most tokens."""
        return float(self.most)

    def quantile(self, u: Array) -> Array:
        """The tokens that a share u does not exceed."""
        count = self.most - self.least + 1
        return self.least + np.clip(np.ceil(np.asarray(u) * count) - 1.0, 0.0, count - 1.0)

    def samples(self, rng: Generator, n: int) -> Ints:
        """n lengths in random order."""
        return self.quantile(_strata(rng, n)).astype(np.int64)

    def cap(self, most: float) -> Lengths:
        """Every length above `most` cut to it."""
        last = _checked_cap(most)
        if last >= self.most:
            return self
        if last <= self.least:
            return constant(last)
        share = 1.0 / (self.most - self.least + 1)
        below = range(self.least, last)
        return Discrete((*below, last), (*[share] * len(below), (self.most - last + 1) * share))


@frozen
class Geometric:
    """P(n) = (1 - r) r^(n-1) from 1 up, r = 1 - 1/mean: an exponential of whole tokens; `most`: longer ones are cut to
    it."""

    uncapped_mean: float
    most: float = math.inf

    @property
    def _rate(self) -> float:
        """-ln r."""
        return -math.log1p(-1.0 / self.uncapped_mean)

    @property
    def mean(self) -> float:
        """Sum over n >= 0 of P(length > n) = r^n, up to the cap."""
        return -self.uncapped_mean * math.expm1(-self._rate * self.most)

    @property
    def second_moment(self) -> float:
        """Sum over n >= 0 of (2 n + 1) r^n, up to the cap."""
        m, most = self.uncapped_mean, self.most
        past = 0.0 if math.isinf(most) else math.exp(-self._rate * most)
        tail = 0.0 if math.isinf(most) else most * past
        return (2.0 * m - 1.0) * m * (1.0 - past) - 2.0 * m * tail

    @property
    def longest(self) -> float:
        """Most tokens."""
        return self.most

    def quantile(self, u: Array) -> Array:
        """The tokens that a share u does not exceed."""
        whole = np.ceil(-np.log1p(-np.minimum(u, _BELOW_ONE)) / self._rate)
        return np.clip(whole, 1.0, self.most)

    def samples(self, rng: Generator, n: int) -> Ints:
        """n lengths in random order."""
        return self.quantile(_strata(rng, n)).astype(np.int64)

    def cap(self, most: float) -> Geometric:
        """Every length above `most` cut to it."""
        return Geometric(self.uncapped_mean, min(self.most, float(_checked_cap(most))))


@frozen
class LogNormal:
    """exp(mu + sigma z), below 1 counted as 1; `most`: longer ones are cut to it."""

    mu: float
    sigma: float
    most: float = math.inf

    def _moment(self, order: int) -> float:
        """Expected power of a length, from the normal distribution shifted by the power."""
        shift, low = order * self.sigma, -self.mu / self.sigma
        high = math.inf if math.isinf(self.most) else (math.log(self.most) - self.mu) / self.sigma
        inside = math.exp(order * self.mu + shift**2 / 2.0) * float(normal(high - shift) - normal(low - shift))
        above = 0.0 if math.isinf(self.most) else self.most**order * float(normal(-high))
        return float(normal(low)) + inside + above

    @property
    def mean(self) -> float:
        """Expected tokens."""
        return self._moment(1)

    @property
    def second_moment(self) -> float:
        """Expected square of tokens, before rounding."""
        return self._moment(2)

    @property
    def longest(self) -> float:
        """Most tokens."""
        return self.most

    def quantile(self, u: Array) -> Array:
        """The tokens that a share u does not exceed, before rounding."""
        from statistics import NormalDist  # 4 ms that other questions need not wait for

        inverse = np.frompyfunc(NormalDist().inv_cdf, 1, 1)
        z = np.asarray(inverse(np.clip(u, 2.0**-60, _BELOW_ONE)), np.float64)
        return np.clip(np.exp(self.mu + self.sigma * z), 1.0, self.most)

    def samples(self, rng: Generator, n: int) -> Ints:
        """n lengths in random order, rounded up or down at random."""
        return np.floor(self.quantile(_strata(rng, n)) + rng.random(n)).astype(np.int64)

    def cap(self, most: float) -> LogNormal:
        """Every length above `most` cut to it."""
        return LogNormal(self.mu, self.sigma, min(self.most, float(_checked_cap(most))))


def constant(tokens: float) -> Discrete:
    """One length; between two whole numbers, both in the shares that give the mean. Raises SpecError outside 1 to
    MOST_TOKENS."""
    _within("length", tokens, 1.0, MOST_TOKENS)
    below = math.floor(tokens)
    part = tokens - below
    return Discrete((below, below + 1), (1.0 - part, part)) if part else Discrete((below,), (1.0,))


def uniform(least: float, most: float) -> Uniform:
    """Whole lengths from `least` to `most`. Raises SpecError for fractions and where they are out of order."""
    for name, value in (("LEAST", least), ("MOST", most)):
        _within(name, value, 1.0, MOST_TOKENS)
        if value != math.floor(value):
            raise SpecError(f"{name} = {value:g} must be a whole number")
    if least > most:
        raise SpecError(f"LEAST = {least:g} is above MOST = {most:g}")
    return Uniform(int(least), int(most))


def exponential(mean: float) -> Lengths:
    """Geometric lengths of a mean of tokens. Raises SpecError outside 1 to MOST_TOKENS."""
    _within("MEAN", mean, 1.0, MOST_TOKENS)
    return Geometric(mean) if mean > 1.0 else constant(1.0)


def lognormal(mean: float, sigma: float) -> Lengths:
    """Lengths of a mean of tokens (not of its logarithm) and a sigma of the natural logarithm. Raises SpecError outside
    1 to MOST_TOKENS and 0 to 5."""
    _within("MEAN", mean, 1.0, MOST_TOKENS)
    _within("SIGMA", sigma, 0.0, _MOST_SIGMA)
    if sigma == 0.0 or mean == 1.0:
        return constant(mean)
    # Lengths below 1 that count as 1 raise the mean; it grows with mu, so halving finds the mu of the mean asked for.
    high = math.log(mean) - sigma**2 / 2.0
    low = high
    while LogNormal(low, sigma).mean > mean:
        low -= sigma
    for _ in range(60):
        middle = (low + high) / 2.0
        low, high = (low, middle) if LogNormal(middle, sigma).mean > mean else (middle, high)
    return LogNormal(high, sigma)


def weighted(values: Array, weights: Array) -> Discrete:
    """Lengths as often as they weigh: whole numbers from 1 up, weights of at least 0 that are not all 0."""
    shares: dict[int, float] = {}
    total = math.fsum(weights.tolist())
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        if weight > 0.0:
            shares[int(value)] = shares.get(int(value), 0.0) + weight / total
    order = sorted(shares)
    return Discrete(tuple(order), tuple(shares[value] for value in order))


def _strata(rng: Generator, n: int) -> Array:
    """One random number in each of n equal parts of [0, 1), in random order."""
    return (rng.permutation(n) + rng.random(n)) / n


def _checked_cap(most: float) -> int:
    _within("maximum length", most, 1.0, math.inf)
    return MOST_TOKENS if math.isinf(most) else math.floor(most)


def _within(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        bounds = f"at least {least:g}" if math.isinf(most) else f"{least:g} to {most:,.0f}"
        raise SpecError(f"{name} = {value:g} is out of range ({bounds})")
