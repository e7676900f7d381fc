"""Products that start on rows that are there: chunks by hand, when nobody cuts, and what is left alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from simcost.cost.cost import Cost
from simcost.dtypes import dtype
from simcost.ops.collective import Collective
from simcost.ops.gemm import Gemm
from simcost.ops.stream import Stream
from simcost.passes.ring_exchange import overlapped
from simcost.program import Call, Choice, Program, Serial, calls, price

BF16, FP8 = dtype("bf16"), dtype("fp8")
ROWS = 64.0


def product(tag: str = "product") -> Call:
    return Call(Gemm(ROWS, 32.0, 16.0, BF16, BF16, BF16, BF16), tag)


def layer(tag: str = "product") -> Serial:
    """A product with the cast of its input."""
    cast = Stream("quantise", ROWS * 16.0, 1.0, 1.0, 3.0, BF16, FP8)
    return Serial((Call(cast, "cast"), product(tag)), kernel="linear")


def moves(kind: Any, tag: str = "wire") -> Call:
    return Call(Collective(kind, 1000.0, 4.0), tag)


NORM = Call(Stream("norm", 8.0, 1.0, 1.0, 1.0, BF16, BF16), "norm")


def toy(whole: float, row: float, wire: float) -> Any:
    """A product takes `whole` for all its rows and `row` for one."""

    def cost(op: Any) -> Cost:
        if isinstance(op, Collective):
            return Cost(wire_s=wire)
        if isinstance(op, Gemm):
            return Cost(memory_s=row if float(np.max(op.m)) == 1.0 else whole)
        return Cost()

    return cost


@pytest.mark.parametrize(
    "parts", [(moves("all_gather"), product()), (product(), moves("reduce_scatter")), (moves("all_gather"), layer())]
)
@pytest.mark.parametrize(("whole", "row", "wire", "tp", "seconds"), [
    (8.0, 1e-9, 800.0, 4.0, 800.0 + 8.0 / 4),  # the wire sets the pace, and the last chunk hides behind nothing
    (8.0, 1e-9, 1e-9, 4.0, 8.0 + 1e-9),  # nothing to hide: no more than the product and the wire
    (8.0, 4.0, 1e-3, 4.0, 8.0 + 1e-3),  # chunks would read all weights four times: nobody cuts
    (8.0, 2.0, 100.0, 4.0, 100.0 + 2.0), (8.0, 3.0, 100.0, 4.0, 100.0 + 3.0),  # a chunk takes no less than one row
    (8.0, 1e-9, 100.0, 1.0, 100.0 + 8.0),
])  # fmt: skip
def test_the_time_is_that_of_chunks_or_of_the_whole(
    parts: tuple[Program, ...], whole: float, row: float, wire: float, tp: float, seconds: float
) -> None:
    found = price(overlapped(Serial(parts), tp), toy(whole, row, wire)).cost.seconds
    assert found == pytest.approx(seconds, rel=1e-3)
    assert found <= whole + wire + 1e-12


def test_pairs_are_cut_and_all_else_stays_in_its_place() -> None:
    before = Serial(
        (NORM, moves("all_gather", "in"), product("up"), NORM, product("down"), moves("reduce_scatter", "out")),
        "ffn",
        2.0,
    )
    after = overlapped(before, 4.0)
    assert isinstance(after, Serial)
    assert (after.tag, after.repeat) == ("ffn", 2.0)
    assert [type(part) for part in after.parts] == [Call, Choice, Call, Choice]
    for part in after.parts:
        if isinstance(part, Choice):
            names = [name for name, _ in part.options]
            assert names == ["chunks", "whole"]
    whole = [
        option for part in after.parts if isinstance(part, Choice) for name, option in part.options if name == "whole"
    ]
    assert whole == [
        Serial((moves("all_gather", "in"), product("up"))),
        Serial((product("down"), moves("reduce_scatter", "out"))),
    ]


@pytest.mark.parametrize("program", [
    Serial((moves("all_reduce"), product())), Serial((product(), moves("all_gather"))), Serial((moves("reduce_scatter"), product())),
    Serial((moves("all_gather"), NORM, product())), Serial((NORM, moves("reduce_scatter"))), NORM, layer(),
    Serial((moves("all_gather"), Serial((product(), product())))), Choice((("a", Serial((moves("all_gather"), product()))),)),
])  # fmt: skip
def test_what_is_no_such_pair_is_left_alone(program: Program) -> None:
    assert overlapped(program, 4.0) == program


def test_pairs_inside_parts_are_cut_too() -> None:
    inner = Serial((moves("all_gather"), product()), "inner")
    after = overlapped(Serial((NORM, inner)), 4.0)
    assert isinstance(after, Serial)
    assert after.parts[1] == overlapped(inner, 4.0)
    assert isinstance(after.parts[1].parts[0], Choice)  # type: ignore[union-attr]


def test_a_gather_serves_one_product_and_the_next_pair_is_its_own() -> None:
    after = overlapped(Serial((moves("all_gather"), product("a"), moves("reduce_scatter"))), 4.0)
    assert isinstance(after, Serial)
    assert [type(part) for part in after.parts] == [Choice, Call]


def test_a_chunk_of_one_row_reads_all_weights_and_casts_one_row() -> None:
    after = overlapped(Serial((moves("all_gather"), layer())), 4.0)
    ops = [call.op for call in calls(after)]
    rows = [op for op in ops if isinstance(op, Gemm) and op.m == 1.0]
    assert {(op.n, op.k) for op in rows} == {(32.0, 16.0)}
    casts = {op.elements for op in ops if isinstance(op, Stream)}
    assert casts == {ROWS * 16.0, 16.0}


def test_groups_of_a_list_are_cut_each_by_its_size() -> None:
    tp = np.array([1.0, 2.0, 8.0])
    program = Serial((moves("all_gather"), product()))
    found = np.asarray(price(overlapped(program, tp), toy(8.0, 1e-9, 100.0)).cost.seconds)
    assert found.tolist() == pytest.approx(
        [price(overlapped(program, float(t)), toy(8.0, 1e-9, 100.0)).cost.seconds for t in tp]
    )
    assert found.tolist() == pytest.approx([108.0, 104.0, 101.0], rel=1e-3)
