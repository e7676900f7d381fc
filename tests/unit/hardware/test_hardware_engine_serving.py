"""Serving terms of engines: by release, by plan, by the engine's own names. Values: the sources that
workloads/engines names."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from simcost.errors import SpecError
from simcost.hardware import engine_checks, engine_file, engines, load
from simcost.hardware.engine_file import SERVING
from simcost.hardware.engine_serving import ServingTerms, serving_terms
from simcost.plan import Plan


def terms(engine: str, plan: Plan | None = None, drafts: bool = False, **settings: Any) -> ServingTerms:
    return serving_terms(engine, settings, load.load("h100"), plan or Plan(), drafts=drafts)


@pytest.mark.parametrize(
    ("engine", "version", "policy", "chunked", "prefix_cache", "overlap"),
    [
        ("vllm", "0.6.6", "prefill_first", False, False, False),
        ("vllm", "0.8.0", "mixed", True, True, False),
        ("vllm", "0.13.0", "mixed", True, True, False),
        ("vllm", "0.14.0", "mixed", True, True, True),
        ("sglang", "0.3.5", "prefill_first", True, True, False),
        ("sglang", "0.5.9", "prefill_first", True, True, True),
        ("trtllm", "0.18.2", "mixed", False, True, False),
        ("trtllm", "1.2.1", "mixed", False, True, True),
    ],
)
def test_a_release_batches_as_its_sources_say(
    engine: str, version: str, policy: str, chunked: bool, prefix_cache: bool, overlap: bool
) -> None:
    found = terms(engine, version=version)
    assert (found.policy, found.chunked, found.prefix_cache, found.overlap) == (policy, chunked, prefix_cache, overlap)
    assert found.stream_interval == 1.0


@pytest.mark.parametrize(
    ("version", "family", "settings", "overlap", "host_ms"),
    [
        ("0.5.3", "qwen3_next", {}, True, 0.3),
        ("0.5.9", "qwen3_next", {}, False, 1.0),
        ("0.5.9", "qwen3_next", {"disable_radix_cache": True}, True, 0.3),
        ("0.5.9", "kimi_linear", {}, True, 0.3),
        ("0.5.23", "nemotron_h", {}, False, 1.0),
        ("0.5.23", "nemotron_h", {"disable_overlap_schedule": False}, True, 0.3),
    ],
)
def test_sglang_overlaps_no_steps_of_models_with_states_while_it_caches_prefixes(
    version: str, family: str, settings: dict[str, Any], overlap: bool, host_ms: float
) -> None:
    about = engine_file.About(family, states=True)
    found = serving_terms("sglang", {"version": version, **settings}, load.load("h100"), Plan(), about)
    assert (bool(found.overlap), found.host_step_s) == (overlap, pytest.approx(host_ms * 1e-3))
    assert bool(serving_terms("sglang", {"version": version}, load.load("h100"), Plan()).overlap)


def test_admission_keeps_room_as_each_engine_does() -> None:
    assert [terms(engine).admission for engine in ("vllm", "sglang", "trtllm")] == ["prompt", "prompt", "whole"]
    assert terms("trtllm", capacity_scheduler_policy="max_utilization").admission == "prompt"
    # 0.7 x 0.14 of what may still be made; x 0.3 with data-parallel attention; never above all of it.
    assert terms("sglang").reserved_output == pytest.approx(0.7 * 0.14)
    assert terms("sglang", Plan(dp_attention=8.0)).reserved_output == pytest.approx(0.7 * 0.14 * 0.3)
    assert terms("sglang", schedule_conservativeness=2).reserved_output == pytest.approx(2 * 0.7 * 0.14)
    assert terms("sglang", schedule_conservativeness=50).reserved_output == 1.0


def test_replicas_share_the_budget_of_sglang_alone() -> None:
    plan = Plan(dp_attention=np.asarray([1.0, 8.0]))
    assert list(np.asarray(terms("sglang", plan).tokens)) == [8192.0, 1024.0]
    assert list(np.asarray(terms("sglang", plan, max_running_requests=100).sequences)) == [100.0, 12.0]
    assert terms("sglang", Plan(dp_attention=8.0)).sequences == terms("sglang").sequences  # the default is a rank's
    for engine in ("vllm", "trtllm"):
        assert np.all(np.asarray(terms(engine, plan).tokens) == 8192.0)


def test_what_stands_beside_the_overlap_of_the_host() -> None:
    deep, drafts = Plan(pp=2.0), True
    assert [terms("vllm", deep, version=v).overlap for v in ("0.14", "0.15")] == [False, True]
    assert [terms("sglang", drafts=drafts, version=v).overlap for v in ("0.5.9", "0.5.12")] == [False, True]
    assert [terms("sglang", Plan(dp_attention=2.0), version=v).overlap for v in ("0.4.2", "0.4.3")] == [False, True]
    many = terms("sglang", Plan(pp=np.asarray([1.0, 2.0])))
    assert list(np.asarray(many.overlap)) == [True, False]
    assert list(np.asarray(many.host_step_s)) == [terms("sglang").host_step_s, terms("sglang", deep).host_step_s]
    assert terms("sglang", deep).host_step_s > terms("sglang").host_step_s


def test_drafts_lower_the_requests_of_sglang_unless_stated() -> None:
    assert terms("sglang", drafts=True).sequences == 48.0
    assert terms("sglang", drafts=True, max_running_requests=256).sequences == 256.0
    assert terms("vllm", drafts=True).sequences == terms("vllm").sequences


def test_settings_by_the_engine_s_own_names() -> None:
    assert (terms("sglang").receive_interval, terms("vllm").receive_interval) == (1.0, 1.0)
    found = terms("sglang", scheduler_recv_interval=30, host_delay="2 ms")
    assert (found.receive_interval, found.host_delay_s) == (30.0, pytest.approx(2e-3))
    found = terms("sglang", stream_interval=10, enable_mixed_chunk=True, disable_radix_cache=True, host_step="0.5 ms")
    assert (found.stream_interval, found.policy, found.prefix_cache, found.host_step_s) == (10.0, "mixed", False, 5e-4)
    assert found.stated == {"stream_interval", "mixed", "prefix_cache", "host_step"}
    assert terms("sglang", disable_overlap_schedule=False).overlap is True
    slow = terms("vllm", async_scheduling=False)
    assert slow.overlap is False
    assert slow.host_step_s > terms("vllm").host_step_s
    assert terms("vllm", version="0.6", enable_chunked_prefill=True).policy == "mixed"
    assert terms("trtllm", host_request="10ms").host_request_s == pytest.approx(0.01)
    assert terms("vllm", max_num_batched_tokens=4096).tokens == 4096.0


def test_any_takes_the_terms_of_vllm_and_says_so() -> None:
    one, other = terms("any"), terms("vllm")
    assert (one.policy, one.tokens, one.host_step_s) == (other.policy, other.tokens, other.host_step_s)
    assert all(source.startswith("engine=any, as vLLM: ") for source in one.sources.values())


@pytest.mark.parametrize(
    ("engine", "settings", "said"),
    [
        ("sglang", {"async_scheduling": True}, "SGLang has no engine.async_scheduling"),
        ("vllm", {"stream_intervall": 2}, "did you mean 'stream_interval'"),
        ("any", {"disable_radix_cache": True}, "engine=any uses the settings of vLLM, which has no"),
        ("vllm", {"stream_interval": 0}, "engine.stream_interval must be a whole number from 1"),
        ("vllm", {"async_scheduling": "yes"}, "engine.async_scheduling must be true or false, not 'yes'"),
        ("vllm", {"host_step": 0.3}, "engine.host_step must be a time with its unit"),
        ("vllm", {"host_step": "3"}, "engine.host_step"),
        ("trtllm", {"capacity_scheduler_policy": "STATIC_BATCH"}, "one of GUARANTEED_NO_EVICT, MAX_UTILIZATION"),
        ("sglang", {"schedule_conservativeness": -1}, "must be a number from 0 to 100, not -1"),
        ("sglang", {"schedule_conservativeness": True}, "must be a number"),
    ],
)
def test_what_an_engine_has_not_or_cannot_hold_is_one_line(engine: str, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        terms(engine, **settings)


@pytest.mark.parametrize("name", engines.names())
def test_every_serving_term_has_its_origin_and_every_release_is_whole(name: str) -> None:
    for entry in engine_file.entries(name, SERVING):
        found = terms(name, version=entry["version"])
        assert set(engine_checks.SERVING) - set(engine_checks.SERVING_OPTIONAL) <= set(found.sources)
        assert all(found.sources.values())
        assert found.drafts
        assert found.moe_backends
        assert found.attention_backends


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"from": []}, r"needs \[serving.settings\]"),
        ({"settings": {"stream_intervl": "x"}}, "'stream_intervl' is unknown; did you mean 'stream_interval'"),
        ({"settings": {"reserved_output": {"name": "x"}}}, "'words' must be a table"),
        ({"settings": {"reserved_output": {"name": "x", "words": {"A": 2}}}}, "number from 0 to 1"),
        ({"settings": {"reserved_output": 3}}, "must be a name, or a table"),
        ({"from": [{"version": "0"}]}, "has no policy"),
        ({"from": [{"version": "0", "share": {"value": 0.9, "source": "x"}}]}, "'share' is unknown"),
        (
            {"from": [{"version": "0", "overlap": {"value": True, "pipeline": 1, "source": "x"}}]},
            "true or false, not 1",
        ),
        ({"from": [{"version": "0", "host_step": {"value": 3, "source": "x"}}]}, "a time with its unit"),
        ({"from": [{"version": "0", "policy": {"value": "mixd", "source": "x"}}]}, "one of mixed, prefill_first"),
        ({"from": [{"version": "0", "drafts": {"value": [3], "source": "x"}}]}, "a list of words"),
    ],
)
def test_a_broken_part_is_named(change: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    part = {**engines.table("sglang")["serving"], **change}  # type: ignore[dict-item]
    monkeypatch.setattr(engines, "table", lambda name: {"serving": part})
    with pytest.raises(SpecError, match=said):
        engine_file._part.__wrapped__("sglang", SERVING)


def test_a_step_says_that_it_has_no_use_for_them(capsys: pytest.CaptureFixture[str]) -> None:
    from simcost.cli.app import run

    asked = ["decode", "--model", "llama-3.1-8b", "--hw", "h100", "--batch", "1", "--format", "json"]
    assert (
        run([*asked, "--engine", "vllm", "--set", "engine.stream_interval=10", "--set", "engine.max_num_seqs=8"]) == 0
    )
    out = capsys.readouterr().out
    assert "engine.stream_interval has no effect on a step: simcost serve uses it" in out
    assert "engine.max_num_seqs has no effect" not in out
    assert run([*asked, "--engine", "sglang", "--set", "engine.async_scheduling=true"]) == 2
    assert "SGLang has no engine.async_scheduling" in capsys.readouterr().err
