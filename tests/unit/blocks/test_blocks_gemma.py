"""Gemma 3n's and Gemma 4's layers: blocks to the integer of their classes, what a layer that shares keeps and does, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from blockkit import model, ops, the_core, view

import simcost
from simcost.blocks.attention.shared_kv import SharedKV
from simcost.blocks.embed.per_layer import PerLayerEmbedding, PerLayerInput
from simcost.blocks.ffn.gaussian_topk import GaussianTopK
from simcost.blocks.norm.altup import AltUpHead
from simcost.dtypes import dtype
from simcost.errors import NotModelled, SpecError
from simcost.model import count
from simcost.model.spec import ModelSpec, from_config
from simcost.ops.gather import Gather
from simcost.plan import Plan

MODELS = Path(simcost.__file__).parents[1] / "workloads" / "models"
E2B: dict[str, Any] = json.loads((MODELS / "gemma-4-e2b.json").read_text())["text_config"]
E4B: dict[str, Any] = json.loads((MODELS / "gemma-3n-e4b.json").read_text())
LLAMA: dict[str, Any] = json.loads((MODELS / "llama-3.1-8b.json").read_text())


def layer(spec: ModelSpec, at: int) -> float:
    return float(sum(w.count for block in spec.stacks[spec.order[at]][1] for w in block.weights(Plan())))


def attention(spec: ModelSpec, at: int) -> SharedKV:
    found = next(block for block in spec.stacks[spec.order[at]][1] if block.kind == "attention")
    assert isinstance(found, SharedKV)
    return found


# Hugging Face transformers 5.24.0, the class on the meta device.
@pytest.mark.parametrize(("name", "at", "parameters"), [
    ("gemma-4-e2b", 0, 36_184_064),
    ("gemma-4-e2b", 4, 43_262_464),
    ("gemma-4-e2b", 34, 43_262_464 - 2 * 1536 * 512 - 512 + 28_311_552),
    ("gemma-3n-e4b", 0, 112_484_944),
    ("gemma-3n-e4b", 34, 110_387_536),
])  # fmt: skip
def test_a_layer_has_the_parameters_of_its_class(name: str, at: int, parameters: int) -> None:
    assert layer(model(name), at) == parameters


def test_experts_stand_beside_the_dense_ffn() -> None:
    """Gemma 4 26B: a window layer and a full one."""
    config = {
        "model_type": "gemma4_text", "hidden_size": 2816, "intermediate_size": 2112, "num_hidden_layers": 6, "num_attention_heads": 16,
        "num_key_value_heads": 8, "num_global_key_value_heads": 2, "attention_k_eq_v": True, "hidden_size_per_layer_input": 0,
        "enable_moe_block": True, "num_experts": 128, "top_k_experts": 8, "moe_intermediate_size": 704,
    }  # fmt: skip
    spec = from_config(config, "m", "m")
    assert (layer(spec, 0), layer(spec, 5)) == (814_094_976, 828_513_408)
    off = from_config({**config, "enable_moe_block": False}, "m", "m")
    assert layer(off, 0) == 814_094_976 - 128 * 3 * 2816 * 704 - 128 * 2816 - 2816 - 128 - 3 * 2816


def test_a_layer_that_shares_writes_nothing_keeps_nothing_and_reads_as_the_other() -> None:
    spec = model("gemma-4-e2b")
    own, shares = attention(spec, 14), attention(spec, 34)
    assert (own.own, shares.own) == (True, False)
    assert (own.window, own.head_dim, attention(spec, 13).head_dim) == (None, 512, 256)
    names = [w.name for w in shares.weights(Plan())]
    assert names[:2] == ["q_proj", "o_proj"]
    assert own.state_elements(1000.0, Plan()) == 2 * 512 * 1000
    assert shares.state_elements(1000.0, Plan()) == 0
    at = view(4.0, 1.0, 999.0, decode=True)
    mine, theirs = own.program(at), shares.program(at)
    assert set(ops(mine)) - set(ops(theirs)) == {"qkv_proj", "kv write"}
    assert the_core(mine) == the_core(theirs)


def test_values_that_are_keys_are_cached_and_have_no_projection() -> None:
    block = attention(model("gemma-4-31b"), 5)
    shape = {w.name: w.out for w in block.weights(Plan())}
    assert shape["qk_proj"] == (32 + 4) * 512
    assert block.state_elements(1.0, Plan()) == 4 * 2 * 512


def test_cache_of_a_sequence_by_hand() -> None:
    bf16 = dtype("bf16")
    for context in (100.0, 8192.0):
        window = min(context, 512.0)
        assert count.state_bytes(model("gemma-4-e2b"), context, Plan(), bf16) == 2 * (
            3 * 1024 * context + 12 * 512 * window
        )
        assert count.state_bytes(model("gemma-3n-e4b"), context, Plan(), bf16) == 2 * 1024 * (4 * context + 16 * window)


def test_the_per_layer_table_is_stored_whole_and_read_by_the_row() -> None:
    block = model("gemma-3n-e4b").embedding
    assert isinstance(block, PerLayerEmbedding)
    looked_up = ops(block.program(view(8.0, 1.0, 99.0, decode=True)))["embed_tokens_per_layer"]
    assert isinstance(looked_up, Gather)
    assert looked_up.work().bytes_read == 8 * (35 * 256 * 2 + 8)
    held = {w.name: w.count for w in block.weights(Plan(tp=4.0))}
    assert held["embed_tokens_per_layer"] == 262_144 / 4 * 35 * 256
    assert held["altup_projections"] == 3 * 2048 * 2048 / 4


def test_gemma_3n_has_streams_and_sparse_leading_layers() -> None:
    spec = model("gemma-3n-e4b")
    assert isinstance(spec.head, AltUpHead)
    sparse = sum(n for n, blocks in spec.stacks if any(isinstance(block, GaussianTopK) for block in blocks))
    assert sparse == 10
    (targets,) = {b.targets for _, blocks in spec.stacks for b in blocks if isinstance(b, PerLayerInput)}
    assert targets == 3
    wide = from_config({**E4B, "intermediate_size": [1024] * 34 + [2048]}, "m", "m")
    assert layer(wide, 34) - layer(wide, 33) == 3 * 2048 * 1024


def test_full_layers_by_per_layer_config_are_those_of_the_older_keys() -> None:
    plain = {key: value for key, value in E2B.items() if key != "global_head_dim"}
    full = {f"{at:02d}": {"head_dim": 512} for at in range(4, 35, 5)}
    new = from_config({**plain, "per_layer_config": full}, "m", "m")
    old = from_config(E2B, "m", "m")
    assert count.parameters(new) == count.parameters(old)
    assert count.state_elements(new, 999.0) == count.state_elements(old, 999.0)
    assert attention(from_config({**plain, "per_layer_config": {}}, "m", "m"), 4).head_dim == 256


@pytest.mark.parametrize(("change", "says"), [
    ({"num_kv_shared_layers": 35}, "'num_kv_shared_layers' = 35 of 35 layers: none has keys and values"),
    ({"num_kv_shared_layers": 32}, "layer 4 (full_attention) reads the cache of a layer before the last 32"),
    ({"per_layer_config": {"04": {"head_dim": 0}}}, "per_layer_config, layer 4: head_dim must be a whole number, not 0"),
    ({"per_layer_config": [1]}, "'per_layer_config' must be a table of tables"),
])  # fmt: skip
def test_what_is_no_such_model_is_an_error(change: dict[str, Any], says: str) -> None:
    with pytest.raises(SpecError) as error:
        from_config({**E2B, **change}, "m", "m")
    assert says in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("change", [
    {"num_kv_shared_layers": 4}, {"global_head_dim": 512}, {"attention_k_eq_v": True}, {"laurel_rank": 64}, {"altup_num_inputs": 4},
    {"hidden_size_per_layer_input": 256}, {"vocab_size_per_layer_input": 1000},
])  # fmt: skip
def test_another_family_has_none_of_it(change: dict[str, Any]) -> None:
    with pytest.raises(NotModelled, match=next(iter(change))):
        from_config({**LLAMA, **change}, "m", "m")


def test_what_a_layer_alone_states_and_nobody_reads_is_refused() -> None:
    with pytest.raises(NotModelled, match="per_layer_config states 'intermediate_size' of layer 4"):
        from_config({**E2B, "per_layer_config": {"04": {"intermediate_size": 8}}}, "m", "m")


def test_gemma_4_unified_has_no_per_layer_inputs_and_no_experts() -> None:
    """The class's defaults: 3,010,758,400 parameters on the meta device of transformers 5.24.0."""
    plain = {
        "model_type": "gemma4_unified_text",
        "hidden_size": 2304,
        "intermediate_size": 9216,
        "num_hidden_layers": 30,
    }
    assert count.parameters(from_config(plain, "m", "m"))["params_total"] == 3_010_758_400
    for key in ("hidden_size_per_layer_input", "enable_moe_block"):
        with pytest.raises(NotModelled, match=f"'{key}' = .* of gemma4_unified_text: only"):
            from_config({**plain, key: 1}, "m", "m")
