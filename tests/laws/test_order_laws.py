"""Laws of an order: what the probability that one time is smaller than another must keep, on one device and on two."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from simcost.cost.cost import ANYWHERE, COMMON, NOISE, Cost, probability_less, ratio_deviation, tied
from simcost.num import Z90, normal

SOURCES = (*COMMON, "gemm fitted", "gemm assumed", "attention transferred", "collective assumed")
SHARES = st.dictionaries(st.sampled_from(SOURCES), st.floats(0.0, 0.5), max_size=len(SOURCES))


def cost(seconds: float, shares: dict[str, float]) -> Cost:
    """A time whose sources of error are so large parts of it."""
    return Cost(memory_s=seconds, spread={source: share * seconds for source, share in shares.items()})


@st.composite
def costs(draw: st.DrawFn) -> Cost:
    return cost(draw(st.floats(1e-6, 10.0)), draw(SHARES))


@given(costs(), costs())
def test_one_is_smaller_or_the_other_is(a: Cost, b: Cost) -> None:
    assert probability_less(a, b) + probability_less(b, a) == pytest.approx(1.0, abs=1e-12)


@given(costs(), st.floats(-0.9 * NOISE, 0.9 * NOISE))
def test_what_floats_leave_over_is_no_difference(a: Cost, noise: float) -> None:
    assert probability_less(a, a) == 0.5
    assert probability_less(a, a * (1.0 + noise)) == 0.5


@given(costs(), costs(), st.floats(1e-3, 1e3))
def test_another_unit_of_both_times_changes_nothing(a: Cost, b: Cost, unit: float) -> None:
    assume(abs(math.log(float(a.seconds / b.seconds))) > 1e-6)
    assert probability_less(a * unit, b * unit) == pytest.approx(probability_less(a, b), abs=1e-6)


@given(costs(), st.floats(1.0, 2.0), st.floats(0.0, 0.5), st.sampled_from(COMMON))
def test_an_error_that_both_owe_wholly_changes_nothing(a: Cost, ratio: float, share: float, source: str) -> None:
    b = Cost(memory_s=ratio * a.seconds, spread={"gemm fitted": 0.1 * ratio * a.seconds})
    both = [one.unsure(f"{source}", share) for one in (a * 1.0, b)]
    assume(source not in a.spread)
    assume(abs(math.log(ratio)) > 1e-6)
    assert probability_less(*both) == pytest.approx(probability_less(a, b), abs=1e-6)


@given(SHARES, SHARES, st.lists(st.floats(0.2, 5.0), min_size=2, max_size=6, unique=True))
def test_the_further_apart_the_surer(mine: dict[str, float], theirs: dict[str, float], ratios: list[float]) -> None:
    found = [probability_less(cost(ratio, mine), cost(1.0, theirs)) for ratio in sorted(ratios)]
    assert all(later <= before + 1e-12 for before, later in itertools.pairwise(found))
    for ratio, one in zip(sorted(ratios), found, strict=True):
        assert (one <= 0.5) if ratio > 1.0 + 1e-6 else (one >= 0.5) if ratio < 1.0 - 1e-6 else True


@given(costs(), costs(), st.floats(0.0, 0.5), st.floats(0.0, 0.5))
def test_more_error_of_its_own_makes_less_sure(a: Cost, b: Cost, less: float, more: float) -> None:
    assume(less <= more)
    few, many = (abs(probability_less(a.unsure("of its own", share), b) - 0.5) for share in (less, more))
    assert many <= few + 1e-12


@given(costs(), costs())
def test_a_tie_is_a_sign_below_95_percent(a: Cost, b: Cost) -> None:
    sure = max(probability_less(a, b), probability_less(b, a))
    assume(abs(sure - normal(Z90)) > 1e-9)
    assert normal(Z90) == pytest.approx(0.95, abs=1e-12)
    assert tied(a, b) is bool(sure < normal(Z90))


def test_arrays_answer_point_by_point() -> None:
    seconds = np.array([0.5, 0.99, 1.0, 1.2, 4.0])
    shares = {"gemm fitted": 0.1, "the machine's state": 0.05}
    found = probability_less(cost(seconds, shares), cost(1.0, {"gemm assumed": 0.2}))
    alone = [probability_less(cost(one, shares), cost(1.0, {"gemm assumed": 0.2})) for one in seconds.tolist()]
    assert np.asarray(found).tolist() == alone
    assert all(isinstance(one, float) for one in alone)


@given(st.floats(0.3, 3.0), SHARES, SHARES)
def test_the_probability_is_the_share_of_draws_of_a_log_normal_ratio(
    ratio: float, mine: dict[str, float], theirs: dict[str, float]
) -> None:
    a, b = cost(ratio, mine), cost(1.0, theirs)
    sigma = float(ratio_deviation(a, b))
    assume(sigma > 1e-3)
    draws = math.log(ratio) + sigma * np.random.default_rng(5).standard_normal(20_000)
    assert probability_less(a, b) == pytest.approx(float(np.mean(draws < 0.0)), abs=0.015)


# Two devices


@given(costs(), costs())
def test_a_name_on_both_costs_of_one_device_changes_nothing(a: Cost, b: Cost) -> None:
    """Apart from the order of a sum."""
    assume(abs(math.log(float(a.seconds / b.seconds))) > 1e-6)
    assert ratio_deviation(a.on("h100"), b.on("h100")) == pytest.approx(ratio_deviation(a, b), rel=1e-12, abs=1e-15)
    assert probability_less(a.on("h100"), b.on("h100")) == pytest.approx(probability_less(a, b), abs=1e-6)


@pytest.mark.parametrize("source", SOURCES)
def test_of_two_devices_only_the_engines_own_errors_cancel(source: str) -> None:
    a, b = (cost(seconds, {source: 0.2}) for seconds in (1.0, 1.3))
    apart = ratio_deviation(a.on("h100"), b.on("mi300x"))
    assert apart == pytest.approx(0.0 if source in ANYWHERE else 0.2 * math.sqrt(2.0), abs=1e-12)
    assert a.on("h100").deviation == a.deviation


@given(costs(), costs())
def test_an_order_of_two_devices_is_never_surer_than_of_one(a: Cost, b: Cost) -> None:
    one, two = (abs(probability_less(a.on("h100"), b.on(other)) - 0.5) for other in ("h100", "h200"))
    assert two <= one + 1e-12
