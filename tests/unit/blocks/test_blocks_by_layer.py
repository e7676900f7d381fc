"""Heads, gates and rotary parts that differ by layer (Step-3.5): shapes, a step by hand, modules of multi-token prediction, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from blockkit import model, ops, products, shapes, the_core, view

from simcost.blocks.attention.gqa import GQA
from simcost.blocks.attention.sliding_window import SlidingWindow
from simcost.errors import SimcostError
from simcost.model import count, load
from simcost.model.spec import from_config
from simcost.plan import Plan

NAME = "step-3.5-flash"


def _config(**changes: Any) -> dict[str, Any]:
    return {key: value for key, value in {**load.load_config(NAME)[2], **changes}.items() if value is not None}


def _read(**changes: Any) -> Any:
    return from_config(_config(**changes), "x", "x.json")


def _attention(found: Any) -> dict[type, Any]:
    return {type(block): block for _, block in found.blocks() if block.kind == "attention"}


def test_layers_have_heads_of_their_kind() -> None:
    """12 full layers of 64 heads of which half rotates, 33 of 96; a number for each head gates its output."""
    found = _attention(model(NAME))
    full, window = found[GQA], found[SlidingWindow]
    assert shapes(full.weights(Plan(tp=2.0))) == {
        "qkv_proj": (32 * 128 + 32 + 2 * 4 * 128, 4096), "o_proj": (4096, 32 * 128), "qk_norm": (256,)
    }  # fmt: skip
    assert shapes(window.weights(Plan(tp=2.0)))["qkv_proj"] == (48 * 128 + 48 + 2 * 4 * 128, 4096)
    assert (full.rotary_width, window.rotary_width) == (64, 128)
    assert window.state_elements(1000.0, Plan()) == 512 * 2048
    kinds = [type(model(NAME).stacks[i][1][1]).__name__ for i in model(NAME).order]
    assert kinds == (["GQA"] + ["SlidingWindow"] * 3) * 11 + ["GQA"]
    ffn = [type(model(NAME).stacks[i][1][3]).__name__ for i in model(NAME).order]
    assert ffn == ["Dense"] * 3 + ["MoE"] * 42


def test_a_decode_step_by_hand() -> None:
    """Eight sequences after 999 tokens on four ranks: a window layer reads 512 keys for 24 heads of its own."""
    window = _attention(model(NAME))[SlidingWindow]
    program = window.program(view(8.0, 1.0, 999.0, Plan(tp=4.0), decode=True))
    assert list(ops(program)) == [
        "qkv_proj",
        "qk_norm",
        "rope",
        "kv write",
        "core",
        "output gate",
        "o_proj",
        "all-reduce",
    ]
    assert products(program)["qkv_proj"] == (1, 8, 24 * 128 + 24 + 4 * 128, 4096)
    core = the_core(program)
    assert (core.heads, core.kv_heads, core.mask.keys(1.0, 999.0)) == (24, 2, 512)


def test_modules_of_multi_token_prediction_are_of_the_kind_that_lists_name() -> None:
    """Three dense layers with windows and 96 heads, after the 45."""
    found = model(NAME)
    assert len(found.mtp) == 3
    assert [type(b).__name__ for b in found.mtp[0].layer] == ["Norm", "SlidingWindow", "Norm", "Dense"]
    d = 4096
    layer = 2 * d * 96 * 128 + 2 * d * 1024 + d * 96 + 256 + 3 * d * 11264 + 2 * d
    assert count.parameters(found)["params_mtp"] == 3 * (layer + 2 * d * d + 3 * d)


def test_the_keys_that_transformers_writes_say_the_same() -> None:
    """`to_dict` of its class: other heads as one number and as a table by layer, lists cut to the layers, those of modules apart."""
    kinds = load.load_config(NAME)[2]["layer_types"]
    written = _read(
        attention_other_setting=None, num_sliding_attention_heads=96, layer_types=kinds[:45], mtp_layer_types=kinds[45:],
        mtp_mlp_layer_types=["dense"] * 3, moe_layers_enum=None, mlp_layer_types=["dense"] * 3 + ["sparse"] * 42,
        partial_rotary_factors=None, per_layer_config={f"{i:02d}": {"num_attention_heads": 96} for i in range(45) if i % 4},
    )  # fmt: skip
    assert count.parameters(written) == count.parameters(model(NAME))


def test_a_bias_is_not_the_gate_s() -> None:
    biased = _attention(_read(attention_bias=True))[GQA]
    assert shapes(biased.weights(Plan()))["qkv_bias"] == (64 * 128 + 2 * 8 * 128,)


@pytest.mark.parametrize(("changes", "says"), [
    ({"attention_other_setting": {"attention_type": "full_attention", "num_attention_heads": 96}}, "attention_other_setting of layers of type"),
    ({"attention_other_setting": {"attention_type": "sliding_attention", "num_attention_heads": 96, "head_dim": 128, "true_head_dim": 64}}, "true_head_dim"),
    ({"attention_other_setting": {"num_attention_heads": 96, "num_sink_heads": 2}}, "num_sink_heads"),
    ({"layer_types": (["full_attention"] + ["sliding_attention"] * 3) * 11 + ["full_attention"] * 2 + ["sliding_attention"] * 2}, "that differ"),
    ({"use_moe": False}, "'use_moe' = False"), ({"moe_every_n_layer": 2}, "moe_every_n_layer"), ({"sink": True}, "sink"),
    ({"per_layer_config": {"1": {"num_attention_heads": 48}}}, "layer 1 with num_attention_heads = 48"), ({"per_layer_config": 3}, "per_layer_config"),
    ({"per_layer_config": {"1": {"rope_theta": 64}}}, "per_layer_config"), ({"partial_rotary_factors": [2.0] * 48}, "partial_rotary_factors"),
    ({"layer_types": ["full_attention"] * 47}, "47 entries for 45 layers"),
])  # fmt: skip
def test_what_is_not_modelled_is_refused_by_name(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(SimcostError, match=says):
        _read(**changes)
