"""The roofline of one kernel by hand: which side binds, what the profile's efficiencies take off, and what light allows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from toykit import ASSUMED, device

from simcost.cost.kernel import Roofline
from simcost.dtypes import dtype
from simcost.errors import SpecError
from simcost.ops.collective import Collective
from simcost.ops.gemm import Gemm
from simcost.ops.stream import Stream

BF16, FP8, INT4 = dtype("bf16"), dtype("fp8"), dtype("int4")
OVERHEAD, MEMORY, GEMM = ASSUMED["kernel_overhead"], ASSUMED["memory_efficiency"], ASSUMED["gemm_efficiency"]


def gemm(m: float, n: float, k: float, **more: Any) -> Gemm:
    return Gemm(m, n, k, BF16, more.pop("w", BF16), BF16, more.pop("compute", BF16), **more)


def moved(m: float, n: float, k: float) -> float:
    return 2.0 * (m * k + k * n + m * n)


@pytest.mark.parametrize(("m", "n", "k"), [(8192.0, 8192.0, 8192.0), (1.0, 4096.0, 4096.0), (64.0, 128.0, 65536.0)])
def test_a_product_takes_the_longer_of_arithmetic_and_bytes(m: float, n: float, k: float) -> None:
    cost = Roofline(device())(gemm(m, n, k))
    compute, memory = 2.0 * m * n * k / 1e15 / GEMM, moved(m, n, k) / 1e12 / MEMORY
    assert cost.seconds == pytest.approx(max(compute, memory) + OVERHEAD)
    assert cost.compute_s == pytest.approx(compute if compute >= memory else 0.0)
    assert cost.memory_s == pytest.approx(0.0 if compute >= memory else memory)
    assert (cost.wire_s, cost.overhead_s) == (0.0, OVERHEAD)
    assert cost.light_s == pytest.approx(max(2.0 * m * n * k / 1e15, moved(m, n, k) / 1e12))
    assert cost.spread == {"gemm assumed": pytest.approx(0.40 * cost.seconds)}


def test_the_datasheet_answers_for_light_and_assumptions_for_the_rest() -> None:
    cost = Roofline(device())(gemm(4096.0, 4096.0, 4096.0))
    assert cost.datasheet_s == cost.light_s
    assert cost.assumed_s == pytest.approx(cost.seconds - cost.light_s)
    assert (cost.measured_s, cost.fitted_s, cost.transferred_s) == (0.0, 0.0, 0.0)


def test_a_narrower_format_computes_at_its_own_rate_and_moves_its_own_bytes() -> None:
    m, n, k = 4096.0, 4096.0, 4096.0
    wide, narrow = (Roofline(device())(gemm(m, n, k, w=w, compute=w)) for w in (BF16, FP8))
    assert wide.compute_s / narrow.compute_s == pytest.approx(2.0)
    packed = Roofline(device())(gemm(1.0, 4096.0, 4096.0, w=INT4))
    assert packed.memory_s == pytest.approx((4096.0 * 4096.0 * (4 + 20 / 128) / 8 + 2.0 * 2 * 4096) / 1e12 / MEMORY)


def test_a_format_that_the_device_does_not_state_is_named() -> None:
    with pytest.raises(SpecError, match=r"toy/profile.toml: no 'peak.fp8' \(toy states bf16\)"):
        Roofline(device(peaks={"bf16": 1e15}))(gemm(1.0, 1.0, 1.0, compute=FP8))


@pytest.mark.parametrize(("flops", "bound"), [(4.0, "memory"), (1000.0, "compute")])
def test_elementwise_kernels_are_held_to_memorys_share_on_both_sides(flops: float, bound: str) -> None:
    cost = Roofline(device())(Stream("norm", 1e6, 2.0, 1.0, flops, BF16, BF16))
    work = {"memory": 6e6 / 1e12 / MEMORY, "compute": 1e6 * flops / 1e14 / MEMORY}
    assert getattr(cost, f"{bound}_s") == pytest.approx(work[bound])
    assert cost.seconds == pytest.approx(max(work.values()) + OVERHEAD)
    assert cost.light_s == pytest.approx(6e6 / 1e12)  # vector arithmetic is no light
    assert cost.spread == {"stream assumed": pytest.approx(0.5 * cost.seconds)}


def test_without_a_vector_rate_elementwise_kernels_are_bound_by_memory() -> None:
    cost = Roofline(device(peaks={"bf16": 1e15}))(Stream("norm", 1e6, 2.0, 1.0, 1e9, BF16, BF16))
    assert cost.compute_s == 0.0
    assert cost.memory_s == pytest.approx(6e6 / 1e12 / MEMORY)


def test_a_kernel_without_bytes_is_none() -> None:
    cost = Roofline(device())(Stream("norm", 0.0, 2.0, 1.0, 4.0, BF16, BF16))
    assert cost.seconds == 0.0
    mixed = Roofline(device())(Stream("norm", np.array([0.0, 1e6]), 2.0, 1.0, 4.0, BF16, BF16))
    assert np.asarray(mixed.overhead_s).tolist() == [0.0, OVERHEAD]


def test_what_crosses_links_is_no_roofline_of_memory() -> None:
    cost = Roofline(device())(Collective("all_reduce", 1e6, 8.0))
    assert (cost.memory_s, cost.compute_s) == (0.0, 0.0)
    assert cost.wire_s > 0.0
    assert "collective assumed" in cost.spread
