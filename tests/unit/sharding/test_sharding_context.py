"""Context parallelism: a rank's share of pairs and keys by counting them, and what crosses the links by each method."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simcost.dtypes import dtype
from simcost.num import every
from simcost.ops.attention_core import Mask
from simcost.ops.collective import RING, Collective
from simcost.ops.gemm import Gemm
from simcost.plan import Phase, Plan
from simcost.program import Call, Overlap, Program, Serial, calls
from simcost.sharding.context import Wire, around, at, checks, copies, swapped
from simcost.sharding.shard import ROLES, View

BF16 = dtype("bf16")
CORE = Call(Gemm(1.0, 1.0, 1.0, BF16, BF16, BF16, BF16), "core")
WIRE = Wire(q=10.0, kv=4.0, o=6.0)


def view(cp: float, q_len: float, past: float, method: str = "ring", tp: float = 1.0, batch: float = 3.0) -> View:
    storage = dict.fromkeys(ROLES, BF16)
    return View(Plan(tp=tp, cp=cp, cp_method=method), Phase(batch, q_len, past), BF16, BF16, storage, storage)


def zigzag(cp: int, q_len: int, past: int, rank: int) -> int:
    """Pairs of a rank that takes a piece from each end of the new tokens, counted one by one."""
    size = q_len // (2 * cp)
    pieces = (rank, 2 * cp - 1 - rank)
    return sum(past + q + 1 for piece in pieces for q in range(piece * size, (piece + 1) * size))


@given(cp=st.sampled_from([2, 4, 8]), pieces=st.integers(1, 8), past=st.integers(0, 50))
def test_under_a_causal_mask_every_rank_has_the_pairs_of_two_pieces(cp: int, pieces: int, past: int) -> None:
    q_len = 2 * cp * pieces
    mine = at(view(float(cp), float(q_len), float(past)), Mask())
    assert mine.mask.pairs(mine.q_len, mine.past) == pytest.approx(zigzag(cp, q_len, past, 0))
    assert zigzag(cp, q_len, past, 0) == zigzag(cp, q_len, past, cp - 1)
    assert mine.q_len == q_len / cp


@pytest.mark.parametrize(("mask", "past", "keys"), [
    (Mask(), 999, 1000 / 4), (Mask(window=400.0), 999, 400 / 4), (Mask(window=400.0), 99, 100 / 4), (Mask(chunk=256.0), 999, (1000 - 768) / 4),
])  # fmt: skip
def test_in_decode_a_rank_reads_its_part_of_the_keys_that_a_query_sees(mask: Mask, past: int, keys: float) -> None:
    mine = at(view(4.0, 1.0, float(past)), mask)
    assert mine.q_len == 1.0
    assert mine.mask.pairs(mine.q_len, mine.past) == pytest.approx(keys)
    assert mine.batch == 3.0


@pytest.mark.parametrize("method", ["ring", "all_gather", "ulysses"])
def test_one_rank_sees_everything(method: str) -> None:
    one = view(1.0, 64.0, 10.0, method)
    found = at(one, Mask())
    assert (found.batch, found.q_len, found.past, found.head_parts, found.context) == (3.0, 64.0, 10.0, 1.0, 74.0)
    assert around(one, CORE, WIRE, Mask()) is CORE


def test_ulysses_gives_a_rank_all_tokens_of_some_heads() -> None:
    found = at(view(4.0, 64.0, 10.0, "ulysses"), Mask())
    assert (found.q_len, found.past, found.head_parts) == (64.0, 10.0, 4.0)
    assert [copies(Plan(cp=4.0, cp_method="ulysses"), heads) for heads in (1.0, 4.0, 8.0)] == [4.0, 4.0, 8.0]
    assert copies(Plan(cp=4.0), 1.0) == 1.0


@pytest.mark.parametrize(
    ("heads", "tp", "ok"), [(32.0, 4.0, True), (32.0, 16.0, False), (12.0, 1.0, True), (6.0, 1.0, False)]
)
def test_ulysses_needs_heads_for_every_rank(heads: float, tp: float, ok: bool) -> None:
    found = checks(Plan(tp=tp, cp=4.0, cp_method="ulysses"), heads)
    assert all(every(check.ok) for check in found) is ok
    assert len(found) == 1
    assert checks(Plan(tp=tp, cp=4.0), heads) == []


def moved(program: Program) -> dict[str, tuple[str, Any, Any, Any]]:
    """What crosses the links: kind, bytes, group, stride by tag."""
    ops = {call.tag: call.op for call in calls(program)}
    return {t: (o.kind, o.payload, o.group, o.stride) for t, o in ops.items() if isinstance(o, Collective)}


def test_in_a_prefill_keys_go_around_behind_the_core_and_nothing_else_moves() -> None:
    one = view(4.0, 64.0, 16.0, tp=2.0)
    program = around(one, CORE, WIRE, Mask())
    assert isinstance(program, Serial)
    inner = program.parts[1]
    assert isinstance(inner, Overlap)
    assert inner.parts[0] is CORE
    assert inner.holds == (0.0, RING)
    found = moved(program)
    assert found["keys and values"] == ("all_gather", 3 * (64 + 16) * 4.0, 4.0, 2.0)
    assert found["queries"][2] == found["partial outputs"][2] == 1.0  # groups of one: nothing moves


def test_keys_that_are_gathered_first_come_before_the_core() -> None:
    program = around(view(4.0, 64.0, 16.0, "all_gather"), CORE, WIRE, Mask())
    assert [call.tag for call in calls(program)] == ["queries", "keys and values", "core", "partial outputs"]
    assert not any(isinstance(part, Overlap) for part in program.parts)  # type: ignore[union-attr]


def test_a_window_moves_no_more_keys_than_it_sees() -> None:
    found = moved(around(view(4.0, 64.0, 1000.0), CORE, WIRE, Mask(window=100.0)))
    assert found["keys and values"][1] == 3 * (100 + 64 - 1) * 4.0


def test_in_decode_queries_come_and_partial_outputs_go() -> None:
    found = moved(around(view(4.0, 1.0, 1000.0, tp=2.0), CORE, WIRE, Mask()))
    assert found["queries"] == ("all_gather", 3 * 10.0, 4.0, 2.0)
    assert found["partial outputs"] == ("reduce_scatter", 3 * 6.0, 4.0, 2.0)
    assert found["keys and values"][2] == 1.0


def test_ulysses_swaps_tokens_for_heads_and_back() -> None:
    program = around(view(4.0, 64.0, 0.0, "ulysses", tp=2.0), CORE, WIRE, Mask())
    there, back = moved(program).values()
    leaves = 3 * 64 / 4 * 3 / 4  # rows of a rank, of which three in four go to others
    assert there == ("all_to_all", leaves * (10 + 4), 4.0, 2.0)
    assert back == ("all_to_all", leaves * 6, 4.0, 2.0)
    assert [call.tag for call in calls(program)][1] == "core"


def test_what_sees_all_tokens_of_some_heads_stands_between_two_exchanges() -> None:
    inner = (CORE, CORE)
    assert swapped(view(1.0, 64.0, 0.0), inner, 10.0, 6.0) == inner
    found = swapped(view(4.0, 64.0, 0.0, "ulysses", tp=2.0), inner, 10.0, 6.0)
    there, back = moved(Serial((found[0], found[-1]))).values()
    leaves = 3 * 64 / 4 * 3 / 4  # rows of a rank, of which three in four go to others
    assert found[1:-1] == inner
    assert (there, back) == (("all_to_all", leaves * 10, 4.0, 2.0), ("all_to_all", leaves * 6, 4.0, 2.0))


@pytest.mark.parametrize("past", [1024, 1025, 1026])
def test_of_a_chunk_that_has_just_begun_a_rank_still_reads_a_key(past: int) -> None:
    mine = at(view(4.0, 1.0, float(past)), Mask(chunk=256.0))
    assert mine.mask.pairs(mine.q_len, mine.past) == pytest.approx(1.0)
    assert mine.mask.keys(mine.q_len, mine.past) == pytest.approx(1.0)
