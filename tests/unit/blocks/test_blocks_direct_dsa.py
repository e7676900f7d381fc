"""Sparse attention with direct queries (Mistral Large 4): layers that rotate or not, latents that layers share, a step by hand, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from blockkit import broken, ops, products, shapes, the_core, view

from simcost.blocks.attention.direct_dsa import DirectDSA
from simcost.dtypes import dtype
from simcost.errors import SimcostError
from simcost.model import count, load
from simcost.model.spec import ModelSpec, from_config
from simcost.plan import Plan

CONFIG: dict[str, Any] = {
    "model_type": "mistral_large4_text", "hidden_size": 6144, "num_hidden_layers": 8, "num_attention_heads": 64, "intermediate_size": 24576,
    "vocab_size": 204800, "torch_dtype": "bfloat16",
}  # fmt: skip
SOURCES = [0, 1, 2, 3, 2, 1, 0, 3]  # layers 3 and 7 do not rotate
HALF = ["full", "shared"] * 4
TOWER = 1_704_218_624  # of the default tower and its projector
# Parameters of Hugging Face's MistralLarge4ForConditionalGeneration with eight layers, by keys of its text config.
OF_THE_CLASS = [
    ({"kv_source_layers": SOURCES}, 108_023_610_912), ({"kv_source_layers": SOURCES, "indexer_types": HALF}, 107_918_965_024),
    ({"kv_source_layers": SOURCES, "attention_bias": True}, 108_023_662_304), ({"no_rope_layer_interval": 2}, 108_040_783_392),
]  # fmt: skip


def read(**changes: Any) -> ModelSpec:
    return from_config({**CONFIG, **changes}, "x", "x.json")


def layer(which: int, **changes: Any) -> DirectDSA:
    model = read(**changes)
    return next(b for b in model.stacks[model.order[which]][1] if isinstance(b, DirectDSA))


@pytest.mark.parametrize(("changes", "parameters"), OF_THE_CLASS)
def test_the_whole_is_the_class_s(changes: dict[str, Any], parameters: int) -> None:
    assert count.parameters(read(**changes))["params_total"] == parameters - TOWER


def test_a_layer_without_rope_expands_the_whole_head_from_the_latent() -> None:
    rotates, still = shapes(layer(0).weights(Plan(tp=8.0))), shapes(layer(3).weights(Plan(tp=8.0)))
    assert (rotates["kv_a_proj"], rotates["kv_b_proj"]) == ((576, 6144), (8 * (64 + 128), 512))
    assert (still["kv_a_proj"], still["kv_b_proj"]) == ((512, 6144), (8 * (128 + 128), 512))
    assert rotates["q_proj"] == still["q_proj"] == (8 * 128, 6144)
    assert rotates["q_scales"] == (16,)
    assert rotates["index_wq_b"] == (32 * 128, 6144)
    assert (layer(0).state_formula, layer(3).state_formula) == (
        "latent + rotary key + indexer's key: 512 + 64 + 128",
        "latent + indexer's key: 512 + 128",
    )


def test_a_layer_that_shares_has_its_own_expansion_and_keeps_its_indexer_s_keys() -> None:
    shared = layer(6, kv_source_layers=SOURCES)
    found = shapes(shared.weights(Plan()))
    assert not {"kv_a_proj", "kv_a_norm"} & set(found)
    assert found["kv_b_proj"] == (64 * (64 + 128), 512)
    assert shared.state_elements(10.0, Plan()) == 10 * 128
    assert shared.state_bytes(10.0, Plan(), dtype("bf16")) == shared.token_bytes(Plan(), dtype("fp8")) * 10 == 10 * 132
    assert shared.token_elements(Plan()) == 0
    assert shared.state_formula == "indexer's key: 128"
    assert any("need pp = 1" in reason for reason in broken(shared, Plan(pp=2.0)))
    assert broken(layer(6), Plan(pp=2.0)) == []


def test_a_layer_that_shares_both_keeps_nothing() -> None:
    both = layer(7, kv_source_layers=SOURCES, indexer_types=HALF)
    assert both.state_bytes(10.0, Plan(), dtype("bf16")) == 0
    assert both.state_formula == ""
    assert "latent rope + write" not in ops(both.program(view(1.0, 1.0, 9.0)))


def test_the_cache_of_a_model_counts_keys_of_layers_without_latents() -> None:
    model = read(kv_source_layers=SOURCES)
    own = 3 * (512 + 64) + 512  # layers 0 to 2 rotate, layer 3 does not
    assert count.kv_elements(model)["kv_elements_per_token"] == own
    assert count.state_bytes(model, 100.0, Plan(), dtype("bf16")) == 100 * (2 * own + 8 * 132)


def test_a_decode_step_by_hand() -> None:
    """Two sequences of 5,000 tokens on four ranks, in a layer that rotates and reads another one's latents."""
    shared = layer(6, kv_source_layers=SOURCES)
    program = shared.program(view(2.0, 1.0, 4999.0, Plan(tp=4.0), decode=True))
    found = ops(program)
    assert list(found) == [
        "q_proj", "q scaling", "index q norm", "index_wq_b", "index q scaling", "index_wk", "index_weights_proj", "index k norm",
        "index rope", "index quantise + write", "index scores", "index top-k", "absorb k into q", "q rope", "core", "absorb v into o",
        "o_proj", "all-reduce",
    ]  # fmt: skip
    assert products(program)["index_wq_b"] == (1, 2, 4096, 6144)
    assert found["index scores"].work().flops == 2 * 5000 * 32 * 259
    assert the_core(program).work().flops == 2 * 2 * 16 * 2048 * (576 + 512)
    still = ops(layer(3).program(view(2.0, 1.0, 4999.0)))
    assert not {"q rope", "index rope"} & set(still)


def test_frequencies_have_learned_scales() -> None:
    assert shapes(read().embedding.weights(Plan()))["rotary_scales"] == (32,)


@pytest.mark.parametrize(("changes", "says"), [
    ({"kv_source_layers": [0, 0, 1, 3, 4, 5, 6, 7]}, "an earlier layer with latents of its own"), ({"kv_source_layers": [0, 1, 2, 2, 4, 5, 6, 7]}, "only one of them rotates"),
    ({"kv_source_layers": [0, 1]}, "2 entries for 8 layers"), ({"num_nextn_predict_layers": 1}, "num_nextn_predict_layers"),
])  # fmt: skip
def test_what_is_not_of_the_class_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(SimcostError, match=says):
        read(**changes)


def test_shared_latents_of_another_model_are_refused() -> None:
    config = {**load.load_config("deepseek-v3.2")[2], "kv_source_layers": list(range(61))}
    with pytest.raises(SimcostError, match="kv_source_layers"):
        from_config(config, "x", "x.json")
