"""Keys that once changed nothing, or were said to change nothing: what each of them does, by hand."""

from __future__ import annotations

from typing import Any

import pytest

import simcost
from simcost.errors import SimcostError
from simcost.model import count, load, loaded
from simcost.model.given import given
from simcost.model.spec import ModelSpec

LLAMA: dict[str, Any] = {
    "model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 100,
    "tie_word_embeddings": False, "torch_dtype": "bfloat16", "max_position_embeddings": 4096,
}  # fmt: skip
JAMBA = load.load_config("jamba-v0.1")[2]
KIMI = load.load_config("kimi-linear-48b-a3b")[2]


def read(config: dict[str, Any], **keys: Any) -> ModelSpec:
    return load.load(given({**config, **keys}))


def table(spec: ModelSpec) -> float:
    """Bytes of the rotary tables."""
    return float(loaded.rotary(spec).rotary)


def test_the_part_of_a_head_that_rotates_may_stand_in_the_rotary_table() -> None:
    half = read(LLAMA, partial_rotary_factor=0.5)
    nested = read(LLAMA, rope_parameters={"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5})
    assert table(half) == table(nested) == 4096 * 8 * 2  # positions x half of a head's 16 x bytes
    assert half.stacks == nested.stacks
    wins = read(LLAMA, partial_rotary_factor=0.25, rope_parameters={"partial_rotary_factor": 0.5})
    assert wins.stacks == half.stacks  # as transformers reads it
    whole = read(LLAMA, rope_parameters={"rope_type": "proportional", "partial_rotary_factor": 0.5})
    assert table(whole) == 4096 * 16 * 2
    assert "rope_parameters.partial_rotary_factor" in whole.unused


def test_what_stretches_a_rotary_table_is_not_said_to_mean_nothing() -> None:
    yarn = read(LLAMA, rope_scaling={"rope_type": "yarn", "factor": 4.0, "beta_fast": 32, "original_max_position_embeddings": 1024})  # fmt: skip
    assert table(yarn) == 1024 * 4 * 16 * 2
    assert yarn.unused == ("rope_scaling.beta_fast",)
    llama3 = read(LLAMA, rope_scaling={"rope_type": "llama3", "factor": 8.0})
    assert llama3.unused == ("rope_scaling.factor",)  # the table stays as long
    second = read(LLAMA, rope_local_base_freq=1e4)
    assert table(second) == 2 * 4096 * 16 * 2
    assert "rope_local_base_freq" not in second.unused
    assert any("a second table of positions" in note for note in second.notes)


def test_layers_of_a_kind_that_rotate_a_part_are_said_not_to_be_counted() -> None:
    by_kind = {"full_attention": {"rope_type": "default", "partial_rotary_factor": 0.5}, "sliding_attention": {}}
    assert any("all of each head is taken to rotate" in note for note in read(LLAMA, rope_parameters=by_kind).notes)


def test_latent_attention_without_positions_has_no_rotary_table() -> None:
    whole = read(KIMI, mla_use_nope=False)
    assert table(read(KIMI)) == 0.0
    assert table(whole) == 1048576 * 64 * 2
    assert count.parameters(whole) == count.parameters(read(KIMI))


def test_a_limit_by_the_name_that_engines_read() -> None:
    assert read(KIMI).max_positions == 1048576  # model_max_length
    assert read(LLAMA, model_max_length=9000).max_positions == 4096  # its own key wins


def test_layers_are_of_one_list_of_kimi_linear() -> None:
    lists = KIMI["linear_attn_config"]
    for kda, said in ((lists["kda_layers"][:-1], "neither"), ([*lists["kda_layers"], 27], "both")):
        with pytest.raises(SimcostError, match=f"counted from one, of num_hidden_layers is in {said}"):
            read(KIMI, linear_attn_config={**lists, "kda_layers": kda})


@pytest.mark.parametrize(("of", "period"), [("attn", 8), ("expert", 2)])
def test_an_offset_beyond_its_period_is_refused_as_jamba_does(of: str, period: int) -> None:
    with pytest.raises(
        SimcostError, match=f"'{of}_layer_offset' = {period} must be below {of}_layer_period = {period}"
    ):
        read(JAMBA, **{f"{of}_layer_offset": period})
    assert count.parameters(read(JAMBA, **{f"{of}_layer_offset": period - 1})) == count.parameters(read(JAMBA))


def test_the_width_of_dbrx_is_the_models_own() -> None:
    """Its class sets the width in the table of the FFN anew."""
    dbrx = load.load_config("dbrx")[2]
    stale = read(dbrx, ffn_config={**dbrx["ffn_config"], "hidden_size": 512})
    assert stale.stacks == read(dbrx).stacks
    assert any("ffn_config.hidden_size has no effect" in note for note in stale.notes)


def test_gpt_bigcode_without_multi_query_has_a_key_for_every_head() -> None:
    config = {"model_type": "gpt_bigcode", "n_embd": 64, "n_layer": 2, "n_head": 4, "n_inner": 256, "vocab_size": 100, "n_positions": 128, "num_key_value_heads": 1}  # fmt: skip
    found = [count.kv_elements(read(config, multi_query=one))["kv_elements_per_token"] for one in (True, False)]
    assert found == [2 * 2 * 16, 2 * 2 * 16 * 4]


def test_what_a_language_models_own_table_beats_is_named() -> None:
    config = {"model_type": "llava", "text_config": LLAMA, "vocab_size": 999}
    assert any("vocab_size has no effect" in note for note in read(config).notes)
    assert read(config).vocab_size == 100


def test_idle_keys_of_a_tower_are_named_with_its_table() -> None:
    gemma = load.load_config("gemma-3-4b")[2]
    vision = {**gemma["vision_config"], "layer_norm_eps": 1e-6, "attention_dropout": 0.0}
    spec = read(gemma, vision_config=vision)
    assert {"vision_config.layer_norm_eps", "vision_config.attention_dropout"} <= set(spec.unused)
    found = simcost.show_model({**gemma, "vision_config": vision})
    assert any("no effect on cost: " in note and "vision_config.layer_norm_eps" in note for note in found.warnings)


def test_keys_of_a_quantisation_that_nobody_asks_for_are_named() -> None:
    weights = {"num_bits": 4, "type": "float", "strategy": "group", "group_size": 32, "symmetric": True, "dynamic": False}  # fmt: skip
    stated = {"quant_method": "compressed-tensors", "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}}}  # fmt: skip
    spec = read(LLAMA, quantization_config=stated)
    (note,) = [note for note in spec.notes if "no effect on formats" in note]
    path = "quantization_config.config_groups.group_0.weights"
    assert note.about == (f"{path}.symmetric", f"{path}.dynamic")


def test_a_layer_without_both_parts_is_refused_by_their_keys() -> None:
    nas = load.load_config("llama-3.3-nemotron-super-49b")[2]
    blocks = [{**block, "attention": {"no_op": True}, "ffn": {"no_op": True}} for block in nas["block_configs"]]
    with pytest.raises(SimcostError, match=r"layer 0: attention\.no_op and ffn\.no_op: the layer has neither"):
        read(nas, block_configs=blocks)


def test_sparse_attention_that_is_switched_off_keeps_its_sizes() -> None:
    m3 = load.load_config("minimax-m3")[2]
    text = m3["text_config"]
    off = {**text, "sparse_attention_config": {**text["sparse_attention_config"], "use_sparse_attention": False}}
    spec = read(m3, text_config=off)
    assert {type(block).__name__ for _, block in spec.blocks() if block.kind == "attention"} == {"GQA"}
