"""Exact counts of small designs by closed forms: parameters and their conventions, bytes, cache, and training FLOPs."""

from __future__ import annotations

from typing import Any

import pytest
from toykit import LAYER, PARAMETERS, design

from simcost.dtypes import dtype
from simcost.model import count
from simcost.model.flops import flops_per_token
from simcost.model.spec import ModelSpec
from simcost.plan import Plan

H, F, V, L, HEADS, KV, HEAD = 1024, 4096, 32000, 4, 8, 2, 128
ATTENTION = 2 * H * HEADS * HEAD + 2 * H * KV * HEAD
EXPERTS, TOP_K = 8, 2


def moe(**more: Any) -> ModelSpec:
    return design(model_type="mixtral", num_local_experts=EXPERTS, num_experts_per_tok=TOP_K, **more)


def windows(**more: Any) -> ModelSpec:
    """Three layers that slide before every full one."""
    kinds = ["sliding_attention"] * 3 + ["full_attention"]
    return design(sliding_window=256, layer_types=kinds, **more)


def test_a_dense_designs_parameters_are_those_of_its_shapes() -> None:
    assert LAYER == ATTENTION + 3 * H * F + 2 * H
    found = count.parameters(design())
    assert found == {
        "params_total": PARAMETERS, "params_language": PARAMETERS, "params_towers": 0.0, "params_mtp": 0.0, "params_active_all": PARAMETERS,
        "params_active_no_embedding": PARAMETERS - V * H, "params_active_no_embedding_no_head": PARAMETERS - 2 * V * H,
    }  # fmt: skip


def test_a_tied_table_is_counted_once_and_computes_as_the_head() -> None:
    found = count.parameters(design(tie_word_embeddings=True))
    assert found["params_total"] == PARAMETERS - V * H
    assert found["params_active_no_embedding"] == found["params_total"]
    assert found["params_active_no_embedding_no_head"] == PARAMETERS - 2 * V * H


@pytest.mark.parametrize(("change", "more"), [
    ({"attention_bias": True}, L * (HEADS * HEAD + 2 * KV * HEAD + H)), ({"mlp_bias": True}, L * (2 * F + H)),
    ({"num_hidden_layers": 5}, LAYER), ({"vocab_size": V + 1}, 2 * H), ({"num_key_value_heads": 8}, L * 2 * H * (8 - KV) * HEAD),
    ({"intermediate_size": F + 1}, L * 3 * H), ({"head_dim": None}, 0),
])  # fmt: skip
def test_a_changed_key_adds_what_its_shapes_add(change: dict[str, Any], more: int) -> None:
    assert count.parameters(design(**change))["params_total"] == PARAMETERS + more


def test_of_experts_all_are_stored_and_the_picked_ones_active() -> None:
    found = count.parameters(moe())
    total = PARAMETERS + L * ((EXPERTS - 1) * 3 * H * F + H * EXPERTS)
    assert found["params_total"] == total
    assert found["params_active_all"] == total - L * (EXPERTS - TOP_K) * 3 * H * F


@pytest.mark.parametrize(("base", "quantised", "size"), [
    ("bfloat16", None, 2 * PARAMETERS), ("float32", None, 4 * PARAMETERS),
    ("bfloat16", {"quant_method": "fp8"}, 2 * PARAMETERS - L * (ATTENTION + 3 * H * F)),
    ("bfloat16", {"quant_method": "fp8", "weight_block_size": [128, 128]},
     2 * PARAMETERS - L * (ATTENTION + 3 * H * F) + 4 * L * (ATTENTION + 3 * H * F) // 128**2),
])  # fmt: skip
def test_stored_bytes_follow_the_formats_of_each_kind_of_weight(base: str, quantised: Any, size: int) -> None:
    assert count.weight_bytes(design(torch_dtype=base, quantization_config=quantised)) == size


@pytest.mark.parametrize("tp", [1, 2, 4, 8])
def test_ranks_share_matrices_and_each_keeps_the_norms(tp: int) -> None:
    held = L * (2 * H * HEADS * HEAD / tp + 2 * H * max(KV / tp, 1) * HEAD + 3 * H * F / tp + 2 * H) + H
    held += 2 * -(-V // tp) * H
    assert count.weight_bytes(design(), Plan(tp=float(tp))) == 2 * held


@pytest.mark.parametrize(("context", "held"), [(1, 1), (100, 100), (256, 256), (1000, 256)])
def test_window_layers_keep_no_more_than_their_window(context: int, held: int) -> None:
    each = 2 * KV * HEAD
    assert count.state_elements(design(), float(context)) == L * context * each
    assert count.state_elements(windows(), float(context)) == (context + 3 * held) * each
    assert count.state_bytes(windows(), float(context), Plan(), dtype("fp8")) == (context + 3 * held) * each


@pytest.mark.parametrize(("tp", "heads"), [(1, 2), (2, 1), (4, 1), (8, 1)])
def test_ranks_keep_their_own_heads_of_the_cache_and_at_least_one(tp: int, heads: int) -> None:
    assert count.state_elements(design(), 10.0, Plan(tp=float(tp))) == L * 10 * 2 * heads * HEAD


def test_elements_of_a_token_in_three_counts() -> None:
    each = 2 * KV * HEAD
    assert set(count.kv_elements(design()).values()) == {L * each}
    assert count.kv_elements(windows()) == {
        "kv_elements_per_token": L * each, "kv_elements_per_token_written": L * each, "kv_elements_per_token_growing": each,
    }  # fmt: skip


def pairs(q_len: int, past: int, window: int | None) -> int:
    """(query, key) pairs under a causal mask, one by one."""
    return sum(min(past + i + 1, window or past + i + 1) for i in range(q_len))


@pytest.mark.parametrize(("q_len", "past"), [(1, 0), (7, 0), (1, 999), (300, 100)])
def test_cores_cost_two_products_for_every_pair_that_the_mask_leaves(q_len: int, past: int) -> None:
    each = 2 * HEADS * 2 * HEAD
    full, narrow = pairs(q_len, past, None), pairs(q_len, past, 256)
    assert count.attention_core_flops(design(), float(q_len), float(past)) == L * each * full
    assert count.attention_core_flops(windows(), float(q_len), float(past)) == each * (full + 3 * narrow)


def test_ffn_flops_are_two_for_every_active_matrix_parameter() -> None:
    assert count.ffn_flops_per_token(design()) == 2 * L * 3 * H * F
    assert count.ffn_flops_per_token(design(mlp_bias=True)) == 2 * L * 3 * H * F
    assert count.ffn_flops_per_token(moe()) == 2 * L * (TOP_K * 3 * H * F + H * EXPERTS)


@pytest.mark.parametrize("seq", [1.0, 4096.0])
def test_training_flops_of_a_token(seq: float) -> None:
    """6N and three forward cores: over all pairs, or over those of the mask."""
    square = 6 * seq * L * HEADS * 2 * HEAD
    rest = 6 * (PARAMETERS - V * H)
    found = {name: flops_per_token(design(), seq, name) for name in ("reference", "palm", "6n", "6n-no-embedding")}
    assert found == {
        "reference": rest + square * (seq + 1) / (2 * seq), "palm": rest + square, "6n": 6 * PARAMETERS, "6n-no-embedding": rest,
    }  # fmt: skip


def test_megatron_leaves_the_router_out() -> None:
    found = {name: flops_per_token(moe(), 128.0, name) for name in ("simumax", "megatron")}
    square = 6 * 128 * L * HEADS * 2 * HEAD
    assert found["simumax"] - found["megatron"] == 6 * L * H * EXPERTS + square / 2


def test_a_module_that_predicts_ahead_is_a_layer_with_two_norms_and_a_matrix_of_its_own() -> None:
    model, seq = design(num_nextn_predict_layers=2), 512.0
    found = count.parameters(model)
    matrix, norms = 2 * H * H, 3 * H
    assert found["params_total"] == PARAMETERS
    assert found["params_mtp"] == 2 * (LAYER + matrix + norms)
    flops = {name: flops_per_token(model, seq, name) for name in ("megatron", "megatron-mtp")}
    square = 6 * seq * HEADS * 2 * HEAD
    each = 6 * (ATTENTION + 3 * H * F + matrix + V * H) + square / 2
    assert flops["megatron-mtp"] - flops["megatron"] == pytest.approx(2 * each)
