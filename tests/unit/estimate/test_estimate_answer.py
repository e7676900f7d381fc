"""What a priced step answers: rates, prices, energy and FLOPs that follow from its time and the shapes of a small design."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from toykit import LAYER, H, V, workload

from simcost.cost.cost import interval
from simcost.estimate import answer, step
from simcost.workload import Workload


def answers(w: Workload, decode: bool = True, usd: float | None = 3.6) -> dict[str, Any]:
    return dict(answer.metrics(step.run(w), decode, usd))


@pytest.mark.parametrize(
    ("sets", "devices"), [({}, 1), ({"plan.tp": 2}, 2), ({"plan.dp": 4}, 4), ({"plan.tp": 2, "plan.pp": 2}, 4)]
)
def test_rates_prices_and_energy_follow_from_the_time(tmp_path: Path, sets: dict[str, int], devices: int) -> None:
    w = workload(tmp_path, sets=sets)
    found, seconds = answers(w), float(step.run(w).cost.seconds)
    assert found["tpot_s"] == seconds
    assert found["gpus"] == devices
    assert found["output_tokens_per_s"] == pytest.approx(8 / seconds)
    assert found["output_tokens_per_s_per_gpu"] == pytest.approx(8 / seconds / devices)
    assert found["output_tokens_per_s_per_user"] == pytest.approx(1 / seconds)
    assert found["usd_per_million_output_tokens"] == pytest.approx(seconds * devices * 3.6 / 3600 / 8 * 1e6)
    drawn = 500 * (0.9 * found["share_compute"] + 0.5 * found["share_memory"])
    drawn += 500 * 0.2 * (found["share_wire"] + found["share_overhead"])
    assert found["joules_per_output_token_assumed"] == pytest.approx(seconds * devices * drawn / 8)
    assert (found["tpot_low_s"], found["tpot_high_s"]) == pytest.approx(interval(step.run(w).cost))
    shares = [found[f"share_{name}"] for name in ("compute", "memory", "wire", "overhead")]
    assert sum(shares) == pytest.approx(1.0)
    assert sum(
        found[f"share_{n}"] for n in ("measured", "fitted", "transferred", "datasheet", "assumed")
    ) == pytest.approx(1.0)


def test_model_flops_are_two_for_every_active_parameter_and_the_pairs_of_the_core(tmp_path: Path) -> None:
    body, core = 4 * LAYER + H, 4 * 2 * 8 * 2 * 128
    decode = answers(workload(tmp_path, batch=8, context=1024))
    assert decode["flops_per_token"] == 2 * (body + V * H) + core * 1024
    assert decode["mfu"] == pytest.approx(8 * decode["flops_per_token"] / decode["tpot_s"] / 1e15)
    prefill = answers(workload(tmp_path, False, batch=8, isl=1024), False)
    assert prefill["flops_per_token"] == pytest.approx(2 * body + 2 * V * H / 1024 + core * (1024 + 1) / 2)
    assert prefill["input_tokens_per_s"] == pytest.approx(8 * 1024 / prefill["ttft_s"])
    assert "tpot_s" not in prefill
    assert "max_context" not in prefill


def test_a_stream_of_prompts_is_as_fast_as_its_slowest_stage(tmp_path: Path) -> None:
    w = workload(tmp_path, False, {"plan.pp": 2})
    one, found = step.run(w), answers(w, False)
    assert found["ttft_s"] == one.cost.seconds > one.slowest.seconds
    assert found["input_tokens_per_s"] == pytest.approx(8 * 1024 / one.slowest.seconds)


def test_what_nobody_states_is_no_number(tmp_path: Path) -> None:
    w = workload(tmp_path)
    assert "usd_per_million_output_tokens" not in answers(w, usd=None)
    assert "joules_per_output_token_assumed" not in answers(replace(w, device=replace(w.device, tdp=None)))


def test_a_prompt_beside_a_decode_step_counts_in_its_rates_and_its_work(tmp_path: Path) -> None:
    w = workload(tmp_path, prefill_tokens=64, prefill_past=100)
    found = answers(w)
    body, core = 4 * LAYER + H, 4 * 2 * 8 * 2 * 128
    decode = 2 * (body + V * H) + core * 1024
    prompt = 64 * 2 * body + 2 * V * H + core * sum(100 + i + 1 for i in range(64))
    assert found["flops_per_token"] == decode
    assert found["mfu"] == pytest.approx((8 * decode + prompt) / found["tpot_s"] / 1e15)
    assert found["input_tokens_per_s"] == pytest.approx(64 / found["tpot_s"])
    assert found["output_tokens_per_s"] == pytest.approx(8 / found["tpot_s"])
