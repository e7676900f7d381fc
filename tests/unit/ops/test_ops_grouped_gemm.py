"""The grouped product of experts: it is the sum of one dense product an expert, forward and backward."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simcost.dtypes import dtype
from simcost.ops.gemm import Gemm
from simcost.ops.grouped_gemm import GroupedGemm, GroupedWeightGrad
from simcost.ops.work import INPUT, WEIGHT, Work

BF16, FP8, FP32, MXFP4 = (dtype(name) for name in ("bf16", "fp8", "fp32", "mxfp4"))
EXAMPLES = settings(max_examples=50, deadline=None, derandomize=True)
ROWS = st.lists(st.integers(1, 20), min_size=1, max_size=8)  # of every touched expert
SIDES = st.integers(1, 100)


def total(works: list[Work]) -> tuple[float, float, float]:
    """Sums by hand."""
    return (
        sum(float(w.flops) for w in works),
        sum(float(w.bytes_read) for w in works),
        sum(float(w.bytes_written) for w in works),
    )


def plain(work: Work) -> tuple[float, float, float]:
    return float(work.flops), float(work.bytes_read), float(work.bytes_written)


def grouped(rows: list[int], n: int, k: int, **more: object) -> GroupedGemm:
    made = GroupedGemm(float(sum(rows)), float(len(rows)), float(n), float(k), BF16, FP8, BF16, BF16)
    return replace(made, **more)  # type: ignore[arg-type]


def dense(rows: list[int], n: int, k: int, **more: object) -> list[Gemm]:
    made = (Gemm(float(m), float(n), float(k), BF16, FP8, BF16, BF16) for m in rows)
    return [replace(one, **more) for one in made]  # type: ignore[arg-type]


@EXAMPLES
@given(ROWS, SIDES, SIDES, st.booleans(), st.sampled_from(["fp8", "mxfp4", "bf16"]))
def test_the_work_is_that_of_one_product_an_expert(rows: list[int], n: int, k: int, apart: bool, w: str) -> None:
    more = {"unpacked": apart, "w": dtype(w)}
    assert plain(grouped(rows, n, k, **more).work()) == pytest.approx(
        total([one.work() for one in dense(rows, n, k, **more)])
    )


@EXAMPLES
@given(ROWS, SIDES, SIDES)
def test_idle_experts_and_a_skew_change_no_work(rows: list[int], n: int, k: int) -> None:
    """A kernel reads no weights of an expert without rows; who has how many of them is no work."""
    assert grouped(rows, n, k, held=64.0, load=7.5).work() == grouped(rows, n, k).work()


@EXAMPLES
@given(ROWS, SIDES, SIDES)
def test_activations_alive_and_saved_are_those_of_all_rows(rows: list[int], n: int, k: int) -> None:
    found, each = grouped(rows, n, k), dense(rows, n, k)
    assert found.workspace_bytes() == sum(float(one.workspace_bytes()) for one in each)
    assert found.saved_bytes() == sum(float(one.saved_bytes()) for one in each)


@EXAMPLES
@given(ROWS, SIDES, SIDES, st.sampled_from(["fp8", "bf16"]))
def test_the_input_gradient_is_that_of_every_expert(rows: list[int], n: int, k: int, x: str) -> None:
    (found,) = grouped(rows, n, k, x=dtype(x)).input_grad()
    each = [grad for one in dense(rows, n, k, x=dtype(x)) for grad in one.input_grad()]
    assert found.gradient == INPUT
    assert plain(found.work()) == total([grad.work() for grad in each])
    assert found.workspace_bytes() == sum(float(grad.workspace_bytes()) for grad in each)


@EXAMPLES
@given(ROWS, SIDES, SIDES, st.sampled_from(["fp8", "bf16"]), st.sampled_from([None, "fp32"]))
def test_the_weight_gradient_is_that_of_every_expert(rows: list[int], n: int, k: int, x: str, sums: str | None) -> None:
    form = None if sums is None else dtype(sums)
    (found,) = grouped(rows, n, k, x=dtype(x)).weight_grad(form)
    each = [grad for one in dense(rows, n, k, x=dtype(x)) for grad in one.weight_grad(form)]
    assert isinstance(found, GroupedWeightGrad)
    assert found.gradient == WEIGHT
    assert plain(found.work()) == total([grad.work() for grad in each])
    assert found.workspace_bytes() == sum(float(grad.workspace_bytes()) for grad in each)


def test_gradients_keep_what_a_kernel_needs_to_know() -> None:
    forward = grouped([4, 8], 64, 32, held=16.0, load=3.0, unpacked=True)
    (dx,) = forward.input_grad()
    assert (dx.held, dx.load, dx.unpacked, dx.experts, dx.rows) == (16.0, 3.0, True, 2.0, 12.0)
    assert (dx.n, dx.k) == (32.0, 64.0)


def test_a_gradient_has_no_gradients_and_saves_nothing() -> None:
    (dw,) = grouped([4, 8], 64, 32).weight_grad(FP32)
    assert dw.input_grad() == dw.weight_grad() == ()
    assert dw.saved_bytes() == 0.0
    assert dw.coords() == {"rows": 12.0, "experts": 2.0, "n": 64.0, "k": 32.0, "dtype": "bf16"}


@pytest.mark.parametrize(("w", "said"), [(BF16, "bf16"), (MXFP4, "bf16 (w mxfp4)")])
def test_coords_name_the_format_of_narrow_weights(w: object, said: str) -> None:
    assert grouped([4, 8], 64, 32, w=w).coords()["dtype"] == said


def test_experts_of_a_step_of_mixtral_by_hand() -> None:
    """64 tokens, two of eight experts each, all touched: gate and up are 28,672 x 4,096 in bf16."""
    op = GroupedGemm(128.0, 8.0, 28672.0, 4096.0, BF16, BF16, BF16, BF16)
    found = op.work()
    assert found.flops == 2 * 128 * 28672 * 4096
    assert found.bytes_read == 2 * (128 * 4096 + 8 * 28672 * 4096)
    assert found.bytes_written == 2 * 128 * 28672
    assert op.peak == "bf16"
