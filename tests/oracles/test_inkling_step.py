"""Inkling's classes run a decode step on small models: multiplications counted by torch, and elements that their cache holds, against simcost.

A window of W keeps W - 1 tokens in the class, which are those that the next token sees beside itself, and W here; a convolution keeps K columns there and K - 1 here, as engines do.
"""

from __future__ import annotations

from typing import Any

import pytest

from simcost.model import count
from simcost.model.spec import from_config
from tests.oracles import classes

torch = classes.torch
SIZES: dict[str, Any] = {
    "hidden_size": 768, "num_hidden_layers": 24, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 64, "swa_num_attention_heads": 8,
    "swa_num_key_value_heads": 2, "swa_head_dim": 64, "sliding_window_size": 16, "rel_extent": 64, "vocab_size": 512, "n_routed_experts": 8,
    "num_experts_per_tok": 2, "moe_intermediate_size": 512, "eos_token_id": 2,
}  # fmt: skip
KINDS: dict[str, dict[str, Any]] = {
    "inkling_text": {"intermediate_size": 1024, "num_hidden_layers": 12, "mlp_layer_types": ["dense"] * 2 + ["sparse"] * 10},
    "inkling2_text": {"unpadded_vocab_size": 500},
    "inkling2_loop_text": {"unpadded_vocab_size": 500},
}  # fmt: skip
PAST, KERNEL, WINDOW, WIDTH = 100, 4, 16, 2 * 2 * 64  # WIDTH: keys and values of a window layer


@pytest.mark.parametrize("kind", KINDS)
def test_a_decode_step(kind: str) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    config = classes.config(kind, **{**SIZES, **KINDS[kind]})
    config._attn_implementation, config._experts_implementation = "eager", "eager"
    model = classes.transformers.AutoModelForCausalLM.from_config(config).eval().float()
    cache = classes.transformers.DynamicCache(config=config)
    counter = FlopCounterMode(display=False)
    with torch.no_grad():
        model(torch.arange(PAST)[None], cache=cache)
        with counter:
            model(torch.zeros(1, 1, dtype=torch.long), cache=cache)
    spec = from_config(classes.table(config), kind, kind)
    # Norms, scales and means are no products: below 1 % of a model of this size.
    assert float(count.flops_per_token(spec, 1.0, float(PAST), 1.0)) == pytest.approx(
        counter.get_total_flops(), rel=0.01
    )

    kept = sum(layer.keys.numel() + layer.values.numel() for layer in cache.layers)
    columns = sum(state.numel() for layer in cache.layers for state in layer.conv_states.values())
    windows = sum(layer.keys.shape[-2] == WINDOW - 1 for layer in cache.layers)
    assert windows > len(cache.layers) / 2
    ours = float(count.state_elements(spec, PAST + 1.0))
    assert ours == kept + windows * WIDTH + columns * (KERNEL - 1) / KERNEL
