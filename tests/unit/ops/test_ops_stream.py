"""Kernels that only move memory: streams, look-ups, permutations, routers, and what their gradients move."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simcost.dtypes import dtype
from simcost.ops.gather import Gather
from simcost.ops.permute import Permute
from simcost.ops.router import Router, RouterGrad
from simcost.ops.stream import Stream
from simcost.ops.work import INPUT, WEIGHT

BF16, FP8, FP32, FP8_BLOCK = (dtype(name) for name in ("bf16", "fp8", "fp32", "fp8_block"))
EXAMPLES = settings(max_examples=50, deadline=None, derandomize=True)


def test_a_norm_with_its_residual_by_hand() -> None:
    """Reads x and the residual, writes the normed rows and the new residual: four tensors of 2 B an element."""
    op = Stream("norm", 1000.0, 2.0, 2.0, 5.0, BF16, BF16)
    assert (op.work().flops, op.work().bytes_read, op.work().bytes_written) == (5000.0, 4000.0, 4000.0)
    assert op.workspace_bytes() == 8000.0
    assert op.saved_bytes() == 2000.0  # the sum, which both outputs come from
    assert op.peak == "vector"


def test_a_cast_writes_scales_along_its_rows() -> None:
    """fp8 in blocks: one fp32 scale for 128 numbers of a row of an activation."""
    found = Stream("quantise", 1280.0, 1.0, 1.0, 3.0, BF16, FP8_BLOCK)
    assert found.work().bytes_read == 2 * 1280
    assert found.work().bytes_written == 1280 + 10 * 4
    assert found.coords()["dtype"] == "bf16->fp8_block"
    assert replace(found, out=BF16).coords()["dtype"] == "bf16"


@EXAMPLES
@given(st.integers(1, 1000), st.integers(1, 4), st.integers(1, 3), st.integers(0, 6))
def test_a_gradient_reads_what_came_in_and_what_comes_back(n: int, reads: int, writes: int, flops: int) -> None:
    """Saved inputs and gradients of outputs in, gradients of inputs out, all in the input's format."""
    forward = Stream("norm", float(n), float(reads), float(writes), float(flops), BF16, FP32)
    (back,) = forward.input_grad()
    assert back.what == "norm backward"
    assert back.gradient == INPUT
    assert back.work().bytes_read == 2 * n * (reads + writes)
    assert back.work().bytes_written == 2 * n * reads
    assert back.work().flops == 2 * n * flops
    assert forward.weight_grad() == ()


@pytest.mark.parametrize("what", ["cache write", "quantise", "sample"])
def test_what_is_not_learnt_has_no_gradient(what: str) -> None:
    op = Stream(what, 64.0, 1.0, 1.0, 0.0, BF16, FP8)
    assert op.input_grad() == op.weight_grad() == ()


@pytest.mark.parametrize(
    ("what", "reads", "writes", "tensors"),
    [
        ("norm", 1.0, 1.0, 1.0), ("norm", 2.0, 2.0, 1.0),  # alone, and with the residual that it adds
        ("activation", 1.0, 1.0, 1.0), ("activation", 2.0, 1.0, 2.0),  # GELU, and the two factors of SwiGLU
        ("rope", 1.0, 1.0, 0.0), ("residual", 2.0, 1.0, 0.0), ("cache write", 1.0, 1.0, 0.0), ("quantise", 1.0, 1.0, 0.0), ("sample", 1.0, 1.0, 0.0),
        ("scale", 2.0, 1.0, 2.0),
    ],
)  # fmt: skip
def test_what_stays_for_the_gradient(what: str, reads: float, writes: float, tensors: float) -> None:
    assert Stream(what, 64.0, reads, writes, 12.0, BF16, BF16).saved_bytes() == tensors * 128.0


def test_a_look_up_moves_rows_and_ids() -> None:
    op = Gather(10.0, 64.0, FP8, BF16)
    assert (op.work().flops, op.work().bytes_read, op.work().bytes_written) == (0.0, 10 * 64 + 8 * 10, 10 * 64 * 2)
    assert op.workspace_bytes() == 10 * 64 * 2 + 8 * 10
    assert op.saved_bytes() == 8 * 10
    assert op.input_grad() == ()
    assert op.coords() == {"rows": 10.0, "width": 64.0, "dtype": "fp8"}


@pytest.mark.parametrize(("sums", "read", "written"), [(None, 2 + 2, 2), (FP32, 2 + 4, 4)])
def test_rows_of_a_table_s_gradient_are_added_to(sums: object, read: int, written: int) -> None:
    """Gradients of the rows come in bf16; rows of the table's gradient are read and written in the sums' format."""
    (back,) = Gather(10.0, 64.0, BF16, BF16).weight_grad(sums)  # type: ignore[arg-type]
    assert back.gradient == WEIGHT
    assert (back.work().bytes_read, back.work().bytes_written) == (640 * read, 640 * written)
    assert back.work().flops == 640


@EXAMPLES
@given(st.integers(1, 60), st.integers(1, 8), st.integers(1, 50))
def test_copies_are_made_and_summed_row_by_row(tokens: int, top_k: int, width: int) -> None:
    copies = tokens * top_k
    to = Permute(float(tokens), float(copies), float(width), BF16)
    back = replace(to, combine=True)
    moved = sum(2 * width for _token in range(tokens)) + sum(2 * width + 8 for _copy in range(copies))
    assert to.work().bytes == back.work().bytes == moved
    assert to.work().bytes_written == 2 * copies * width
    assert back.work().bytes_written == 2 * tokens * width
    assert to.work().flops == 0.0
    assert back.work().flops == sum(2 * width for _copy in range(copies))  # a multiply and an add
    assert to.workspace_bytes() == 2 * width * (tokens + copies)
    assert to.saved_bytes() == 8 * copies


@pytest.mark.parametrize("combine", [False, True])
def test_a_permutation_goes_back_the_other_way(combine: bool) -> None:
    op = Permute(16.0, 64.0, 128.0, BF16, combine)
    (back,) = op.input_grad()
    assert back.combine is not combine
    assert back.gradient == INPUT
    assert (back.tokens, back.copies, back.width) == (16.0, 64.0, 128.0)
    assert op.weight_grad() == ()
    assert op.launches == (1.0 if combine else 2.0)
    assert op.coords()["op"] == ("unpermute" if combine else "permute")


@pytest.mark.parametrize(("scoring", "each"), [("softmax", 5), ("sigmoid", 4)])
def test_a_choice_of_deepseek_v3_s_size_by_hand(scoring: str, each: int) -> None:
    """256 experts in eight groups, four of them open, eight picks: scores, the two best of each group, the best four groups,
    a pass over the open half of the experts a pick."""
    op = Router(100.0, 256.0, 8.0, scoring, 8.0, 4.0)
    assert op.work().flops == 100 * (each * 256 + 2 * 256 + 8 * 4 + 8 * 128)
    assert op.work().bytes_read == 100 * 256 * 4
    assert op.work().bytes_written == 100 * 8 * 8
    assert op.workspace_bytes() == 100 * (256 * 4 + 8 * 8)
    assert op.saved_bytes() == 100 * 256 * 4


def test_a_choice_s_gradient_is_of_all_scores() -> None:
    op = Router(100.0, 256.0, 8.0)
    (back,) = op.input_grad()
    assert back == RouterGrad(100.0, 256.0)
    assert (back.work().flops, back.work().bytes_read, back.work().bytes_written) == (102400.0, 204800.0, 102400.0)
    assert back.workspace_bytes() == 3 * 4 * 25600
    assert back.gradient == INPUT
    assert op.weight_grad() == back.input_grad() == back.weight_grad() == ()
    assert back.saved_bytes() == 0.0


def test_an_unlimited_choice_passes_over_all_experts_a_pick() -> None:
    more, fewer = Router(1.0, 64.0, 3.0).work().flops, Router(1.0, 64.0, 2.0).work().flops
    assert more - fewer == 64.0
