"""Attention with a relative bias and its short convolutions: shapes of ranks, state, a step by hand, and what a plan may not do; experts as sinks."""

from __future__ import annotations

from dataclasses import replace

import pytest
from blockkit import broken, ops, products, shapes, the_core, view

from simcost.blocks._filter import ShortFilter
from simcost.blocks.attention.relative_bias import RelativeBias
from simcost.blocks.ffn.sink_experts import SinkExperts
from simcost.dtypes import dtype
from simcost.ops.recurrent import CausalConv
from simcost.ops.router import Router
from simcost.ops.stream import Stream
from simcost.plan import Plan

D, H, KV, W = 6144.0, 64.0, 8.0, 128.0
FULL = RelativeBias(D, H, KV, W, W, qk_norm="head", rotary=0.0)
SLIDES = replace(FULL, num_key_value_heads=16.0, window=512.0, rel_extent=512.0)
SECOND = RelativeBias(4608.0, 48.0, 8.0, W, W, rotary=0.0, output_gate="full", clipped=True, apart=True)
KV_CONV = ShortFilter("kv_conv", 2.0 * KV * W, 4.0, KV)
TAPS = replace(KV_CONV, tap_width=4608.0)
STREAM = ShortFilter("ffn_conv", D, 4.0)


@pytest.mark.parametrize("tp", [1, 4, 16])
def test_heads_are_cut_and_the_bank_is_whole(tp: int) -> None:
    h, kv = 64 // tp, max(8 // tp, 1)
    assert shapes(FULL.weights(Plan(tp=float(tp)))) == {
        "qkv_proj": ((h + 2 * kv) * 128, 6144), "o_proj": (6144, h * 128), "r_proj": (h * 16, 6144), "rel_logits_proj": (1024, 16), "qk_norm": (256,),
    }  # fmt: skip
    assert broken(FULL, Plan(tp=float(tp))) == []


def test_the_second_has_inputs_apart_a_gate_scales_and_sinks() -> None:
    assert shapes(SECOND.weights(Plan())) == {
        "q_proj": (2 * 48 * 128, 4608), "kv_proj": (2, 8 * 128, 4608), "o_proj": (4608, 48 * 128), "r_proj": (48 * 16, 4608),
        "rel_logits_proj": (1024, 16), "sink_proj": (48, 4608), "head_scales": (48 * 144,),
    }  # fmt: skip
    together = replace(SECOND, apart=False, window=1024.0)
    assert shapes(together.weights(Plan()))["qkv_proj"] == ((2 * 48 + 16) * 128, 4608)


def test_a_token_passes_the_bank_once_a_head() -> None:
    (bank,) = (w for w in FULL.weights(Plan()) if w.name == "rel_logits_proj")
    assert bank.uses == 64
    assert products(FULL.program(view(2.0, 3.0, 0.0)))["rel_logits_proj"] == (1, 6 * 64, 1024, 16)


@pytest.mark.parametrize(
    ("block", "past", "seen", "biased"),
    [(FULL, 2047.0, 2048, 1024), (FULL, 99.0, 100, 100), (SLIDES, 2047.0, 512, 512)],
)
def test_a_decode_step_by_hand(block: RelativeBias, past: float, seen: int, biased: int) -> None:
    """Two sequences on one of four ranks: 16 heads each."""
    program = block.program(view(2.0, 1.0, past, Plan(tp=4.0), decode=True))
    found = ops(program)
    assert list(found) == [
        "qkv_proj", "r_proj", "qk_norm", "rel_logits_proj", "relative bias", "kv write", "core", "o_proj", "all-reduce",
    ]  # fmt: skip
    bias = found["relative bias"]
    assert isinstance(bias, Stream)
    assert bias.elements == 2 * 16 * biased
    assert the_core(program).work().flops == 2 * 2 * 16 * seen * 256


def test_a_prompt_beside_a_decode_step_has_biases_of_its_own() -> None:
    found = SECOND.program(view(1.0, 4.0, 0.0))
    bias = ops(found)["relative bias"]
    assert isinstance(bias, Stream)
    assert bias.elements == 48 * (1 + 2 + 3 + 4)
    assert {"output gate", "sink_proj"} <= set(ops(found))


@pytest.mark.parametrize(
    ("block", "tp", "channels"), [(KV_CONV, 1, 2048), (KV_CONV, 4, 512), (KV_CONV, 16, 256), (STREAM, 4, 6144)]
)
def test_columns_are_of_the_channels_of_a_rank(block: ShortFilter, tp: int, channels: int) -> None:
    plan = Plan(tp=float(tp))
    assert block.weights(plan)[0].count == 4 * channels
    assert block.state_elements(10.0, plan) == block.state_elements(1e6, plan) == 3 * channels
    assert block.state_bytes(1e6, plan, dtype("fp8")) == block.fixed_bytes(5.0, plan, dtype("fp8")) == 4 * 3 * channels
    assert block.token_bytes(plan, dtype("bf16")) == 0
    conv = ops(block.program(view(8.0, 1.0, 99.0, plan)))[block.name]
    assert isinstance(conv, CausalConv)
    assert (conv.channels, conv.width) == (channels, 4)


def test_taps_are_projected_for_keys_and_for_values() -> None:
    assert shapes(TAPS.weights(Plan(tp=2.0))) == {"kv_conv": (4096,), "kv_conv_taps": (2, 4 * 4, 4608)}
    assert products(TAPS.program(view(8.0, 1.0, 99.0)))["kv_conv_taps"] == (2, 8, 32, 4608)


def test_what_a_plan_may_not_cut() -> None:
    assert any("cp must be 1" in reason for reason in broken(KV_CONV, Plan(cp=2.0)))
    rows = Plan(tp=2.0, sequence_parallel="on")
    assert broken(KV_CONV, rows) == []
    assert any("sequence_parallel must be off" in reason for reason in broken(STREAM, rows))


def test_shared_experts_are_scored_and_not_picked() -> None:
    block = SinkExperts(D, 256.0, 6.0, 3072.0, 2 * 3072.0, scoring_func="sigmoid", sinks=2.0)
    found = shapes(block.weights(Plan(tp=8.0, ep=8.0)))
    assert (found["router"], found["experts_up"], found["shared_up"]) == (
        (258, 6144),
        (32, 6144, 6144),
        (2 * 768, 6144),
    )
    assert (found["correction_bias"], found["router_scale"]) == ((256,), (1,))
    choose = next(op for op in ops(block.program(view(4.0, 1.0, 9.0))).values() if isinstance(op, Router))
    assert (choose.experts, choose.top_k) == (258, 6)
