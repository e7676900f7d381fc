"""Kimi-VL and Kimi-K2.5: MoonViT, whose table of positions is stretched to the image, four patches merged, a LayerNorm and two products.

Sources: Hugging Face `modeling_kimi_k25.py`; moonshotai/Kimi-VL-A3B-Instruct `modeling_kimi_vl.py`; SGLang 0.5.23 `models/kimi_k3_vl.py`.
"""

from __future__ import annotations

import math

from simcost.blocks.tower.tower import Encoder, Rows, Tower
from simcost.model.tower_parts import trunks
from simcost.model.tower_parts.table import Rule, Uncounted, Wrapper


def moonvit(c: Wrapper) -> tuple[Tower, ...]:
    """Keys of the class, or with `vt_` before them as the repositories have them."""
    vision = c.table("vision_config")
    v, g = vision.num("hidden_size", "vt_hidden_size", default=1152), vision.num("intermediate_size", "vt_intermediate_size", default=4304)  # fmt: skip
    layers = vision.num("num_hidden_layers", "vt_num_hidden_layers", default=27)
    heads = vision.num("num_attention_heads", "vt_num_attention_heads", default=16)
    patch = vision.side("patch_size", 14)
    height = vision.num("pos_emb_height", "init_pos_emb_height", default=64)
    width = vision.num("pos_emb_width", "init_pos_emb_width", default=64)
    vision.ignore("pos_emb_time", "init_pos_emb_time", "text_hidden_size", "mm_hidden_size")
    normed = float(c.own.values.get("projection_hidden_size") or v)
    c.own.used.add("projection_hidden_size")
    merged = float(math.prod(vision.raw("merge_kernel_size", default=[2, 2])))
    blocks = Encoder(layers, v, heads, v / heads, g, trunks.plain_vectors(v, g))
    rows = Rows(1.0 / merged)
    projector = trunks.two(("in_proj", "out_proj"), merged * v, merged * v, c.hidden, rows)
    parts = (trunks.embedding(vision, v, patch, True), blocks, *projector)
    beside = height * width * v + 2.0 * v + 2.0 * normed
    return (Tower("vision tower", "vision_config", parts, beside, patch, math.sqrt(merged), None, rows),)


def kimi_k3(c: Wrapper) -> tuple[Tower, ...]:
    """Heads wider than the encoder together, biases and the kind of norms by key, a norm behind the projector instead of before it. Raises Uncounted for another merger or projector."""
    vision = c.table("vision_config")
    for key, known in (("merge_type", "sd2_tpool"), ("mm_projector_type", "patchmergerv2"), ("mlp_type", "mlp2"), ("pos_emb_type", "divided_fixed")):  # fmt: skip
        if vision.raw(key, default=known) != known:
            raise Uncounted(f"vision_config.{key} = {vision.raw(key)!r} is not known")
    v, g = vision.num("vt_hidden_size", default=1024), vision.num("vt_intermediate_size", default=4096)
    layers, heads = vision.num("vt_num_hidden_layers", default=27), vision.num("vt_num_attention_heads", default=12)
    wide, patch = vision.num("qkv_hidden_size", default=1536), vision.side("patch_size", 14)
    vectors = {"rmsnorm": 1.0, "layernorm": 2.0}.get(str(vision.raw("norm_type", default="rmsnorm")))
    if vectors is None:
        raise Uncounted(f"vision_config.norm_type = {vision.raw('norm_type')!r} is not known")
    norm = v * vectors
    biases = (3.0 * wide + v) * vision.flag("attn_bias", False) + (g + v) * vision.flag("linear_bias", False)
    table = vision.num("init_pos_emb_height", default=64) * vision.num("init_pos_emb_width", default=64) * v
    vision.ignore(
        "init_pos_emb_time", "text_hidden_size", "activation_func", "projector_hidden_act", "pos_emb_interpolation_mode"
    )
    merged = float(math.prod(vision.raw("merge_kernel_size", default=[2, 2])))
    joined, rows = merged * vision.num("mm_hidden_size", default=v), Rows(1.0 / merged)
    first = trunks.embedding(vision, v, patch, vision.flag("patch_embed_proj_bias", False))
    blocks = Encoder(layers, v, heads, wide / heads, g, 2.0 * norm + biases)
    parts = (first, blocks, *trunks.two(trunks.LINEARS, joined, joined, c.hidden, rows, bias=False))
    return (Tower("vision tower", "vision_config", parts, table + norm + c.hidden, patch, math.sqrt(merged), None, rows),)  # fmt: skip


WRAPPERS: dict[str, Rule] = {"kimi_vl": moonvit, "kimi_k25": moonvit, "kimi_k3": kimi_k3}
