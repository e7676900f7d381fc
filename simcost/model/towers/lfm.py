"""LFM2-VL: SigLIP 2, whose images keep their shape, and two products over four patches. LFM3-VL: layers of spatial convolutions and of attention with grouped heads and norms of heads, gated FFNs, the same projector.

Sources: Hugging Face `modeling_lfm2_vl.py`, `modeling_siglip2.py`, `modeling_lfm3_vl.py`.
"""

from __future__ import annotations

from simcost.blocks.tower.tower import Encoder, Rows, Tower
from simcost.model.tower_parts import trunks
from simcost.model.tower_parts.table import Rule, Uncounted, Wrapper

_KINDS = ["conv", "conv", *["full_attention", "conv"] * 6]  # of the class, at its own depth
_CONVOLUTIONS = "its spatial convolutions have no time here"


def lfm2_vl(c: Wrapper) -> tuple[Tower, ...]:
    """Patches side by side, a LayerNorm over them where it is not switched off, two products."""
    vision = c.table("vision_config")
    kind = vision.raw("model_type", default="siglip2_vision_model")
    if kind not in ("siglip2_vision_model", "lfm2_vl"):
        raise Uncounted(f"vision_config.model_type = {kind!r} is not known")
    v, g, layers, heads, patch, _ = trunks.Sizes().read(vision)
    vision.taken.pop("image_size", None)  # which the class has not
    beside = vision.num("num_patches", default=256) * v + 2.0 * v
    if vision.flag("vision_use_head", True):
        beside += trunks.pooling(v, g)
    blocks = Encoder(layers, v, heads, v / heads, g, trunks.plain_vectors(v, g))
    trunk = trunks.Trunk(v, (trunks.embedding(vision, v, patch, True), blocks), beside, patch, None)
    side, middle = c.own.num("downsample_factor", default=2), c.own.num("projector_hidden_size", default=2560)
    bias, inner = c.own.flag("projector_bias", True), v * side**2
    norm = 2.0 * inner if c.own.flag("projector_use_layernorm", True) else 0.0
    rows = Rows(1.0 / side**2)
    return (trunks.tower(trunk, trunks.two(trunks.LINEARS, inner, middle, c.hidden, rows, bias), norm, rows, side),)


def lfm3_vl(c: Wrapper) -> tuple[Tower, ...]:
    """`layer_types` says which layers convolve: a product to three widths, a kernel for each channel, a product back."""
    vision = c.table("vision_config")
    layers = vision.num("num_hidden_layers", default=14)
    kinds = vision.raw("layer_types", default=_KINDS if layers == len(_KINDS) else None)
    if not isinstance(kinds, list) or len(kinds) != layers or set(kinds) - {"conv", "full_attention"}:
        raise Uncounted("vision_config.layer_types does not say of every layer whether it is conv or full_attention")
    v, g = vision.num("hidden_size", default=1024), vision.num("intermediate_size", default=2560)
    heads, kv = vision.num("num_attention_heads", default=16), vision.num("num_key_value_heads", default=8)
    patch, side, frames = (
        vision.side("patch_size", 16),
        vision.num("spatial_merge_size", default=2),
        vision.num("temporal_patch_size", default=2),
    )
    kernel, convolve = vision.num("conv_kernel_size", default=3), float(kinds.count("conv"))
    middle, bias = c.own.num("projector_hidden_size", default=4096), c.own.flag("projector_bias", True)
    attend = Encoder(layers - convolve, v, heads, v / heads, g, 2.0 * v / heads + 2.0 * v, gated=True, kv_heads=kv)
    beside = convolve * (4.0 * v * v + kernel**2 * v + 3.0 * v * g + 2.0 * v) + v
    rows = Rows(1.0 / side**2)
    projector = trunks.two(trunks.LINEARS, v * side**2, middle, c.hidden, rows, bias)
    trunk = trunks.Trunk(v, (trunks.embedding(vision, v, patch, False, frames), attend), beside, patch, None)
    return (trunks.tower(trunk, projector, 2.0 * v, rows, side, _CONVOLUTIONS),)


WRAPPERS: dict[str, Rule] = {"lfm2_vl": lfm2_vl, "lfm3_vl": lfm3_vl}
