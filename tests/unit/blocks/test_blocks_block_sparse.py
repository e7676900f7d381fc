"""Block-sparse attention of MiniMax-M3: shapes, shares of ranks, cache formats, a step by hand, and what is refused."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from blockkit import broken, model, ops, products, shapes, the_core, view

from simcost.blocks.attention.block_sparse import BlockSparse
from simcost.blocks.attention.gqa import GQA
from simcost.dtypes import dtype
from simcost.errors import SimcostError
from simcost.model import count, load
from simcost.model.spec import from_config
from simcost.ops.index_scores import IndexScores, IndexTopK
from simcost.plan import Plan

NAME = "minimax-m3"
SPARSE = next(block for _, block in model(NAME).blocks() if isinstance(block, BlockSparse))
TABLE = "sparse_attention_config"


def _read(table: dict[str, Any] | None = None, **changes: Any) -> Any:
    config = deepcopy(load.load_config(NAME)[2])
    text = config["text_config"]
    text |= changes
    text[TABLE] |= table or {}
    return from_config(config, "x", "x.json")


def test_57_layers_pick_blocks_and_three_attend_to_all_keys() -> None:
    kinds = [type(model(NAME).stacks[i][1][1]) for i in model(NAME).order]
    assert kinds == [GQA] * 3 + [BlockSparse] * 57
    dense = next(block for _, block in model(NAME).blocks() if block.kind == "ffn")
    assert shapes(dense.weights(Plan()))["down_proj"] == (6144, 12288)


@pytest.mark.parametrize(("tp", "heads", "kv"), [(1, 64, 4), (4, 16, 1), (8, 8, 1)])
def test_the_indexer_has_a_head_for_each_kv_head_and_one_key(tp: int, heads: int, kv: int) -> None:
    plan = Plan(tp=float(tp))
    assert shapes(SPARSE.weights(plan)) == {
        "qkv_proj": (heads * 128 + 2 * kv * 128, 6144), "o_proj": (6144, heads * 128), "qk_norm": (256,), "index_wq": (kv * 128, 6144),
        "index_wk": (128, 6144), "index_k_norm": (256,),
    }  # fmt: skip
    assert SPARSE.state_elements(1000.0, plan) == 1000 * (kv * 256 + 128)
    assert broken(SPARSE, plan) == []


def test_index_keys_stay_in_bf16_where_the_cache_is_narrow() -> None:
    assert SPARSE.state_bytes(10.0, Plan(), dtype("bf16")) == 10 * (2048 + 256)
    assert SPARSE.state_bytes(10.0, Plan(), dtype("fp8")) == 10 * (1024 + 256)
    assert SPARSE.token_elements(Plan()) == 1024


def test_a_decode_step_by_hand() -> None:
    """Eight sequences of 100,000 tokens on four ranks: scores of all keys, a core of 2,048."""
    program = SPARSE.program(view(8.0, 1.0, 99_999.0, Plan(tp=4.0), decode=True))
    found = ops(program)
    assert list(found) == [
        "qkv_proj", "qk_norm", "index_wq", "index_wk", "index norms", "index rope", "index write", "rope", "index scores", "index top-k",
        "kv write", "core", "o_proj", "all-reduce",
    ]  # fmt: skip
    assert products(program)["index_wq"] == (1, 8, 128, 6144)
    scores, picks = found["index scores"], found["index top-k"]
    assert isinstance(scores, IndexScores)
    assert isinstance(picks, IndexTopK)
    work = scores.work()
    assert work.flops == 8 * 100_000 * (2 * 128 + 1)
    assert work.bytes_read == 8 * 128 * 2 + 8 * 100_000 * 128 * 2
    assert work.bytes_written == 4 * 8 * 100_000 / 128
    assert picks.work().bytes_written == 4 * 8 * 16
    assert the_core(program).mask.keys(1.0, 99_999.0) == 2048
    assert the_core(program).work().flops == 8 * 16 * 2048 * 2 * 256


def test_a_prompt_scores_every_pair_once_for_each_head() -> None:
    program = SPARSE.program(view(2.0, 4096.0, 0.0))
    pairs = 2 * 4096 * 4097 / 2
    assert ops(program)["index scores"].work().flops == pairs * 4 * 257
    picked = 2048 * 2049 / 2 + 2048 * 2048
    assert the_core(program).work().flops == 2 * 64 * picked * 2 * 256


def test_gradients_of_the_scores_reach_queries_and_keys() -> None:
    scores = ops(SPARSE.program(view(2.0, 512.0, 0.0)))["index scores"]
    (gradient,) = scores.input_grad()
    assert gradient.work().flops == 3 * scores.work().flops
    assert scores.weight_grad() == ()


def test_the_keys_that_transformers_writes_say_the_same() -> None:
    config = deepcopy(load.load_config(NAME)[2])
    text = config["text_config"]
    del text[TABLE], text["moe_layer_freq"]
    text |= {
        "index_n_heads": 4, "index_head_dim": 128, "index_block_size": 128, "index_topk_blocks": 16, "index_local_blocks": 1,
        "layer_types": ["full_attention"] * 3 + ["minimax_m3_sparse"] * 57, "mlp_layer_types": ["dense"] * 3 + ["sparse"] * 57,
    }  # fmt: skip
    assert count.parameters(from_config(config, "x", "x.json")) == count.parameters(model(NAME))


@pytest.mark.parametrize(("table", "says"), [
    ({"sparse_num_index_heads": 8}, "'index_n_heads' = 8"), ({"sparse_score_type": "mean"}, "sparse_score_type"), ({"sparse_init_block": 1}, "index_init_blocks"),
    ({"sparse_disable_index_value": [0] * 60}, "values of the indexer"), ({"sparse_local_block": 17}, "local blocks"),
    ({"sparse_heads_of_another_kind": 3}, "sparse_heads_of_another_kind"), ({"sparse_attention_freq": [0, 1]}, "2 entries for 60 layers"),
])  # fmt: skip
def test_what_is_not_modelled_is_refused(table: dict[str, Any], says: str) -> None:
    with pytest.raises(SimcostError, match=says):
        _read(table)


def test_context_parallelism_is_refused() -> None:
    assert any("cp must be 1" in reason for reason in broken(SPARSE, Plan(cp=2.0)))
