"""Short convolutions of LFM2: shapes, state, a step by hand, totals equal to the class, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from blockkit import broken, ops, products, shapes, view

from simcost.blocks.attention.gqa import GQA
from simcost.blocks.attention.short_conv import ShortConv
from simcost.dtypes import dtype
from simcost.errors import SimcostError
from simcost.model import count
from simcost.model.spec import from_config
from simcost.ops.recurrent import CausalConv
from simcost.ops.stream import Stream
from simcost.plan import Plan

CONV = ShortConv(2048.0, 3.0, dtype("bf16"))
# Keys that the class of transformers 5.24.0 writes.
DENSE: dict[str, Any] = {
    "model_type": "lfm2", "hidden_size": 2048, "intermediate_size": 12288, "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8,
    "vocab_size": 65536, "max_position_embeddings": 128000, "tie_word_embeddings": True, "conv_bias": False, "conv_L_cache": 3, "block_multiple_of": 256,
    "block_ffn_dim_multiplier": 1.0, "block_auto_adjust_ff_dim": True, "full_attn_idxs": [2, 5, 8, 10, 12, 14],
}  # fmt: skip
SPARSE: dict[str, Any] = {
    "model_type": "lfm2_moe", "hidden_size": 2048, "intermediate_size": 7168, "moe_intermediate_size": 1792, "num_hidden_layers": 24, "num_attention_heads": 32,
    "num_key_value_heads": 8, "vocab_size": 65536, "tie_word_embeddings": True, "conv_bias": False, "conv_L_cache": 3, "num_dense_layers": 2, "num_experts": 32,
    "num_experts_per_tok": 4, "use_expert_bias": True, "layer_types": ["conv" if i % 3 else "full_attention" for i in range(24)],
}  # fmt: skip


def _total(config: dict[str, Any], **changes: Any) -> Any:
    read = {key: value for key, value in {**config, **changes}.items() if value is not None}
    return count.parameters(from_config(read, "x", "x.json"))["params_total"]


def test_totals_equal_the_class_on_the_meta_device() -> None:
    """By transformers 5.24.0; biases that balance loads are buffers there."""
    assert _total(DENSE) == 1_170_340_608
    assert _total(SPARSE) == 8_327_334_912 + 22 * 32


@pytest.mark.parametrize(("changes", "more"), [
    ({"conv_bias": True}, 10 * 5 * 2048), ({"conv_L_cache": 4}, 10 * 2048), ({"tie_word_embeddings": False}, 65536 * 2048),
    ({"block_auto_adjust_ff_dim": False}, 16 * 3 * 2048 * (12288 - 8192)), ({"block_ffn_dim_multiplier": 1.3}, 16 * 3 * 2048 * (10752 - 8192)),
    ({"block_multiple_of": 3000}, 16 * 3 * 2048 * (9000 - 8192)), ({"intermediate_size": None, "block_ff_dim": 12288}, 0),
    ({"tie_word_embeddings": None, "tie_embedding": True}, 0), ({"conv_dim": 2048, "conv_dim_out": 2048, "block_dim": 2048}, 0),
])  # fmt: skip
def test_each_key_changes_what_it_is_of(changes: dict[str, Any], more: int) -> None:
    assert _total(DENSE, **changes) - _total(DENSE) == more


def test_the_words_that_transformers_writes_say_the_same() -> None:
    kinds = ["full_attention" if i in DENSE["full_attn_idxs"] else "conv" for i in range(16)]
    assert _total(DENSE, layer_types=kinds, full_attn_idxs=None) == _total(DENSE)
    found = from_config(DENSE, "x", "x.json")
    assert [type(found.stacks[i][1][1]) for i in found.order] == [
        GQA if kind == "full_attention" else ShortConv for kind in kinds
    ]


@pytest.mark.parametrize("tp", [1, 4])
def test_channels_are_cut_and_columns_do_not_grow(tp: int) -> None:
    plan = Plan(tp=float(tp))
    c = 2048 // tp
    assert shapes(CONV.weights(plan)) == {"in_proj": (3 * c, 2048), "conv1d": (3 * c,), "o_proj": (2048, c)}
    assert CONV.state_elements(10.0, plan) == CONV.state_elements(1e6, plan) == 2 * c
    assert CONV.state_bytes(1e6, plan, dtype("fp8")) == 2 * 2 * c
    assert (CONV.token_bytes(plan, dtype("bf16")), CONV.fixed_bytes(5.0, plan, dtype("bf16"))) == (0, 4 * c)
    assert broken(CONV, plan) == []


def test_a_decode_step_by_hand() -> None:
    program = CONV.program(view(8.0, 1.0, 999.0, Plan(tp=4.0), decode=True))
    found = ops(program)
    assert list(found) == ["in_proj", "input gate", "causal conv", "output gate", "o_proj", "all-reduce"]
    assert products(program) == {"in_proj": (1, 8, 3 * 512, 2048), "o_proj": (1, 8, 2048, 512)}
    conv = found["causal conv"]
    assert isinstance(conv, CausalConv)
    assert conv.work().bytes_read == 2 * 8 * 512 * (1 + 2)
    gates = [op for op in found.values() if isinstance(op, Stream)]
    assert [gate.elements for gate in gates] == [8 * 512, 8 * 512]


def test_a_sequence_stands_on_one_rank() -> None:
    assert any("cp must be 1" in reason for reason in broken(CONV, Plan(cp=2.0)))


@pytest.mark.parametrize(("changes", "says"), [
    ({"conv_dim": 1024}, "'conv_dim' other than hidden_size"), ({"block_use_swiglu": False}, "block_use_swiglu"),
    ({"block_ffn_dim_multiplier": "1"}, "block_ffn_dim_multiplier"), ({"layer_types": ["conv"] * 3}, "3 entries for 16 layers"),
    ({"layer_types": ["hyena"] * 16}, "hyena"),
])  # fmt: skip
def test_what_is_not_modelled_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(SimcostError, match=says):
        _total(DENSE, **changes)
