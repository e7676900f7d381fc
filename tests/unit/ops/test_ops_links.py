"""Ops that cross links and ops that are timed as one: payloads, slots, adjoints, sums of parts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from simcost.dtypes import dtype
from simcost.ops.collective import Collective
from simcost.ops.exchange import Exchange
from simcost.ops.fused import Fused
from simcost.ops.gemm import Gemm
from simcost.ops.stream import Stream
from simcost.ops.traffic import Traffic
from simcost.ops.work import Op, Work, is_plain
from simcost.routing.router import Router, Routing

BF16, FP8, FP32 = dtype("bf16"), dtype("fp8"), dtype("fp32")
KINDS = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all", "p2p")


def sent(mode: str, **more: object) -> Exchange:
    """128 tokens of a rank of eight with perfectly even experts: two of sixteen a token, 1,000 B each."""
    made = Exchange(128.0, 1024.0, 1000.0, 8.0, 1.0, Router(16.0, 2.0), Routing("balanced"), mode, "dispatch")
    return replace(made, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
def test_a_collective_works_on_no_memory_and_has_one_adjoint(kind: str) -> None:
    op = Collective(kind, 1000.0, 8.0, 4.0)  # type: ignore[arg-type]
    assert op.work() == Work()
    assert op.saved_bytes() == 0.0
    (back,) = op.input_grad()
    swapped = {"all_gather": "reduce_scatter", "reduce_scatter": "all_gather"}
    assert back == replace(op, kind=swapped.get(kind, kind))
    assert back.input_grad() == (op,)  # there and back again
    assert op.weight_grad() == ()


def test_a_group_of_one_holds_no_buffer() -> None:
    group = np.array([1.0, 2.0, 8.0])
    assert np.asarray(Collective("all_reduce", 1000.0, group).workspace_bytes()).tolist() == [0.0, 1000.0, 1000.0]
    assert Collective("all_reduce", 1000.0, 1.0).workspace_bytes() == 0.0


def test_even_experts_get_an_even_share_of_the_rows() -> None:
    """1,024 tokens pick two experts each: 2,048 rows over eight ranks."""
    assert sent("nccl").rows() == pytest.approx(256.0)


def test_low_latency_kernels_keep_a_slot_for_every_token_and_expert() -> None:
    """To send and to receive, each twice."""
    assert sent("low_latency").workspace_bytes() == 2 * 2 * 16 * 128 * 1000


@pytest.mark.parametrize("mode", ["normal", "nvlink", "nccl", "low_latency"])
def test_nobody_exchanges_with_himself(mode: str) -> None:
    assert sent(mode, group=1.0).workspace_bytes() == 0.0


def test_a_token_comes_once_where_kernels_forward_it_and_as_often_as_it_is_picked_elsewhere() -> None:
    once, often = (float(sent(mode).workspace_bytes()) for mode in ("normal", "nccl"))
    assert often == pytest.approx(256 * 1000)
    assert 128 * 1000 < once < often


def test_padded_experts_fix_what_comes() -> None:
    assert sent("nccl", padded=1.5).workspace_bytes() == pytest.approx(1.5 * 128 * 2 * 1000)


def test_a_rank_of_all_experts_is_visited_by_every_token_once() -> None:
    op = sent("normal")
    assert op.copies(1.0) == pytest.approx(1.0)
    assert op.distinct(1.0) == pytest.approx(1024.0)


def test_ranks_that_a_token_visits_are_counted_over_all_its_pairs() -> None:
    """Two distinct experts of sixteen on eight ranks of two: the second is beside the first in one of fifteen."""
    assert sent("normal").copies(8.0) == pytest.approx(1 + 14 / 15)


def test_an_exchange_goes_back_in_the_other_way_s_format() -> None:
    op = sent("normal", back_bytes=2000.0)
    (back,) = op.input_grad()
    assert (back.direction, back.width_bytes, back.back_bytes) == ("combine", 2000.0, 1000.0)
    assert back.input_grad() == (op,)
    (same,) = sent("normal").input_grad()
    assert (same.direction, same.width_bytes) == ("combine", 1000.0)
    assert op.work() == Work()
    assert op.weight_grad() == ()


def test_traffic_counts_copies_near_and_far() -> None:
    op = Traffic(100.0, 1000.0, 3.0, 0.5, 16.0, 2.0, 20.0, "normal", "dispatch")
    assert (op.near_bytes, op.far_bytes, op.workspace_bytes()) == (300_000.0, 50_000.0, 350_000.0)
    assert op.input_grad() == (op,)
    assert op.weight_grad() == ()
    assert op.work() == Work()


def linear() -> tuple[Stream, Gemm]:
    return Stream("quantise", 320.0, 1.0, 1.0, 3.0, BF16, FP8), Gemm(10.0, 64.0, 32.0, FP8, FP8, BF16, FP8)


def test_what_runs_as_one_is_the_sum_of_its_parts() -> None:
    cast, product = linear()
    fused = Fused("linear", (cast, product))
    assert fused.work().flops == 3 * 320 + 2 * 10 * 64 * 32
    assert fused.work().bytes_read == 2 * 320 + 320 + 64 * 32
    assert fused.work().bytes_written == 320 + 2 * 640
    assert fused.saved_bytes() == 320  # of a cast nothing stays, of a product its input
    assert fused.workspace_bytes() == 320 + 2 * 640  # the product's is larger than the cast's 960
    assert fused.peak == "fp8"
    assert fused.main is product
    assert fused.coords() == {"parts": 2.0, **product.coords()}


def test_gradients_of_parts_come_last_part_first() -> None:
    norm, product = Stream("norm", 320.0, 1.0, 1.0, 4.0, BF16, BF16), linear()[1]
    fused = Fused("linear", (norm, product))
    assert fused.input_grad() == (*product.input_grad(), *norm.input_grad())
    assert fused.weight_grad(FP32) == product.weight_grad(FP32)


def test_parts_without_products_are_named_by_the_first() -> None:
    norm = Stream("norm", 320.0, 1.0, 1.0, 4.0, BF16, BF16)
    assert Fused("two", (norm, linear()[0])).main is norm


@pytest.mark.parametrize("of", ["input", "weight"])
def test_one_is_a_gradient_where_its_product_is(of: str) -> None:
    cast, product = linear()
    assert Fused("linear", (cast, replace(product, gradient=of))).gradient == of
    assert Fused("linear", (cast, product)).gradient == ""


def test_work_is_closed_under_sums_and_factors() -> None:
    one, two = Work(1.0, 2.0, 3.0), Work(10.0, 20.0, 30.0)
    assert one + two * 3.0 == Work(31.0, 62.0, 93.0)
    assert (one + two).bytes == 55.0


def test_an_op_of_arrays_is_told_from_one_of_numbers() -> None:
    plain = Collective("all_reduce", 1000.0, 8.0)
    assert is_plain(plain)
    assert not is_plain(replace(plain, group=np.array([1.0, 2.0])))
    assert isinstance(plain, Op)
