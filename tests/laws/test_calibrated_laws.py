"""Laws of calibrated time: never below the speed of light where the L2 cannot help, decreases stay within the interval,
intervals hold their estimate, shares add up, and what has no rows answers as the roofline does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from lawkit import SOME

from simcost.hardware import load as hardware
from simcost.program import leaves
from simcost.scenarios import query, step

DEVICES = [name for name in hardware.names() if hardware.load(name).measurements]


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
    low, high = step.interval(cost)
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
