"""The cost monoid: sums, scaling, side by side, choices; its interval and ties against draws of a lognormal."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simcost.cost.cost import BOUNDS, COMMON, Cost, basis, bound, interval, joined, ratio_deviation, tied
from simcost.num import Z90

TIME = st.integers(0, 50).map(float)
SPREADS = st.dictionaries(st.sampled_from(["gemm", "stream", COMMON[0]]), TIME, max_size=3)
COSTS = st.builds(Cost, TIME, TIME, TIME, TIME, TIME, TIME, spread=SPREADS)
NUMBERS = [field.name for field in fields(Cost) if field.name != "spread"]


def same(a: Cost, b: Cost) -> None:
    for name in NUMBERS:
        assert getattr(a, name) == pytest.approx(getattr(b, name)), name
    for source in {*a.spread, *b.spread}:
        assert a.spread.get(source, 0.0) == pytest.approx(b.spread.get(source, 0.0)), source


@given(COSTS, COSTS, COSTS)
def test_costs_add_in_any_order_and_nothing_is_their_zero(a: Cost, b: Cost, c: Cost) -> None:
    same((a + b) + c, a + (b + c))
    same(a + b, b + a)
    same(a + Cost(), a)
    assert (a + b).seconds == a.seconds + b.seconds


@given(COSTS, COSTS, st.integers(0, 5).map(float))
def test_a_multiple_is_a_repeated_sum(a: Cost, b: Cost, times: float) -> None:
    total = Cost()
    for _ in range(int(times)):
        total = total + a
    same(a * times, total)
    same((a + b) * times, a * times + b * times)
    same(a * 1.0, a)


@given(COSTS, COSTS)
def test_side_by_side_takes_the_longer_and_the_longer_light(a: Cost, b: Cost) -> None:
    both = a.beside(b)
    assert both.seconds == max(a.seconds, b.seconds)
    assert both.light_s == max(a.light_s, b.light_s)
    longer = a if a.seconds >= b.seconds else b
    assert [getattr(both, f"{n}_s") for n in BOUNDS] == [getattr(longer, f"{n}_s") for n in BOUNDS]
    assert both.deviation == pytest.approx(longer.deviation)


@given(COSTS, COSTS)
def test_on_the_same_machine_work_adds_up_and_a_start_may_hide(a: Cost, b: Cost) -> None:
    both = a.among(b)
    work = sum(getattr(one, name) for one in (a, b) for name in ("compute_s", "memory_s", "wire_s"))
    assert both.seconds == pytest.approx(max(a.seconds, b.seconds, work, a.light_s + b.light_s))
    assert (both.compute_s, both.memory_s, both.light_s) == (
        a.compute_s + b.compute_s, a.memory_s + b.memory_s, a.light_s + b.light_s,
    )  # fmt: skip
    assert both.overhead_s >= -1e-9


@given(COSTS, COSTS)
def test_the_cheaper_is_taken_unless_the_other_is_settled(a: Cost, b: Cost) -> None:
    best, won = a.cheapest(b)
    assert best.seconds == min(a.seconds, b.seconds)
    assert won == float(b.seconds < a.seconds)
    assert best.light_s == min(a.light_s, b.light_s)
    taken, won = a.cheapest(b, True)
    same(taken, b)
    assert won == 1.0


@given(COSTS, st.floats(1.0, 4.0))
def test_slowed_work_takes_longer_at_the_same_speed_of_light(a: Cost, factor: float) -> None:
    slow = a.slowed(factor)
    assert slow.seconds == pytest.approx(a.seconds * factor)
    assert slow.light_s == a.light_s
    assert slow.deviation == pytest.approx(a.deviation * factor)


def test_what_a_time_rests_on_adds_up_to_it() -> None:
    cost = Cost(3.0, 4.0, 2.0, 1.0, measured_s=1.0, fitted_s=2.0, transferred_s=0.5, datasheet_s=4.0)
    assert cost.assumed_s == 2.5
    assert cost.seconds == 10.0
    assert bound(cost) == "memory"
    assert basis(cost) == "40% datasheet, 25% assumed, 20% fitted, 10% measured, 5% transferred"


@pytest.mark.parametrize(("share", "said"), [
    (1.0, "fitted"), (0.996, "fitted"), (0.99, "99% fitted, 1% assumed"), (0.0, "assumed"), (0.004, "assumed"),
])  # fmt: skip
def test_a_basis_leaves_out_what_is_next_to_nothing(share: float, said: str) -> None:
    assert basis(Cost(memory_s=1.0, fitted_s=share)) == said


def test_one_source_adds_up_and_several_join_in_quadrature() -> None:
    a, b = Cost(memory_s=1.0, spread={"gemm": 3.0}), Cost(memory_s=1.0, spread={"stream": 4.0})
    assert (a + a).deviation == 6.0
    assert (a + b).deviation == 5.0
    assert a.unsure("state", 0.5).deviation == pytest.approx(math.hypot(3.0, 0.5))
    assert a.unsure("gemm", 0.5).spread == {"gemm": 3.5}
    assert a.unsure("gemm", 0.5).seconds == 1.0


@pytest.mark.parametrize("mask", [True, False, np.array([True, False, True])])
def test_a_mask_takes_every_number_of_one_or_the_other(mask: Any) -> None:
    a = Cost(1.0, np.array([1.0, 2.0, 3.0]), spread={"gemm": 0.1, "only a": 1.0})
    b = Cost(5.0, 7.0, light_s=2.0, spread={"gemm": 0.2, "only b": np.array([4.0, 5.0, 6.0])})
    found = a.where(mask, b)
    here = np.broadcast_to(mask, 3)
    for i in range(3):
        one = (a if here[i] else b).each(lambda value, i=i: float(np.broadcast_to(value, 3)[i]))
        same(found.each(lambda value, i=i: float(np.broadcast_to(value, 3)[i])), one)


def test_joined_costs_keep_a_source_that_some_lack() -> None:
    parts = [Cost(memory_s=1.0, spread={"a": 1.0}), Cost(memory_s=2.0, spread={"b": 3.0})]
    found = joined(parts, lambda values: np.array(values, float))
    assert np.asarray(found.memory_s).tolist() == [1.0, 2.0]
    assert {s: np.asarray(v).tolist() for s, v in found.spread.items()} == {"a": [1.0, 0.0], "b": [0.0, 3.0]}
    assert found.shape == (2,)
    assert Cost(np.zeros((2, 1)), spread={"a": np.zeros(3)}).shape == (2, 3)


@pytest.mark.parametrize("sigma", [0.05, 0.3, 1.0])
def test_nine_of_ten_draws_lie_in_the_interval(sigma: float) -> None:
    cost = Cost(memory_s=2.0, spread={"a": 2.0 * sigma * 0.6, "b": 2.0 * sigma * 0.8})
    random = np.random.default_rng(11)
    drawn = 2.0 * np.exp(sigma * random.standard_normal(200_000))
    low, high = interval(cost)
    assert np.mean(drawn < low) == pytest.approx(0.05, abs=0.003)
    assert np.mean(drawn > high) == pytest.approx(0.05, abs=0.003)
    assert low * high == pytest.approx(4.0)


def test_no_interval_reaches_below_light() -> None:
    cost = Cost(memory_s=1.0, light_s=0.9, spread={"a": 0.5})
    assert interval(cost)[0] == 0.9
    assert interval(Cost(memory_s=1.0, light_s=2.0, spread={"a": 0.5}))[0] == 1.0
    assert interval(Cost(memory_s=1.0, light_s=0.1)) == (1.0, 1.0)


@pytest.mark.parametrize(("mine", "theirs"), [
    ({COMMON[0]: 0.2}, {COMMON[0]: 0.2}), ({COMMON[0]: 0.3}, {COMMON[0]: 0.1}), ({"gemm fitted": 0.2}, {"gemm fitted": 0.2}),
    ({"gemm assumed": 0.2}, {"gemm assumed": 0.3}), ({"gemm fitted": 0.2, COMMON[1]: 0.1}, {"stream fitted": 0.1, COMMON[1]: 0.3}),
])  # fmt: skip
def test_the_error_of_a_ratio_is_that_of_draws_with_shared_parts(
    mine: dict[str, float], theirs: dict[str, float]
) -> None:
    random = np.random.default_rng(3)
    logs = np.zeros((2, 200_000))
    for source in {*mine, *theirs}:
        alike = 1.0 if source in COMMON else 0.75 if source.endswith("assumed") else 0.3
        shared = random.standard_normal(200_000)
        for row, stated in enumerate((mine, theirs)):
            own = random.standard_normal(200_000)
            logs[row] += stated.get(source, 0.0) * (math.sqrt(alike) * shared + math.sqrt(1.0 - alike) * own)
    a = Cost(memory_s=5.0, spread={s: 5.0 * v for s, v in mine.items()})
    b = Cost(memory_s=0.5, spread={s: 0.5 * v for s, v in theirs.items()})
    assert ratio_deviation(a, b) == pytest.approx(np.std(logs[0] - logs[1]), rel=0.01, abs=1e-9)


@given(st.floats(0.5, 2.0), st.floats(0.01, 0.5), st.floats(0.1, 10.0))
def test_two_times_tie_where_one_lies_in_nine_tenths_of_the_others_draws(
    ratio: float, sigma: float, scale: float
) -> None:
    a = Cost(memory_s=scale * ratio, spread={"a": scale * ratio * sigma})
    b = Cost(memory_s=scale)
    inside = abs(math.log(ratio)) <= Z90 * sigma
    if abs(abs(math.log(ratio)) - Z90 * sigma) > 1e-6:
        assert tied(a, b) is inside
        assert tied(b, a) is inside
        assert tied(a, a * 7.0, ratio) is (abs(math.log(ratio)) <= Z90 * sigma * math.sqrt(2 * 0.7))
