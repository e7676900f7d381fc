"""GOT-OCR 2 and PP-Chart2Table: SAM's encoder with windows and relative positions, a neck and three convolutions.

Source: Hugging Face `modeling_got_ocr2.py`.
"""

from __future__ import annotations

from simcost.blocks.tower.tower import Encoder, Matrix, Rows, Tower
from simcost.model.tower_parts import trunks
from simcost.model.tower_parts.table import Rule, Wrapper


def got_ocr2(c: Wrapper) -> tuple[Tower, ...]:
    """All layers but those of `global_attn_indexes` attend within windows; each has a table of relative positions for its own extent."""
    vision = c.table("vision_config")
    v, g = vision.num("hidden_size", default=768), vision.num("mlp_dim", default=3072)
    layers, heads = vision.num("num_hidden_layers", default=12), vision.num("num_attention_heads", default=12)
    patch, side = vision.side("patch_size", 16), vision.side("image_size", 1024)
    window, whole = vision.num("window_size", default=14), vision.length("global_attn_indexes", 4)
    neck, grid = vision.num("output_channels", default=256), side // patch
    vectors = trunks.plain_vectors(v, g) - (0.0 if vision.flag("qkv_bias", True) else 3.0 * v)
    beside = grid**2 * v if vision.flag("use_abs_pos", True) else 0.0
    if vision.flag("use_rel_pos", True):
        beside += 2.0 * v / heads * ((layers - whole) * (2.0 * window - 1.0) + whole * (2.0 * grid - 1.0))
    blocks = Encoder(layers, v, heads, v / heads, g, vectors, windowed=layers - whole, window=window**2)
    trunk = trunks.Trunk(v, (trunks.embedding(vision, v, patch, True), blocks), beside, patch, side)
    c.own.ignore("image_seq_length")
    projector = (
        Matrix("neck_conv1", v, neck, bias=False),
        Matrix("neck_conv2", 9.0 * neck, neck, bias=False),
        Matrix("conv_upsampler1", 9.0 * neck, 2.0 * neck, Rows(0.25), bias=False),
        Matrix("conv_upsampler2", 18.0 * neck, c.hidden, Rows(0.0625), bias=False),
        Matrix("multimodal_projector", c.hidden, c.hidden, Rows(0.0625)),
    )
    return (trunks.tower(trunk, projector, 4.0 * neck, Rows(0.0625)),)


WRAPPERS: dict[str, Rule] = {"got_ocr2": got_ocr2, "pp_chart2table": got_ocr2}
