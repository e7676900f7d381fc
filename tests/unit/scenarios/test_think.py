"""Thinking budgets: against `serve` at the same load, conservation of money, parallel answers, price lists, training longer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import simcost
from simcost import metrics
from simcost.errors import Infeasible, SpecError

FLEET: dict[str, Any] = {"model": "llama-3.1-8b", "hw": "h100", "isl": 512, "set": {"engine": "vllm"}}


def rows(found: simcost.api.Result) -> list[dict[str, Any]]:
    return list(found.tables["answers"])


def test_one_answer_costs_what_serve_says() -> None:
    served = simcost.serve("llama-3.1-8b", "h100", 512, "lognormal:2000:0.6", concurrency=16, set=FLEET["set"]).metrics
    found = simcost.think(**FLEET, osl="lognormal:2000:0.6", concurrency=16).metrics
    assert found["tokens_per_query"] == pytest.approx(2000)
    assert found["latency_s"] == pytest.approx(served["e2e_s"], rel=1e-6)
    assert found["tpot_s"] == pytest.approx(served["tpot_s"], rel=1e-6)
    of_tokens = 512 * served["usd_per_million_input_tokens"] + 2000 * served["usd_per_million_output_tokens"]
    assert found["usd_per_query"] == pytest.approx(of_tokens / 1e6, rel=1e-6)
    assert found["cut_fraction"] == 0.0


def test_the_fleet_is_paid_by_its_queries() -> None:
    found = simcost.think(
        **FLEET, osl="lognormal:3000:0.7", budget="1k,4k,16k", concurrency=32, parallel="best:4", price=2
    )
    for row in rows(found):
        assert row["usd_per_query"] * row["queries_per_s"] * 3600 == pytest.approx(2.0)
        assert 0.2 * 700.0 < row["joules_per_query_assumed"] * row["queries_per_s"] < 0.85 * 700.0
        assert row["usd_per_query_p50"] <= row["usd_per_query_p95"]
        assert row["latency_low_s"] < row["latency_s"] < row["latency_high_s"]


def test_more_answers_are_more_tokens_and_wait_for_the_longest() -> None:
    one, eight = (
        simcost.think(**FLEET, osl="lognormal:1000:0.7", rate=0.2, parallel=how).metrics for how in ("single", "best:8")
    )
    assert eight["tokens_per_query"] == pytest.approx(8 * one["tokens_per_query"])
    assert one["latency_s"] < eight["latency_s"] < 8 * one["latency_s"]
    assert eight["usd_per_query"] == pytest.approx(
        one["usd_per_query"], rel=0.01
    )  # a fleet with room is paid all the same
    tree = simcost.think(**FLEET, osl="lognormal:1000:0.7", rate=0.2, parallel="tree:8:2:4").metrics
    assert tree["latency_s"] == pytest.approx(eight["latency_s"], rel=0.01)
    assert tree["latency_p95_s"] < eight["latency_p95_s"]


def test_equal_lengths_and_events_agree_with_the_mean_field() -> None:
    mean, run = (simcost.think(**FLEET, osl=400, concurrency=8, events=events).metrics for events in (False, True))
    assert run["latency_s"] == pytest.approx(mean["latency_s"], rel=0.1)
    assert run["latency_p50_s"] <= run["latency_p95_s"]


POOLS = {"prefill_pool": "1:tp=1", "decode_pool": "3:tp=1"}


@pytest.mark.parametrize("parallel", ["single", "best:4"])
def test_a_draft_that_is_never_accepted_is_not_cheaper(parallel: str) -> None:
    ask = {**FLEET, "osl": "lognormal:2000:0.6", "budget": "1k,4k", "concurrency": 16, "parallel": parallel}
    none, never, always = (
        rows(simcost.think(**ask, **more))
        for more in ({}, *({"drafts": 2, "acceptance": each, "draft_model": "llama-3.2-1b"} for each in (0.0, 1.0)))
    )
    for name in ("latency_s", "usd_per_query", "joules_per_query_assumed"):
        for of_none, of_never, of_always in zip(none, never, always, strict=True):
            assert of_never[name] > of_none[name] > of_always[name]
    assert [row["tokens_per_query"] for row in never] == [row["tokens_per_query"] for row in none]


@pytest.mark.parametrize("more", [POOLS, {**POOLS, "drafts": 1, "acceptance": 0.7, "draft_model": "llama-3.2-1b"}])
def test_pools_and_drafts_answer_as_serve_does(more: dict[str, Any]) -> None:
    served = simcost.serve(
        "llama-3.1-8b", "h100", 512, "lognormal:2000:0.6", concurrency=64, price=2, set=FLEET["set"], **more
    ).metrics
    found = simcost.think(**FLEET, osl="lognormal:2000:0.6", concurrency=64, price=2, **more)
    m = found.metrics
    for mine, theirs in (
        ("latency_s", "e2e_s"),
        ("latency_low_s", "e2e_low_s"),
        ("tpot_s", "tpot_s"),
        ("utilisation", "utilisation"),
        ("queries_per_s", "requests_per_s"),
    ):
        assert m[mine] == pytest.approx(served[theirs], rel=1e-6), mine
    of_tokens = 512 * served["usd_per_million_input_tokens"] + 2000 * served["usd_per_million_output_tokens"]
    assert m["usd_per_query"] == pytest.approx(of_tokens / 1e6, rel=1e-6)
    assert m["usd_per_query"] * m["queries_per_s"] * 3600 == pytest.approx(2.0 * 4)
    assert 0.2 * 700.0 * 4 < m["joules_per_query_assumed"] * m["queries_per_s"] < 0.85 * 700.0 * 4
    assert simcost.ask(found.command, found.inputs).metrics == m
    assert "plan" not in found.inputs


def test_a_prefill_pool_that_waits_draws_idle_power() -> None:
    """More GPUs that prefill next to nothing: each adds the power of one that waits."""
    few, many = (
        simcost.think(**FLEET, osl=4000, concurrency=8, prefill_pool=f"{n}:tp=1", decode_pool="1:tp=1").metrics
        for n in (1, 3)
    )
    watts = [m["joules_per_query_assumed"] * m["queries_per_s"] for m in (few, many)]
    assert watts[1] - watts[0] == pytest.approx(2 * 700.0 * 0.2, rel=0.25)


def test_the_larger_model_has_drafts_and_pools_of_its_own() -> None:
    ask = {**FLEET, "osl": 2000, "concurrency": 16, "versus": "qwen3-14b"}
    own = {"drafts": 1, "acceptance": 0.8, "draft_model": "llama-3.2-1b"}
    plain, mine, theirs = (
        simcost.think(**ask, **more) for more in ({}, own, {f"versus_{key}": value for key, value in POOLS.items()})
    )
    assert mine.tables["larger model"] == plain.tables["larger model"] == simcost.think(**ask).tables["larger model"]
    assert any("qwen3-14b is served without drafts and pools" in note for note in mine.warnings)
    assert theirs.tables["answers"] == plain.tables["answers"]
    (row,) = theirs.tables["larger model"]
    assert row["usd_per_query"] > 3 * plain.tables["larger model"][0]["usd_per_query"]  # four GPUs, a load for one


def test_events_of_drafts_agree_with_the_mean_field() -> None:
    ask = {**FLEET, "osl": 400, "concurrency": 8, "drafts": 1, "acceptance": 0.7, "draft_model": "llama-3.2-1b"}
    mean, run = (simcost.think(**ask, events=events).metrics for events in (False, True))
    assert run["latency_s"] == pytest.approx(mean["latency_s"], rel=0.1)


def test_a_price_list_needs_no_fleet() -> None:
    found = simcost.think(
        "gpt-oss-120b", isl=1000, levels="high", benchmark="AIME 2025", usd_per_million="0.1:0.5:0.02", prefix_hit=0.5
    )
    m = found.metrics
    assert m["usd_per_query"] == pytest.approx((500 * 0.1 + 500 * 0.02 + 21070 * 0.5) / 1e6)
    assert m["accuracy"] == 0.9417
    assert m["usd_per_solved_query"] == pytest.approx(m["usd_per_query"] / 0.9417)
    assert "latency_s" not in m
    many = simcost.think(
        "gpt-oss-120b", isl=1000, osl=100, usd_per_million=(0.1, 0.5, 0.02), parallel="majority:4"
    ).metrics
    assert many["usd_per_query"] == pytest.approx((1000 * 0.1 + 3 * 1000 * 0.02 + 400 * 0.5) / 1e6)


def test_an_assumed_spread_has_its_range() -> None:
    asked = {"isl": 100, "levels": "low,medium", "benchmark": "AIME 2025", "usd_per_million": "1:1"}
    assumed = simcost.think("gpt-oss-20b", **asked)
    for row in rows(assumed):
        assert row["tokens_per_query_p95_least"] < row["tokens_per_query_p95"] < row["tokens_per_query_p95_most"]
    assert any("is assumed" in note for note in assumed.warnings)
    stated = simcost.think("gpt-oss-20b", **asked, sigma=0.5)
    assert "tokens_per_query_p95_least" not in rows(stated)[0]
    assert not any("is assumed" in note for note in stated.warnings)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    found = {}
    for name, shares in (("accuracy", (0.4, 0.6, 0.62)), ("versus_accuracy", (0.5, 0.7, 0.8))):
        path = tmp_path / f"{name}.csv"
        path.write_text(
            "budget,accuracy\n" + "".join(f"{b},{a}\n" for b, a in zip((1024, 4096, 16384), shares, strict=True)),
            encoding="utf-8",
        )
        found[name] = str(path)
    return found


def test_a_larger_model_and_a_longer_training(files: dict[str, str]) -> None:
    found = simcost.think(
        "qwen3-8b", "h100", isl=512, osl="lognormal:6000:0.7", budget="1k,4k,16k", concurrency=16, versus="qwen3-14b", **files,
        pretrain_tokens="150B", train="gpus=64,tp=2,global_batch=512", law_range="published",
    )  # fmt: skip
    steps = found.tables["a thousand tokens more"]
    assert [row["next_row"] for row in steps] == ["4096", "16384"]
    own, larger = rows(found), found.tables["larger model"]
    assert steps[0]["usd_per_thousand_tokens"] == pytest.approx(
        1000
        * (own[1]["usd_per_query"] - own[0]["usd_per_query"])
        / (own[1]["tokens_per_query"] - own[0]["tokens_per_query"])
    )
    assert larger[0]["usd_per_query"] > own[0]["usd_per_query"]
    laws = {row["scaling_law"]: row for row in found.tables["train or think"]}
    hoffmann = laws["hoffmann-2022"]
    small, big = (
        next(
            row["loss"]
            for row in simcost.loss(model, tokens, range="published").tables["loss"]
            if row["scaling_law"] == "hoffmann-2022"
        )
        for model, tokens in (("qwen3-8b", hoffmann["tokens_to_equal_loss"]), ("qwen3-14b", 150e9))
    )
    assert small == pytest.approx(big, abs=1e-5)
    assert hoffmann["break_even_queries"] == pytest.approx(
        hoffmann["extra_training_usd"] / (hoffmann["usd_per_query"] - hoffmann["usd_per_query_trained"])
    )
    assert found.metrics["break_even_queries_least"] <= hoffmann["break_even_queries"]
    assert all(metrics.find(name) for table in found.tables.values() for row in table for name in row)
    assert all(metrics.find(name) for name in found.metrics)
    assert simcost.ask(found.command, found.inputs).metrics == found.metrics


ASK: dict[str, Any] = {"model": "llama-3.1-8b", "isl": 512, "osl": 1000, "usd_per_million": "1:2"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"osl": None}, "state how long answers are"), ({"levels": "high"}, "with either --osl"), ({"isl": None}, "--isl"), ({"usd_per_million": None}, "state where answers are made"),
        ({"usd_per_million": "1"}, "0.28:0.42"), ({"concurrency": 4}, "--concurrency applies to a fleet"), ({"hw": "h100"}, "state the load"), ({"sigma": 0.5}, "--sigma applies to published lengths"),
        ({"answer": 10}, "is the answer after thinking was cut"), ({"budget": "1k,1024"}, "twice"), ({"budget": "1k", "max_osl": 5}, "leave out --max-osl"), ({"budget": "0"}, "whole tokens"),
        ({"versus_osl": 5}, "add --versus"), ({"versus": "qwen3-8b"}, "must be given together"), ({"accuracy": "x.csv"}, "No such file"), ({"law": "hoffmann-2022"}, "state --pretrain-tokens"),
        ({"pretrain_tokens": "1T"}, "needs --accuracy"), ({"events": True}, "add --hw"), ({"seed": 3}, "needs --events"), ({"parallel": "bets:3"}, "did you mean"),
        ({"drafts": 1, "acceptance": 0.5}, "--drafts applies to a fleet"), ({**FLEET, "concurrency": 4, "drafts": 1}, "--drafts needs --acceptance"),
        ({**FLEET, "concurrency": 4, "versus": "qwen3-14b", "versus_usd_per_million": "1:2", "versus_drafts": 1}, "--versus-drafts needs --versus-acceptance"),
        ({"versus_decode_pool": "2:tp=1"}, "--versus-decode-pool needs a larger model"), ({**FLEET, "concurrency": 4, "decode_pool": "2:tp=1"}, "must be given together"),
        ({**FLEET, "concurrency": 4, **POOLS, "events": True}, "--events cannot simulate pools"), ({**FLEET, "concurrency": 4, **POOLS, "gpus": 4}, "cannot be combined with pools"),
        ({"osl": "lognormal:0.8"}, "lognormal:MEAN:SIGMA"), ({"gpus": 4}, "--set plan.gpus applies to a fleet"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_one_line(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError, match=words) as refused:
        simcost.think(**{**ASK, **changes})
    assert "\n" not in str(refused.value)


def test_a_query_that_fits_nowhere() -> None:
    with pytest.raises(Infeasible, match="no memory for a request"):
        simcost.think("llama-3.1-70b", "h100", isl=512, osl=1000, concurrency=1)


def test_a_rate_beyond_the_capacity_has_no_latency() -> None:
    found = simcost.think(**FLEET, osl=2000, rate=1000)
    assert found.metrics["latency_s"] is None
    assert not found.fits
    assert "beyond capacity" in found.verdict
