"""Swaps: parameters, cache and FLOPs equal the closed forms; equal means equal to half a step of the width; and undone, the design is the first one."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from simcost import grammar, query
from simcost.model import count, swaps
from simcost.model.spec import ModelSpec
from simcost.plan import Plan

LAYERS, HIDDEN, HEADS = 61, 7168, 128  # DeepSeek-V3
MODELS = (
    "deepseek-v3", "llama-3.1-8b", "llama-3.1-70b", "mixtral-8x7b", "gemma-3-27b", "gpt-oss-120b", "mimo-v2-flash", "llama-4-scout",
    "qwen2.5-7b", "qwen3-235b-a22b", "step-3", "falcon-40b", "gemma-3n-e4b", "gemma-4-e2b", "gemma-4-26b-a4b",
)  # fmt: skip
ATTENTION = ("mha", "mqa", "gqa:4", "mla", "mla:320", "mfa", "swa:1024")
FFN = ("dense", "moe:64/6/2", "moe:16/2/0/1024")


def design(name: str, context: int = 4096, **sets: Any) -> ModelSpec:
    asked = query.Query(name, "", True, grammar.Overrides(model=sets, phase={"context": context}))
    return query.model_of(asked)


def attention_weights(model: ModelSpec) -> set[float]:
    return {float(sum(w.count for w in b.weights(Plan()))) for _, b in model.blocks() if b.kind == "attention"}


def kv_bytes(model: ModelSpec) -> float:
    """bf16, a token and layer."""
    return 2.0 * float(count.kv_elements(model)["kv_elements_per_token"]) / len(model.order)


@pytest.mark.parametrize(("attention", "weights", "cache", "pair"), [
    ("mha", HIDDEN * 128 * (HEADS * 4), 65_536, HEADS * 256),
    ("gqa:8", HIDDEN * 128 * (2 * HEADS + 2 * 8), 4_096, HEADS * 256),
    ("mqa", HIDDEN * 128 * (2 * HEADS + 2), 512, HEADS * 256),
    ("mfa", HIDDEN * 2048 + 2048 + 2048 * 64 * 256 + 2 * HIDDEN * 256 + 64 * 256 * HIDDEN, 1_024, 64 * 512),
    ("mla:1024", HIDDEN * (1536 + 1088) + 1536 + 1024 + 1536 * HEADS * 192 + 1024 * HEADS * 256 + HEADS * 128 * HIDDEN, 2_176, HEADS * 320),
    ("swa:4096", HIDDEN * 128 * (HEADS * 4), 65_536, HEADS * 256),
])  # fmt: skip
def test_a_swap_of_attention_is_the_closed_form(attention: str, weights: int, cache: int, pair: int) -> None:
    """DeepSeek-V3: weights of a layer, bytes of cache in bf16 a token and layer, and FLOPs a (query, key) pair."""
    first, found = design("deepseek-v3"), design("deepseek-v3", attention=attention)
    assert attention_weights(found) == {weights}
    before = count.parameters(first)["params_total"]
    assert count.parameters(found)["params_total"] == before + LAYERS * (weights - attention_weights(first).pop())
    assert kv_bytes(found) == cache
    assert count.attention_core_flops(found, 1.0, 1023.0) == LAYERS * 2 * pair * 1024
    window = 4096 if attention.startswith("swa") else 10**6
    assert count.attention_core_flops(found, 1.0, 99_999.0) == LAYERS * 2 * pair * min(100_000, window)


@pytest.mark.parametrize(("heads", "head_dim"), [(32, 128)])
def test_mla_of_a_grouped_design_takes_deepseeks_proportions(heads: int, head_dim: int) -> None:
    """Llama-3.1-8B: rank 4 x head_dim, rope 64, nope and values head_dim, queries projected directly."""
    found = design("llama-3.1-8b", attention="mla")
    rank = 4 * head_dim
    want = (
        4096 * heads * (head_dim + 64)
        + 4096 * (rank + 64)
        + rank
        + rank * heads * 2 * head_dim
        + heads * head_dim * 4096
    )
    assert attention_weights(found) == {want}
    assert kv_bytes(found) == 2 * (rank + 64)
    with_rank = design("llama-3.1-8b", attention="mla", q_lora_rank=1536)
    assert attention_weights(with_rank) == {
        want + (4096 + heads * (head_dim + 64) + 1) * 1536 - 4096 * heads * (head_dim + 64)
    }


@pytest.mark.parametrize(("ffn", "layer"), [
    ("moe:128/8/1/2048", 128 * 7168 + 129 * 3 * 7168 * 2048),
    ("moe:64/6/2/1408", 64 * 7168 + 66 * 3 * 7168 * 1408),
    ("moe:16/2/0/4096", 16 * 7168 + 16 * 3 * 7168 * 4096),
])  # fmt: skip
def test_a_swap_of_the_ffn_is_of_every_layer(ffn: str, layer: int) -> None:
    """Leading dense layers of DeepSeek-V3 get experts too; its router keeps a correction bias an expert."""
    found = design("deepseek-v3", ffn=ffn)
    experts = int(ffn[4:].split("/")[0])
    sizes = [(n, sum(w.count for w in b.weights(Plan()))) for n, b in found.blocks() if b.kind == "ffn"]
    assert sizes == [(LAYERS, layer + experts)]


def test_one_width_stands_for_all_layers_of_a_dense_swap() -> None:
    found = design("deepseek-v3", ffn="dense", iso="params")
    (width,) = [one.after for one in found.changes if one.key == "intermediate_size"]
    sizes = [(n, sum(w.count for w in b.weights(Plan()))) for n, b in found.blocks() if b.kind == "ffn"]
    assert sizes == [(LAYERS, 3 * HIDDEN * width)]


MEASURES = {
    "params": lambda m: count.parameters(m)["params_total"],
    "active": lambda m: count.parameters(m)["params_active_all"],
    "flops": lambda m: count.flops_per_token(m, 1.0, 4095.0, 1.0),
    "kv": lambda m: count.state_elements(m, 4096.0),
}


@pytest.mark.parametrize("iso", ["params", "active", "flops"])
@pytest.mark.parametrize(("name", "sets"), [
    ("deepseek-v3", {"ffn": "dense"}), ("deepseek-v3", {"attention": "gqa:8"}), ("mixtral-8x7b", {"ffn": "dense"}), ("llama-3.1-70b", {"attention": "mla"}),
    ("llama-3.1-8b", {"ffn": "moe:64/6/2"}), ("llama-4-scout", {"ffn": "dense", "attention": "mfa"}), ("step-3", {"attention": "gqa:8"}),
    ("llama-3.1-8b", {"num_hidden_layers": 24}),
])  # fmt: skip
def test_equal_is_equal_to_half_a_step_of_one_width(iso: str, name: str, sets: dict[str, Any]) -> None:
    """No other multiple of 64 is nearer, and one key alone was solved for."""
    first, found = design(name), design(name, iso=iso, **sets)
    (change,) = [one for one in found.changes if one.why.startswith("equal ")]
    assert change.after % 64 == 0
    wanted = float(MEASURES[iso](first))
    off = abs(float(MEASURES[iso](found)) - wanted)
    for other in (change.after - 64, change.after + 64):
        beside = design(name, **sets, **{change.key: other})
        assert not [one for one in beside.changes if one.why.startswith("equal ")]
        assert abs(float(MEASURES[iso](beside)) - wanted) >= off


@pytest.mark.parametrize(("name", "attention", "key", "value"), [
    ("deepseek-v3", "gqa", "num_key_value_heads", 2),  # 576 elements: 2 x 256 = 512 is nearer than 4 x 256
    ("llama-3.1-70b", "mla", "kv_lora_rank", 1984),  # 2,048 elements: rank + 64 = 2,048
    ("llama-3.1-70b", "gqa", "num_key_value_heads", 8),
])  # fmt: skip
def test_equal_cache_solves_for_heads_or_a_rank(name: str, attention: str, key: str, value: int) -> None:
    found = design(name, attention=attention, iso="kv")
    assert {one.key: one.after for one in found.changes}[key] == value


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    "sets",
    [
        *({"attention": one} for one in ATTENTION),
        *({"ffn": one} for one in FFN),
        {"attention": "gqa:1", "ffn": "dense", "iso": "params"},
        {"attention": "gqa", "iso": "kv"},
        {"attention": "mla", "iso": "kv"},
        {"attention": "swa:512", "iso": "flops"},
        {"attention": "mla", "ffn": "moe:32/4/1", "iso": "active"},
    ],
    ids=str,
)
def test_undone_a_swap_is_the_first_design(name: str, sets: dict[str, Any]) -> None:
    """By the values that it prints: added to the same question, and set on the changed config."""
    first, found = design(name), design(name, **sets)
    back = dict(swaps.undo(one).removeprefix("model.").split("=", 1) for one in found.changes if swaps.undo(one))
    values = {key: json.loads(text) for key, text in back.items()}
    beside = {
        key: value for key, value in sets.items() if key != "iso"
    }  # it would solve for a value that is stated now
    assert same(design(name, **beside, **values), first)
    changed = {**_config(name), **{one.key: one.after for one in found.changes}}
    again = swaps.checked(found, {**changed, **values}, values, name, f"{name}.json")
    assert same(again, first)


def _config(name: str) -> dict[str, Any]:
    from simcost.hf import flatten
    from simcost.model import load

    return flatten(load.load_config(name)[2], name)


def same(a: ModelSpec, b: ModelSpec) -> bool:
    """But for what was said on the way."""
    blank = {"notes": (), "unused": (), "read": frozenset(), "changes": (), "scalar_keys": frozenset()}
    return replace(a, **blank) == replace(b, **blank)
