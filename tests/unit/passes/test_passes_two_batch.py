"""Two-batch overlap: every call of a half stands on one of two sides and runs twice, and the longer side sets the time."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simcost.cost.cost import Cost
from simcost.ops.exchange import Exchange
from simcost.passes.contention import HELD
from simcost.passes.two_batch import overlapped
from simcost.program import Call, Choice, Overlap, Program, Serial, calls, leaves, price
from simcost.routing.router import Router, Routing

TIME = st.integers(1, 50).map(float)


@dataclass(frozen=True)
class Toy:
    """An op that takes so long."""

    seconds: float
    peak: str = "vector"


def compute(seconds: float, tag: str = "compute", **more: Any) -> Call:
    return Call(Toy(seconds), tag, **more)  # type: ignore[arg-type]


def travel(seconds: float, mode: str = "low_latency", direction: str = "dispatch", tag: str = "travel") -> Call:
    """`seconds` stand in the width of a token."""
    return Call(Exchange(1.0, 8.0, seconds, 8.0, 1.0, Router(64.0, 4.0), Routing("balanced"), mode, direction), tag)


def toy(op: Any) -> Cost:
    return Cost(memory_s=op.width_bytes if isinstance(op, Exchange) else op.seconds)


def seconds(program: Program) -> float:
    return float(price(program, toy).cost.seconds)


@given(st.lists(TIME, min_size=1, max_size=4), st.lists(TIME, min_size=1, max_size=3))
def test_the_longer_of_computing_and_travelling_sets_the_time_of_both_halves(
    work: list[float], moves: list[float]
) -> None:
    parts = [compute(t) for t in work] + [travel(t) for t in moves]
    assert seconds(overlapped(Serial(tuple(parts)))) == pytest.approx(2 * max(sum(work), sum(moves)))


def test_kernels_that_copy_slow_both_sides() -> None:
    found = overlapped(Serial((compute(10.0), travel(10.0, "normal"))))
    assert isinstance(found, Overlap)
    assert found.holds == (0.0, HELD)
    # The dispatch takes twice as long beside others; the computing is slow as long as that lasts and lacks 20 of 132.
    computing, travelling = 20.0 * 132 / 112, 20.0 * 2.0
    assert seconds(found) == pytest.approx(max(computing, computing + (20.0 - computing / 2.0)))
    assert travelling > computing


def test_every_call_runs_twice_and_none_is_lost_or_copied() -> None:
    choice = Choice((("normal", travel(3.0, "normal", tag="a")), ("low_latency", travel(2.0, tag="b"))), "All2All")
    inner = Serial(
        (compute(1.0, "norm"), choice, compute(2.0, "gemm", repeat=3.0), travel(4.0, tag="back")), "moe", 2.0
    )
    half = Serial((compute(5.0, "attention"), Overlap((compute(6.0, "shared"), inner)), compute(7.0, "end")))
    found = overlapped(half)
    assert Counter(call.tag for call in calls(found)) == Counter(call.tag for call in calls(half))
    assert isinstance(found, Overlap)
    rest, moved = found.parts
    assert {call.tag for call in calls(moved)} == {"a", "b", "back"}
    weights = {call.tag: weight for _, call, _, weight in leaves(price(rest, toy))}
    assert weights == {"attention": 2.0, "shared": 2.0, "norm": 4.0, "gemm": 4.0, "end": 2.0}
    assert isinstance(moved, Serial)
    assert moved.repeat == 2.0
    (twice,) = moved.parts  # what runs twice exchanges twice
    assert isinstance(twice, Serial)
    assert twice.repeat == 2.0
    assert any(isinstance(part, Choice) and part.tag == "All2All" for part in twice.parts)


def test_computing_keeps_its_order_and_its_tags() -> None:
    inner = Serial((compute(1.0, "up"), travel(1.0), compute(1.0, "down")), "experts")
    found = overlapped(Serial((compute(1.0, "before"), inner, compute(1.0, "after"))))
    assert isinstance(found, Overlap)
    paths = [path for path, _, _, _ in leaves(price(found.parts[0], toy))]
    assert paths == [("before",), ("experts", "up"), ("experts", "down"), ("after",)]


@given(TIME, TIME, TIME)
def test_two_halves_never_take_longer_than_both_in_turn_where_no_kernel_copies(a: float, b: float, c: float) -> None:
    half = Serial((compute(a), travel(b), compute(c)))
    assert seconds(overlapped(half)) <= 2 * seconds(half)
    assert seconds(overlapped(half)) >= seconds(half)
