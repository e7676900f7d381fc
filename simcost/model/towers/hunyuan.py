"""Hunyuan 4: blocks with biases everywhere over a table of positions, a convolution of stride 2 and a product into the language model.

Source: Hugging Face `modeling_hy_v4_vl.py`.
"""

from __future__ import annotations

from simcost.blocks.tower.tower import Encoder, Rows, Tower
from simcost.model.tower_parts import trunks
from simcost.model.tower_parts.table import Rule, Wrapper

_NEWLINES = "each row of an image ends in a token of its own, so that its tokens depend on its sides"


def hy_v4_vl(c: Wrapper) -> tuple[Tower, ...]:
    """Images keep their size up to `max_image_size`, of which the table has a position a patch and one more."""
    vision = c.table("vision_config")
    v, g = vision.num("hidden_size", default=1536), vision.num("intermediate_size", default=6144)
    layers, heads = vision.num("num_hidden_layers", default=40), vision.num("num_attention_heads", default=16)
    patch, side, most = (
        vision.side("patch_size", 16),
        vision.num("spatial_merge_size", default=2),
        vision.num("max_image_size", default=2048),
    )
    out, wide, rows = vision.num("out_hidden_size", default=6144), v * side**2, Rows(1.0 / side**2)
    vision.ignore("num_key_value_heads")
    blocks = Encoder(layers, v, heads, v / heads, g, trunks.plain_vectors(v, g))
    beside = ((most // patch) ** 2 + 1.0) * v + v
    merger = trunks.two(("proj_conv", "proj_out"), wide, wide, out, rows)
    trunk = trunks.Trunk(v, (trunks.embedding(vision, v, patch, True), blocks), beside, patch, None)
    return (trunks.tower(trunk, merger, out, rows, side, _NEWLINES),)


WRAPPERS: dict[str, Rule] = {"hy_v4_vl": hy_v4_vl}
