"""Elasticities: closed forms of the roofline, laws over all numbers, and that every row says what --set would give."""

from __future__ import annotations

import math
from typing import Any

import pytest

import simcost
from simcost.errors import SpecError
from simcost.result import Result, Row
from simcost.scenarios.goals import sensitivity

ROOFLINE = {"hw.measurements": "none"}
LLAMA: dict[str, Any] = {"model": "llama-3.1-8b", "hw": "h200"}
DEEPSEEK: dict[str, Any] = {"model": "deepseek-v3", "hw": "h200"}


def rows(result: Result) -> dict[str, Row]:
    return {row["number"]: row for row in result.tables["sensitivity"]}


def reasons(result: Result) -> dict[str, str]:
    return {row["number"]: row["why"] for row in result.tables["without effect"]}


def arc(metric: Any, low: float, high: float) -> float:
    return math.log(metric(high) / metric(low)) / math.log(high / low)


@pytest.mark.parametrize("step", [0.01, 0.05, 0.2])
def test_a_memory_bound_step_follows_bandwidth_by_its_memory_terms_alone(step: float) -> None:
    """tpot = M / x + O: the terms M have elasticity -1, the rest 0."""
    step_ = simcost.decode(**LLAMA, set=ROOFLINE).metrics
    assert step_["share_compute"] == step_["share_wire"] == 0
    memory, rest = (step_["tpot_s"] * step_[f"share_{name}"] for name in ("memory", "overhead"))
    expected = arc(lambda x: memory / x + rest, 1.0 - step, 1.0 + step)
    found = rows(simcost.sensitivity(**LLAMA, set=ROOFLINE, step=step))
    for name in ("hw.memory.bandwidth", "hw.assumed.memory_efficiency"):
        if name in found:  # an efficiency of 0.88 has no value 20 % above
            assert found[name]["elasticity"] == pytest.approx(
                expected if found[name]["more_value"] > found[name]["value"] else found[name]["elasticity_below"],
                rel=1e-9,
            )
    overhead = found["hw.assumed.kernel_overhead"]["elasticity"] + found["hw.assumed.step_overhead"]["elasticity"]
    assert overhead == pytest.approx(rest / step_["tpot_s"], rel=2 * step)


@pytest.mark.parametrize("sets", [{"plan.tp": 8}, {"plan.ep": 8}, {"plan.tp": 8, "plan.ep": 8}], ids=str)
def test_all_rates_and_fixed_times_together_scale_the_step(sets: dict[str, Any]) -> None:
    """Twice the rates and half of every fixed time halve a step: the elasticities to all of them add up to -1 (Euler). Inside a node: over the
    network NCCL has constants of its own, which no profile states."""
    found = rows(simcost.sensitivity(**DEEPSEEK, batch=256, set={**ROOFLINE, **sets}, only="hw", step=0.001))
    total = 0.0
    for name, row in found.items():
        key = name.removeprefix("hw.")
        if key.startswith("assumed.") and key.endswith(("overhead", "latency", "launch")):
            total -= row["elasticity"]
        elif key.startswith(("peak.", "memory.bandwidth", "links.scaleup.bandwidth")):
            total += row["elasticity"]
    assert {
        "hw.links.scaleup.bandwidth",
        "hw.assumed.hop_latency",
        "hw.memory.bandwidth",
        "hw.peak.bf16",
    } <= found.keys()
    assert total == pytest.approx(-1.0, abs=1e-6)


def test_a_price_moves_the_cost_one_to_one_and_nothing_else() -> None:
    found = rows(simcost.sensitivity(**LLAMA, metric="usd"))
    assert found["hw.price.usd_per_hour"]["elasticity"] == pytest.approx(1.0, abs=1e-12)
    assert not found["hw.price.usd_per_hour"]["tied"]
    given = rows(simcost.sensitivity(**LLAMA, metric="usd", price=3.5))["hw.price.usd_per_hour"]
    assert given["value"] == 3.5
    assert given["elasticity"] == pytest.approx(1.0, abs=1e-12)
    assert "hw.price.usd_per_hour" in reasons(simcost.sensitivity(**LLAMA, metric="tpot"))


def test_throughput_moves_against_time() -> None:
    time, rate = (
        rows(simcost.sensitivity(**LLAMA, batch=16, metric=name, only="hw")) for name in ("tpot", "tokens_per_s")
    )
    assert time.keys() == rate.keys()
    for name, row in time.items():
        assert rate[name]["elasticity"] == pytest.approx(-row["elasticity"], rel=1e-9)
        assert rate[name]["elasticity_low"] == pytest.approx(-row["elasticity_high"], rel=1e-9)


def asked(result: Result, row: Row, value: float) -> float:
    """The metric at one end of a row, by a question of its own."""
    path, metric = row["number"], result.inputs["elasticity_of"]
    given = dict(result.inputs["set"])
    if path.startswith("hw."):
        units = {"bandwidth": " B/s", "overhead": " s", "latency": " s", "launch": " s", "hour": " USD/h", "l2": " B"}
        unit = " FLOP/s" if ".peak." in path else next((unit for end, unit in units.items() if path.endswith(end)), "")
        stated: Any = f"{value!r}{unit}" if unit or path.startswith("hw.assumed") else str(int(value))
    else:
        stated = int(value)
    size = {"batch": result.inputs["batch"], "context": result.inputs["context"]} | (
        {path: stated} if path in ("batch", "context") else {}
    )
    sets = given if path in ("batch", "context") else {**given, path: stated}
    return float(simcost.decode(result.inputs["model"], result.inputs["hw"], **size, set=sets).metrics[metric])


@pytest.mark.parametrize(("question", "sets"), [
    (DEEPSEEK | {"batch": 64}, {"plan.tp": 8}), (DEEPSEEK | {"batch": 128}, {"plan.ep": 16}), (LLAMA | {"batch": 8, "context": 8192}, {}),
    ({"model": "gpt-oss-120b", "hw": "b200", "batch": 32}, {"plan.tp": 2}), ({"model": "qwen3-30b-a3b", "hw": "l40s", "batch": 4}, ROOFLINE),
])  # fmt: skip
def test_every_row_says_what_set_would_give(question: dict[str, Any], sets: dict[str, Any]) -> None:
    result = simcost.sensitivity(**question, set=sets)
    found = result.tables["sensitivity"]
    assert len(found) > 10
    for row in found:
        for value, metric in (
            (row["less_value"], row["metric_with_less"]),
            (row["more_value"], row["metric_with_more"]),
        ):
            if value != row["value"]:
                assert asked(result, row, value) == pytest.approx(metric, rel=1e-9), (row["number"], value)
        slope = math.log(row["metric_with_more"] / row["metric_with_less"]) / math.log(
            row["more_value"] / row["less_value"]
        )
        assert row["elasticity"] == pytest.approx(slope, rel=1e-12)
        assert row["elasticity_low"] <= row["elasticity"] <= row["elasticity_high"]
        assert row["tied"] == (row["elasticity_low"] <= 0.0 <= row["elasticity_high"])
    sizes = [abs(row["elasticity"]) for row in found]
    assert sizes == sorted(sizes, reverse=True)


def test_counts_go_to_their_next_valid_value() -> None:
    result = simcost.sensitivity(**DEEPSEEK, batch=64, set={"plan.tp": 8})
    found, why = rows(result), reasons(result)
    ends = {name: (row["less_value"], row["more_value"]) for name, row in found.items()}
    assert ends["plan.tp"] == (4, 16)
    assert ends["model.num_experts_per_tok"] == (7, 9)
    assert ends["plan.pp"] == (1, 2)  # none below: the present value is the end
    assert all(value % 8 == 0 for value in ends["model.num_attention_heads"])
    assert all(
        value % 1024 == 0 for value in ends["model.moe_intermediate_size"]
    )  # whole blocks of fp8 on each of 8 ranks
    assert "does not fit: 4" in found["plan.tp"]["metric_at_both"]
    assert "the ranks of a stage" in why["plan.etp"]
    assert why["plan.redundant_experts"].endswith("a number that is 0 has no elasticity")


def test_a_kink_shows_on_both_sides() -> None:
    """Eight ranks in a node of eight: a smaller node sends over the network, a larger one changes nothing."""
    row = rows(simcost.sensitivity(**DEEPSEEK, batch=64, set={"plan.tp": 8}))["hw.links.scaleup.domain"]
    assert row["elasticity_below"] < -0.1
    assert row["elasticity_above"] == 0.0


def test_numbers_that_rows_override_say_so() -> None:
    measured, roofline = (
        simcost.sensitivity(**DEEPSEEK, batch=64, set={"plan.tp": 8, **sets}) for sets in ({}, ROOFLINE)
    )
    assert "without measurements" in reasons(measured)["hw.assumed.link_efficiency"]
    assert "hw.assumed.link_efficiency" in rows(roofline)
    assert "transferred" in rows(measured)["hw.memory.bandwidth"]["rests_on"]
    assert "assumed" in rows(roofline)["hw.memory.bandwidth"]["rests_on"]
    assert "computes in tf32" in reasons(measured)["hw.peak.tf32"]


def test_layers_share_their_kernels_and_so_their_error() -> None:
    """As many of the same kernels are wrong by the same; other widths are other kernels."""
    found = rows(simcost.sensitivity(**LLAMA, batch=8))
    layers, width = (found[f"model.{name}"] for name in ("num_hidden_layers", "hidden_size"))
    assert layers["elasticity_high"] - layers["elasticity_low"] < 0.1
    assert width["elasticity_high"] - width["elasticity_low"] > 1.0
    assert not layers["tied"]
    assert width["tied"]


def test_exact_metrics_have_no_interval() -> None:
    found = rows(simcost.sensitivity(**DEEPSEEK, metric="memory_used", set={"plan.tp": 8}))
    for row in found.values():
        assert row["elasticity_low"] == row["elasticity"] == row["elasticity_high"]
        assert row["rests_on"] == "exact"
    assert found["plan.tp"]["elasticity"] < -0.3
    assert "hw.memory.bandwidth" not in found


def test_only_one_root_and_prefill() -> None:
    found = simcost.sensitivity(**LLAMA, phase="prefill", isl=2048, only="phase")
    assert set(rows(found)) == {"batch", "isl"}
    assert found.inputs["elasticity_of"] == "ttft_s"
    assert 0.9 < rows(found)["isl"]["elasticity"] < 1.2


@pytest.mark.parametrize(("given", "said"), [
    ({"metric": "tpto"}, "did you mean 'tpot'"), ({"metric": "mla_form"}, "not a metric"), ({"step": 2.0}, "--range"), ({"only": "hww"}, "did you mean 'hw'"),
    ({"metric": "memory_short"}, "has no elasticity"), ({"phase": "train"}, "--phase must be"), ({"set": {"plan.tp": 7}}, "cannot be cut"), ({"isl": 5}, "--isl does not apply"),
])  # fmt: skip
def test_what_it_refuses(given: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        simcost.sensitivity(**{**LLAMA, **given})


@pytest.mark.parametrize(("text", "value"), [("5%", 0.05), ("0.1", 0.1), (" 20 %", 0.2)])
def test_a_range_is_a_share(text: str, value: float) -> None:
    assert sensitivity.share(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "ten", "0", "-5%", "95%", "nan"])
def test_a_range_that_is_none(text: str) -> None:
    with pytest.raises(SpecError, match="--range"):
        sensitivity.share(text)
