"""Qwen2-VL to Qwen4 and classes with the same towers: images keep their size, two frames make a patch, a merger makes a token of four.

Sources: Hugging Face `modeling_qwen2_vl.py`, `modeling_qwen2_5_vl.py`, `modeling_qwen3_vl.py`, `modeling_qwen3_5.py`, `modeling_qwen4_exp.py`, `modeling_exaone4_5.py`.
"""

from __future__ import annotations

from simcost.blocks.tower.tower import Encoder, Matrix, Rows, Tower, Video
from simcost.model.tower_parts import trunks
from simcost.model.tower_parts.table import Rule, Table, Wrapper
from simcost.num import Num


def _frame(vision: Table, patch_size: float) -> tuple[float, float, float, float]:
    """(patch, images that a patch joins, patches merged along a side, heads)."""
    vision.ignore("spatial_patch_size", "tokens_per_second")
    return (
        vision.side("patch_size", patch_size), vision.num("temporal_patch_size", default=2), vision.num("spatial_merge_size", default=2),
        vision.num("num_heads", default=16),
    )  # fmt: skip


def _merger(name: str, v: float, side: float, out: Num) -> tuple[Matrix, Matrix]:
    """Two products over the patches that make a token."""
    wide = v * side**2
    return trunks.two((f"{name}_fc1", f"{name}_fc2"), wide, wide, out, Rows(1.0 / side**2))


def _tower(
    parts: tuple[Matrix | Encoder, ...], beside: Num, patch: float, side: float, frames: float
) -> tuple[Tower, ...]:
    """Frames that a patch joins pass as one image, and attend to each other alone."""
    return (
        Tower(
            "vision tower", "vision_config", parts, beside, patch, side, None, Rows(1.0 / side**2), video=Video(frames)
        ),
    )


def qwen2_vl(c: Wrapper) -> tuple[Tower, ...]:
    """No table of positions; `hidden_size` is the width of what the merger makes."""
    vision = c.table("vision_config")
    patch, frames, side, heads = _frame(vision, 14)
    v, layers = vision.num("embed_dim", default=1280), vision.num("depth", default=32)
    g = vision.num("mlp_ratio", default=4) * v
    blocks = Encoder(layers, v, heads, v / heads, g, trunks.plain_vectors(v, g))
    merger = _merger("merger", v, side, vision.num("hidden_size", default=3584))
    return _tower((trunks.embedding(vision, v, patch, False, frames), blocks, *merger), 2.0 * v, patch, side, frames)


def qwen2_5_vl(c: Wrapper) -> tuple[Tower, ...]:
    """Gated blocks with biases and RMSNorms; all but the layers of `fullatt_block_indexes` attend within windows."""
    vision = c.table("vision_config")
    patch, frames, side, heads = _frame(vision, 14)
    v, g = vision.num("hidden_size", default=3584), vision.num("intermediate_size", default=3420)
    layers, kv = vision.num("depth", default=32), vision.num("num_key_value_heads", default=heads)
    if "num_key_value_heads" not in vision.values:
        vision.taken.pop("num_key_value_heads")  # this class has none
    bias = v + 2.0 * kv * v / heads + v
    window = (vision.num("window_size", default=112) // patch) ** 2
    windowed = layers - vision.length("fullatt_block_indexes", 4)
    blocks = Encoder(
        layers, v, heads, v / heads, g, bias + 2.0 * g + v + 2.0 * v, gated=True, kv_heads=kv, windowed=windowed, window=window
    )  # fmt: skip
    merger = _merger("merger", v, side, vision.num("out_hidden_size", default=3584))
    return _tower((trunks.embedding(vision, v, patch, False, frames), blocks, *merger), v, patch, side, frames)


def qwen3_vl(c: Wrapper, deepstack: int = 3) -> tuple[Tower, ...]:
    """A table of positions, LayerNorms; a merger more for every layer of `deepstack_visual_indexes`, of which the class has `deepstack`."""
    vision = c.table("vision_config")
    patch, frames, side, heads = _frame(vision, 16)
    v, g = vision.num("hidden_size", default=1152), vision.num("intermediate_size", default=4304)
    layers, out = vision.num("depth", default=27), vision.num("out_hidden_size", default=3584)
    blocks = Encoder(layers, v, heads, v / heads, g, trunks.plain_vectors(v, g))
    deep = vision.length("deepstack_visual_indexes", deepstack) if deepstack else 0.0
    if not deepstack:
        vision.ignore("deepstack_visual_indexes")
    mergers: list[Matrix] = [matrix for i in range(int(deep)) for matrix in _merger(f"deepstack_{i}", v, side, out)]
    beside = vision.num("num_position_embeddings", default=2304) * v + 2.0 * v + deep * 2.0 * v * side**2
    first: tuple[Matrix | Encoder, ...] = (trunks.embedding(vision, v, patch, True, frames), blocks)
    parts = (*first, *_merger("merger", v, side, out), *mergers)
    return _tower(parts, beside, patch, side, frames)


def qwen3_5(c: Wrapper) -> tuple[Tower, ...]:
    """As Qwen3-VL, without further mergers."""
    return qwen3_vl(c, deepstack=0)


def ernie(c: Wrapper) -> tuple[Tower, ...]:
    """ERNIE 4.5 VL: Qwen2-VL's blocks over single frames, a LayerNorm; a resampler merges patches of a frame and then frames, each by two products and a LayerNorm, and one product
    with a norm leads into the language model."""
    vision = c.table("vision_config")
    v, layers = vision.num("hidden_size", "embed_dim", default=1280), vision.num("depth", default=32)
    g = (
        vision.num("mlp_ratio", default=4) * v
        if vision.values.get("mlp_ratio")
        else vision.num("intermediate_size", default=5120)
    )
    vision.ignore("num_heads")  # of no weight, and images are not timed
    patch, side = vision.side("patch_size", 14), vision.num("spatial_merge_size", default=2)
    frames = vision.num("temporal_merge_size", default=2)
    blocks = Encoder(layers, v, 1.0, v, g, trunks.plain_vectors(v, g))
    wide, rows = v * side**2, Rows(1.0 / side**2)
    resampler = (
        *trunks.two(("spatial_fc1", "spatial_fc2"), wide, wide, wide, rows), *trunks.two(("temporal_fc1", "temporal_fc2"), wide * frames, wide, wide, rows),
        Matrix("mlp", wide, c.hidden, rows),
    )  # fmt: skip
    why = "tokens of images pass experts of their own"
    beside = 2.0 * v + 4.0 * wide + c.hidden
    parts = (trunks.embedding(vision, v, patch, False), blocks, *resampler)
    return (Tower("vision tower", "vision_config", parts, beside, patch, side, None, rows, why),)


WRAPPERS: dict[str, Rule] = {
    "ernie4_5_vl_moe": ernie, "ernie4_5_moe_vl": ernie,
    "qwen2_vl": qwen2_vl, "qwen2_5_vl": qwen2_5_vl, "exaone4_5": qwen2_5_vl, "qwen3_vl": qwen3_vl, "qwen3_vl_moe": qwen3_vl, "cosmos3_omni": qwen3_vl,
    "qwen3_5": qwen3_5, "qwen3_5_moe": qwen3_5, "qwen4_exp": qwen3_5,
}  # fmt: skip
