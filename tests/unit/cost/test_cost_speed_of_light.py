"""Speed of light by hand: bytes that a cache spares, arithmetic of several kernels that run as one."""

from __future__ import annotations

import pytest
from toykit import device

from simcost.cost.speed_of_light import light_seconds
from simcost.dtypes import dtype
from simcost.ops.fused import Fused
from simcost.ops.gemm import Gemm
from simcost.ops.stream import Stream

BF16 = dtype("bf16")


def gemm(m: float, n: float, k: float) -> Gemm:
    return Gemm(m, n, k, BF16, BF16, BF16, BF16)


def moved(m: float, n: float, k: float) -> float:
    return 2.0 * (m * k + k * n + m * n)


@pytest.mark.parametrize(("m", "n", "k"), [(8192.0, 8192.0, 8192.0), (1.0, 4096.0, 4096.0)])
def test_without_a_cache_every_byte_comes_from_memory(m: float, n: float, k: float) -> None:
    assert light_seconds(gemm(m, n, k), device()) == pytest.approx(max(2 * m * n * k / 1e15, moved(m, n, k) / 1e12))


def test_vector_arithmetic_is_no_light() -> None:
    op = Stream("norm", 1e6, 1.0, 1.0, 1e9, BF16, BF16)
    assert light_seconds(op, device()) == pytest.approx(4e6 / 1e12)
    assert light_seconds(op, device(l2=1e9)) == 0.0


@pytest.mark.parametrize(("l2", "kept"), [(None, 0.0), (1e3, 1e3), (1e9, 4096.0 * 8 * 2 * 2)])
def test_activations_stay_in_the_cache_as_far_as_it_reaches_and_weights_never(l2: float | None, kept: float) -> None:
    op = gemm(8.0, 4096.0, 4096.0)
    weights, activations = 2.0 * 4096 * 4096, 2.0 * 8 * (4096 + 4096)
    assert light_seconds(op, device(l2=l2)) == pytest.approx((weights + activations - kept) / 1e12)


def test_light_of_kernels_that_run_as_one_overlaps_their_bytes_and_arithmetic() -> None:
    cast, product = Stream("quantise", 1e6, 1.0, 1.0, 3.0, BF16, BF16), gemm(8192.0, 8192.0, 8192.0)
    whole = light_seconds(Fused("linear", (cast, product)), device())
    assert whole == pytest.approx(max(2.0 * 8192.0**3 / 1e15, (4e6 + moved(8192.0, 8192.0, 8192.0)) / 1e12))
    assert whole <= light_seconds(cast, device()) + light_seconds(product, device())
