"""What a request brings to a scheduler, and metrics of a fleet by hand, from an operating point of round numbers."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from simcost.estimate.step import SPREAD
from simcost.num import Z90
from simcost.plan import Plan
from simcost.scenarios.serve.answer import FIRST, Answer, Traffic, answer, load_of, metrics
from simcost.serving.point import LOAD, Load, OperatingPoint, Room
from simcost.serving.policy import Policy

ISL, OSL = np.array([100.0, 300.0]), np.array([10.0, 50.0, 60.0])  # each as likely
TRAFFIC = Traffic(ISL.mean(), OSL.mean(), np.mean(ISL**2), np.mean(OSL**2), users=6.0)
POINT = OperatingPoint(
    ttft_s=0.5, queueing_s=0.1, tpot_s=0.02, running=3.0, waiting=0.5, kv_used_fraction=0.25, utilisation=0.8, requests_per_s=2.0,
    capacity_per_s=2.5, limit=np.asarray(LOAD), decode_s=0.012, prefill_s=0.006, host_s=0.002, prompt_s=0.1, chunk=64.0,
)  # fmt: skip
# Four replicas, of which two serve somebody, on sixteen GPUs.
ANSWER = Answer(TRAFFIC, Load(150.0, 40.0, 220.0, hit=50.0), POINT, 2.0, 4.0, 16.0, 0.1, 0.2, (0.5, 0.125, 0.375), np.asarray(True))  # fmt: skip


def running() -> tuple[float, float]:
    """(tokens made, length) of running requests, looked at token by token: long answers are met more often."""
    made, whole, seen = 0.0, 0.0, 0
    for length in OSL.tolist():
        for at in range(int(length)):
            made, whole, seen = made + at + 0.5, whole + length, seen + 1
    return made / seen, whole / seen


@pytest.mark.parametrize("admission", ["prompt", "whole"])
def test_a_running_request_holds_its_prompt_and_what_it_has_made_or_will(admission: str) -> None:
    made, whole = running()
    load, held = load_of(TRAFFIC, admission)
    assert load.context == pytest.approx(200.0 + made)
    assert held == pytest.approx(200.0 + (whole if admission == "whole" else made))
    assert (load.isl, load.osl, load.hit) == (200.0, 40.0, 0.0)
    assert load.isl_cv2 == pytest.approx(np.var(ISL) / 200.0**2)


def test_a_hit_is_whole_tokens_and_leaves_one_to_compute() -> None:
    load, held = load_of(replace(TRAFFIC, hit=0.3333, emitted=2.0))
    assert (load.isl, load.hit, load.emitted) == (134.0, 66.0, 2.0)
    assert held == load_of(TRAFFIC)[1]  # what hits stands in the pool too
    assert load_of(replace(TRAFFIC, hit=1.0))[0].isl == 1.0


def test_answers_to_one_query_hold_its_prompt_between_them() -> None:
    made, _ = running()
    load, held = load_of(replace(TRAFFIC, together=4.0))
    assert held == pytest.approx(200.0 / 4 + made)
    assert load.context == pytest.approx(200.0 + made)  # each reads all of it


def found(answer: Answer = ANSWER, usd_per_hour: float | None = None) -> dict[str, Any]:
    return metrics(answer, usd_per_hour)


def test_times_and_rates_of_a_fleet() -> None:
    m = found()
    assert {name: m[name] for name in ("ttft_s", "queueing_s", "tpot_s", "itl_s", "gpus")} == {
        "ttft_s": 0.5, "queueing_s": 0.1, "tpot_s": 0.02, "itl_s": 0.02, "gpus": 16.0,
    }  # fmt: skip
    assert m["e2e_s"] == pytest.approx(0.5 + 39 * 0.02)
    rates = {
        "requests_per_s": 4.0, "output_tokens_per_s": 160.0, "input_tokens_per_s": 800.0, "output_tokens_per_s_per_gpu": 10.0,
        "output_tokens_per_s_per_user": 50.0, "capacity_requests_per_s": 10.0, "running": 6.0, "queued": 1.0, "kv_used_fraction": 0.25, "utilisation": 0.4,
    }  # fmt: skip
    assert {name: float(m[name]) for name in rates} == pytest.approx(rates)
    assert ANSWER.tokens_per_s == pytest.approx(160.0)


def test_both_ends_of_intervals_go_together() -> None:
    wide, first, m = math.exp(Z90 * 0.1), math.exp(Z90 * 0.2), found()
    for end, sign in (("low", -1), ("high", 1)):
        assert m[f"ttft_{end}_s"] == pytest.approx(0.5 * first**sign)
        assert m[f"tpot_{end}_s"] == pytest.approx(0.02 * wide**sign)
        assert m[f"e2e_{end}_s"] == pytest.approx(0.5 * first**sign + 39 * 0.02 * wide**sign)
    # Six users, each of whom asks again when he has his answer.
    assert m["output_tokens_per_s_low"] == pytest.approx(6 / m["e2e_high_s"] * 40)
    assert m["output_tokens_per_s_high"] == pytest.approx(6 / m["e2e_low_s"] * 40)


@pytest.mark.parametrize(("rate", "low", "high"), [(4.0, 4.0, 4.0), (9.5, 10.0 / math.exp(0.1 * Z90), 9.5)])
def test_an_open_loop_serves_what_comes_as_far_as_it_can(rate: float, low: float, high: float) -> None:
    m = found(replace(ANSWER, traffic=replace(TRAFFIC, users=None, rate=rate)))
    assert (m["output_tokens_per_s_low"], m["output_tokens_per_s_high"]) == pytest.approx((low * 40, high * 40))


def test_prices_of_all_tokens_are_what_the_fleet_costs() -> None:
    m = found(usd_per_hour=3.0)
    spent = (
        150 * m["usd_per_million_input_tokens"]
        + 50 * m["usd_per_million_cached_tokens"]
        + 40 * m["usd_per_million_output_tokens"]
    )
    assert spent / 1e6 * 4.0 == pytest.approx(16 * 3.0 / 3600.0)
    assert m["usd_per_million_cached_tokens"] == pytest.approx(0.125 * 16 * 3.0 / 3600.0 / 4.0 / 50 * 1e6)
    assert not any(name.startswith("usd") for name in found())
    without = found(replace(ANSWER, load=replace(ANSWER.load, hit=0.0)), usd_per_hour=3.0)
    assert math.isnan(without["usd_per_million_cached_tokens"])


def test_drafts_come_together_and_one_token_has_none_after_it() -> None:
    assert found(replace(ANSWER, traffic=replace(TRAFFIC, emitted=2.5)))["itl_s"] == pytest.approx(0.05)
    one = found(replace(ANSWER, traffic=replace(TRAFFIC, osl=1.0, osl2=1.0)))
    assert math.isnan(one["tpot_s"])
    assert (one["e2e_s"], one["running"]) == (0.5, 0.0)


class Toy:
    """A replica of which four requests may run: 10 ms a decode step, 1 ms for each new token of a prompt and 0.1 ms for each cached one that it sees."""

    def __init__(self) -> None:
        self.workload: Any = SimpleNamespace(plan=Plan(dp=2.0, dp_attention=2.0))
        self.policy = Policy("mixed", 64.0, 16, 1, 0.0, 0.001)
        self.chunk = 64.0
        self.table = SimpleNamespace(deviation=lambda *asked: (0.1, 0.3))

    def __call__(self, batch: Any, context: Any, tokens: Any, past: Any) -> Any:
        decode = 0.01 * (np.asarray(batch) > 0.0)
        return decode + np.asarray(tokens) * (1e-3 + 1e-4 * np.asarray(past) / 64.0)

    def room(self, held: Any) -> Room:
        return Room(4.0, 16.0)

    def lag(self, tokens: Any, past: Any) -> float:
        return 0.0


def test_errors_and_shares_of_an_answer_are_those_of_its_parts() -> None:
    toy: Any = Toy()
    one = answer(toy, replace(TRAFFIC, users=3.0, hit=0.5))
    p = one.point
    assert (one.busy, one.replicas, one.devices) == (3.0, 4.0, 4.0)
    assert float(one.tpot_error) == pytest.approx(
        float((p.decode_s * 0.1 + p.prefill_s * 0.3 + p.host_s * SPREAD) / p.tpot_s)
    )
    assert float(one.ttft_error) == pytest.approx(math.hypot(0.3, FIRST))
    new, cached, out = (float(each) for each in one.usage)
    assert new + cached + out == pytest.approx(1.0)
    # Cached tokens cost what they add to the prompt's own steps; the answer its part of the decode steps that it shares.
    assert cached > 0.0
    assert out / (new + cached) == pytest.approx(
        float(40.0 * (p.decode_s + p.host_s) / max(float(p.running), 1.0) / p.prompt_s), rel=0.05
    )
    assert float(one.spare) == pytest.approx(float((4.0 * 4.0 - p.running * 3.0) * load_of(TRAFFIC)[1]))
