"""Which layers rotate which part of a head: by the class of a type and by its keys, as Hugging Face's modeling files of 5.24 do."""

from __future__ import annotations

from typing import Any

import pytest
from blockkit import model, ops, view

from simcost.model import loaded
from simcost.model.spec import ModelSpec, from_config

PLAIN: dict[str, Any] = {
    "hidden_size": 1024, "intermediate_size": 2048, "num_hidden_layers": 8, "num_attention_heads": 8, "num_key_value_heads": 8, "vocab_size": 1000,
    "max_position_embeddings": 4096,
}  # fmt: skip
WINDOWS = {**PLAIN, "sliding_window": 512}
FALCON = {
    "model_type": "falcon",
    "hidden_size": 1024,
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "vocab_size": 1000,
}
MPT = {
    "model_type": "mpt",
    "d_model": 1024,
    "n_layers": 2,
    "n_heads": 8,
    "expansion_ratio": 4,
    "max_seq_len": 2048,
    "vocab_size": 1000,
}
GRANITE = {"layer_types": ["full_attention"] * 8, "shared_intermediate_size": 2048}


def read(kind: str, table: dict[str, Any], **changes: Any) -> ModelSpec:
    return from_config({"model_type": kind, **table, **changes}, "x", "x.json")


def parts(found: ModelSpec) -> list[float]:
    """The part of a head that rotates, by layer; the kernel is there where it is not 0, over as many elements."""
    shares = []
    for at in found.order:
        for block in (each for each in found.stacks[at][1] if hasattr(each, "rotary")):
            rope = ops(block.program(view(1.0, 100.0, 0.0))).get("rope")
            heads = block.num_attention_heads + block.num_key_value_heads
            assert (0.0 if rope is None else rope.elements) == 100.0 * heads * block.rotary_width
            shares.append(float(block.rotary))
    return shares


@pytest.mark.parametrize("name", ["bloom-176b", "gpt3-175b", "opt-13b", "jamba-v0.1", "nemotron-h-8b"])
def test_positions_that_are_learned_biases_or_none_have_no_kernel_and_no_table(name: str) -> None:
    """wpe of GPT-2 and OPT, ALiBi of BLOOM; Jamba and Nemotron-H know positions from their recurrent layers."""
    assert set(parts(model(name))) == {0.0}
    assert loaded.rotary(model(name)).total == 0.0


def test_alibi_by_its_key() -> None:
    """Falcon rotates unless `alibi`; MPT only where llm-foundry's `attn_config.rope` is on."""
    assert parts(from_config(FALCON, "x", "x")) == [1.0] * 2
    assert parts(from_config({**FALCON, "alibi": True}, "x", "x")) == [0.0] * 2
    assert parts(from_config({**MPT, "attn_config": {"alibi": True}}, "x", "x")) == [0.0] * 2
    assert parts(from_config({**MPT, "attn_config": {"rope": True}}, "x", "x")) == [1.0] * 2


@pytest.mark.parametrize(
    ("kind", "table", "expected"),
    [
        ("smollm3", PLAIN, [1, 1, 1, 0] * 2),
        ("smollm3", {**PLAIN, "no_rope_layer_interval": 2}, [1, 0] * 4),
        ("smollm3", {**PLAIN, "no_rope_layers": [0, 1] + [1] * 6}, [0] + [1] * 7),
        ("cohere2", WINDOWS, [1, 1, 1, 0] * 2),
        ("exaone4", {**WINDOWS, "sliding_window_pattern": 4}, [1, 1, 1, 0] * 2),
        ("exaone4", {**PLAIN, "sliding_window": None, "sliding_window_pattern": None}, [1] * 8),
        ("granite_swa", {**WINDOWS, "layer_rope_theta": [1e4, 0] * 4}, [1, 0] * 4),
        ("granitemoehybrid", {**PLAIN, **GRANITE}, [0] * 8),
        ("granitemoehybrid", {**PLAIN, **GRANITE, "position_embedding_type": "rope"}, [1] * 8),
        ("phi", PLAIN, [0.5] * 8),
        ("phi", {**PLAIN, "partial_rotary_factor": 0.4}, [0.4] * 8),
        ("stablelm", PLAIN, [0.25] * 8),
        ("gpt_neox", {**PLAIN, "rotary_pct": 0.5}, [0.5] * 8),
        ("llama", PLAIN, [1] * 8),
    ],
)
def test_layers_rotate_as_their_class_does(kind: str, table: dict[str, Any], expected: list[float]) -> None:
    assert parts(read(kind, table)) == expected


def test_llama_4_leaves_out_every_fourth_and_cuts_the_others() -> None:
    """modeling_llama4.py: `no_rope_layers` decides both which layers rotate and which see chunks."""
    scout = model("llama-4-scout")
    assert parts(scout) == [1, 1, 1, 0] * 12
    kinds = [type(scout.stacks[at][1][1]).__name__ for at in scout.order]
    assert kinds == ["SlidingWindow", "SlidingWindow", "SlidingWindow", "GQA"] * 12
