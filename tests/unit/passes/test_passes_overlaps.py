"""Overlaps of computing and travelling: what is slowed, what is cut, and the time of it by a clock of whole seconds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simcost.dtypes import dtype
from simcost.ops.collective import Collective
from simcost.ops.exchange import Exchange
from simcost.ops.gemm import Gemm
from simcost.ops.stream import Stream
from simcost.ops.work import Op
from simcost.passes import contention, ring_exchange, two_batch
from simcost.plan import Plan
from simcost.program import Call, Choice, Overlap, Program, Serial, calls, price
from simcost.routing.router import Router, Routing

BF16, FP8 = dtype("bf16"), dtype("fp8")
TIMES = st.floats(0.01, 100.0)
EXAMPLES = settings(max_examples=80, deadline=None, derandomize=True)


@dataclass(frozen=True)
class Clock:
    """A cost that is nothing but seconds."""

    seconds: Any

    def __add__(self, other: Clock) -> Clock:
        return Clock(self.seconds + other.seconds)

    def __mul__(self, factor: Any) -> Clock:
        return Clock(self.seconds * factor)

    def slowed(self, factor: Any) -> Clock:
        return self * factor

    def beside(self, other: Clock) -> Clock:
        return Clock(np.maximum(self.seconds, other.seconds))

    def among(self, other: Clock) -> Clock:
        return self + other

    def cheapest(self, other: Clock, settled: Any = False) -> tuple[Clock, Any]:
        won = settled or other.seconds < self.seconds
        return (other if won else self), 1.0 * won


def exchange(mode: str, direction: str = "dispatch") -> Call:
    op = Exchange(8.0, 64.0, 1000.0, 8.0, 1.0, Router(8.0, 2.0), Routing("balanced"), mode, direction)
    return Call(op, direction)


def product(rows: float = 64.0, tag: str = "product") -> Call:
    return Call(Gemm(rows, 32.0, 16.0, BF16, BF16, BF16, BF16), tag)


def both_ways(mode: str) -> Serial:
    return Serial((exchange(mode), exchange(mode, "combine")))


def beside(alone: float, slow: float, other: float) -> float:
    """Seconds of what runs at 1/slow of its speed for `other` seconds, and at full speed thereafter."""
    return min(alone * slow, other + alone - other / slow)


# ---- contention ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "factors", "held"), [
    ("normal", [2.0, 1.45], 20.0), ("nccl", [2.0, 1.45], 20.0), ("nvlink", [2.0, 1.45], 20.0), ("low_latency", [1.0, 1.0], 0.0),
])  # fmt: skip
def test_kernels_that_copy_with_multiprocessors_are_slow_beside_others(
    mode: str, factors: list[float], held: float
) -> None:
    """DeepEP: dispatch took 4.3 ms beside other kernels and 2.15 alone, combine 6.2 and 4.3; 20 multiprocessors of 132."""
    program = Choice((("one", both_ways(mode)), ("other", Overlap((product(), both_ways(mode))))))
    found = list(calls(contention.slowed(program)))
    assert [call.slow for call in found if isinstance(call.op, Exchange)] == factors * 2
    assert [call.slow for call in found if isinstance(call.op, Gemm)] == [1.0]
    assert contention.held(program) == held
    assert contention.exchanges(program)


def test_computing_holds_nothing() -> None:
    assert contention.held(product()) == 0.0
    assert not contention.exchanges(Serial((product(),)))


@pytest.mark.parametrize(("plan", "tokens", "wanted"), [
    (Plan(), 256.0, False), (Plan(), 257.0, True), (Plan(ep=8.0), 1000.0, False), (Plan(tp=8.0, ep=8.0), 1000.0, True),
])  # fmt: skip
def test_shared_experts_take_turns_where_there_is_nothing_to_hide_behind(
    plan: Plan, tokens: float, wanted: bool
) -> None:
    assert bool(contention.in_turn(plan, tokens)) is wanted


# ---- two batches -----------------------------------------------------------------------------------------------------------


def timed(compute: float, there: float, back: float) -> Any:
    """A clock by kind of op."""

    def seconds(op: Op) -> Clock:
        if isinstance(op, Exchange):
            return Clock(there if op.direction == "dispatch" else back)
        return Clock(compute)

    return seconds


@EXAMPLES
@given(TIMES, TIMES, TIMES)
def test_two_batches_take_the_longer_of_computing_and_travelling(compute: float, there: float, back: float) -> None:
    """Each half computes and travels; 20 of 132 multiprocessors copy, and copying is slow beside computing."""
    half = Serial((product(), Serial((exchange("normal"), product(), exchange("normal", "combine")), "moe")), "layer")
    found = price(two_batch.overlapped(half), timed(compute, there, back)).cost.seconds
    work, travel = 2 * 2 * compute, 2 * (there + back)
    work_slow, travel_slow = 132 / 112, (2.0 * there + 1.45 * back) / (there + back)
    wanted = max(beside(work, work_slow, travel * travel_slow), beside(travel, travel_slow, work * work_slow))
    assert float(found) == pytest.approx(wanted, rel=1e-9)


@EXAMPLES
@given(TIMES, TIMES, TIMES)
def test_a_network_card_slows_nobody(compute: float, there: float, back: float) -> None:
    half = Serial((product(), both_ways("low_latency")))
    found = price(two_batch.overlapped(half), timed(compute, there, back)).cost.seconds
    assert float(found) == pytest.approx(max(2 * compute, 2 * (there + back)))


def test_every_call_of_a_half_is_on_one_side() -> None:
    half = Serial(
        (
            product(tag="a"),
            Overlap((Serial((exchange("normal"), product(tag="b"))), product(tag="c"))),
            product(tag="d"),
        )
    )
    found = two_batch.overlapped(half)
    assert isinstance(found, Overlap)
    computes, travels = ([call.tag for call in calls(part)] for part in found.parts)
    assert computes == ["a", "b", "c", "d"]
    assert travels == ["dispatch"]
    assert found.holds == (0.0, 20.0)


def test_a_choice_of_modes_travels_as_a_whole() -> None:
    choice = Choice((("normal", both_ways("normal")), ("low_latency", both_ways("low_latency"))), "All2All")
    found = two_batch.overlapped(Serial((product(), choice)))
    assert isinstance(found, Overlap)
    (moved,) = found.parts[1].parts  # type: ignore[union-attr]
    assert isinstance(moved, Choice)
    assert [name for name, _ in moved.options] == ["normal", "low_latency"]


# ---- rows around the ring --------------------------------------------------------------------------------------------------

GATHER = Call(Collective("all_gather", 1000.0, 4.0), "gather")
SCATTER = Call(Collective("reduce_scatter", 1000.0, 4.0), "scatter")


def on_ring(whole: float, row: float, wire: float) -> Any:
    def seconds(op: Op) -> Clock:
        if isinstance(op, Collective):
            return Clock(wire)
        assert isinstance(op, Gemm)
        return Clock(row if op.m == 1.0 else whole)

    return seconds


@EXAMPLES
@given(TIMES, st.floats(0.01, 1.0), TIMES, st.integers(2, 16), st.booleans())
def test_chunks_hide_the_wire_or_nobody_cuts(whole: float, share: float, wire: float, tp: int, gathers: bool) -> None:
    """tp - 1 chunks compute beside the wire, each no faster than a row; the last has nothing to hide behind."""
    row = whole * share
    pair = (GATHER, product()) if gathers else (product(), SCATTER)
    found = price(ring_exchange.overlapped(Serial(pair), float(tp)), on_ring(whole, row, wire)).cost.seconds
    slow = 132 / 131  # one multiprocessor copies
    sides = [whole * (tp - 1) / tp, row * (tp - 1)]
    others = [max(wire, side * slow) for side in reversed(sides)]
    first = max(*(beside(side, slow, other) for side, other in zip(sides, others, strict=True)), wire)
    assert float(found) == pytest.approx(min(first + max(whole / tp, row), whole + wire), rel=1e-9)


def choices(program: Program) -> int:
    own = isinstance(program, Choice)
    inner = [p for _, p in program.options] if isinstance(program, Choice) else getattr(program, "parts", ())
    return own + sum(choices(part) for part in inner)


@pytest.mark.parametrize(("parts", "count"), [
    ((GATHER, product()), 1), ((product(), SCATTER), 1), ((product(), GATHER), 0), ((SCATTER, product()), 0),
    ((GATHER, product(), Call(Stream("act", 8.0, 1.0, 1.0, 1.0, BF16, BF16)), product(), SCATTER), 2),
    ((GATHER, Call(Stream("act", 8.0, 1.0, 1.0, 1.0, BF16, BF16)), product()), 0), ((GATHER, product(), SCATTER), 1),
    ((Serial((GATHER, product()), "inner"),), 1), ((Call(Collective("all_reduce", 8.0, 4.0)), product()), 0),
])  # fmt: skip
def test_pairs_are_a_gather_and_its_product_or_a_product_and_its_scatter(
    parts: tuple[Program, ...], count: int
) -> None:
    assert choices(ring_exchange.overlapped(Serial(parts), 4.0)) == count


def test_a_quantising_layer_is_cut_with_its_cast() -> None:
    cast = Call(Stream("quantise", 64.0 * 16.0, 1.0, 1.0, 3.0, BF16, FP8), "cast")
    linear = Serial((cast, product()), kernel="linear")
    found = ring_exchange.overlapped(Serial((GATHER, linear), "ffn", 3.0), 4.0)
    assert isinstance(found, Serial)
    assert (found.tag, found.repeat) == ("ffn", 3.0)
    rows = {(call.op.elements, ) if isinstance(call.op, Stream) else (call.op.m,) for call in calls(found)
            if isinstance(call.op, Stream | Gemm)}  # fmt: skip
    assert rows == {(64 * 16,), (16,), (64,), (1,)}  # whole, and of one row
    assert choices(found) == 1


def test_what_is_one_kernel_is_left_alone() -> None:
    fused = Serial((GATHER, product()), kernel="experts")
    assert ring_exchange.overlapped(fused, 4.0) is fused
    assert ring_exchange.overlapped(product(), 4.0) == product()
    assert replace(product(), tag="x") != product()
