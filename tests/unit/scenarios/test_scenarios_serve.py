"""A design under load against closed forms: copies, prices, one user, drafts, intervals."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

import simcost
from simcost.estimate import memory
from simcost.query import make, workload
from simcost.result import Result
from simcost.scenarios.serve.replica import Replica, with_drafts
from simcost.serving.policy import Policy
from simcost.workload import Workload

ENGINES = ("vllm", "sglang", "trtllm", "any")
ASK: dict[str, Any] = {"model": "llama-3.1-8b", "hw": "h100", "isl": 1024, "osl": 512, "set": {"plan.tp": 1}}


@cache
def _asked(named: tuple[tuple[str, Any], ...]) -> Result:
    return simcost.serve(**{**ASK, **dict(named)})


def asked(engine: str = "vllm", **named: Any) -> Result:
    return _asked(tuple({"engine": engine, **named}.items()))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("load", [("concurrency", 24), ("rate", 3.0)], ids=["closed", "open"])
def test_copies_at_as_many_times_the_load_are_as_one(engine: str, load: tuple[str, float]) -> None:
    name, value = load
    one = asked(engine, **{name: value}).metrics
    four = asked(engine, **{name: 4 * value}, gpus=4).metrics
    of_fleet = ("requests_per_s", "output_tokens_per_s", "running", "queued", "capacity_requests_per_s", "gpus")
    for each in of_fleet:
        assert four[each] == pytest.approx(4 * one[each], rel=1e-6), each
    for each in ("ttft_s", "queueing_s", "tpot_s", "utilisation", "kv_used_fraction", "usd_per_million_input_tokens"):
        assert four[each] == pytest.approx(one[each], rel=1e-6), each


def test_replicas_of_one_instance_share_the_load_too() -> None:
    sets = {"plan.dp_attention": 8, "plan.ep": 8}
    found = simcost.serve("deepseek-v3", "h200", 1024, 256, concurrency=64, engine="sglang", set=sets).metrics
    few = simcost.serve("deepseek-v3", "h200", 1024, 256, concurrency=4, engine="sglang", set=sets).metrics
    assert found["running"] + found["queued"] == pytest.approx(64)
    assert few["utilisation"] < 4 / 8  # four of eight replicas stand idle
    assert few["running"] + few["queued"] == pytest.approx(4)


@pytest.mark.parametrize("hit", [0.0, 0.5])
@pytest.mark.parametrize("pools", [{}, {"prefill_pool": "1:tp=1", "decode_pool": "3:tp=1"}], ids=["whole", "pools"])
def test_prices_of_a_request_add_up_to_what_the_fleet_costs_meanwhile(hit: float, pools: dict[str, str]) -> None:
    m = simcost.serve(
        "llama-3.1-8b", "h100", 1024, 512, concurrency=48, engine="vllm", price=2.0, prefix_hit=hit, **pools
    ).metrics
    cached = 1024 * hit
    paid = (1024 - cached) * m["usd_per_million_input_tokens"] + 512 * m["usd_per_million_output_tokens"]
    paid += cached * m.get("usd_per_million_cached_tokens", 0.0)
    assert paid / 1e6 == pytest.approx(m["gpus"] * 2.0 / 3600.0 / m["requests_per_s"])
    assert ("usd_per_million_cached_tokens" in m) == (hit > 0.0)


def test_half_the_load_costs_twice_as_much_a_request() -> None:
    full, half = (asked(rate=rate, price=2.0).metrics for rate in (4.0, 2.0))
    paid = [1024 * m["usd_per_million_input_tokens"] + 512 * m["usd_per_million_output_tokens"] for m in (full, half)]
    assert paid[1] == pytest.approx(2 * paid[0])


def test_one_user_has_the_times_of_a_decode_step_and_of_a_prefill() -> None:
    sets = {"plan.tp": 1, "engine.host_request": "3 ms", "engine.host_token": "1 us", "engine.host_delay": "0 s"}
    found = simcost.serve(**{**ASK, "set": sets}, engine="sglang", concurrency=1).metrics
    decode = simcost.decode("llama-3.1-8b", "h100", batch=1, context=1280, engine="sglang").metrics["tpot_s"]
    prefill = simcost.prefill("llama-3.1-8b", "h100", isl=1024, batch=1, engine="sglang").metrics["ttft_s"]
    # Both add 0.3 ms of the host: a single step the device's, serving the engine's.
    assert found["tpot_s"] == pytest.approx(decode, rel=0.01)
    step = found["tpot_s"]
    front = 3e-3 + 1024 * 1e-6
    # Half a step of the one that runs, and the next one, which is prepared already.
    assert found["ttft_s"] == pytest.approx(prefill + 1.5 * step + front, abs=1e-3)
    alone = simcost.serve(**ASK, engine="sglang", rate=1e-3).metrics
    assert alone["tpot_s"] == pytest.approx(found["tpot_s"], rel=0.01)


def test_no_drafts_are_none_and_refused_ones_cost() -> None:
    ask: dict[str, Any] = {"model": "deepseek-v3", "hw": "h200", "isl": 512, "osl": 128, "set": {"plan.tp": 8}}
    none, zero = (simcost.serve(**ask, concurrency=8, **more).metrics for more in ({}, {"drafts": 0}))
    assert none == zero
    refused, half, taken = (
        simcost.serve(**ask, concurrency=8, drafts=2, acceptance=a).metrics for a in (0.0, 0.5, 1.0)
    )
    assert refused["itl_s"] == refused["tpot_s"] > none["tpot_s"]  # verified for nothing
    assert half["itl_s"] == pytest.approx(1.75 * half["tpot_s"])
    assert taken["itl_s"] == pytest.approx(3.0 * taken["tpot_s"])
    assert taken["tpot_s"] < half["tpot_s"] < refused["tpot_s"]


def test_a_run_with_drafts_sees_the_context_grow_by_the_tokens_that_a_step_makes() -> None:
    """Four tokens a step: request by request the last steps of an answer see its whole context, as the mean over it does."""
    found = simcost.serve(
        "llama-3.1-8b", "h100", 128, 60_000, concurrency=4, engine="vllm", drafts=3, acceptance=1.0, draft_model="llama-3.2-1b", events=True, requests=4
    ).metrics  # fmt: skip
    assert found["tpot_p50_s"] == pytest.approx(found["tpot_s"], rel=0.01)


def test_pools_decode_as_fast_as_decode_alone_and_fill_the_smaller_one() -> None:
    found = simcost.serve(
        "llama-3.1-8b", "h100", 1024, 512, rate=2.0, engine="vllm", prefill_pool="1:tp=1", decode_pool="1:tp=1"
    ).metrics
    step = simcost.decode(
        "llama-3.1-8b", "h100", batch=max(round(found["running"]), 1), context=1280, engine="vllm"
    ).metrics["tpot_s"]
    assert found["tpot_s"] == pytest.approx(step, rel=0.02)
    full = simcost.serve(
        "llama-3.1-8b", "h100", 8000, 8, rate=1e3, engine="vllm", prefill_pool="1:tp=1", decode_pool="4:tp=1"
    )
    assert full.metrics["ttft_s"] is None
    assert full.metrics["limit"].startswith("prefill pool")
    assert not full.fits


@pytest.mark.parametrize("engine", ENGINES)
def test_intervals_hold_their_values_and_loads_are_ordered(engine: str) -> None:
    rows = [*asked(engine, concurrency=(1, 8, 64, 512)).rows, *asked(engine, rate=(0.1, 2.0, 500.0)).rows]
    for row in rows:
        for name in ("ttft_s", "tpot_s", "output_tokens_per_s"):
            stem, s = name.removesuffix("_s"), "_s" if name != "output_tokens_per_s" else ""
            low, high = (row[f"{stem if s else name}_{end}{s}"] for end in ("low", "high"))
            assert row[name] is None or low <= row[name] * (1 + 1e-9) <= high * (1 + 2e-9), (row, name)
    closed = rows[:4]
    for name in ("output_tokens_per_s", "tpot_s", "utilisation"):
        values = [row[name] for row in closed]
        assert values == sorted(values), name
    over = rows[-1]
    assert over["ttft_s"] is None
    assert over["output_tokens_per_s_low"] < over["output_tokens_per_s"] < over["output_tokens_per_s_high"]
    assert rows[-2]["output_tokens_per_s_low"] == rows[-2]["output_tokens_per_s_high"] == 2.0 * 512  # the rate sets it


def test_a_cached_prefix_is_not_computed_but_held() -> None:
    none, half = (asked(concurrency=32, prefix_hit=hit).metrics for hit in (0.0, 0.5))
    assert half["ttft_s"] < none["ttft_s"]
    assert half["tpot_s"] < none["tpot_s"]
    assert half["running"] / half["kv_used_fraction"] == pytest.approx(none["running"] / none["kv_used_fraction"])


def test_long_answers_stand_longer_in_the_pool() -> None:
    equal, mixed = (
        simcost.serve(**{**ASK, "osl": osl}, engine="vllm", rate=2.0).metrics for osl in (512, "exponential:512")
    )
    assert mixed["requests_per_s"] == pytest.approx(equal["requests_per_s"])
    # The one that is looked at is twice as long, and half done: 1,024 + 512 tokens against 1,024 + 256.
    seats = [m["running"] / m["kv_used_fraction"] for m in (equal, mixed)]
    assert seats[0] / seats[1] == pytest.approx(1536 / 1280, rel=0.01)


def test_a_prefix_comes_from_the_host_at_the_rate_of_its_link() -> None:
    ask: dict[str, Any] = {"engine": "vllm", "prefix_hit": 0.5, "concurrency": 8}
    pool, host = asked(**ask).metrics, asked(**ask, prefix_from="host:100GB").metrics
    # 32 layers of 8 KV heads of 128, keys and values in bf16: 131,072 B a token, over 0.8 of PCIe 5's 64 GB/s.
    assert host["prefix_load_s"] == pytest.approx(512 * 131_072 / (0.8 * 64e9))
    assert host["prefix_tier_tokens"] == 100e9 // 131_072
    assert 0.0 < host["ttft_s"] - pool["ttft_s"] < 2.0 * host["prefix_load_s"]
    assert "prefix_load_s" not in pool
    assert pool["prefix_recompute_s"] == pytest.approx(host["prefix_recompute_s"])
    sets = {"plan.tp": 1, "hw.links.host.bandwidth": "128 GB/s"}
    twice = simcost.serve(**{**ASK, **ask, "set": sets}, prefix_from="host")
    assert twice.metrics["prefix_load_s"] == pytest.approx(host["prefix_load_s"] / 2.0)
    assert "prefix_tier_tokens" not in twice.metrics
    assert not any("affects only cached prefixes" in note for note in twice.warnings)


def test_a_prefix_that_is_dropped_is_computed_as_a_prompt_without_hits() -> None:
    dropped = asked(prefix_hit=0.5, prefix_from="recompute", concurrency=8).metrics
    assert dropped == asked(concurrency=8).metrics


def test_a_prefill_pool_loads_prefixes_too() -> None:
    pools = {"prefill_pool": "1:tp=1", "decode_pool": "4:tp=1", "prefix_hit": 0.97, "engine": "vllm"}
    load = simcost.serve("llama-2-7b", "h100", 4000, 64, rate=1e3, **pools, prefix_from="host:50GB").metrics
    assert load["limit"].startswith("host link")
    assert load["capacity_requests_per_s"] == pytest.approx(1.0 / load["prefix_load_s"])


def test_the_event_path_loads_prefixes_as_the_mean_field_does() -> None:
    ask: dict[str, Any] = {"prefix_hit": 0.9, "rate": 2.0, "events": True, "requests": 400, "osl": 32}
    found = {tier: asked(**ask, prefix_from=tier).tables["request by request"] for tier in ("pool", "host")}
    mean = {tier: next(row for row in rows if row["figure"] == "ttft")["mean_s"] for tier, rows in found.items()}
    load = asked(**ask, prefix_from="host").metrics["prefix_load_s"]
    assert mean["host"] - mean["pool"] == pytest.approx(load, rel=0.2)


def serving(model: str) -> Workload:
    return workload(make(model, "h100", True, {"context": 1024, "batch": 1}, {"engine": "vllm"}, {}, None))


@pytest.mark.parametrize("draft", ["llama-3.1-8b", "llama-3.2-1b"])
def test_the_pool_is_what_weights_of_design_and_draft_leave(draft: str) -> None:
    w, model = serving("llama-3.1-8b"), serving(draft)
    policy = Policy("mixed", 8192.0, 4096.0, 1.0, 0.0, 0.0)
    bare, both, own = (Replica(v, policy, 8192.0, None) for v in (w, with_drafts(w, model), model))  # type: ignore[arg-type]
    kept, alone = both.kept(1024.0), bare.kept(1024.0)
    more = own.kept(1024.0).memory.weights
    assert kept.memory.weights == pytest.approx(alone.memory.weights + more)
    assert kept.memory.pool == pytest.approx(alone.memory.pool - more)
    assert both.rank_bytes(1024.0) == bare.rank_bytes(1024.0) + own.rank_bytes(1024.0)
    assert memory.pool_tokens(kept) == kept.memory.pool * 1025 // both.rank_bytes(1025.0)  # whole pages
    assert both.room(1024.0).kv == kept.memory.pool // both.rank_bytes(1025.0)  # with the token that is made


def test_drafts_leave_room_for_fewer_sequences_and_the_limit_says_so() -> None:
    ask: dict[str, Any] = {"engine": "vllm", "concurrency": 2000, "set": {"plan.tp": 1, "engine.max_num_seqs": 1000}}
    plain = simcost.serve(**{**ASK, **ask})
    drafted = simcost.serve(**{**ASK, **ask}, drafts=2, acceptance=0.5, draft_model="llama-3.2-1b")
    assert plain.metrics["limit"].startswith("KV cache")
    assert drafted.metrics["limit"].startswith("KV cache")
    # 16 layers of 8 heads of 64 beside 32 of 8 of 128: a quarter more a token, and 2.5 GB of weights.
    assert drafted.metrics["running"] < plain.metrics["running"] / 1.25


def test_prompts_of_a_pipeline_take_as_long_as_their_number() -> None:
    """Each micro-batch of a pipeline holds prompts of its own: what a token attends to does not depend on how many of them a step has. Stages work side by side, so
    that eight of them take at most eight times the prompts of one."""
    served = {
        pp: simcost.serve("llama-3.1-70b", "h100", 2048, 16, concurrency=512, engine="vllm", set={"plan.tp": 4, "plan.pp": pp}).metrics["requests_per_s"]
        for pp in (1, 4, 8)
    }  # fmt: skip
    assert 3.5 < served[4] / served[1] <= 4.0
    assert 6.0 < served[8] / served[1] <= 8.0


@pytest.mark.parametrize(("rate", "busy"), [(20.0, ""), (39.0, ""), (41.0, "82%")])
def test_a_front_end_that_is_busy_nearly_all_the_time_is_said(rate: float, busy: str) -> None:
    """20 ms of each request: at 39 a second 78 % of the time, below the 80 % that is said; at 41 a second 82 %. Two
    instances at twice the rate have two front ends, each as busy; and what serving uses is not said to be idle."""
    sets = {"plan.tp": 1, "engine.host_request": "9.76 ms", "engine.host_token": "10 us"}  # + 1,024 tokens: 20 ms
    for instances in (1, 2):
        load = {"rate": instances * rate, "gpus": instances, "osl": 32, "set": sets}
        notes = simcost.serve("llama-3.1-8b", "h100", 1024, engine="vllm", **load).warnings
        said = [note for note in notes if "engine.host_request" in note]
        assert len(said) == (1 if busy else 0)
        assert all("take 20 ms of a request" in note and f"{busy} of its time" in note for note in said)
