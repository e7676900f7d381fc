"""Sparse attention over pools of keys (GLM-5.3-Flash): what a query sees, shapes, cache, a step by hand, and the layers around it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from blockkit import broken, ops, products, shapes, the_core, view

from simcost.blocks.attention.kda import KDA
from simcost.blocks.attention.pooled_dsa import PooledDSA
from simcost.blocks.norm.hyper_connection import HyperConnection
from simcost.dtypes import dtype
from simcost.errors import SimcostError
from simcost.model import count
from simcost.model.spec import ModelSpec, from_config
from simcost.ops.pooled_mask import PooledMask
from simcost.plan import Plan

CONFIG: dict[str, Any] = {
    "model_type": "glm5_next_text", "hidden_size": 4096, "num_hidden_layers": 45, "num_attention_heads": 64, "num_key_value_heads": 64,
    "intermediate_size": 12288, "moe_intermediate_size": 2048, "vocab_size": 154880, "torch_dtype": "bfloat16",
}  # fmt: skip
CLASS = 312_692_440_382  # parameters and correction biases of Hugging Face's Glm5NextTextModel at its defaults, without a head


def read(**changes: Any) -> ModelSpec:
    return from_config({**CONFIG, **changes}, "x", "x.json")


def pooled(model: ModelSpec, which: int = 0) -> PooledDSA:
    return [block for _, block in model.blocks() if isinstance(block, PooledDSA)][which]


BLOCK = pooled(read())


def seen(n: int, picked: int, pool: int, tail: bool) -> int:
    """Keys of the query that has n tokens with itself, one by one."""
    whole = min(n // pool, picked // pool)
    return whole * pool + (n % pool if tail else 0)


@pytest.mark.parametrize("tail", [True, False])
@pytest.mark.parametrize(("picked", "pool"), [(8, 4), (12, 3), (4, 4), (6, 1)])
def test_pairs_are_those_counted_one_by_one(picked: int, pool: int, tail: bool) -> None:
    mask = PooledMask(picked=float(picked), pool=float(pool), tail=tail)
    for past in range(0, 30, 3):
        for q in (1, 2, 7, 25):
            each = range(past + 1, past + q + 1)
            assert mask.pairs(float(q), float(past)) == sum(seen(n, picked, pool, tail) for n in each)
            assert mask.pools(float(q), float(past)) == sum(n // pool for n in each)
    assert list(mask.pairs(np.array([1.0, 2.0]), 9.0)) == [mask.pairs(1.0, 9.0), mask.pairs(2.0, 9.0)]


def test_the_whole_is_the_class_s_and_the_head() -> None:
    assert count.parameters(read())["params_total"] == CLASS + 154_880 * 4096


def test_every_fourth_layer_picks_pools_and_the_others_are_recurrent() -> None:
    model = read()
    kinds = [type(next(b for b in model.stacks[i][1] if b.kind == "attention")) for i in model.order]
    assert kinds == [PooledDSA if i % 4 == 3 else KDA for i in range(45)]


def test_shapes_of_ranks() -> None:
    found = shapes(BLOCK.weights(Plan(tp=8.0)))
    assert found["qkv_a_proj"] == (1536 + 512, 4096)
    assert found["index_pool_gate"] == (128, 4096)
    assert found["index_pool_bias"] == (16 * 128,)
    assert found["q_b_proj"] == (8 * 256, 1536)
    assert broken(BLOCK, Plan(tp=8.0)) == []
    assert any("cp must be 1" in reason for reason in broken(BLOCK, Plan(cp=2.0)))


def test_the_cache_holds_latents_pools_and_the_incomplete_one() -> None:
    tail = 2 * 16 * 128 * 2
    assert BLOCK.state_elements(1000.0, Plan(tp=8.0)) == 1000 * 512 + 62 * 128
    assert BLOCK.state_bytes(1000.0, Plan(), dtype("bf16")) == 1000 * 1024 + 62 * 132 + tail
    assert BLOCK.state_bytes(1000.0, Plan(), dtype("fp8")) == 1000 * (512 + 16) + 62 * 132 + tail
    assert BLOCK.token_bytes(Plan(), dtype("bf16")) == 1024 + 132 / 16
    assert BLOCK.fixed_bytes(1000.0, Plan(), dtype("bf16")) == tail
    assert BLOCK.state_formula == "latent + indexer's key for 16 tokens: 512 + 128 / 16"


def test_a_layer_that_shares_picks_has_no_indexer() -> None:
    model = read(indexer_types=["full" if i != 43 else "shared" for i in range(45)])
    shared = pooled(model, 1)
    assert not any(w.name.startswith("index") for w in shared.weights(Plan()))
    assert shared.state_bytes(1000.0, Plan(), dtype("bf16")) == 1000 * 1024
    assert shared.state_formula == "latent: 512"
    assert "index scores" not in ops(shared.program(view(1.0, 1.0, 4009.0)))


def test_a_decode_step_by_hand() -> None:
    """Two sequences of 4,010 tokens: 250 pools are scored, a query sees 2,048 tokens of 128 pools and 10 of the incomplete one."""
    program = BLOCK.program(view(2.0, 1.0, 4009.0, Plan(tp=4.0), decode=True))
    found = ops(program)
    assert list(found) == [
        "qkv_a_proj", "q_a_norm", "q_b_proj", "kv_a_norm", "index_wq_b", "index_wk", "index_pool_gate", "index_weights_proj", "index k norm",
        "index quantise", "index pool + write", "index scores", "index top-k", "absorb k into q", "latent rope + write", "core",
        "absorb v into o", "o_proj", "all-reduce",
    ]  # fmt: skip
    assert products(program)["index_pool_gate"] == (1, 2, 128, 4096)
    scores = found["index scores"].work()
    assert scores.flops == 2 * 250 * 32 * (2 * 128 + 3)
    assert scores.bytes_read == 2 * 32 * 128 + 2 * 250 * 132
    assert found["index top-k"].work().bytes_written == 4 * 2 * 128
    core = the_core(program)
    assert core.mask.keys(1.0, 4009.0) == 2058
    assert core.work().flops == 2 * 2 * 16 * 2058 * (512 + 512)


def test_a_prompt_scores_whole_pools() -> None:
    found = ops(BLOCK.program(view(1.0, 64.0, 0.0)))
    pools = 16 * (0 + 1 + 2 + 3) + 4
    assert found["index scores"].work().flops == pytest.approx(pools * 32 * 259)
    assert BLOCK.core_flops(64.0, 0.0) == pytest.approx(2 * 64 * 1024 * 64 * 65 / 2 + pools * 32 * 259)


def test_streams_end_in_a_mean_without_weights() -> None:
    model = read()
    assert "hc_head" not in shapes(model.head.weights(Plan()))
    assert ops(model.head.program(view(1.0, 1.0, 9.0)))["hc_head"].work().bytes_read == 4 * 4096 * 2


def test_multi_token_prediction_is_attention_on_one_stream() -> None:
    (draft,) = read(num_nextn_predict_layers=1).mtp
    assert [type(block).__name__ for block in draft.layer] == ["Norm", "PooledDSA", "Norm", "MoE"]
    assert not any(isinstance(block, HyperConnection) for block in draft.layer)
    words = ["linear_attention"] * 3 + ["indexed_attention"]
    named = read(num_nextn_predict_layers=1, layer_types=(words * 12)[:45])
    assert named.mtp == (draft,)


@pytest.mark.parametrize(("changes", "says"), [
    ({"index_topk": 2040}, "index_topk must be a multiple of index_kpool"), ({"qk_rope_head_dim": 64}, "qk_rope_head_dim"), ({"q_lora_rank": None}, "q_lora_rank"),
    ({"layer_types": ["linear_attention"] * 44 + ["sliding_attention"]}, "sliding"),
])  # fmt: skip
def test_what_is_not_of_the_class_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(SimcostError, match=says):
        read(**changes)
