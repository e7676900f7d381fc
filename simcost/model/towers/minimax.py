"""MiniMax-M3: blocks as CLIP's with rotary positions, two frames a patch; two products for every patch, two for every four.

Source: Hugging Face `modeling_minimax_m3_vl.py`.
"""

from __future__ import annotations

from simcost.blocks.tower.tower import Encoder, Matrix, Rows, Tower
from simcost.model.tower_parts import trunks
from simcost.model.tower_parts.table import Rule, Table, Wrapper


def minimax_m3(c: Wrapper) -> tuple[Tower, ...]:
    """Keys of the class; the repository states how patches merge in a table of its own."""
    vision = c.table("vision_config")
    stated = vision.raw("img_token_compression_config")
    merging = Table(stated, "vision_config.img_token_compression_config", vision.where) if isinstance(stated, dict) else vision  # fmt: skip
    v, g = vision.num("hidden_size", default=1280), vision.num("intermediate_size", default=5120)
    layers, heads = vision.num("num_hidden_layers", default=32), vision.num("num_attention_heads", default=16)
    patch, frames = vision.side("patch_size", 14), merging.num("temporal_patch_size", default=2)
    side, middle = merging.num("spatial_merge_size", default=2), c.own.num("projector_hidden_size", default=6144)
    if isinstance(stated, dict) and c.config.get("img_token_compression_config") == stated:
        c.own.ignore("img_token_compression_config")  # the same beside the table that has it
    c.own.ignore("merged_hidden_size", "multimodal_projector_bias", "image_seq_length")
    vision.ignore("image_size", "projection_dim")
    rows = Rows(1.0 / side**2)
    parts = (
        trunks.embedding(vision, v, patch, False, frames),
        Encoder(layers, v, heads, v / heads, g, trunks.plain_vectors(v, g)),
        *trunks.two(trunks.LINEARS, v, middle, c.hidden),
        Matrix("merge_linear_1", c.hidden * side**2, middle, rows),
        Matrix("merge_linear_2", middle, c.hidden, rows),
    )
    return (Tower("vision tower", "vision_config", parts, 2.0 * v, patch, side, None, rows),)


WRAPPERS: dict[str, Rule] = {"minimax_m3_vl": minimax_m3}
