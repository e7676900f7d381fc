"""The rates of a run request by request, and runs of requests that all wait at the start."""

from __future__ import annotations

from typing import Any

import pytest

from simcost import api


def served(**more: Any) -> Any:
    return api.serve("llama-3.1-8b", "h200", 512, 64, engine="vllm", **more)


def test_one_offline_request_makes_its_answer_in_its_time() -> None:
    found = served(offline=1).metrics
    assert found["run_output_tokens_per_s"] == pytest.approx(64 / found["e2e_p50_s"])
    assert found["run_requests_per_s"] == pytest.approx(1 / found["e2e_p50_s"])


def test_an_offline_run_ends_with_its_slowest_request() -> None:
    # All of 40 requests run at once: the last answer ends when the slowest request does.
    result = served(offline=40)
    assert result.metrics["run_requests_per_s"] == pytest.approx(40 / result.metrics["e2e_p99_s"])
    assert result.verdict.startswith("request by request TTFT ")


def test_an_offline_run_has_no_server_in_front() -> None:
    online = served(concurrency=40, events=True, requests=40, warmup=0.0).metrics
    offline = served(offline=40).metrics
    assert offline["run_output_tokens_per_s"] > online["run_output_tokens_per_s"]


def test_copies_of_the_model_share_the_requests() -> None:
    one, two = served(offline=40).metrics, served(offline=80, gpus=2).metrics
    assert two["run_output_tokens_per_s"] == pytest.approx(2.0 * one["run_output_tokens_per_s"])


def test_a_run_has_the_relative_interval_of_the_steady_state() -> None:
    found = served(offline=40).metrics
    for end in ("low", "high"):
        steady = found[f"output_tokens_per_s_{end}"] / found["output_tokens_per_s"]
        assert found[f"run_output_tokens_per_s_{end}"] / found["run_output_tokens_per_s"] == pytest.approx(steady)


def test_a_short_run_does_not_reach_the_steady_state() -> None:
    """Users whose only request it is leave the batch empty at the end, and prompts wait for each other at the start."""
    found = served(concurrency=64, events=True, requests=64, warmup=0.0).metrics
    assert found["run_output_tokens_per_s"] < 0.9 * found["output_tokens_per_s"]


def test_rates_of_several_seeds_are_means() -> None:
    def rate(seed: Any) -> float:
        return float(served(rate=4.0, events=True, requests=60, seed=seed).metrics["run_output_tokens_per_s"])

    assert rate((1, 2)) == pytest.approx((rate(1) + rate(2)) / 2.0)
    assert rate(1) != rate(2)
