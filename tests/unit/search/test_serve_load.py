"""The largest load within limits: queues whose times are a closed form of the load, so that each largest load is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simcost.num import Array
from simcost.search.serve_load import LEAST, USED, Limits, largest, per_second
from simcost.serving.point import OperatingPoint

CAPACITY = np.array([2.0, 40.0, 300.0])  # requests a second that each of three plans does at most


def queue(rate: Array, capacity: Array = CAPACITY, service: float = 1.0, tpot: float = 0.01) -> OperatingPoint:
    """One server with exponential times: a request takes service/capacity / (1 - u) at a part u of capacity, a token tpot (1 + u)."""
    used = rate / capacity[:, None]
    ttft = np.where(used < 1.0, service / capacity[:, None] / np.maximum(1.0 - used, 1e-300), np.inf)
    zero = 0.0 * rate
    return OperatingPoint(
        ttft, zero, tpot * (1.0 + used), zero, zero, zero, used, rate, zero + capacity[:, None], zero.astype(int), zero, zero, zero, zero, zero,
    )  # fmt: skip


# What the search narrows a gap of trial loads to: by nine, three times.
GAP = float(np.max(np.diff(np.concatenate([[0.0], USED, [1.0]])))) / 9.0**3


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.floats(0.02, 0.98))
def test_the_load_at_which_a_queue_reaches_its_limit(used: float) -> None:
    """1 / (c (1 - u)) = limit of the second plan, so that it stops at u; the first, twenty times as slow, stops earlier."""
    limit = 1.0 / CAPACITY[1] / (1.0 - used)
    found = largest(queue, CAPACITY, Limits(ttft_s=limit))
    wanted = np.clip(1.0 - 1.0 / (CAPACITY * limit), 0.0, USED[-1])  # beyond it nothing is tried
    assert found.most / CAPACITY == pytest.approx(wanted, abs=1.01 * GAP)
    assert np.all(found.most <= CAPACITY * wanted * (1.0 + 1e-12))  # never a load that breaks it
    able = (wanted > 0.0) & (wanted < USED[-1])
    assert np.all(found.beyond.ttft_s.ravel()[able] > limit)
    assert np.all(Limits(ttft_s=limit).keep(queue(found.most[:, None])).ravel()[able])


def test_a_limit_on_tokens_binds_where_it_is_reached_first() -> None:
    """Tokens take 10 ms (1 + u): 13 ms at u = 0.3, where no plan's first token is late yet."""
    found = largest(queue, CAPACITY, Limits(ttft_s=1.0, tpot_s=0.013))
    assert found.most / CAPACITY == pytest.approx([0.3, 0.3, 0.3], abs=1.01 * GAP)
    first = largest(queue, CAPACITY, Limits(ttft_s=1.0 / CAPACITY[0] / 0.9, tpot_s=0.013))
    assert first.most / CAPACITY == pytest.approx([0.1, 0.3, 0.3], abs=1.01 * GAP)


def test_without_limits_a_plan_is_asked_for_all_but_half_a_percent() -> None:
    found = largest(queue, CAPACITY, Limits())
    assert found.most == pytest.approx(CAPACITY * 0.995)
    assert found.rate == pytest.approx(CAPACITY[:, None] * USED)
    assert found.least.requests_per_s.ravel() == pytest.approx(CAPACITY * LEAST)


def test_a_plan_that_is_late_without_load_takes_none() -> None:
    """With 0.1 s the first of the three needs 0.5 s alone; 1/40 and 1/300 s are within it."""
    found = largest(queue, CAPACITY, Limits(ttft_s=0.1))
    assert found.most[0] == 0.0
    assert np.all(found.most[1:] > 0.0)
    assert found.beyond.requests_per_s[0, 0] > 0.0  # the point just above it is told all the same


def test_a_load_beyond_the_first_that_breaks_a_limit_does_not_count() -> None:
    """Between 0.4 and 0.6 of capacity tokens are slow, above they are quick again: it stops at 0.4."""

    def dip(rate: Array) -> OperatingPoint:
        point, used = queue(rate), rate / CAPACITY[:, None]
        slow = np.where((used > 0.4) & (used < 0.6), 1.0, 0.01)
        return OperatingPoint(
            **{**{name: getattr(point, name) for name in OperatingPoint.__annotations__}, "tpot_s": slow}
        )

    assert largest(dip, CAPACITY, Limits(tpot_s=0.02)).most / CAPACITY == pytest.approx([0.4] * 3, abs=1.01 * GAP)


def test_points_at_the_limits_are_within_them_and_overloaded_ones_are_not() -> None:
    ends = queue(CAPACITY[:, None] * np.array([0.5, 1.0]))  # half of capacity, and all of it
    at_half = Limits(ttft_s=2.0 / CAPACITY[1], tpot_s=0.015)
    assert at_half.keep(ends).tolist() == [[False, False], [True, False], [True, False]]
    assert Limits().keep(ends).tolist() == [[True, False]] * 3  # an infinite time to the first token serves nobody


def test_words() -> None:
    assert Limits().words == ""
    assert Limits(ttft_s=2.0).words == "TTFT 2 s"
    assert Limits(ttft_s=2.0, tpot_s=0.05).words == "TTFT 2 s, TPOT 50 ms"
    assert [per_second(rate) for rate in (13.987, 9_999.4, 10_000.0, 1e6)] == ["13.99", "9,999", "10,000", "1,000,000"]
