"""What computing and travelling cost each other: which exchanges are slow, what they hold, and when nothing hides."""

from __future__ import annotations

from typing import Any

import pytest

from simcost.dtypes import dtype
from simcost.num import every
from simcost.ops.collective import Collective
from simcost.ops.exchange import Exchange
from simcost.ops.gemm import Gemm
from simcost.passes.contention import HELD, exchanges, held, in_turn, slowed
from simcost.plan import Plan
from simcost.program import Call, Choice, Overlap, Program, Serial, calls
from simcost.routing.router import Router, Routing

BF16 = dtype("bf16")
PRODUCT = Call(Gemm(8.0, 8.0, 8.0, BF16, BF16, BF16, BF16), "product")
JOIN = Call(Collective("all_reduce", 8.0, 8.0), "join")


def travel(mode: str, direction: str = "dispatch") -> Call:
    op = Exchange(8.0, 64.0, 100.0, 8.0, 1.0, Router(64.0, 4.0), Routing("balanced"), mode, direction)
    return Call(op, direction)


@pytest.mark.parametrize(("mode", "direction", "slow"), [
    ("normal", "dispatch", 2.0), ("normal", "combine", 1.45), ("nccl", "dispatch", 2.0), ("nvlink", "combine", 1.45),
    ("low_latency", "dispatch", 1.0), ("low_latency", "combine", 1.0),
])  # fmt: skip
def test_only_kernels_that_copy_with_multiprocessors_slow_down(mode: str, direction: str, slow: float) -> None:
    assert slowed(travel(mode, direction)).slow == slow  # type: ignore[union-attr]
    assert held(travel(mode, direction)) == (HELD if slow > 1.0 else 0.0)


@pytest.mark.parametrize("wrap", [
    lambda one: Serial((PRODUCT, one, JOIN), "layer", 3.0), lambda one: Overlap((PRODUCT, one), "", (0.0, 20.0)),
    lambda one: Choice((("a", PRODUCT), ("b", one)), "form", True), lambda one: Serial((Choice((("a", Overlap((one, JOIN))),)),)),
])  # fmt: skip
def test_it_is_found_wherever_it_stands_and_all_else_stays(wrap: Any) -> None:
    before: Program = wrap(travel("normal"))
    after = slowed(before)
    assert [call.slow for call in calls(after) if isinstance(call.op, Exchange)] == [2.0]
    assert all(call.slow == 1.0 for call in calls(after) if not isinstance(call.op, Exchange))
    assert after == wrap(slowed(travel("normal")))
    assert exchanges(before)
    assert held(before) == HELD
    assert not exchanges(wrap(PRODUCT))
    assert held(wrap(PRODUCT)) == 0.0


def test_of_a_choice_of_kernels_the_ones_that_copy_hold() -> None:
    both = Choice((("normal", travel("normal")), ("low_latency", travel("low_latency"))), "All2All")
    assert held(both) == HELD
    assert [call.slow for call in calls(slowed(both))] == [2.0, 1.0]


@pytest.mark.parametrize(("plan", "tokens", "turns"), [
    (Plan(tp=8.0), 256.0, False), (Plan(tp=8.0), 257.0, True), (Plan(tp=2.0, ep=8.0), 1e6, False), (Plan(), 1.0, False),
])  # fmt: skip
def test_shared_experts_take_turns_where_nothing_travels_and_tokens_are_many(
    plan: Plan, tokens: float, turns: bool
) -> None:
    assert every(in_turn(plan, tokens)) is turns
