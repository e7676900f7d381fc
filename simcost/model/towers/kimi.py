"""Kimi-VL and Kimi-K2.5: MoonViT, whose table of positions is stretched to the image, four patches merged, a LayerNorm and two products.

Sources: Hugging Face `modeling_kimi_k25.py`; moonshotai/Kimi-VL-A3B-Instruct `modeling_kimi_vl.py`.
"""

from __future__ import annotations

import math

from simcost.blocks.tower.tower import Encoder, Rows, Tower
from simcost.model.towers import _trunks as trunks
from simcost.model.towers._table import Rule, Wrapper


def moonvit(c: Wrapper) -> tuple[Tower, ...]:
    """Keys of the class, or with `vt_` before them as the repositories have them."""
    vision = c.table("vision_config")
    v, g = vision.num("hidden_size", "vt_hidden_size", default=1152), vision.num("intermediate_size", "vt_intermediate_size", default=4304)  # fmt: skip
    layers = vision.num("num_hidden_layers", "vt_num_hidden_layers", default=27)
    heads = vision.num("num_attention_heads", "vt_num_attention_heads", default=16)
    patch = vision.side("patch_size", 14)
    height = vision.num("pos_emb_height", "init_pos_emb_height", default=64)
    width = vision.num("pos_emb_width", "init_pos_emb_width", default=64)
    vision.used.update(("pos_emb_time", "init_pos_emb_time", "text_hidden_size", "mm_hidden_size"))
    normed = float(c.own.values.get("projection_hidden_size") or v)
    c.own.used.add("projection_hidden_size")
    merged = float(math.prod(vision.raw("merge_kernel_size", default=[2, 2])))
    blocks = Encoder(layers, v, heads, v / heads, g, trunks.plain_vectors(v, g))
    rows = Rows(1.0 / merged)
    projector = trunks.two(("in_proj", "out_proj"), merged * v, merged * v, c.hidden, rows)
    parts = (trunks.embedding(vision, v, patch, True), blocks, *projector)
    beside = height * width * v + 2.0 * v + 2.0 * normed
    return (Tower("vision tower", "vision_config", parts, beside, patch, math.sqrt(merged), None, rows),)


WRAPPERS: dict[str, Rule] = {"kimi_vl": moonvit, "kimi_k25": moonvit}
