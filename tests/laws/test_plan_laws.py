"""Laws of splitting: no more than linear speed-up, links that a plan must cross are crossed, counts agree both ways."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from lawkit import MATRICES, SOME, ZOO, family_flops, metrics, model, run, view

from simcost.errors import SimcostError
from simcost.estimate import memory
from simcost.hardware import load as hardware
from simcost.lower import step
from simcost.plan import Plan
from simcost.query import make, workload
from simcost.scenarios import phases

FORM = {"plan.mla_form": "absorbed"}
PLANS = [(2, 1), (4, 1), (8, 1), (16, 1), (8, 8), (8, 2), (1, 8), (2, 8), (4, 64), (8, 64), (1, 64)]


@pytest.mark.parametrize("name", SOME)
@pytest.mark.parametrize("decode", [True, False])
def test_n_devices_are_never_more_than_n_times_as_fast_at_the_speed_of_light(name: str, decode: bool) -> None:
    phase = {"batch": 64, "context": 4096} if decode else {"batch": 64, "isl": 512}
    alone = run(name, "h100" if model(name).quantisation is None else "b200", decode, phase, FORM)
    for tp, ep in PLANS:
        try:
            split = run(name, alone.workload.device.name, decode, phase, {**FORM, "plan.tp": tp, "plan.ep": ep})
        except SimcostError:
            continue
        devices = float(split.workload.plan.devices)
        assert split.cost.light_s * devices >= alone.cost.light_s * (1 - 1e-9), (tp, ep)


@pytest.mark.parametrize(("name", "tp", "ep"), [
    ("llama-3.1-70b", 16, 1), ("llama-3.1-70b", 64, 1), ("deepseek-v3", 1, 16), ("deepseek-v3", 4, 64),
    ("deepseek-v3", 8, 16), ("deepseek-v3", 8, 64), ("deepseek-v3", 2, 16), ("qwen3-235b-a22b", 4, 16),
])  # fmt: skip
@pytest.mark.parametrize("decode", [True, False])
def test_a_plan_wider_than_a_node_is_slower_with_a_slower_nic(name: str, tp: int, ep: int, decode: bool) -> None:
    phase = {"batch": 256, "context": 4096} if decode else {"batch": 256, "isl": 64}
    sets = {**FORM, "plan.tp": tp, "plan.ep": ep}
    assert hardware.load("h200").scaleup.domain == 8  # type: ignore[union-attr]
    fast = run(name, "h200", decode, phase, sets).cost
    slow = run(name, "h200", decode, phase, {**sets, "hw.links.scaleout.bandwidth": "x0.01"}).cost
    assert slow.wire_s > fast.wire_s


@pytest.mark.parametrize("name", SOME)
def test_a_plan_within_a_node_never_touches_the_nic(name: str) -> None:
    for tp, ep in ((2, 1), (8, 1), (8, 8), (1, 8)):
        sets = {**FORM, "plan.tp": tp, "plan.ep": ep}
        try:
            before = metrics(name, "b200", True, {"batch": 16, "context": 4096}, sets)
        except SimcostError:
            continue
        assert before == metrics(
            name, "b200", True, {"batch": 16, "context": 4096}, {**sets, "hw.links.scaleout.bandwidth": "x0.01"}
        )


@pytest.mark.parametrize("name", ZOO)
@pytest.mark.parametrize("decode", [True, False])
def test_utilisation_lies_between_zero_and_one(name: str, decode: bool) -> None:
    phase = {"batch": 512, "context": 1024} if decode else {"batch": 8, "isl": 4096}
    found = metrics(name, "b200", decode, phase)
    assert 0.0 < found["mfu"] <= 1.0
    assert all(0.0 <= found[k] <= 1.0 for k in found if k.startswith("share_"))
    shares = sum(found[f"share_{k}"] for k in ("compute", "memory", "wire", "overhead"))
    assert np.isclose(shares, 1.0, rtol=1e-9)


@pytest.mark.parametrize("name", ZOO)
def test_flops_per_token_count_what_the_program_runs(name: str) -> None:
    tokens = 2.0 * 700.0
    at = view(2.0, 700.0, 0.0, Plan(mla_form="expanded"))
    ran = family_flops(step(model(name), at))
    said = metrics(name, "b200", False, {"batch": 2, "isl": 700})["flops_per_token"] * tokens
    # The metric counts norms and biases at two operations an element as well: a little more, never less.
    matrices = sum(ran[f] for f in MATRICES)
    assert matrices * (1 - 1e-12) <= said <= matrices * 1.003


@pytest.mark.parametrize("name", ["deepseek-v3", "mixtral-8x7b", "llama-3.1-70b"])
@pytest.mark.parametrize("hw", [n for n in hardware.names() if hardware.load(n).scaleout is None][:4])
def test_a_sweep_beyond_the_links_of_a_device_has_rows_with_reasons(name: str, hw: str) -> None:
    axes: dict[str, list[Any]] = {"plan.tp": [1, 2, 8, 16, 32]}
    sets = {"plan.weight_dtype": "bf16", "plan.compute_dtype": "bf16", **FORM}
    alone = {}
    for tp in axes["plan.tp"]:
        try:
            alone[tp] = phases.result(
                make(name, hw, True, {"batch": 4, "context": 512}, {**sets, "plan.tp": tp}, {}, None)
            )
        except SimcostError:
            alone[tp] = None
    assert alone[1] is not None
    rows = phases.result(make(name, hw, True, {"batch": 4, "context": 512}, sets, axes, None)).rows
    for row in rows:
        assert row["feasible"] == (alone[row["plan.tp"]] is not None), row
        assert row["feasible"] or row["reason"]


@pytest.mark.parametrize("name", SOME)
@pytest.mark.parametrize("wide", ["bf16", "fp8", "nvfp4"])
def test_narrower_weights_never_take_more_bytes(name: str, wide: str) -> None:
    narrow = {"bf16": "fp8", "fp8": "nvfp4", "nvfp4": "mxfp4"}[wide]
    sets = {**FORM, "plan.compute_dtype": "bf16"}
    phase = {"batch": 8, "context": 2048}
    one = metrics(name, "b200", True, phase, {**sets, "plan.weight_dtype": wide})
    two = metrics(name, "b200", True, phase, {**sets, "plan.weight_dtype": narrow})
    held = [
        memory.kept(
            workload(make(name, "b200", True, phase, {**sets, "plan.weight_dtype": kind}, {}, None))
        ).held.loaded
        for kind in (wide, narrow)
    ]
    assert held[1].checkpoint <= held[0].checkpoint  # engines pad experts in mxfp4 to larger tiles than others
    assert two["tpot_s"] <= one["tpot_s"]


@pytest.mark.parametrize("name", SOME)
def test_a_narrower_cache_takes_half_the_bytes_and_no_more_time(name: str) -> None:
    phase = {"batch": 8, "context": 20000}
    wide, narrow = (metrics(name, "b200", True, phase, {**FORM, "plan.kv_dtype": d}) for d in ("bf16", "fp8"))
    assert narrow["kv_bytes_per_gpu"] * 2 == wide["kv_bytes_per_gpu"]
    assert narrow["tpot_s"] <= wide["tpot_s"]


@pytest.mark.parametrize("name", ["gpt-oss-120b", "deepseek-v3", "kimi-k2"])
def test_a_separate_dequantise_pass_never_saves_time(name: str) -> None:
    sets = {**FORM, "plan.compute_dtype": "bf16"}
    for batch in (1, 64):
        phase = {"batch": batch, "context": 4096}
        fused = metrics(name, "b200", True, phase, sets)["tpot_s"]
        assert metrics(name, "b200", True, phase, {**sets, "plan.dequantise": "separate"})["tpot_s"] > fused
