"""Dense products: FLOPs, bytes by operand and format, and the two products of the backward pass."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simcost.dtypes import dtype
from simcost.ops.gemm import Gemm
from simcost.ops.work import INPUT, WEIGHT

BF16, FP8, FP32, FP8_BLOCK, INT4, MXFP4 = (
    dtype(name) for name in ("bf16", "fp8", "fp32", "fp8_block", "int4", "mxfp4")
)
EXAMPLES = settings(max_examples=60, deadline=None, derandomize=True)
SIDES = st.integers(1, 300)
SIZE = {"bf16": 2.0, "fp32": 4.0, "fp8": 1.0}  # bytes of an element
TILES = {"fp8_block": (1.0, 128, 128, 4.0), "int4": (0.5, 1, 128, 2.5), "mxfp4": (0.5, 1, 32, 1.0)}


def matrix(name: str, rows: int, columns: int) -> float:
    """Bytes of a weight matrix: its elements, and a scale for every tile that it begins."""
    if name in SIZE:
        return SIZE[name] * rows * columns
    each, high, wide, scale = TILES[name]
    return each * rows * columns + scale * sum(1 for _ in product(range(0, rows, high), range(0, columns, wide)))


@EXAMPLES
@given(SIDES, SIDES, SIDES, st.integers(1, 4), st.sampled_from(["bf16", "fp8", "fp8_block", "int4", "mxfp4"]))
def test_every_operand_is_moved_once(m: int, n: int, k: int, batch: int, weights: str) -> None:
    found = Gemm(float(m), float(n), float(k), BF16, dtype(weights), FP32, BF16, float(batch)).work()
    assert found.flops == sum(2 * m * n * k for _ in range(batch))
    assert found.bytes_read == pytest.approx(batch * (2 * m * k + matrix(weights, n, k)))
    assert found.bytes_written == 4 * batch * m * n


@EXAMPLES
@given(SIDES, SIDES, SIDES, st.sampled_from(["int4", "mxfp4", "fp8_block"]))
def test_unpacking_writes_a_wide_copy_and_reads_it_back(m: int, n: int, k: int, weights: str) -> None:
    packed = Gemm(float(m), float(n), float(k), BF16, dtype(weights), BF16, BF16)
    fused, apart = packed.work(), replace(packed, unpacked=True).work()
    assert apart.flops == fused.flops
    assert apart.bytes_read - fused.bytes_read == pytest.approx(2 * n * k)
    assert apart.bytes_written - fused.bytes_written == 2 * n * k


@EXAMPLES
@given(SIDES, SIDES, SIDES)
def test_a_product_added_to_its_output_reads_it(m: int, n: int, k: int) -> None:
    plain = Gemm(float(m), float(n), float(k), BF16, BF16, FP32, BF16, 3.0)
    found = replace(plain, adds=True).work()
    assert found.bytes_read - plain.work().bytes_read == 3 * 4 * m * n
    assert found.bytes_written == plain.work().bytes_written
    assert found.flops == plain.work().flops


@EXAMPLES
@given(SIDES, SIDES, SIDES, st.integers(1, 3))
def test_gradients_are_the_products_of_matrix_calculus(m: int, n: int, k: int, batch: int) -> None:
    """Y [m, n] = X [m, k] W [k, n]: dX = dY W^T is [m, n] x [n, k], dW = dY^T X is [n, m] x [m, k]."""
    forward = Gemm(float(m), float(n), float(k), BF16, FP8, BF16, BF16, float(batch))
    (dx,), (dw,) = forward.input_grad(), forward.weight_grad()
    assert (dx.m, dx.k, dx.n, dx.batch, dx.gradient) == (m, n, k, batch, INPUT)
    assert (dw.m, dw.k, dw.n, dw.batch, dw.gradient) == (n, m, k, batch, WEIGHT)
    assert dx.work().flops == dw.work().flops == forward.work().flops
    assert dx.w.name == "fp8"  # the weight as it is stored
    assert dw.w.name == "bf16"  # here the second operand is the input
    assert dx.work().bytes == batch * (2 * m * n + n * k + 2 * m * k)
    assert dw.work().bytes == batch * (2 * m * n + 2 * m * k + 2 * n * k)


@pytest.mark.parametrize(("x", "out", "narrow", "wide"), [
    (FP8, BF16, "fp8", "bf16"), (BF16, BF16, "bf16", "bf16"), (BF16, FP32, "bf16", "fp32"),
])  # fmt: skip
def test_the_gradient_of_the_output_enters_as_narrow_as_the_input_did(
    x: object, out: object, narrow: str, wide: str
) -> None:
    forward = Gemm(32.0, 64.0, 16.0, x, FP8, out, FP8)  # type: ignore[arg-type]
    (dx,), (dw,) = forward.input_grad(), forward.weight_grad()
    assert (dx.x.name, dx.out.name) == (narrow, wide)
    assert (dw.x.name, dw.w.name) == (narrow, x.name)  # type: ignore[attr-defined]


@pytest.mark.parametrize("sums", [None, FP32, BF16])
def test_sums_of_gradients_are_read_and_written_in_their_own_format(sums: object) -> None:
    forward = Gemm(32.0, 64.0, 16.0, BF16, BF16, BF16, BF16)
    (dw,) = forward.weight_grad(sums)  # type: ignore[arg-type]
    size = 2 if sums is None else SIZE[sums.name]  # type: ignore[attr-defined]
    assert dw.adds is (sums is not None)
    assert dw.work().bytes_written == 64 * 16 * size
    assert dw.work().bytes_read == 2 * 32 * 64 + 2 * 32 * 16 + (0 if sums is None else 64 * 16 * size)


def test_saved_and_alive_are_activations_and_no_weights() -> None:
    forward = Gemm(32.0, 64.0, 16.0, FP8, BF16, BF16, FP8, 2.0)
    assert forward.saved_bytes() == 2 * 32 * 16
    assert forward.workspace_bytes() == 2 * (32 * 16 + 2 * 32 * 64)
    (dx,), (dw,) = forward.input_grad(), forward.weight_grad()
    assert dx.workspace_bytes() == 2 * (32 * 64 + 2 * 32 * 16)  # dY in fp8, dX in bf16
    assert dw.workspace_bytes() == 2 * (32 * 64 + 32 * 16)  # dY and X; dW is no activation


def test_an_unpacked_weight_is_unpacked_again_for_the_input_gradient_alone() -> None:
    forward = Gemm(32.0, 64.0, 128.0, BF16, INT4, BF16, BF16, unpacked=True)
    (dx,), (dw,) = forward.input_grad(), forward.weight_grad()
    assert dx.unpacked
    assert not dw.unpacked


def test_a_linear_layer_is_as_torch_lays_it_out() -> None:
    """Scales of int4 run along the inner dimension of [out, in]: 100 rows of 256 have two scales each."""
    found = Gemm(1.0, 100.0, 256.0, BF16, INT4, BF16, BF16).work()
    assert found.bytes_read == 2 * 256 + 100 * 128 + 100 * 2 * 2.5


@pytest.mark.parametrize(("w", "said"), [(BF16, "bf16"), (MXFP4, "bf16 (w mxfp4)"), (FP8_BLOCK, "bf16 (w fp8_block)")])
def test_coords_name_the_format_of_narrow_weights(w: object, said: str) -> None:
    found = Gemm(2.0, 3.0, 4.0, BF16, w, BF16, BF16, 5.0).coords()  # type: ignore[arg-type]
    assert found == {"b": 5.0, "m": 2.0, "n": 3.0, "k": 4.0, "dtype": said}


@pytest.mark.parametrize("compute", ["bf16", "fp8", "mxfp4", "tf32"])
def test_a_product_runs_at_the_rate_of_its_arithmetic(compute: str) -> None:
    op = Gemm(2.0, 3.0, 4.0, FP32, INT4, BF16, dtype(compute))
    assert op.peak == {"mxfp4": "fp4"}.get(compute, compute)
    assert all(grad.peak == op.peak for grad in (*op.input_grad(), *op.weight_grad()))


def test_arrays_are_products_point_by_point() -> None:
    m = np.array([1.0, 7.0, 128.0])
    whole = Gemm(m, 96.0, 160.0, BF16, FP8_BLOCK, BF16, BF16)
    for field in ("flops", "bytes_read", "bytes_written"):
        alone = [getattr(replace(whole, m=float(v)).work(), field) for v in m]
        assert np.broadcast_to(getattr(whole.work(), field), m.shape).tolist() == alone
    assert whole.saved_bytes().tolist() == [2 * 160 * v for v in m]
