"""Ties: the 90 % interval of a ratio of two times, shared errors cancelled."""

from __future__ import annotations

import math

import numpy as np
import pytest

from simcost.cost.cost import Cost, ratio_deviation
from simcost.scenarios.step import Z90, interval, tied


def cost(seconds, **spread) -> Cost:
    return Cost(memory_s=seconds, spread=spread)


def test_shared_errors_cancel_and_others_join_in_quadrature() -> None:
    assert ratio_deviation(cost(2.0, gemm=0.4), cost(1.0, gemm=0.2)) == pytest.approx(0.0)
    assert ratio_deviation(cost(2.0, gemm=0.4), cost(1.0, experts=0.15)) == pytest.approx(math.hypot(0.2, 0.15))
    one, other = cost(1.0, gemm=0.10, host=0.05), cost(4.0, gemm=0.10, host=0.20, attention=0.12)
    assert ratio_deviation(one, other) == pytest.approx(math.hypot(0.10 - 0.025, 0.05 - 0.05, 0.03))
    assert ratio_deviation(one, other) == pytest.approx(ratio_deviation(other, one))
    assert ratio_deviation(one, one * 3.0) == pytest.approx(0.0)


def test_overlapping_intervals_are_no_tie_where_the_error_is_shared() -> None:
    a, b = cost(1.0, gemm=0.1), cost(1.1, gemm=0.11)
    assert interval(a)[1] > interval(b)[0]
    assert not tied(a, b)
    assert tied(a, cost(1.1, attention=0.11))


def test_a_tie_ends_where_the_interval_of_the_ratio_leaves_one() -> None:
    sigma = 0.1
    edge = math.exp(Z90 * sigma)
    for factor, expected in ((edge * 0.999, True), (edge * 1.001, False)):
        assert tied(cost(factor, gemm=factor * sigma), cost(1.0)) is expected
        assert tied(cost(1.0), cost(factor, gemm=factor * sigma)) is expected
    assert tied(cost(1.0), cost(1.0))
    assert not tied(cost(1.0), cost(1.0 + 1e-6))


def test_arrays_are_compared_point_by_point() -> None:
    seconds = np.array([1.0, 1.1, 1.5])
    found = tied(cost(seconds, gemm=0.1 * seconds), cost(1.0, attention=0.1))
    assert found.tolist() == [bool(tied(cost(s, gemm=0.1 * s), cost(1.0, attention=0.1))) for s in seconds]
    assert found.tolist() == [True, True, False]
