"""Latent attention with a window, and layers that an indexer or a list makes what they are: dots.3 in every form in which files spell it."""

from __future__ import annotations

from typing import Any

import pytest

from simcost.blocks.attention.dsa import DSA
from simcost.blocks.attention.mla import MLA
from simcost.blocks.attention.window_mla import WindowMLA
from simcost.model import count
from simcost.model.spec import from_config
from simcost.ops.attention_core import Mask
from simcost.plan import Plan

SIZES: dict[str, Any] = {
    "model_type": "dots3_note_text", "hidden_size": 64, "num_hidden_layers": 6, "num_attention_heads": 4, "num_key_value_heads": 4, "intermediate_size": 128,
    "vocab_size": 512, "moe_intermediate_size": 32, "n_routed_experts": 8, "num_experts_per_tok": 2, "n_shared_experts": 1, "q_lora_rank": 24,
    "kv_lora_rank": 16, "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 16, "index_n_heads": 4, "index_head_dim": 16, "index_topk": 32,
    "layer_types": ["full_attention", "full_attention", "sliding_attention", "sliding_attention", "sliding_attention", "full_attention"],
}  # fmt: skip
OWN = {
    "num_attention_heads": 2, "num_key_value_heads": 2, "q_lora_rank": 20, "kv_lora_rank": 40, "head_dim": 24, "qk_nope_head_dim": 16, "v_head_dim": 8,
}  # fmt: skip
SWA = {**SIZES, "shared_experts_intermediate_size": 48, **{f"swa_{key}": value for key, value in OWN.items()}}
INDEXED = [kind.replace("full", "indexed") for kind in SIZES["layer_types"]]
LISTED = {
    **SIZES, "shared_experts_intermediate_size": 48, "layer_types": INDEXED,
    "per_layer_config": {str(layer): {**OWN, "qk_rope_head_dim": 8} for layer in (2, 3, 4)},
}  # fmt: skip


def kinds(config: dict[str, Any]) -> list[str]:
    model = from_config(config, "m", "m")
    return [next(type(b).__name__ for b in model.stacks[i][1] if b.kind == "attention") for i in model.order]


@pytest.mark.parametrize(("config", "total"), [
    (SWA, 454_756), ({**SWA, "use_dsa": False}, 446_212), (LISTED, 454_756), (SIZES, 117_101_080),
])  # fmt: skip
def test_totals_equal_the_class(config: dict[str, Any], total: int) -> None:
    """By transformers 5.24.0 on the meta device; without sizes of window layers they are the class's own."""
    assert count.parameters(from_config(config, "m", "m"))["params_total"] == total


def test_the_word_for_a_layer_with_an_indexer_depends_on_the_form_of_the_file() -> None:
    latent, window, plain = DSA.__name__, WindowMLA.__name__, MLA.__name__
    assert kinds(SWA) == kinds(LISTED) == [latent, latent, window, window, window, latent]
    assert kinds({**SWA, "use_dsa": False}) == [plain, plain, window, window, window, plain]
    assert kinds({**LISTED, "layer_types": SIZES["layer_types"]}) == [plain, plain, window, window, window, plain]


def test_the_cache_of_a_window_layer_stops_at_the_window() -> None:
    layer = WindowMLA(64.0, 2.0, 40.0, 16.0, 8.0, 8.0, 20.0, window=512.0)
    assert layer.mask == Mask(window=512.0)
    assert [layer.state_elements(n, Plan()) for n in (1.0, 512.0, 1e6)] == [48.0, 512 * 48.0, 512 * 48.0]
