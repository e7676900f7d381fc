"""Inkling's language models: totals equal to the classes, what each form of a config says, layers, modules of multi-token prediction, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from simcost.blocks._layer_kinds import FULL, SLIDING
from simcost.blocks.attention.relative_bias import RelativeBias
from simcost.errors import SimcostError
from simcost.model import count
from simcost.model.spec import ModelSpec, from_config

_SIZES: dict[str, Any] = {
    "hidden_size": 96, "num_hidden_layers": 12, "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 16, "swa_num_attention_heads": 4,
    "swa_num_key_value_heads": 4, "swa_head_dim": 8, "sliding_window_size": 32, "d_rel": 4, "rel_extent": 64, "vocab_size": 512, "n_routed_experts": 8,
    "num_experts_per_tok": 2, "moe_intermediate_size": 24,
}  # fmt: skip
FIRST = {**_SIZES, "model_type": "inkling_text", "intermediate_size": 160, "n_shared_experts": 2}
SECOND = {**_SIZES, "model_type": "inkling2_text", "unpadded_vocab_size": 500, "n_layers_per_attn_res_block": 3}
LOOP = {
    **SECOND, "model_type": "inkling2_loop_text", "loop_layer_index_start": 3, "loop_layer_index_end": 9, "loop_num_passes": 2, "loop_gate_rank": 8,
}  # fmt: skip
WORDS = {SLIDING: "hybrid_sliding", FULL: "hybrid"}


def _read(config: dict[str, Any], **changes: Any) -> ModelSpec:
    return from_config({key: value for key, value in {**config, **changes}.items() if value is not None}, "x", "x.json")


def _total(config: dict[str, Any], **changes: Any) -> Any:
    return count.parameters(_read(config, **changes))["params_total"]


# Parameters of the classes of transformers 5.24.0 on the meta device, with the biases that balance loads.
@pytest.mark.parametrize(("config", "changes", "total"), [
    (FIRST, {}, 1_148_172),
    (FIRST, {"dense_mlp_idx": 2}, 1_100_156),
    (FIRST, {"mlp_layer_types": ["dense"] * 2 + ["sparse"] * 10}, 1_100_156),
    (FIRST, {"local_layer_ids": [0, 1, 2]}, 1_240_572),
    (FIRST, {"layer_types": ["hybrid_sliding"] * 3 + ["hybrid"] * 9}, 1_240_572),
    (FIRST, {"conv_kernel_size": 3}, 1_145_100),
    (FIRST, {"sconv_kernel_size": 3}, 1_145_100),
    (FIRST, {"n_shared_experts": 3}, 1_232_268),
    (FIRST, {"shared_expert_sink": False}, 1_148_172),
    (FIRST, {"unpadded_vocab_size": 500}, 1_148_172),
    (FIRST, {"dense_intermediate_size": 200, "intermediate_size": 40, "dense_mlp_idx": 1}, 1_642_564),
    (SECOND, {}, 1_039_600),
    (SECOND, {"unpadded_vocab_size": 512}, 1_039_600 + 12 * 96),
    (SECOND, {"n_layers_per_attn_res_block": 4}, 1_039_600),
    (SECOND, {"intermediate_size": 48}, 1_703_152),
    (SECOND, {"d_rel": 8}, 1_061_568),
    (LOOP, {}, 1_115_632),
    (LOOP, {"loop_num_passes": 1}, 1_115_632),
    (LOOP, {"loop_config": {"core_start": 3, "core_end": 6, "num_passes": 4, "gate_rank": 16}}, 1_114_480),
])  # fmt: skip
def test_totals_equal_the_class_on_the_meta_device(config: dict[str, Any], changes: dict[str, Any], total: int) -> None:
    assert _total(config, **changes) == total


@pytest.mark.parametrize("config", [FIRST, SECOND, LOOP])
def test_every_sixth_layer_sees_all_tokens(config: dict[str, Any]) -> None:
    words = [WORDS[SLIDING if (at + 1) % 6 else FULL] for at in range(12)]
    assert _read(config).order == _read(config, layer_types=words).order
    windows = [next(getattr(b, "window", 0) for b in _read(config).stacks[at][1] if b.kind == "attention") for at in _read(config).order]  # fmt: skip
    assert windows == [32, 32, 32, 32, 32, None] * 2


def test_the_head_of_the_second_is_narrower_than_its_embedding() -> None:
    assert (_read(SECOND).head.vocab_size, _read(SECOND).vocab_size) == (500, 512)
    assert _read(FIRST, unpadded_vocab_size=500).head.vocab_size == 512


def test_modules_of_multi_token_prediction_are_dense_layers() -> None:
    """The joining product and three norms of the house, and a layer with a dense FFN; full unless the config names it."""
    d = 96
    full = (6 + 2 * 2) * 16 * d + d * 6 * 16 + 6 * 4 * d + 4 * 64 + 2 * 16 + 4 * 2 * 2 * 16
    window = (4 + 2 * 4) * 8 * d + d * 4 * 8 + 4 * 4 * d + 4 * 32 + 2 * 8 + 4 * 2 * 4 * 8
    rest = 2 * d * d + 3 * d + 2 * d + 4 * 2 * d + 3 * d * 160 + 1
    for changes, attention in (({}, full), ({"mtp_local_layer_ids": [0, 1]}, window)):
        found = _read(FIRST, num_mtp_layers=2, **changes)
        assert count.parameters(found)["params_mtp"] == 2 * (attention + rest)
        assert count.parameters(found)["params_total"] == 1_148_172
    table = {"num_nextn_predict_layers": 2, "local_layer_ids": [0, 1], "chain_hidden_post_norm": False}
    assert count.parameters(_read(FIRST, mtp_config=table))["params_mtp"] == 2 * (window + rest)


def test_state_is_keys_values_and_columns() -> None:
    """Of 12 layers 2 are full; a window layer keeps 32 tokens; three columns of every convolution in fp32."""
    found = _read(FIRST)
    columns = 3 * (10 * 2 * 4 * 8 + 2 * 2 * 2 * 16 + 12 * 2 * 96)
    assert count.state_elements(found, 1000.0) == 2 * 64 * 1000 + 10 * 64 * 32 + columns
    # Of the loop's six layers, passed twice, one is full: 3 and 15 caches, 18 pairs of columns of the residual stream.
    columns = 3 * (15 * 2 * 4 * 8 + 3 * 2 * 2 * 16 + 18 * 2 * 96)
    assert count.state_elements(_read(LOOP), 1000.0) == 3 * 64 * 1000 + 15 * 64 * 32 + columns


@pytest.mark.parametrize(("config", "changes", "says"), [
    (FIRST, {"layer_types": ["full_attention"] * 12}, "layers of Inkling are hybrid or hybrid_sliding"),
    (FIRST, {"layer_types": ["hybrid"] * 3}, "3 entries for 12 layers"),
    (FIRST, {"layer_types": "hybrid"}, "'layer_types' must be a list"),
    (FIRST, {"tie_word_embeddings": True}, "'tie_word_embeddings' = True"),
    (FIRST, {"num_mtp_layers": 2, "mtp_local_layer_ids": [0]}, "modules of multi-token prediction that differ"),
    (FIRST, {"num_mtp_layers": 2.5}, "must be a whole number from 1 to 100"),
    (LOOP, {"loop_layer_index_end": 15}, "behind the last of 12 layers"),
    (LOOP, {"loop_layer_index_start": 4}, "must be multiples of n_layers_per_attn_res_block = 3"),
    (LOOP, {"loop_layer_index_end": 3}, "the second the larger"),
])  # fmt: skip
def test_what_is_not_modelled_is_refused(config: dict[str, Any], changes: dict[str, Any], says: str) -> None:
    with pytest.raises(SimcostError, match=says):
        _read(config, **changes)


def test_heads_of_window_layers_are_their_own() -> None:
    kinds = {b.window: (b.num_attention_heads, b.num_key_value_heads, b.head_dim, b.rel_extent) for _, b in _read(FIRST).blocks() if isinstance(b, RelativeBias)}  # fmt: skip
    assert kinds == {32: (4, 4, 8, 32), None: (6, 2, 16, 64)}
