"""Zamba, Zamba2 and pure Mamba models: parameters once, work and cache by use, and what a config must say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from blockkit import broken, model, ops, products, view

import simcost
from simcost import api
from simcost.blocks.attention.mamba import Mamba
from simcost.blocks.attention.shared_transformer import Joint, SharedAttention, SharedFFN
from simcost.errors import NotModelled, SpecError
from simcost.model import count
from simcost.model.flops import flops_per_token
from simcost.model.spec import ModelSpec, from_config
from simcost.plan import Plan
from simcost.sharding.shard import Block

MODELS = Path(simcost.__file__).parents[1] / "workloads" / "models"
SMALL: dict[str, Any] = {
    "model_type": "zamba2", "hidden_size": 64, "num_hidden_layers": 6, "num_attention_heads": 4, "vocab_size": 100, "intermediate_size": 128, "n_mamba_heads": 8,
    "mamba_ngroups": 2, "mamba_d_state": 16, "layers_block_type": ["mamba", "hybrid", "hybrid", "mamba", "hybrid", "hybrid"], "num_mem_blocks": 2, "adapter_rank": 8,
    "use_shared_attention_adapter": True, "use_mem_rope": True, "tie_word_embeddings": True,
}  # fmt: skip


def config(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((MODELS / f"{name}.json").read_text())
    return found


def of(spec: ModelSpec, layer: int, kind: type[Block]) -> Any:
    return next(block for block in spec.stacks[spec.order[layer]][1] if isinstance(block, kind))


def test_a_block_is_held_where_it_is_used_first() -> None:
    spec = from_config(SMALL, "m", "m")
    assert [of(spec, layer, SharedAttention).uses for layer in (1, 2, 4, 5)] == [2.0, 2.0, 0.0, 0.0]
    first, later = (of(spec, layer, SharedAttention).weights(Plan()) for layer in (1, 4))
    assert [w.name for w in first] == ["qkv_proj", "o_proj", "qkv_adapter_down", "qkv_adapter_up"]
    assert first[2:] == later
    assert sum(w.count for w in later) == 3 * 8 * 4 * 64
    assert sum(w.count for w in of(spec, 4, SharedFFN).weights(Plan())) == 8 * (64 + 2 * 128)
    one = from_config({**SMALL, "num_mem_blocks": 1}, "m", "m")
    block = 128 * 3 * 128 + 128 * 64 + 3 * 64 * 128 + 128 + 64
    params = [count.parameters(each)["params_total"] for each in (spec, one)]
    assert params[0] - params[1] == block


def test_every_use_passes_the_block_and_keeps_its_own_keys_and_values() -> None:
    spec = from_config(SMALL, "m", "m")
    at = view(2.0, 1.0, 99.0, decode=True)
    first, later = (of(spec, layer, SharedAttention).program(at) for layer in (1, 4))
    assert products(first) == products(later)
    assert products(first)["qkv_proj"][1:] == (2, 3 * 128, 128)
    ffn = [of(spec, layer, SharedFFN).program(at) for layer in (1, 4)]
    assert products(ffn[0]) == products(ffn[1])
    assert count.kv_elements(spec)["kv_elements_per_token"] == 4 * 2 * 128
    assert "rope" in ops(first)
    assert "rope" not in ops(
        of(from_config({**SMALL, "use_mem_rope": False}, "m", "m"), 1, SharedAttention).program(at)
    )


def test_flops_are_of_every_use_and_active_parameters_of_one() -> None:
    two = from_config(SMALL, "m", "m")
    one = from_config({**SMALL, "num_mem_blocks": 1}, "m", "m")
    flops = [count.flops_per_token(spec, 1.0, 0.0, 1.0) for spec in (two, one)]
    norms = 2.0 * (128 + 64)  # of the second block: vectors, which a product has not
    assert flops[0] - flops[1] == pytest.approx(norms, rel=1e-9)
    assert count.parameters(two)["params_active_all"] == count.parameters(two)["params_total"]
    assert flops_per_token(two, 64.0) > flops_per_token(two, 64.0, "6n-no-embedding")


def test_adapters_and_heads_are_cut() -> None:
    block = of(from_config(SMALL, "m", "m"), 1, SharedAttention)
    part = {w.name: (w.out, w.inner) for w in block.weights(Plan(tp=2.0))}
    assert part == {"qkv_proj": (192, 128), "o_proj": (64, 64), "qkv_adapter_down": (4, 128), "qkv_adapter_up": (64, 8)}
    assert any("adapter_rank" in reason for reason in broken(block, Plan(tp=16.0)))


def test_zamba_has_heads_in_its_mamba_layers_and_no_adapters() -> None:
    spec = model("zamba-7b-v1")
    block = of(spec, 0, Mamba)
    assert block.heads == 2
    shape = {w.name: (w.copies, w.out, w.inner) for w in block.weights(Plan(tp=2.0))}
    assert shape["x_proj"] == (1, 232 + 32, 3712)
    assert shape["dt_proj"] == (1, 3712, 232)
    assert any("n_mamba_heads" in reason for reason in broken(block, Plan(tp=4.0)))
    hybrid = of(spec, 2, SharedAttention)
    assert (hybrid.uses, hybrid.adapted, hybrid.rotary) == (13.0, False, 0.0)
    assert sum(n for n, each in spec.blocks() if isinstance(each, Joint)) == 13


@pytest.mark.parametrize("name", ["falcon-mamba-7b", "mamba-codestral-7b"])
def test_a_pure_model_has_a_state_and_no_cache(name: str) -> None:
    spec = model(name)
    assert {block.kind for _, layer in spec.stacks for block in layer} == {"norm", "attention"}
    assert count.kv_elements(spec)["kv_elements_per_token"] == 0
    states = [count.state_elements(spec, context) for context in (1.0, 1e6)]
    assert (
        states[0]
        == states[1]
        == {"falcon-mamba-7b": 64 * 8192 * 19, "mamba-codestral-7b": 64 * (8192 * 128 + 3 * 10240)}[name]
    )
    found = api.decode(name, "h100").metrics
    assert found["kv_pool_tokens"] is None
    assert found["max_context"] is None


def test_channels_that_a_file_states_win_over_expand() -> None:
    assert of(model("falcon-mamba-7b"), 0, Mamba).mamba_expand == 2
    plain = {**config("falcon-mamba-7b"), "intermediate_size": None}
    assert of(from_config(plain, "m", "m"), 0, Mamba).mamba_expand == 16


@pytest.mark.parametrize(("change", "kind", "says"), [
    ({"layers_block_type": None}, SpecError, "missing key 'layers_block_type'"),
    ({"layers_block_type": ["mamba"] * 5 + ["full_attention"]}, SpecError, "a layer is mamba or hybrid here"),
    ({"tie_word_embeddings": False}, NotModelled, "tie_word_embeddings = false: the class then shares no weights"),
    ({"attention_hidden_size": 64}, SpecError, "'attention_hidden_size' must be 2 x hidden_size"),
    ({"mamba_headdim": 32}, SpecError, "n_mamba_heads x mamba_headdim must be mamba_expand x hidden_size"),
])  # fmt: skip
def test_what_is_no_zamba_is_an_error(change: dict[str, Any], kind: type[Exception], says: str) -> None:
    with pytest.raises(kind) as error:
        from_config({**SMALL, **change}, "m", "m")
    assert says in str(error.value)
    assert "\n" not in str(error.value)
