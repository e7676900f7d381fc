"""Laws of time over the zoo: monotone roofline, scaling of rates, speed of light, overrides of what already stands."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lawkit import ROOFLINE, SOME, ZOO, metrics, model, run

from simcost import api, settings
from simcost.cost.collective import collective_cost
from simcost.cost.cost import Cost
from simcost.errors import SimcostError
from simcost.estimate.step import run as run_step
from simcost.hardware import load as hardware
from simcost.model import load as models
from simcost.ops.collective import Collective
from simcost.program import leaves
from simcost.query import make, sweep

HW = "b200"  # states every number format that the zoo is stored in
FORM = {"plan.mla_form": "absorbed"}
EPS = 1 + 1e-12
ALL_RATES = [
    "memory.bandwidth", "links.scaleup.bandwidth", "links.scaleup.pair_bandwidth", "links.scaleout.bandwidth",
]  # fmt: skip


def roofline(cost: Cost) -> Any:
    """Time without fixed overheads. [s]"""
    return cost.compute_s + cost.memory_s + cost.wire_s


def along(
    name: str, decode: bool, phase: dict[str, Any], axes: dict[str, list[Any]], sets: Any = None, hw: str = HW
) -> Any:
    """The cost of every point of one array axis."""
    query = make(name, hw, decode, phase, {**ROOFLINE, **FORM, **(sets or {})}, axes, None)
    _, points = sweep(query)
    assert len(points) == 1
    assert points[0].workload is not None
    return run_step(points[0].workload).cost


def rises(values: Any) -> bool:
    along = np.atleast_1d(values)  # one number where nothing depends on what varies
    return bool(np.all(along[:-1] <= along[1:] * EPS))


@pytest.mark.parametrize("name", ZOO)
def test_decode_time_is_monotone_in_batch(name: str) -> None:
    cost = along(name, True, {"context": 4096}, {"batch": [1, 2, 3, 7, 8, 16, 31, 64, 200, 1000, 5000]})
    assert rises(roofline(cost))
    assert rises(cost.light_s)


@pytest.mark.parametrize("name", ZOO)
def test_decode_time_is_monotone_in_context(name: str) -> None:
    cost = along(name, True, {"batch": 16}, {"context": [1, 2, 100, 127, 128, 129, 1000, 4096, 5000, 100000]})
    if name.startswith("llama-4"):
        pytest.skip("a new chunk starts empty: its layers see fewer keys")
    assert rises(roofline(cost))


@pytest.mark.parametrize("name", ZOO)
@pytest.mark.parametrize("form", ["expanded", "absorbed"])
def test_prefill_time_is_monotone_in_input_length(name: str, form: str) -> None:
    cost = along(
        name, False, {"batch": 2}, {"isl": [1, 2, 100, 127, 129, 1000, 4096, 5000, 30000]}, {"plan.mla_form": form}
    )
    assert rises(roofline(cost))


@pytest.mark.parametrize("name", SOME)
@pytest.mark.parametrize("decode", [True, False])
@pytest.mark.parametrize("path", ["hw.memory.bandwidth", "hw.peak.bf16", "hw.peak.fp32", "hw.peak.fp8"])
def test_time_falls_when_a_rate_rises(name: str, decode: bool, path: str) -> None:
    phase = {"batch": 8, "context": 4096} if decode else {"batch": 2, "isl": 2048}
    cost = along(name, decode, phase, {path: ["x0.25", "x0.5", "x1", "x2", "x8"]})
    times = np.broadcast_to(roofline(cost), (5,))
    assert rises(times[::-1])
    assert np.all(np.asarray(cost.overhead_s) == np.ravel(cost.overhead_s)[0])


@pytest.mark.parametrize("path", ["hw.links.scaleup.bandwidth", "hw.links.scaleout.bandwidth"])
@pytest.mark.parametrize(
    ("name", "plan"), [("llama-3.1-70b", {"plan.tp": 64}), ("deepseek-v3", {"plan.tp": 4, "plan.ep": 64})]
)
def test_time_falls_when_a_link_gets_faster(path: str, name: str, plan: dict[str, Any]) -> None:
    cost = along(name, False, {"batch": 64, "isl": 512}, {path: ["x0.25", "x1", "x4"]}, plan)
    times = np.broadcast_to(cost.seconds, (3,))  # with hops: a library trades them for bytes
    assert rises(times[::-1])
    assert times[0] > times[2]


@pytest.mark.parametrize("name", ZOO)
@pytest.mark.parametrize("decode", [True, False])
def test_roofline_part_halves_when_every_rate_doubles(name: str, decode: bool) -> None:
    phase = {"batch": 8, "context": 4096} if decode else {"batch": 8, "isl": 1024}
    mixers = [b for _, b in model(name).blocks() if b.kind == "attention"]
    heads = [float(np.asarray(b.num_attention_heads)) for b in mixers if hasattr(b, "num_attention_heads")]
    sets: dict[str, Any] = {"plan.tp": 8 if all(h % 8 == 0 for h in heads) else 4, **FORM}
    device = hardware.load(HW)
    twice = {f"hw.peak.{p}": "x2" for p in device.peaks}
    stated = hardware.facts(hardware.read(HW)[1], HW)
    twice |= {f"hw.{path}": "x2" for path in ALL_RATES if path in stated}
    try:
        slow, fast = run(name, HW, decode, phase, sets).cost, run(name, HW, decode, phase, {**sets, **twice}).cost
    except SimcostError:
        sets.pop("plan.tp")
        slow, fast = run(name, HW, decode, phase, sets).cost, run(name, HW, decode, phase, {**sets, **twice}).cost
    assert fast.compute_s + fast.memory_s == (slow.compute_s + slow.memory_s) / 2.0
    # On links a faster rate may be worth an algorithm of fewer hops and more bytes: never slower, never below half.
    assert fast.wire_s + fast.overhead_s <= slow.wire_s + slow.overhead_s
    assert fast.wire_s + fast.overhead_s >= (slow.wire_s + slow.overhead_s) / 2.0
    assert fast.light_s == slow.light_s / 2.0


@pytest.mark.parametrize("name", ZOO)
@pytest.mark.parametrize("decode", [True, False])
def test_time_is_never_below_the_speed_of_light_for_the_step_and_every_kernel(name: str, decode: bool) -> None:
    phase = {"batch": 8, "context": 4096} if decode else {"batch": 8, "isl": 1024}
    step = run(name, HW, decode, phase)
    assert step.cost.seconds >= step.cost.light_s > 0
    for _, call, cost, _ in leaves(step.priced):
        assert cost.seconds >= cost.light_s >= 0, call.tag
        assert cost.seconds >= cost.datasheet_s
    assert step.cost.assumed_s >= 0
    assert np.isclose(step.cost.datasheet_s + step.cost.assumed_s, step.cost.seconds, rtol=1e-12)


@pytest.mark.parametrize("name", SOME)
def test_the_step_is_the_sum_of_its_kernels_and_its_overhead(name: str) -> None:
    step = run(name, HW, True, {"batch": 8, "context": 4096})
    total = sum(float(cost.seconds) * float(weight) for _, _, cost, weight in leaves(step.priced))
    assert np.isclose(total + step.workload.device.assumption("step_overhead"), step.cost.seconds, rtol=1e-9)


@pytest.mark.parametrize("name", ["deepseek-v3", "deepseek-v2-lite", "moonlight-16b-a3b", "kimi-k2"])
@pytest.mark.parametrize(("decode", "phase"), [
    (True, {"batch": 1, "context": 4096}), (True, {"batch": 128, "context": 100}), (False, {"batch": 1, "isl": 4096}),
    (False, {"batch": 4, "isl": 16, "past": 3000}),
])  # fmt: skip
def test_the_chosen_mla_form_is_the_cheaper_one(name: str, decode: bool, phase: dict[str, Any]) -> None:
    forms = [
        run(name, HW, decode, phase, {"plan.mla_form": form}).cost.seconds for form in ("auto", "expanded", "absorbed")
    ]
    assert np.isclose(forms[0], min(forms[1:]), rtol=1e-12)


@pytest.mark.parametrize("hw", ["h100", "b200", "mi300x", "gb200"])
@pytest.mark.parametrize("kind", ["all_reduce", "all_gather", "all_to_all"])
def test_a_collective_is_free_for_one_and_monotone_in_payload(hw: str, kind: Any) -> None:
    device = hardware.load(hw)
    assert collective_cost(Collective(kind, 1e9, 1.0), device).seconds == 0
    for group in (2.0, 4.0, 8.0, 16.0, 64.0):
        times = collective_cost(Collective(kind, np.asarray([0.0, 1.0, 1e3, 1e6, 1e9]), group), device).seconds
        assert rises(np.asarray(times))
        assert times[0] > 0


@pytest.mark.parametrize("name", SOME)
@pytest.mark.parametrize("decode", [True, False])
def test_setting_a_config_key_to_its_current_value_changes_nothing(name: str, decode: bool) -> None:
    phase = {"batch": 8, "context": 4096} if decode else {"batch": 2, "isl": 1024}
    before = metrics(name, HW, decode, phase)
    config = models.load_config(name)[2]
    table = {**config, **config.get("text_config", {})}
    for key, value in table.items():
        if isinstance(value, (int, float, str, bool)) and key != "text_config":
            assert metrics(name, HW, decode, phase, {f"model.{key}": value}) == before, key


@pytest.mark.parametrize("hw", ["h100", "mi300x", "gb200", "tpu-v5p"])
def test_setting_a_hardware_fact_to_its_current_value_changes_nothing(hw: str) -> None:
    where, tables = hardware.read(hw)
    before = hardware.load(hw)
    for path, entry in hardware.entries(tables, where):
        if path.startswith(
            ("price.", "assumed.power_")
        ):  # a price is chosen by price.use; a share that is stated has no range
            continue
        assert hardware.load(hw, {path: entry["value"]}) == before, path
        if hardware.dimension(path, where) != settings.FLAG:
            assert hardware.load(hw, {path: "x1"}) == before, path


@pytest.mark.parametrize("name", SOME)
def test_setting_a_plan_key_to_its_default_changes_nothing(name: str) -> None:
    phase = {"batch": 8, "context": 4096}
    step = run(name, HW, True, phase)
    before = metrics(name, HW, True, phase)
    formats = step.workload.formats()
    sets = {"plan.tp": 1, "plan.ep": 1, "plan.mla_form": "auto", "plan.dequantise": "fused",
            "plan.kv_dtype": formats["kv_dtype"], "plan.activation_dtype": formats["activation_dtype"]}  # fmt: skip
    sets |= {f"plan.{k}": formats[k] for k in ("weight_dtype", "compute_dtype") if "(" not in formats[k]}
    for path, value in sets.items():
        assert metrics(name, HW, True, phase, {path: value}) == before, path


@pytest.mark.parametrize("name", SOME)
def test_setting_a_phase_value_twice_changes_nothing(name: str) -> None:
    phase = {"batch": 8, "context": 4096}
    assert metrics(name, HW, True, phase, {"batch": 8, "phase.context": 4096}) == metrics(name, HW, True, phase)


def test_cost_is_a_monoid() -> None:
    rng = np.random.default_rng(3)
    times = [f.name for f in dataclasses.fields(Cost) if f.name != "spread"]

    def some() -> Cost:
        return Cost(
            **{n: float(rng.integers(1, 1000)) for n in times}, spread={"x": float(rng.integers(1, 9)), "y": 2.0}
        )

    a, b, c = some(), some(), some()
    assert (a + b) + c == a + (b + c)
    assert a + Cost() == a
    assert (a + b) * 2.0 == a * 2.0 + b * 2.0
    assert a.beside(b).seconds == max(a.seconds, b.seconds)
    assert a.cheapest(b)[0].seconds == min(a.seconds, b.seconds)


# Public eager decodes of one sequence [s] that the host sets: docs/theory/roofline.md, "Eager steps".
EAGER = [
    ("qwen3-14b", "a100", {"plan.weight_dtype": "int4"}, 16100, 20.6e-3),  # QwenLM/Qwen3 issue 1536
    ("deepseek-v2-lite", "h100", {"plan.mla_form": "absorbed"}, 136, 25e-3),  # sglang PR 1401
    ("deepseek-v2-lite", "a100", {}, 256, 31e-3),  # sglang issue 1369
    ("deepseek-v2", "h100", {"plan.tp": 8}, 512, 87e-3),  # sglang issue 1264
    ("qwen2.5-7b", "a100", {}, 1024, 22.5e-3),  # vllm-omni issue 7960
]  # fmt: skip


@pytest.mark.parametrize(("name", "hw", "sets", "context", "measured"), EAGER)
def test_eager_decodes_wait_for_their_host_as_public_ones_do(
    name: str, hw: str, sets: dict[str, Any], context: int, measured: float, tmp_path: Path
) -> None:
    if name == "qwen3-14b":  # Qwen/Qwen3-14B config.json, by what differs from the smaller one
        sizes = {"hidden_size": 5120, "intermediate_size": 17408, "num_attention_heads": 40, "num_hidden_layers": 40}
        name = str(tmp_path / "qwen3-14b.json")
        Path(name).write_text(json.dumps(models.load_config("qwen3-8b")[2] | sizes), encoding="utf-8")
    graphs, eager = (
        api.decode(name, hw, context=context, set={**sets, "plan.cuda_graph": graph}).metrics for graph in ("on", "off")
    )
    assert graphs["tpot_s"] < 0.9 * eager["tpot_s"]
    assert eager["tpot_low_s"] < measured < eager["tpot_high_s"]
    assert 0.5 * measured < eager["tpot_s"] < 1.3 * measured


@pytest.mark.parametrize("name", ["llama-3.1-8b", "deepseek-v3", "qwen3-30b-a3b"])
def test_an_eager_step_takes_the_longer_of_host_and_device(name: str) -> None:
    """Never less than with graphs, the same where the device has enough to do, and host time in proportion to the launch."""
    phase = {"batch": 1, "context": 1024}
    plan = {"plan.tp": 8, "plan.cuda_graph": "off"}
    graphs = metrics(name, "h200", True, phase, {"plan.tp": 8})["tpot_s"]
    one, two = (
        metrics(name, "h200", True, phase, {**plan, "hw.assumed.eager_launch": f"{us} us"})["tpot_s"] for us in (40, 80)
    )
    host = 300e-6
    assert graphs < one
    assert two - host == pytest.approx(2.0 * (one - host), rel=1e-9)
    assert metrics(name, "h200", True, phase, {**plan, "hw.assumed.eager_launch": "1 us"})["tpot_s"] == graphs
    long: dict[str, Any] = {"batch": 32, "isl": 8192}
    eager, captured = (metrics(name, "h200", False, long, sets) for sets in (plan, {"plan.tp": 8}))
    memory = {key for key in eager if key.endswith("_bytes_per_gpu")} | {
        "kv_pool_tokens",
        "max_concurrency",
        "max_batch",
    }  # no graphs to hold
    assert {k: v for k, v in eager.items() if k not in memory} == {k: v for k, v in captured.items() if k not in memory}


def test_every_stage_of_an_eager_pipeline_launches_its_own_kernels() -> None:
    phase = {"batch": 1, "isl": 16}
    rates = [
        metrics("llama-3.1-8b", "h200", False, phase, {"plan.cuda_graph": "off", "plan.pp": pp})["input_tokens_per_s"]
        for pp in (1, 4)
    ]
    assert 3.0 < rates[1] / rates[0] < 4.0
