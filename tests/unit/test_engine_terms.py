"""Memory terms of engines: by release, by device, by the engine's own names."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from simcost import api
from simcost.errors import SpecError
from simcost.hardware import engine_checks, engine_file, engine_terms, engines, load
from simcost.hardware.engine_file import About, numbers
from simcost.hardware.engine_memory import EngineMemory
from simcost.plan import Plan

GIB = 2.0**30


def terms(engine: str, hw: str = "h100", plan: Plan | None = None, **settings: Any) -> EngineMemory:
    return engine_terms.terms(engine, settings, load.load(hw), plan or Plan())


def test_a_term_holds_from_its_release_on() -> None:
    assert terms("vllm", version="0.16.1").logit_bytes > 2.5 * terms("vllm", version="0.17.0").logit_bytes
    assert [terms("vllm", version=v).share for v in ("0.19.9", "0.20", "0.27.0")] == [0.9, 0.92, 0.92]
    assert [terms("vllm", version=v).graphs_inside for v in ("0.19.1", "0.20.0rc1")] == [False, True]
    assert [terms("vllm", version=v).windows for v in ("0.9.2", "0.10.1.1")] == ["whole", "grouped"]
    assert terms("vllm").version == "newest"
    assert terms("vllm").share == terms("vllm", version="0.999").share


def test_any_takes_the_terms_of_vllm_and_nine_tenths() -> None:
    one, other = terms("any"), terms("vllm", gpu_memory_utilization=0.9)
    assert (one.share, one.engine) == (0.9, "vllm")
    assert (one.logit_bytes, one.non_torch, one.tokens) == (other.logit_bytes, other.non_torch, other.tokens)
    assert terms("any", gpu_memory_utilization=0.8).share == 0.8
    assert terms("torch").share == 0.9


@pytest.mark.parametrize(
    ("hw", "tokens", "sequences"),
    [("h100", 8192, 1024), ("mi300x", 8192, 1024), ("a100", 2048, 256), ("l40s", 2048, 256), ("rtx-4090", 2048, 256)],
)
def test_defaults_of_vllm_follow_the_memory_and_the_name_of_a_gpu(hw: str, tokens: int, sequences: int) -> None:
    found = terms("vllm", hw)
    assert (found.tokens, found.sequences) == (tokens, sequences)


def test_sglang_keeps_what_its_rule_says() -> None:
    # 512 + 8192 x 1.5 + 256 x 2 + 128 MiB of 79.19 GiB; B300 class: 512 + 16384 x 1.5 + 512 x 2 + 128 of 276.5.
    kept = (512 + 8192 * 1.5 + 256 * 2 + 128) / 1024
    assert terms("sglang").share == round(1 - kept / 79.19, 3)
    assert terms("sglang", "gb300").share == pytest.approx(0.907, abs=0.001)
    assert [terms("sglang", plan=Plan(tp=tp), version="0.4.5").share for tp in (1.0, 2.0, 4.0, 8.0, 16.0)] == [
        0.88,
        0.87,
        0.85,
        0.81,
        0.79,
    ]


def test_older_rules_of_sglang_go_by_the_size_of_a_gpu() -> None:
    found = {
        hw: [terms("sglang", hw, Plan(tp=tp), version="0.5.1").share for tp in (1.0, 8.0)]
        for hw in ("h200", "h100", "l40s", "b200", "mi300x")
    }
    # (total - reserve) / total, where the reserve is 2.8, 9.5, 12 or 32 GiB and half a GiB for a rank more.
    expected = {
        "h200": [0.911, 0.886],
        "h100": [0.874, 0.83],
        "l40s": [0.775, 0.696],
        "b200": [0.821, 0.821],
        "mi300x": [0.833, 0.833],
    }
    for hw, shares in expected.items():
        assert found[hw] == pytest.approx(shares, abs=0.004), hw
    assert terms("sglang", "h200", version="0.4.7").share == 0.88
    assert terms("sglang", "h200", version="0.4.6").share == pytest.approx(1 - 13 / 139.81, abs=0.001)


def test_terms_know_what_kind_of_model_asks() -> None:
    dense, experts = (
        engine_terms.terms("vllm", {"version": "0.26"}, load.load("h100"), Plan(), About("x", moe))
        for moe in (False, True)
    )
    assert (dense.logit_bytes, experts.logit_bytes) == (4.0, 12.62)
    assert (dense.graphs_inside, experts.graphs_inside) == (False, True)
    assert (dense.kept_logit_bytes, experts.kept_logit_bytes) == (4.125, 0.0)
    one, other = (
        engine_terms.terms("sglang", {}, load.load("h100"), Plan(), About(family))
        for family in ("gpt_oss", "gemma3_text")
    )
    assert (one.windows, other.windows) == ("ratio", "whole")
    tower = engine_terms.terms("sglang", {}, load.load("h100"), Plan(), About("gemma3_text", tower=True))
    assert tower.share == pytest.approx(0.91 * other.share)
    assert terms("vllm", "a100", Plan(tp=2.0)).non_torch < terms("vllm", "h100", Plan(tp=2.0)).non_torch


def test_memory_outside_pytorch_follows_the_group_and_its_links() -> None:
    assert terms("vllm").non_torch < 0.3 * GIB < terms("vllm", plan=Plan(tp=2.0)).non_torch
    assert terms("vllm", "l40s", Plan(tp=2.0)).non_torch != terms("vllm", plan=Plan(tp=2.0)).non_torch
    many = terms("vllm", plan=Plan(tp=np.asarray([1.0, 2.0])))
    assert list(np.asarray(many.non_torch)) == [terms("vllm").non_torch, terms("vllm", plan=Plan(tp=2.0)).non_torch]


@pytest.mark.parametrize(
    ("engine", "settings", "said"),
    [
        ("sglang", {"gpu_memory_utilization": 0.9}, "SGLang has no engine.gpu_memory_utilization"),
        ("vllm", {"gpu_memory_utilisation": 0.9}, "did you mean 'gpu_memory_utilization'"),
        ("vllm", {"gpu_memory_utilization": 1.2}, r"must be a number in \(0, 1\]"),
        ("vllm", {"gpu_memory_utilization": "much"}, r"must be a number in \(0, 1\]"),
        ("vllm", {"max_num_seqs": 0}, "whole number from 1"),
        ("vllm", {"max_num_seqs": 1.5}, "whole number from 1"),
        ("vllm", {"version": "main"}, "must begin with a number"),
        ("vllm", {"version": "99"}, "vLLM has no release 99: the newest that is known is 0.33"),
        ("any", {"version": "2.0"}, "vLLM has no release 2.0"),
        ("trtllm", {"version": "3"}, "TensorRT-LLM has no release 3: the newest that is known is 1.2"),
    ],
)
def test_what_an_engine_has_not_is_refused(engine: str, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        terms(engine, **settings)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("0.19.0", (0, 19, 0)),
        ("0.10.1.1", (0, 10, 1, 1)),
        ("0.6.4.post1+dev", (0, 6, 4)),
        ("1.3.0rc20", (1, 3, 0)),
        ("main", ()),
    ],
)
def test_releases_are_ordered_by_their_numbers(text: str, found: tuple[int, ...]) -> None:
    assert numbers(text) == found


@pytest.mark.parametrize("name", engines.names())
def test_every_term_has_a_source_or_a_reason(name: str) -> None:
    found = terms(name)
    assert all(found.sources.values())
    assert {"share", "logit_bytes", "non_torch", "graph_bytes"} <= set(found.sources)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"from": []}, r"needs \[memory.settings\]"),
        ({"settings": {"share": "x"}}, "must name share, tokens, sequences, block"),
        ({"from": [{"version": "0"}]}, "has no"),
        ({"from": [{"version": "0", "sharee": {"value": 1, "source": "x"}}]}, "'sharee' is unknown"),
        ({"from": [{"version": "0", "share": {"value": 0.9}}]}, "needs a 'source', or a 'reason'"),
        (
            {"from": [{"version": "0", "windows": {"value": "wide", "source": "x"}}]},
            "must be one of whole, grouped, ratio",
        ),
        ({"from": [{"version": "x"}]}, "needs a version"),
    ],
)
def test_a_broken_file_is_named(change: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = {**engines.table("vllm")["memory"], **change}  # type: ignore[dict-item]
    monkeypatch.setattr(engines, "table", lambda name: {"memory": memory})
    with pytest.raises(SpecError, match=said):
        engine_file._part.__wrapped__("vllm", "memory")


@pytest.mark.parametrize(("name", "term", "said"), [
    ("share", {"value": 1.5}, "number from 0 to 1"), ("share", {"ranks": [{"value": 0.9}, {"value": 0.8}]}, "every tier except the last needs 'below'"),
    ("share", {"reserved": [{"bytes": "9.5"}]}, "bytes"), ("share", {"kept_bytes": "1 GiB"}, "must be a size"), ("share", {}, "must be a size"),
    ("tokens", {"value": "many"}, "number of at least 1"), ("tokens", {"tiers": [{"below": "1 GiB", "value": 1}]}, "every tier except the last"),
    ("tokens", {"tiers": 8}, "must be a list"), ("block", {"value": 0}, "number of at least 1"), ("logit_bytes", {"value": float("nan")}, "number of at least 0"),
    ("graph_sequences", {"tiers": [{"value": True}]}, "number of at least 1"), ("mxfp4_multiples", {"fp8": [256]}, "list of 2"), ("window_ratio", {"value": 2}, "number from 0 to 1"),
    ("graph_bytes", {"value": 3}, "must be a size"), ("windows", {"value": "some"}, "must be one of whole, grouped, ratio"), ("experts_stay", {"value": 1}, "true or false"),
    ("shares", {"value": 0.9}, "did you mean 'share'"),
])  # fmt: skip
def test_a_broken_term_is_named(name: str, term: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said) as fault:
        engine_checks.check(f"x.toml: '{name}'", name, {**term, "source": "a test"})
    assert str(fault.value).startswith(f"x.toml: '{name}'")


def test_settings_of_any_say_whose_they_are() -> None:
    with pytest.raises(
        SpecError, match=r"engine=any uses the settings of vLLM, which has no engine\.mem_fraction_static"
    ):
        terms("any", mem_fraction_static=0.9)


@pytest.mark.parametrize(
    ("engine", "version", "last"),
    [
        ("vllm", "0.33.0", ""),
        ("vllm", "v0.33", ""),
        ("vllm", "0.34.0", "0.33.0"),
        ("vllm", "1.0", "0.33.0"),  # the next first number may come: only what skips one is refused
        ("sglang", "0.5.23", ""),
        ("sglang", "0.5.24", "0.5.23"),
        ("trtllm", "1.2.1", ""),  # a patch of the newest
        ("trtllm", "1.3.0rc20", "1.2"),
    ],
)
def test_a_release_newer_than_all_that_are_known_is_said(engine: str, version: str, last: str) -> None:
    """The newest releases of workloads/engines/options: vLLM 0.33.0, SGLang 0.5.23, TensorRT-LLM 1.2."""
    found = api.decode("llama-3.1-8b", "h100", batch=1, context=1024, engine=engine, set={"engine.version": version})
    said = [note for note in found.warnings if "engine.version" in note]
    assert [f"terms are those of {last}, the newest release" in note for note in said] == ([True] if last else [])
