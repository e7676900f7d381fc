"""A size of a structure that no layer has is refused: what says that there is one is missing, or has a name that nothing reads."""

from __future__ import annotations

from typing import Any

import pytest

from simcost.errors import NotModelled
from simcost.model.load import complete, load_config, names, overridden
from simcost.model.spec import ModelSpec, from_config

LLAMA: dict[str, Any] = {
    "model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 100,
    "tie_word_embeddings": False, "torch_dtype": "bfloat16",
}  # fmt: skip
UNKNOWN = {**LLAMA, "model_type": "my_llama", "hidden_act": "silu"}


def read(config: dict[str, Any]) -> ModelSpec:
    return complete(from_config(overridden(config, {}, "test"), "test", "test"), config, "test")


@pytest.mark.parametrize(
    ("key", "value", "kind"),
    [
        ("n_shared_experts", 2, "experts"), ("num_experts_per_tok", 8, "experts"), ("moe_intermediate_size", 768, "experts"), ("first_k_dense_replace", 1, "experts"),
        ("mlp_layer_types", ["dense", "sparse"], "experts"), ("moe_layer_freq", 2, "experts"), ("qk_nope_head_dim", 128, "latent attention"),
        ("swa_num_attention_heads", 8, "layers with a window"), ("attention_chunk_size", 8192, "layers with a window"),
    ],
)  # fmt: skip
def test_a_size_of_what_no_layer_has_is_refused(key: str, value: Any, kind: str) -> None:
    with pytest.raises(
        NotModelled, match=f"'{key}' = .* is a size of {kind}, and no layer here has it.*--set model.{key}=null"
    ):
        read({**LLAMA, key: value})
    with pytest.raises(NotModelled, match=f"'{key}' = .* is a size of {kind}|unknown keys .*{key}"):
        read({**UNKNOWN, key: value})


def test_a_key_that_its_class_writes_into_every_config_is_no_such_size() -> None:
    """Step-3.7's class has heads of window layers whatever its layers are."""
    config = {
        **LLAMA,
        "model_type": "step3p5",
        "head_dim": 16,
        "layer_types": ["full_attention"] * 2,
        "moe_layers_enum": "",
        "moe_num_experts": 0,
    }
    assert (
        read({**config, "swa_num_attention_heads": 8}).stacks == read({**config, "swa_num_attention_heads": 16}).stacks
    )


@pytest.mark.parametrize(
    "more",
    [
        {"moe_layer_freq": 1}, {"n_group": 1, "topk_group": 1}, {"num_local_experts": 0, "num_experts_per_tok": 2}, {"num_experts": None, "moe_intermediate_size": 768},
        {"kv_lora_rank": None, "qk_nope_head_dim": 128}, {"mlp_layer_types": ["dense", "dense"]}, {"mlp_only_layers": []}, {"max_window_layers": 28},
        {"n_shared_experts": 0},
    ],
)  # fmt: skip
def test_a_size_that_is_off_or_switched_off_changes_nothing(more: dict[str, Any]) -> None:
    assert read({**LLAMA, **more}).stacks == read(LLAMA).stacks


def test_no_config_that_ships_has_a_size_that_its_class_does_not_read_and_that_counts() -> None:
    """Which is why `overridden` does not look for one in them."""
    for name in names():
        overridden(load_config(name)[2], {}, name)
