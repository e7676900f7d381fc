"""GLM-4.1V to GLM-4.6V and GLM-OCR: gated blocks with RMSNorms, a convolution that makes a token of four patches, a gated merger.

Sources: Hugging Face `modeling_glm4v.py`, `modeling_glm4v_moe.py`, `modeling_glm_ocr.py`, `modeling_glm5_next.py`.
"""

from __future__ import annotations

from functools import partial

from simcost.blocks.tower.tower import Encoder, Matrix, Rows, Tower, Video
from simcost.model.tower_parts import trunks
from simcost.model.tower_parts.table import Rule, Table, Wrapper


def _tower(vision: Table, v: float, block: tuple[float, float], width: float, merger: float, more: float) -> tuple[Tower, ...]:  # fmt: skip
    """`block`: (width of its FFN, parameters in norms and biases); `width` of a token, `merger` the width of its FFN, `more` parameters beside."""
    if "image_size" not in vision.used:  # only a table of positions has a size
        vision.ignore("image_size")
    patch, frames = vision.side("patch_size", 14), vision.num("temporal_patch_size", default=2)
    side, heads = vision.num("spatial_merge_size", default=2), vision.num("num_heads", default=12)
    layers = vision.num("depth", default=24)
    rows = Rows(1.0 / side**2)
    parts = (
        trunks.embedding(vision, v, patch, True, frames),
        Encoder(layers, v, heads, v / heads, *block, gated=True),
        Matrix("downsample", v * side**2, width, rows),
        Matrix("proj", width, width, rows, bias=False),
        Matrix("gate_up_proj", width, 2.0 * merger, rows, bias=False),
        Matrix("down_proj", merger, width, rows, bias=False),
    )
    beside = more + v + 2.0 * width
    return (Tower("vision tower", "vision_config", parts, beside, patch, side, None, rows, video=Video(frames)),)


def glm4v(c: Wrapper) -> tuple[Tower, ...]:
    """A table of positions; the FFN of a block is `out_hidden_size` wide, and `intermediate_size` is the merger's."""
    vision = c.table("vision_config")
    v, out = vision.num("hidden_size", default=1536), vision.num("out_hidden_size", default=4096)
    patch = vision.side("patch_size", 14)
    bias = 3.0 * v if vision.flag("attention_bias", False) else 0.0
    positions = (vision.side("image_size", 336) // patch) ** 2 * v
    merger = vision.num("intermediate_size", default=13696)
    return _tower(vision, v, (out, 2.0 * v + bias), out, merger, positions + v)


def glm_ocr(c: Wrapper, merger: str = "") -> tuple[Tower, ...]:
    """Biases, norms of queries and keys, no table of positions. `merger`: the key of the width of its FFN; as many times the token's as a pixel has colours where none is named."""
    vision = c.table("vision_config")
    v, out = vision.num("hidden_size", default=1024), vision.num("out_hidden_size", default=1536)
    g, heads = vision.num("intermediate_size", default=4096), vision.num("num_heads", default=16)
    bias = 4.0 * v + 2.0 * g + v if vision.flag("attention_bias", True) else 0.0
    inner = vision.num(merger, default=10240) if merger else trunks.channels(vision) * out
    return _tower(vision, v, (g, 2.0 * v + 2.0 * v / heads + bias), out, inner, 0.0)


WRAPPERS: dict[str, Rule] = {
    "glm4v": glm4v, "glm4v_moe": glm4v, "glm46v": glm4v, "glmga": glm4v, "glm_ocr": glm_ocr,
    "glm5_next": partial(glm_ocr, merger="projection_intermediate_size"),
}  # fmt: skip
