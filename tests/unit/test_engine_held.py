"""What an engine holds: weights as loaded, pages and groups of the cache, activations, graphs, towers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from simcost.estimate import memory
from simcost.estimate.memory import Kept
from simcost.model import activations, cache, rotary
from simcost.query import make, workload

GIB = 2.0**30
V19 = {"engine": "vllm", "engine__version": "0.19.0"}
MIB = 2.0**20


def kept(name: str, hw: str = "h100", context: int = 8192, **sets: Any) -> Kept:
    given = {key.replace("__", "."): value for key, value in sets.items()}
    return memory.kept(workload(make(name, hw, True, {"batch": 1, "context": context}, given, {}, None)))


def request_tokens(found: Kept) -> list[tuple[str, float, float]]:
    """(mask, layers held, tokens held) of every kind."""
    w = found.workload
    kinds = found.held.kinds(w)
    return [
        (
            kind.mask.label(),
            float(np.asarray(kind.layers)),
            float(np.asarray(cache.held_tokens(kind, kinds, w.phase.context, w.memory))),
        )
        for kind in kinds
    ]


def test_layers_stand_in_groups_of_equal_size() -> None:
    """Gemma 3: 10 full and 52 window layers, in groups of ten: 70. A window holds 1,023 + 8,192 tokens, at most the context, and a page more."""
    assert sorted(request_tokens(kept("gemma-3-27b", **V19))) == [
        ("causal", 10.0, 8192.0),
        ("window 1024", 60.0, 8208.0),
    ]
    assert sorted(request_tokens(kept("gemma-3-27b", context=20_000, **V19))) == [
        ("causal", 10.0, 20_000.0),
        ("window 1024", 60.0, 9232.0),
    ]
    # From 0.26 on two steps may be in flight.
    assert request_tokens(kept("gemma-3-27b", context=20_000))[0][2] == 17_424.0
    # As many of both: one size; Llama 4: 36 chunked layers are three groups of twelve, without the page.
    assert sorted(request_tokens(kept("gpt-oss-20b"))) == [("causal", 12.0, 8192.0), ("window 128", 12.0, 8208.0)]
    assert sorted(request_tokens(kept("llama-4-scout", plan__tp=4))) == [
        ("causal", 12.0, 8192.0),
        ("chunk 8192", 36.0, 8192.0),
    ]


def test_releases_and_engines_hold_windows_otherwise() -> None:
    old = kept("gpt-oss-20b", engine="vllm", engine__version="0.9.1")
    assert {tokens for _, _, tokens in request_tokens(old)} == {8192.0}
    assert {mask: tokens for mask, _, tokens in request_tokens(kept("gpt-oss-20b", engine="sglang"))}[
        "window 128"
    ] == 6554.0  # 0.8 of 8,192, rounded up
    assert {tokens for _, _, tokens in request_tokens(kept("gpt-oss-20b", engine="trtllm"))} == {8192.0}
    # A request that is shorter than its windows needs as much of both pools: the smaller one decides.
    assert request_tokens(kept("gpt-oss-20b", engine="sglang", context=100))[0][2] == 100.0


def test_pages_are_whole() -> None:
    one, two = (kept("llama-3.1-8b", context=c) for c in (17, 32))
    assert one.memory.cache == two.memory.cache == 32 * 131_072
    assert kept("llama-3.1-8b", context=17, engine="sglang").memory.cache == 17 * 131_072
    assert kept("llama-3.1-8b", context=17, engine__block_size=64).memory.cache == 64 * 131_072


def test_v0_pads_a_latent() -> None:
    old, new = (kept("deepseek-v2-lite", engine="vllm", engine__version=v, context=1600) for v in ("0.7.3", "0.19"))
    assert old.memory.cache / new.memory.cache == pytest.approx(640 / 576)


@pytest.mark.parametrize(
    ("name", "sets", "printed"),
    [
        ("llama-3.1-8b", {}, 14.99), ("qwen2.5-7b", {}, 14.25), ("qwen2.5-7b", {"plan__tp": 2}, 7.12), ("gemma-2-27b", {}, 50.72),
        ("qwen3-30b-a3b", {}, 56.88), ("qwen3-14b", {}, 27.52), ("llama-4-scout", {"plan__tp": 4}, 53.12), ("qwen2.5-72b", {"plan__tp": 4}, 34.01),
        ("mistral-small-3.1-24b", {}, 44.76),
    ],
)  # fmt: skip
def test_weights_are_those_that_logs_print(name: str, sets: dict[str, Any], printed: float) -> None:
    assert float(np.asarray(kept(name, **sets).memory.weights)) / GIB == pytest.approx(printed, rel=0.003)


def test_every_addition_to_the_checkpoint_is_told_apart() -> None:
    seven = kept("qwen2.5-7b").held.loaded
    assert seven.rotary == 2 * 32768 * 128
    assert 56 * MIB < seven.allocator < 60 * MIB  # gate and up a MiB a layer, down and qkv half of one each
    assert seven.total == seven.checkpoint + seven.rotary + seven.allocator
    assert kept("deepseek-v3", plan__tp=8, hw="h200").held.loaded.absorbed == 2 * 61 * 16 * 512 * 256
    padded = kept("gpt-oss-20b", "a100").held.loaded
    assert padded.experts == pytest.approx(24 * 32 * 3 * (3072 * 2944 - 2880 * 2880) * 17 / 32, rel=1e-6)
    assert kept("granite-3.1-2b").held.loaded.vocabulary == (49216 - 49155) * 2048 * 2
    assert kept("opt-125m").held.loaded.rotary == 0.0
    assert kept("gemma-3-27b").held.loaded.tower == 2 * 423_060_336


def test_the_peak_is_at_the_sampler_or_in_the_widest_layer() -> None:
    wide = kept("llama-3.1-8b", engine__max_num_seqs=1, engine__max_num_batched_tokens=10_000, **V19)
    assert wide.memory.activations == pytest.approx(10_000 * 2 * (4 * 4096 + 3 * 14336))
    many = kept("llama-3.1-8b", engine__max_num_seqs=1024, engine__max_num_batched_tokens=1024, **V19)
    terms = many.workload.memory
    assert many.memory.activations == pytest.approx(
        1024 * (128256 * (terms.logit_bytes + 2) + terms.sequence_bytes) + 1024 * 4096 * 2
    )
    # The first of two stages samples nothing.
    at = kept("llama-3.1-8b", plan__pp=2, **V19)
    first, last = at.ranks
    sizes = [
        float(np.asarray(memory.shared_out(at.workload, rank.held, at.peak).activations)) for rank in (first, last)
    ]
    assert sizes[0] < 0.6 * sizes[1]


def test_experts_buffers_stay_or_go() -> None:
    rows = 8192 * 8 * 2 * (2048 + 2048)
    new, old = (kept("qwen3-30b-a3b", engine="vllm", engine__version=v).memory.activations for v in ("0.19", "0.11"))
    plain = kept("qwen3-30b-a3b", engine="vllm", engine__version="0.19").peak
    assert plain.stay
    assert new == pytest.approx(rows + 8192 * 2048 * 2 + 1024 * plain.sampled)
    assert old > 2 * new  # PyTorch's sampler takes three times as much
    assert not kept("gpt-oss-20b").peak.stay


def test_graphs_follow_layers_and_captured_sizes() -> None:
    w = kept("llama-3.1-8b").workload
    terms = w.memory
    whole = float(np.asarray(activations.graph_bytes(32.0, False, terms)))
    assert whole == pytest.approx(terms.graph_bytes + 32 * terms.graph_layer_bytes)
    few = replace(terms, sequences=32.0)
    assert float(np.asarray(activations.captured(few))) == pytest.approx((3 + 64 / 8) / 51)
    assert kept("llama-3.1-8b", plan__cuda_graph="off").memory.graphs == 0.0


def test_buffers_of_the_exchange_hold_a_slot_for_every_token_and_expert() -> None:
    found = kept("deepseek-v3", "h200", plan__ep=32)
    assert found.memory.non_torch - found.workload.memory.non_torch == pytest.approx(
        4 * 256 * 256 * (2 * 7168 + 16) + GIB
    )
    assert (
        kept("deepseek-v3", "h200", plan__tp=8).memory.non_torch
        == kept("deepseek-v3", "h200", plan__tp=8).workload.memory.non_torch
    )
    assert (
        kept("deepseek-v3", "gb200", plan__ep=32).memory.non_torch
        == kept("deepseek-v3", "gb200", plan__ep=32).workload.memory.non_torch
    )


def test_a_table_of_penalties_and_an_expansion_of_latents_stand_beside() -> None:
    """Model runner V2 keeps counts of all sequences; a prefill of MLA in chunks expands 65,536 cached tokens."""
    old, new = (kept("llama-3.1-8b", engine="vllm", engine__version=v).peak for v in ("0.24", "0.28"))
    assert (old.always, new.always) == (0.0, 1024 * 128_256 * 4.125)
    assert new.sampled < old.sampled / 5
    before, now = (
        kept("deepseek-v3", "h200", plan__tp=8, engine="vllm", engine__version=v).peak.fixed for v in ("0.10", "0.19")
    )
    assert (before, now) == (0.0, 65_536 * 16 * 256 * 2)


@pytest.mark.parametrize(
    ("scaling", "rows"),
    [
        ({}, (8192.0,)), ({"rope_type": "linear", "factor": 8.0}, (65_536.0,)), ({"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 4096}, (16_384.0,)),
        ({"type": "longrope", "original_max_position_embeddings": 4096}, (12_288.0,)), ({"rope_type": "llama3", "factor": 8.0}, (8192.0,)),
        ({"rope_type": "default", "mrope_section": [16, 24, 24]}, (32_768.0,)),
        ({"full_attention": {"rope_type": "linear", "factor": 2.0}, "sliding_attention": {"rope_type": "default"}}, (16_384.0, 8192.0)),
    ],
)  # fmt: skip
def test_a_rotary_table_has_the_rows_of_its_scaling(scaling: dict[str, Any], rows: tuple[float, ...]) -> None:
    assert rotary.rows({"max_position_embeddings": 8192, "rope_scaling": scaling}) == rows
    assert rotary.rows({"rope_scaling": scaling}) == ()
    if len(rows) == 1:
        assert rotary.rows({"max_position_embeddings": 8192, "rope_scaling": scaling, "rope_local_base_freq": 1e4}) == (
            *rows,
            8192.0,
        )
