"""Swaps as they are asked for: what is refused and with which way out, what a user states beside them, and what a question prints."""

from __future__ import annotations

from typing import Any

import pytest

import simcost
from simcost.errors import SpecError
from simcost.model import count
from simcost.model.spec import ModelSpec
from simcost.query import make, model_of


def design(name: str, **sets: Any) -> ModelSpec:
    return model_of(make(name, "h200", True, {"context": 4096}, {f"model.{k}": v for k, v in sets.items()}, {}, None))


@pytest.mark.parametrize(("sets", "says"), [
    ({"attention": "mhaa"}, "mha, gqa:<KV heads>"),
    ({"attention": 8}, "unknown swap"),
    ({"attention": "gqa"}, "state the KV heads, as in gqa:8, or add --iso kv"),
    ({"attention": "gqa:7"}, "KV heads must divide num_attention_heads = 128 (1, 2, 4, 8, 16, 32, 64, 128)"),
    ({"attention": "gqa:0"}, "must be a whole number from 1"),
    ({"attention": "mha:8"}, "mha takes no number"),
    ({"attention": "mla:x"}, "the rank must be a whole number"),
    ({"attention": "swa"}, "swa:4096"),
    ({"attention": "gqa:8", "kv_lora_rank": 512}, "model.attention=gqa:8 contradicts model.kv_lora_rank=512, which asks for another attention: leave one out"),
    ({"attention": "mfa", "use_mfa": False}, "contradicts model.use_mfa=false"),
    ({"ffn": "dense", "n_routed_experts": 64}, "contradicts model.n_routed_experts=64"),
    ({"ffn": "dense:1024"}, "dense takes no number"),
    ({"ffn": "moe:64/6"}, "write moe:E/k/shared"),
    ({"ffn": "moe:4/6/0"}, "cannot be sent to 6 of 4 experts"),
    ({"ffn": "moe:64/6/1/2048", "iso": "params"}, "states the width, and --iso params solves for it"),
    ({"attention": "mha", "iso": "kv"}, "--iso kv cannot solve for the size of its cache: use gqa or mla"),
    ({"attention": "mfa", "iso": "kv"}, "use gqa or mla"),
    ({"attention": "gqa:8", "iso": "kv"}, "states the size of the cache"),
    ({"ffn": "dense", "iso": "kv"}, "leaves the width open"),
    ({"iso": "kv"}, "it needs model.attention=gqa or mla"),
    ({"ffn": "dense", "iso": "quality"}, "iso must be one of params, active, flops, kv"),
    ({"attention": "mha", "iso": "active", "moe_intermediate_size": 2048}, "is set, and --iso active solves for it"),
    ({"attention": "mha", "num_hidden_layers": 1900, "iso": "params"}, "no moe_intermediate_size from 64 on gives equal parameters"),
])  # fmt: skip
def test_a_swap_that_cannot_be_is_refused_with_the_way_out(sets: dict[str, Any], says: str) -> None:
    with pytest.raises(SpecError) as error:
        design("deepseek-v3", **sets)
    assert says in str(error.value)


@pytest.mark.parametrize(("name", "sets", "says"), [
    ("deepseek-v3", {"kv_lora_rank": None}, "leaves q_lora_rank, qk_nope_head_dim, qk_rope_head_dim without a meaning: model.attention=mha"),
    ("llama-3.1-8b", {"kv_lora_rank": 512}, "missing key 'qk_nope_head_dim'; model.attention=mla"),
    ("llama-3.1-8b", {"n_routed_experts": 64}, "missing key 'num_experts_per_tok'; model.ffn=moe:E/k/shared"),
    ("deepseek-v3", {"n_routed_experts": None}, "model.ffn=dense chooses every dimension"),
    ("llama-3.1-8b", {"use_mfa": True}, "missing key 'share_q_dim'; model.attention=mfa"),
    ("qwen3-0.6b", {"head_dim": None}, "leaves head_dim undefined (128 before): state it"),
])  # fmt: skip
def test_a_key_that_leaves_a_dimension_undefined_names_the_swap(name: str, sets: dict[str, Any], says: str) -> None:
    with pytest.raises(SpecError) as error:
        design(name, **sets)
    assert says in str(error.value)


@pytest.mark.parametrize(("name", "sets"), [
    ("deepseek-v3", {"q_lora_rank": None}), ("llama-3.1-8b", {"num_key_value_heads": 4}), ("qwen3-8b", {"head_dim": None}),
    ("gemma-3-27b", {"sliding_window": 2048}), ("mistral-7b-v0.1", {"sliding_window": None}), ("mixtral-8x7b", {"num_experts_per_tok": 1}),
    ("step-3", {"use_mfa": False}), ("deepseek-v3", {"first_k_dense_replace": 0}), ("deepseek-v3", {"num_hidden_layers": 3}),
])  # fmt: skip
def test_a_key_that_changes_a_design_within_its_kind_is_taken(name: str, sets: dict[str, Any]) -> None:
    assert count.parameters(design(name, **sets))["params_total"] > 0


def test_what_is_stated_wins_over_what_a_swap_chooses() -> None:
    found = design("deepseek-v3", attention="mfa", num_attention_heads=32, hidden_size=3584)
    mfa = next(b for _, b in found.blocks() if b.kind == "attention")
    assert (mfa.num_attention_heads, mfa.share_q_dim, mfa.head_dim) == (32, 1024, 256)  # type: ignore[attr-defined]
    assert "num_attention_heads" not in [one.key for one in found.changes]


def test_layers_that_are_stated_beside_a_window_are_not_overruled() -> None:
    """Half of them slide, as the key says, which the first design does not have; a swap that no layer gets is refused."""
    half = ["full_attention"] * 16 + ["sliding_attention"] * 16
    found = design("llama-3.1-8b", attention="swa:1024", layer_types=half)
    assert [block.mask.bounded for _, block in found.blocks() if block.mask is not None] == [False, True]
    with pytest.raises(SpecError, match="contradicts model"):
        design("llama-3.1-8b", attention="swa:1024", layer_types=["full_attention"] * 32)


def test_a_latents_rank_is_cut_by_no_rank_and_knows_no_blocks_of_scales() -> None:
    found = simcost.decode("deepseek-v3", "h200", set={"plan.tp": 8, "model.attention": "mla", "model.iso": "kv"})
    (rank,) = found.dimensions
    assert (rank["key"], rank["after"]) == ("kv_lora_rank", 512)
    assert rank["why"].startswith("equal cache of a sequence at 4,096 tokens exactly")


def test_a_dense_width_that_is_stated_is_not_solved_for() -> None:
    found = design("deepseek-v3", ffn="dense", intermediate_size=18432)
    assert not [one for one in found.changes if one.why.startswith("equal")]
    assert next(b for _, b in found.blocks() if b.kind == "ffn").intermediate_size == 18432  # type: ignore[attr-defined]


def test_groups_of_experts_go_where_they_do_not_suit() -> None:
    kept, gone = design("deepseek-v3", ffn="moe:128/8/1"), design("deepseek-v3", ffn="moe:60/4/1")
    assert next(b for _, b in kept.blocks() if b.kind == "ffn").n_group == 8  # type: ignore[attr-defined]
    assert next(b for _, b in gone.blocks() if b.kind == "ffn").n_group == 1  # type: ignore[attr-defined]
    assert {one.key: one.why for one in gone.changes}["n_group"] == "8 groups do not divide 60 experts"


def test_flops_are_held_equal_at_the_context_of_the_question() -> None:
    """A window saves FLOPs at 128k and none within it: the experts grow by what it saves."""

    def width(context: int) -> Any:
        sets = {"model.attention": "swa:4096", "model.iso": "flops"}
        found = model_of(make("llama-3.1-8b", "h200", True, {"context": context}, sets, {}, None))
        return {one.key: one.after for one in found.changes}["intermediate_size"]

    assert width(4096) == 14336
    assert width(131072) > 4 * 14336


@pytest.mark.parametrize("vary", [{"context": [1024, 4096]}, {"isl": [1024, 4096]}])
def test_a_length_cannot_be_varied_beside_what_holds_at_one(vary: dict[str, list[int]]) -> None:
    ask = simcost.decode if "context" in vary else simcost.prefill
    with pytest.raises(SpecError, match="hold at one length"):
        ask("llama-3.1-8b", "h200", set={"model.attention": "mla", "model.iso": "flops"}, vary=vary)


def test_a_question_prints_every_choice_and_the_way_back() -> None:
    found = simcost.decode("deepseek-v3", "h200", set={"model.attention": "mfa", "plan.tp": 8})
    rows = {row["key"]: row for row in found.dimensions}
    assert rows["share_q_dim"] == {
        "key": "share_q_dim", "before": None, "after": 2048, "why": "2/7 of hidden_size, as Step-3, to a multiple of 64",
        "undo": "model.share_q_dim=null",
    }  # fmt: skip
    assert rows["kv_lora_rank"]["after"] is None
    assert "to undo add --set model.use_mfa=null" in str(found)
    assert found.to_dict()["dimensions"] == list(found.dimensions)
    assert "dimensions" not in simcost.decode("deepseek-v3", "h200", set={"plan.tp": 8}).to_dict()


def test_a_swap_is_an_axis() -> None:
    found = simcost.decode(
        "deepseek-v3", "h200", set={"plan.tp": 8},
        vary={"model.attention": ["mha", "gqa:8", "mla", "gqa:7"], "model.num_hidden_layers": [60, 61], "batch": [1, 8]},
    )  # fmt: skip
    rows = found.rows
    assert len(rows) == 16
    assert [row["feasible"] for row in rows] == [True] * 12 + [False] * 4
    assert "must divide" in rows[-1]["reason"]
    one = simcost.decode("deepseek-v3", "h200", batch=8, set={"plan.tp": 8, "model.attention": "gqa:8"})
    same = [r for r in rows if (r["model.attention"], r["model.num_hidden_layers"], r["batch"]) == ("gqa:8", 61, 8)]
    assert same[0]["tpot_s"] == one.metrics["tpot_s"]
    assert {row["design"] for row in found.dimensions} >= {"model.attention=mha, model.num_hidden_layers=60"}


def test_heads_that_a_family_implies_are_divided_too() -> None:
    """Configs of Gemma 3 leave out what its class defaults say: 8 heads, 4 of keys and values, five windows of 1,024 to one whole context."""
    text = {
        "model_type": "gemma3_text", "hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 36,
        "sliding_window": 1024,
    }  # fmt: skip
    sets = {"model.attention": "gqa", "model.iso": "kv"}
    found = simcost.decode({"model_type": "gemma3", "text_config": text}, "h200", context=8192, set=sets)
    (heads,) = [row for row in found.dimensions if row["key"] == "num_key_value_heads"]
    # 4 heads of the 6 whole layers in 36, and 1/8 of that in the others: 1.08 heads of all layers
    assert (heads["after"], heads["undo"]) == (1, "model.num_key_value_heads=4")
    assert heads["why"].startswith("equal cache of a sequence at 8,192 tokens to -7.69%")


@pytest.mark.parametrize(("name", "sets", "says"), [
    ("gpt-oss-120b", {"attention": "mla"}, "the new attention is without o_bias, qkv_bias and with bias, unlike the first design's"),
    ("qwen3-8b", {"attention": "mla"}, "the new attention is without qk_norm"),
    ("qwen2.5-7b", {"attention": "mla"}, "the new attention is without qkv_bias"),
    ("gpt-oss-120b", {"ffn": "dense"}, "the new ffn is without expert_bias, router_bias"),
    ("qwen2.5-7b", {"attention": "mfa"}, ""), ("llama-3.1-8b", {"attention": "mla", "ffn": "moe:8/2/0"}, ""),
])  # fmt: skip
def test_what_no_key_of_the_config_says_is_said(name: str, sets: dict[str, Any], says: str) -> None:
    """Biases, norms of queries and sinks that a family implies, and the new blocks do not have."""
    said = [
        line
        for line in simcost.show_model(name, set={f"model.{k}": v for k, v in sets.items()}).warnings
        if "the new " in line
    ]
    assert bool(said) == bool(says)
    assert all(says in line for line in said)


def test_no_class_default_is_taken_for_a_key_that_a_swap_makes_idle() -> None:
    """Gemma states head_dim = 128, its class 256, and MLA has no such size."""
    found = simcost.show_model("gemma-3-27b", set={"model.attention": "mla"})
    assert not [line for line in found.warnings if "class defaults" in line]
    assert {row["key"]: row["after"] for row in found.dimensions}["qk_nope_head_dim"] == 128


def test_a_dense_ffn_that_the_scheme_leaves_in_bf16_is_said() -> None:
    """Experts in four bits, and every other linear layer excepted, as Kimi-K2-Thinking has it: its dense twin holds four times the bytes a weight."""
    from simcost.model import load

    scheme = {
        "quant_method": "compressed-tensors", "ignore": ["lm_head", "re:.*self_attn.*", "re:.*shared_experts.*", "re:.*mlp\\.(gate|up|gate_up|down)_proj.*"],
        "config_groups": {"group_0": {"weights": {"num_bits": 4, "type": "int", "group_size": 32, "symmetric": True}}},
    }  # fmt: skip
    config = {**load.load_config("kimi-k2")[2], "quantization_config": scheme}
    said = [line for line in simcost.show_model(config, set={"model.ffn": "dense"}).warnings if "stored in" in line]
    assert len(said) == 1
    assert "the new ffn is stored in bf16, the first design's in bf16, int4" in said[0]
    for sets in ({"model.ffn": "moe:64/6/1"}, {"model.attention": "mha"}):
        assert not [line for line in simcost.show_model(config, set=sets).warnings if "stored in" in line]
