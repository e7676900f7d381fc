"""Answers under caps: shares, moments and quantiles against closed forms and draws."""

from __future__ import annotations

import math

import numpy as np
import pytest

from simcost.num import normal
from simcost.serving.lengths import LogNormal, constant, exponential, lognormal, uniform
from simcost.thinking.budget import cut, cuts, share_above


def test_the_share_above_a_cap_is_the_closed_form() -> None:
    tokens = np.array([1.0, 100.0, 3000.0, 8192.0, 1e6])
    whole = lognormal(8000.0, 0.7)
    assert isinstance(whole, LogNormal)
    want = [float(normal(-(math.log(each) - whole.mu) / whole.sigma)) for each in tokens]
    assert share_above(whole, tokens) == pytest.approx(want, abs=1e-12)
    assert share_above(uniform(1, 100), np.array([25.0, 99.0, 100.0])) == pytest.approx([0.75, 0.01, 0.0])
    assert share_above(exponential(50.0), np.array([10.0])) == pytest.approx([(1 - 1 / 50) ** 10])
    assert share_above(constant(100.0), np.array([99.0, 100.0, 101.0])).tolist() == [1.0, 0.0, 0.0]


def test_a_cut_answer_has_the_cap_and_what_follows() -> None:
    found = cut(constant(1000.0), 400.0, 50.0)
    assert (found.mean, found.second_moment, found.longest, found.share) == (450.0, 450.0**2, 450.0, 1.0)
    assert found.quantile(np.array([0.0, 0.5, 1.0])).tolist() == [450.0] * 3
    short = cut(constant(100.0), 400.0, 50.0)
    assert (short.mean, short.second_moment, short.share, short.longest) == (100.0, 1e4, 0.0, 100.0)
    assert cut(found, 430.0).longest == 430.0


@pytest.mark.parametrize("most", [100.0, 400.0, 430.0, 450.0, 1e9])
def test_what_is_cut_once_more_is_the_shorter_of_both_answer_by_answer(most: float) -> None:
    """Lengths of 1 to 800: those above 400 are 450 tokens under the budget, whether or not 430 lies between."""
    found = cut(uniform(1, 800), 400.0, 50.0).cap(most)
    each = np.minimum([length if length <= 400 else 450 for length in range(1, 801)], most)
    assert found.mean == pytest.approx(np.mean(each))
    assert found.second_moment == pytest.approx(np.mean(each**2.0))
    assert found.longest == each.max()
    assert found.quantile((np.arange(800) + 0.5) / 800) == pytest.approx(each, abs=0.51)


def test_moments_are_those_of_draws() -> None:
    found = cut(lognormal(2000.0, 0.9), 3000.0, 200.0)
    drawn = found.samples(np.random.default_rng(3), 200_000).astype(float)
    assert found.mean == pytest.approx(np.mean(drawn), rel=1e-3)
    assert found.second_moment == pytest.approx(np.mean(drawn**2), rel=1e-3)
    assert found.share == pytest.approx(np.mean(drawn == 3200.0), abs=1e-3)


def test_without_a_cap_nothing_changes() -> None:
    whole = lognormal(500.0, 0.5)
    free = cut(whole, math.inf)
    assert (free.mean, free.second_moment, free.share) == (whole.mean, whole.second_moment, 0.0)


def test_several_caps_are_the_same_as_one_by_one() -> None:
    whole, caps = exponential(700.0), np.array([100.0, 900.0])
    for many, most in zip(cuts(whole, caps, 10.0), caps.tolist(), strict=True):
        one = cut(whole, most, 10.0)
        assert (many.mean, many.share, many.second_moment) == (one.mean, one.share, one.second_moment)
