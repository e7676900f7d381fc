"""Molmo 2: a ViT with a table of positions, attention that pools patches of several layers, a gated product into the language model.

Source: Hugging Face `modeling_molmo2.py` (`image_pooling_2d`, `image_projector`).
"""

from __future__ import annotations

from simcost.blocks.tower.tower import PATCHES, Encoder, Tower
from simcost.model.tower_parts import trunks
from simcost.model.tower_parts.table import Rule, Wrapper

_POOLED = "attention pools patches of several crops into each token, and has no time here"


def molmo2(c: Wrapper) -> tuple[Tower, ...]:
    """The adapter attends over the outputs of `vision_feature_layer`, side by side; the table of positions is of `image_size`."""
    vision, adapter = c.table("vision_config"), c.table("adapter_config")
    v, g, layers = (
        vision.num("hidden_size", default=1152),
        vision.num("intermediate_size", default=4304),
        vision.num("num_hidden_layers", default=25),
    )
    heads, kv, head_dim = (
        vision.num("num_attention_heads", default=16),
        vision.num("num_key_value_heads", default=16),
        vision.num("head_dim", default=72),
    )
    bias = ((heads + 2.0 * kv) * head_dim + v) if vision.flag("attention_bias", True) else 0.0
    patch, positions = (
        vision.side("patch_size", 14),
        vision.num("num_position_embeddings", "image_num_pos", default=729),
    )
    vision.ignore("image_size", "image_default_input_size")
    blocks = Encoder(layers, v, heads, head_dim, g, bias + g + v + 4.0 * v, kv_heads=kv)
    trunk = trunks.Trunk(v, (trunks.embedding(vision, v, patch, True), blocks), positions * v, patch, None)

    seen = adapter.num("hidden_size", default=1152)
    inner, out = adapter.num("intermediate_size", default=18944), adapter.num("text_hidden_size", default=3584)
    rows = adapter.num("num_attention_heads", default=16) * adapter.num("head_dim", default=72)
    keys = adapter.num("num_key_value_heads", default=16) * adapter.num("head_dim", default=72)
    entering = seen * (
        adapter.length("vision_feature_layer", 2)
        if "vit_layers" not in adapter.values
        else adapter.length("vit_layers", 2)
    )
    pooling = entering * (rows + 2.0 * keys) + rows * seen
    pooling += rows + 2.0 * keys + seen if adapter.flag("attention_bias", True) else 0.0
    product = 2.0 * seen * inner + inner * out
    product += 2.0 * inner if adapter.flag("mlp_bias", False) else 0.0
    return (trunks.tower(trunk, (), pooling + product, PATCHES, refuses=_POOLED),)


WRAPPERS: dict[str, Rule] = {"molmo2": molmo2}
