"""Laws of calibrated time: never below the speed of light where the L2 cannot help, decreases stay within the interval,
intervals hold their estimate, shares add up, and what has no rows answers as the roofline does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from lawkit import SOME

from simcost import query
from simcost.calibration import store
from simcost.calibration.families import gemm as gemm_family
from simcost.cost import calibrated
from simcost.cost.cost import STANDS_IN, interval, ratio_deviation
from simcost.dtypes import dtype
from simcost.estimate import step
from simcost.hardware import load as hardware
from simcost.hardware.profile import Device
from simcost.ops.fused import Fused
from simcost.ops.gemm import Gemm
from simcost.ops.stream import Stream
from simcost.program import leaves
from simcost.scenarios import calibration_effect

DEVICES = [name for name in hardware.names() if hardware.load(name).tables]


def run(name: str, hw: str, decode: bool, phase: dict[str, Any], axes: dict[str, Any] | None = None) -> step.Step:
    made = query.make(
        name, hw, decode, phase, {"plan.mla_form": "absorbed" if decode else "expanded"}, axes or {}, None
    )
    if not axes:
        return step.run(query.workload(made))
    _, (point,) = query.sweep(made)
    assert point.workload is not None
    return step.run(point.workload)


@pytest.mark.parametrize("name", SOME)
@pytest.mark.parametrize("decode", [True, False])
@pytest.mark.parametrize("hw", ["h200", "b200"])
def test_no_kernel_beats_the_speed_of_light_beyond_the_l2(name: str, decode: bool, hw: str) -> None:
    if hw == "h200" and name.startswith("gpt-oss"):
        pytest.skip("mxfp4 arithmetic is not the H200's")
    found = run(name, hw, decode, {"batch": 8, "context": 4096} if decode else {"batch": 8, "isl": 1024})
    cache = found.workload.device.l2
    assert cache is not None
    for _, call, cost, _ in leaves(found.priced):
        if float(np.max(call.op.work().bytes)) > 2 * float(np.max(cache)):
            assert cost.seconds >= cost.light_s * (1 - 1e-12), call.tag
        shares = cost.measured_s + cost.fitted_s + cost.transferred_s + cost.datasheet_s + cost.assumed_s
        assert np.isclose(shares, cost.seconds, rtol=1e-9)
        assert cost.assumed_s >= -1e-15


@pytest.mark.parametrize("name", SOME)
@pytest.mark.parametrize("axis", ["batch", "context"])
def test_a_decrease_along_batch_or_context_stays_within_the_interval(name: str, axis: str) -> None:
    values = {
        "batch": [1, 2, 3, 5, 8, 16, 17, 32, 64, 100, 128, 256],
        "context": [16, 100, 512, 1000, 4096, 10000, 30000],
    }
    phase = {"batch": 16, "context": 4096}
    cost = run(name, "b200", True, {k: v for k, v in phase.items() if k != axis}, {axis: values[axis]}).cost
    low, high = interval(cost)
    seconds = np.asarray(cost.seconds)
    assert np.all(low <= seconds)
    assert np.all(seconds <= high)
    highest = np.maximum.accumulate(np.asarray(low))
    assert np.all(np.asarray(high) >= highest)


@pytest.mark.parametrize("hw", DEVICES)
@pytest.mark.parametrize("decode", [True, False])
def test_measurements_narrow_the_interval(hw: str, decode: bool) -> None:
    phase = {"batch": 16, "context": 4096} if decode else {"batch": 1, "isl": 4096}
    made = [query.make("llama-3.1-8b", hw, decode, phase, sets, {}, None) for sets in ({}, {"hw.measurements": "none"})]
    with_rows, without = (step.run(query.workload(q)).cost for q in made)
    assert with_rows.deviation / with_rows.seconds < without.deviation / without.seconds
    assert with_rows.fitted_s + with_rows.measured_s > 0.5 * with_rows.seconds
    assert without.fitted_s == without.measured_s == 0


@pytest.mark.parametrize("path", ["hw.memory.bandwidth", "hw.peak.bf16"])
def test_a_faster_device_is_never_slower_by_the_curves(path: str) -> None:
    cost = run("llama-3.1-8b", "h200", True, {"batch": 16, "context": 4096}, {path: ["x0.5", "x1", "x2"]}).cost
    times = np.broadcast_to(np.asarray(cost.seconds), (3,))
    assert times[0] >= times[1] >= times[2]


def test_a_row_that_was_measured_is_said_to_be_so() -> None:
    found = run("deepseek-v3", "h200", True, {"batch": 64, "context": 4096})
    assert 0 <= found.cost.measured_s <= found.cost.seconds


def ask(name: str, hw: str, sets: dict[str, Any]) -> step.Step:
    return step.run(query.workload(query.make(name, hw, True, {"batch": 16, "context": 4096}, sets, {}, None)))


@pytest.mark.parametrize(("path", "kernels"), [("memory.bandwidth", True), ("peak.bf16", True), ("power.tdp", False)])
def test_a_device_that_nobody_measured_is_not_called_measured(path: str, kernels: bool) -> None:
    known = ask("llama-3.1-8b", "h200", {}).cost
    other = ask("llama-3.1-8b", "h200", {f"hw.{path}": "x1.5"}).cost
    if not kernels:
        assert (other.measured_s, other.fitted_s, other.deviation) == (
            known.measured_s,
            known.fitted_s,
            known.deviation,
        )
        return
    assert other.transferred_s > 0.5 * other.seconds
    assert other.deviation / other.seconds > 1.25 * known.deviation / known.seconds
    same = ask("llama-3.1-8b", "h200", {f"hw.{path}": "x1"}).cost
    assert (same.seconds, same.measured_s, same.deviation) == (known.seconds, known.measured_s, known.deviation)


def test_a_borrowed_curve_knows_what_both_profiles_say_of_themselves() -> None:
    lender, borrower = hardware.load("h200"), hardware.load("mi300x")
    compute, _ = store.reached("gemm", lender, borrower)
    assert compute == pytest.approx(0.70 / 0.45)
    big = Gemm(8192.0, 8192.0, 8192.0, *(dtype("bf16"),) * 4)

    def share(device: Device) -> float:
        """Of the peak."""
        return float(np.asarray(big.work().flops / device.peak("bf16") / calibrated.model(device)(big).seconds))

    assert share(borrower) == pytest.approx(share(lender) / compute, rel=0.1)


@pytest.mark.parametrize(("hw", "share"), [("h800", 0.06), ("mi300x", 0.41), ("h100", 0.0)])
def test_what_all_borrowed_kernels_owe_together_is_a_share_of_the_spread_and_cancels_in_a_ratio(
    hw: str, share: float
) -> None:
    device = hardware.load(hw)
    small, large = (calibrated.model(device)(Gemm(1.0, 4096.0, k, *(dtype("bf16"),) * 4)) for k in (4096.0, 16384.0))
    for cost in (small, large):
        common = cost.spread.get(STANDS_IN, 0.0) / cost.seconds
        assert common == pytest.approx(device.sibling_spread * share**0.5 * (device.sibling is not None))
    if share:
        found = calibrated.store(device).find("gemm", dict.fromkeys(("x", "w", "compute"), "bf16"))
        assert found is not None
        assert np.hypot(found.common, found.extra) == pytest.approx(device.sibling_spread)
        alone = [replace(cost, spread={STANDS_IN: cost.spread[STANDS_IN]}) for cost in (small, large)]
        assert ratio_deviation(*alone) == pytest.approx(0.0, abs=1e-12)
        assert ratio_deviation(alone[0].on("a"), alone[1].on("b")) > device.sibling_spread * share**0.5


def test_every_kernel_of_a_borrowed_curve_starts_as_late_as_the_profiles_differ() -> None:
    bf16 = dtype("bf16")
    gemm = Gemm(1.0, 4096.0, 4096.0, *(bf16,) * 4)
    cast = Stream("quantise", 4096.0, 1.0, 1.0, 3.0, bf16, bf16)
    lender, borrower = hardware.load("h200"), hardware.load("mi300x")
    later = borrower.assumed["kernel_overhead"] - lender.assumed["kernel_overhead"]
    assert later > 0.0
    plain = replace(borrower, assumed={**borrower.assumed, "kernel_overhead": lender.assumed["kernel_overhead"]})
    for op, count in ((gemm, 1), (Fused("linear", (cast, gemm)), 2)):
        cost, like = calibrated.Calibrated(borrower)._kernel, calibrated.Calibrated(plain)._kernel
        found = calibrated.store(borrower).find("gemm", gemm_family.formats(gemm, gemm))
        assert found is not None
        moved = cost(op, "gemm", found), like(op, "gemm", found)
        assert moved[0].seconds - moved[1].seconds == pytest.approx(count * later, rel=1e-9)
        assert moved[0].overhead_s - moved[1].overhead_s == pytest.approx(count * later, rel=1e-9)
    own = hardware.load("h200", {"assumed.kernel_overhead": "9 us"})
    assert calibrated.model(own)(gemm).seconds == calibrated.model(lender)(gemm).seconds


@pytest.mark.parametrize("name", ["deepseek-v3", "llama-3.1-8b", "mixtral-8x7b"])
@pytest.mark.parametrize("decode", [True, False])
def test_what_measurements_moved_adds_up_and_leaves_no_class_behind(name: str, decode: bool) -> None:
    found = run(name, "h200", decode, {"batch": 8, "context": 4096} if decode else {"batch": 8, "isl": 1024})
    whole, *classes = calibration_effect.rows(name, "decode" if decode else "prefill", found)
    for which, total in (("calibrated_s", found.cost.seconds), ("uncalibrated_s", None)):
        assert sum(float(row[which]) for row in classes) == pytest.approx(float(whole[which]), rel=1e-9)  # type: ignore[arg-type]
        assert total is None or whole[which] == pytest.approx(total, rel=1e-9)
    assert all(float(row["calibrated_s"]) > 0 and float(row["uncalibrated_s"]) > 0 for row in classes)  # type: ignore[arg-type]
