"""InternVL and Qianfan-OCR: InternViT with layer scale, pixels shuffled to a quarter, a LayerNorm and two products.

Sources: Hugging Face `modeling_internvl.py`; OpenGVLab `modeling_intern_vit.py` and `modeling_internvl_chat.py` for `internvl_chat`.
"""

from __future__ import annotations

from simcost.blocks.tower.tower import Encoder, Rows, Tower
from simcost.model.tower_parts import trunks
from simcost.model.tower_parts.table import Rule, Table, Uncounted, Wrapper

_SIZES = trunks.Sizes(1024.0, 4096.0, 24.0, 16.0, 14.0, 448.0)


def _tower(c: Wrapper, vision: Table, biases: float, norms: float, more: float) -> tuple[Tower, ...]:
    """`biases`: of a block's projections, `norms`: of a block, both as multiples of the width; `more`: parameters besides."""
    v, g, layers, heads, patch, side = _SIZES.read(vision)
    ratio = c.own.num("downsample_ratio", default=0.5)
    c.own.ignore("vision_feature_layer", "vision_feature_select_strategy", "select_layer", "image_seq_length")
    rows, inner = Rows(ratio**2), v / ratio**2
    scale = 2.0
    blocks = Encoder(layers, v, heads, v / heads, g, (biases + norms + scale) * v + g + v, rows=Rows(1.0, 1.0))
    positions = ((side // patch) ** 2 + 1.0) * v
    trunk = trunks.Trunk(v, (trunks.embedding(vision, v, patch, True), blocks), v + more, patch, side)
    projector = trunks.two(trunks.LINEARS, inner, c.hidden, c.hidden, rows)
    return (trunks.tower(trunk, projector, 2.0 * inner + positions, rows),)


def internvl(c: Wrapper) -> tuple[Tower, ...]:
    """The class of transformers."""
    vision = c.table("vision_config")
    v, _, _, _, patch, side = _SIZES.read(vision)
    biases = 4.0 if vision.flag("attention_bias", False) else 1.0
    norm = 1.0 if vision.raw("norm_type", default="layer_norm") == "rms_norm" else 2.0
    norms = 2.0 * norm + (2.0 if vision.flag("use_qk_norm", False) else 0.0)
    more = v if vision.flag("use_mask_token", False) else 0.0
    more += 0.0 if vision.flag("use_mean_pooling", True) else 2.0 * v
    if not vision.flag("use_absolute_position_embeddings", True):
        more -= ((side // patch) ** 2 + 1.0) * v
    return _tower(c, vision, biases, norms, more)


def internvl_chat(c: Wrapper) -> tuple[Tower, ...]:
    """The repositories' own class: a bias of queries, keys and values by key, positions always. Its configs keep the sizes of experts that are off."""
    vision = c.table("vision_config")
    if vision.raw("use_moe"):
        raise Uncounted("vision_config has experts")
    vision.ignore(*(key for key in vision.values if "expert" in key or key.startswith("moe_")))
    biases = 4.0 if vision.flag("qkv_bias", True) else 1.0
    norm = 1.0 if vision.raw("norm_type", default="rms_norm") == "rms_norm" else 2.0
    norms = 2.0 * norm + (2.0 if vision.flag("qk_normalization", True) else 0.0)
    return _tower(c, vision, biases, norms, 0.0)


WRAPPERS: dict[str, Rule] = {"internvl": internvl, "internvl_chat": internvl_chat, "qianfan_ocr": internvl}
