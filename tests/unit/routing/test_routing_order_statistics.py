"""The largest of several counts: against draws with a fixed seed, against exact sums over binomials, and in its limits."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simcost.num import Array
from simcost.routing.order_statistics import largest_binomial, largest_load, largest_normal


@pytest.mark.parametrize("count", [2, 3, 8, 32, 256])
def test_the_largest_normal_is_the_mean_of_drawn_maxima(count: int) -> None:
    drawn = np.random.default_rng(count).standard_normal((40_000, count)).max(axis=1)
    assert largest_normal(float(count)) == pytest.approx(drawn.mean(), abs=0.03)


def test_one_normal_has_its_mean_and_more_have_more() -> None:
    counts = 2.0 ** np.arange(0, 12)
    found = np.asarray(largest_normal(counts))
    assert found[0] == pytest.approx(0.0, abs=1e-3)
    assert np.all(np.diff(found) > 0.0)
    assert found.tolist() == [largest_normal(float(count)) for count in counts]


def drawn_load(trials: int, bins: int, seed: int = 1) -> float:
    """Mean of the fullest of bins over their mean: every trial falls in one of them."""
    counts = np.random.default_rng(seed).multinomial(trials, np.full(bins, 1.0 / bins), 20_000)
    return float(counts.max(axis=1).mean() * bins / trials)


@pytest.mark.parametrize("bins", [2, 4, 8, 32, 64])
@pytest.mark.parametrize("trials", [2, 8, 32, 64, 512, 4096, 65536])
def test_the_fullest_bin_is_that_of_balls_thrown_at_random(trials: int, bins: int) -> None:
    found = largest_load(float(trials), 1.0 / bins, float(bins), float(trials))
    assert found == pytest.approx(drawn_load(trials, bins), rel=0.04 if trials >= 8 else 0.07)


@given(trials=st.floats(1.0, 1e7), bins=st.integers(1, 512).map(float), share=st.floats(0.01, 1.0))
def test_the_fullest_bin_has_its_fair_share_at_least_and_all_at_most(trials: float, bins: float, share: float) -> None:
    most = max(trials * share, trials / bins, 1.0)
    found = largest_load(trials, 1.0 / bins, bins, most)
    assert found >= min(max(1.0, bins / trials), most * bins / trials) * (1 - 1e-12)
    assert found <= most * bins / trials * (1 + 1e-12)


@pytest.mark.parametrize("bins", [2.0, 64.0])
def test_many_trials_even_out(bins: float) -> None:
    trials = 10.0 ** np.arange(2, 11)
    found = np.asarray(largest_load(trials, 1.0 / bins, bins, trials))
    assert np.all(np.diff(found) < 0.0)
    assert found[-1] == pytest.approx(1.0, abs=2e-4)


def test_counts_that_scatter_less_have_a_lower_maximum() -> None:
    for trials in (32.0, 4096.0):
        wide, narrow, none = (largest_load(trials, 1 / 16, 16.0, trials, thinner) for thinner in (1.0, 0.5, 0.0))
        assert wide > narrow > none >= 1.0 - 1e-12
        assert none == pytest.approx(1.0)


def test_points_are_answered_as_if_alone_whatever_their_neighbours() -> None:
    trials = np.array([[4.0], [100.0], [1e5]])
    bins = np.array([2.0, 16.0, 64.0])
    found = np.asarray(largest_load(trials, 1.0 / bins, bins, trials))
    for i, t in enumerate(trials[:, 0]):
        for j, b in enumerate(bins):
            assert found[i, j] == largest_load(float(t), 1.0 / float(b), float(b), float(t))


def distribution(trials: int, chance: float) -> Array:
    """P(X <= m) of a binomial, m = 0 to trials."""
    chances = [math.comb(trials, m) * chance**m * (1 - chance) ** (trials - m) for m in range(trials + 1)]
    return np.cumsum(chances)


@pytest.mark.parametrize(("trials", "chance"), [(1, 0.5), (4, 0.25), (16, 0.1), (40, 0.2), (64, 0.05)])
@pytest.mark.parametrize("bins", [1, 2, 8, 64])
def test_extremes_of_binomials_are_exact_sums(trials: int, chance: float, bins: int) -> None:
    below = distribution(trials, chance)
    largest = float(np.sum(1.0 - below**bins))
    least = float(np.sum((1.0 - below) ** bins))
    mean = trials * chance
    assert largest_binomial(float(trials), chance, float(bins), False) == pytest.approx(largest - mean, abs=1e-9)
    assert largest_binomial(float(trials), chance, float(bins), True) == pytest.approx(mean - least, abs=1e-9)
