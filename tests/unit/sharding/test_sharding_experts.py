"""How tokens reach their experts: when nothing travels, which kernels each kind of step takes, and what each way carries."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from simcost.dtypes import dtype
from simcost.ops.collective import Collective
from simcost.ops.exchange import Exchange
from simcost.plan import Phase, Plan, Tokens
from simcost.program import Choice, Program, calls
from simcost.routing.router import Router, Routing
from simcost.sharding.experts import exchange, joined
from simcost.sharding.shard import ROLES, View

BF16, FP8 = dtype("bf16"), dtype("fp8")
ROUTER, HIDDEN = Router(64.0, 4.0), 1024.0
DECODE = Phase(64.0, 1.0, 99.0, routing=Routing("balanced"), decode=True)
PREFILL = Phase(8.0, 128.0, 0.0, routing=Routing("balanced"))


def view(phase: Phase = DECODE, **plan: Any) -> View:
    storage = dict.fromkeys(ROLES, BF16)
    return View(Plan(**plan), phase, BF16, BF16, storage, storage)


def ways(program: Program | None) -> list[Exchange]:
    assert program is not None
    return [call.op for call in calls(program) if isinstance(call.op, Exchange)]


def collectives(programs: Any) -> list[tuple[str, float, float]]:
    ops = [call.op for program in programs for call in calls(program)]
    return [(op.kind, float(op.payload), float(op.group)) for op in ops if isinstance(op, Collective)]


@pytest.mark.parametrize("plan", [{}, {"tp": 8.0}, {"tp": 8.0, "ep": 8.0}, {"tp": 4.0, "ep": 2.0}])
def test_where_all_ranks_have_the_same_tokens_none_travels(plan: dict[str, float]) -> None:
    assert exchange(view(**plan), ROUTER, HIDDEN, BF16) is None


def test_a_rank_sends_its_tokens_in_the_experts_format_and_gets_them_back_in_the_activations() -> None:
    there, back = ways(exchange(view(tp=2.0, ep=8.0), ROUTER, HIDDEN, FP8))
    assert (there.direction, back.direction) == ("dispatch", "combine")
    assert (there.width_bytes, back.width_bytes) == (HIDDEN, 2 * HIDDEN)
    assert there.tokens == 64 / 4 / 2  # of a replica of two ranks
    assert (there.all_tokens, there.group, there.stride) == (64.0, 8.0, 1.0)
    assert (there.spare, there.padded, there.mode) == (0.0, 0.0, "low_latency")


@pytest.mark.parametrize(("phase", "cuda_graph", "modes"), [
    (DECODE, "on", {"low_latency"}), (DECODE, "off", {"normal", "low_latency"}), (PREFILL, "on", {"normal"}), (PREFILL, "off", {"normal"}),
    (Phase(64.0, 1.0, 99.0, decode=True, beside=(Tokens(1.0, 64.0, 0.0),)), "on", {"normal"}),
])  # fmt: skip
def test_an_engine_takes_the_kernels_that_its_step_can_hold(phase: Phase, cuda_graph: str, modes: set[str]) -> None:
    program = exchange(view(phase, ep=8.0, cuda_graph=cuda_graph), ROUTER, HIDDEN, BF16)
    found = ways(program)
    assert {op.mode for op in found} == modes
    assert all(op.auto for op in found)
    assert isinstance(program, Choice) is (len(modes) > 1)


@pytest.mark.parametrize("mode", ["normal", "low_latency", "nccl", "nvlink"])
def test_kernels_that_are_asked_for_are_taken(mode: str) -> None:
    for phase in (DECODE, PREFILL):
        found = ways(exchange(view(phase, ep=8.0, all_to_all=mode), ROUTER, HIDDEN, BF16))
        assert {(op.mode, op.auto) for op in found} == {(mode, False)}


def test_slices_of_an_expert_gather_what_came_and_join_their_parts() -> None:
    program = exchange(view(tp=2.0, dp_attention=4.0, ep=4.0), ROUTER, HIDDEN, FP8)
    there, _ = ways(program)
    assert (there.group, there.stride, there.all_tokens) == (4.0, 2.0, 32.0)
    visited = 4 * (1 - np.prod([(48 - i) / (64 - i) for i in range(4)]))  # of four ranks by a token
    came = 64 * visited / 4
    assert collectives([program]) == [
        ("all_gather", pytest.approx(came * HIDDEN), 2.0), ("reduce_scatter", pytest.approx(came * 2 * HIDDEN), 2.0),
    ]  # fmt: skip


def test_copies_and_capacity_go_with_the_tokens() -> None:
    found = ways(exchange(view(ep=8.0, redundant_experts=16.0, capacity_factor=1.5), ROUTER, HIDDEN, BF16))
    assert {(op.spare, op.padded) for op in found} == {(16.0, 1.5)}


def test_of_a_list_of_plans_those_without_an_exchange_move_nothing() -> None:
    there, _ = ways(exchange(view(tp=np.array([8.0, 1.0]), ep=8.0), ROUTER, HIDDEN, BF16))
    assert np.asarray(there.group).tolist() == [1.0, 8.0]


@pytest.mark.parametrize(("plan", "shared", "found"), [
    # nothing travelled: partial sums; it did: a rank's own rows back to its group
    ({"tp": 8.0}, False, [("all_reduce", 64 * 2048, 8.0)]), ({"tp": 2.0, "ep": 8.0}, False, [("all_reduce", 16 * 2048, 1.0), ("all_gather", 16 * 2048, 2.0)]),
    ({"tp": 2.0, "ep": 8.0}, True, [("all_reduce", 16 * 2048, 2.0)]), ({"tp": 2.0, "ep": 8.0, "sequence_parallel": "on"}, False, []),
    ({"tp": 2.0, "ep": 8.0, "sequence_parallel": "on"}, True, [("reduce_scatter", 16 * 2048, 2.0)]),
])  # fmt: skip
def test_after_the_experts_ranks_of_a_group_have_all_rows_again(
    plan: dict[str, Any], shared: bool, found: list[tuple[str, float, float]]
) -> None:
    assert collectives(joined(view(**plan), HIDDEN, shared)) == found
