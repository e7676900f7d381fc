"""LFM3-VL: layers of spatial convolutions and of attention with grouped heads and norms of heads, gated FFNs, a projector over four patches.

Source: Hugging Face `modeling_lfm3_vl.py`.
"""

from __future__ import annotations

from simcost.blocks.tower.tower import Encoder, Rows, Tower
from simcost.model.towers import _trunks as trunks
from simcost.model.towers._table import Rule, Uncounted, Wrapper

_KINDS = ["conv", "conv", *["full_attention", "conv"] * 6]  # of the class, at its own depth
_CONVOLUTIONS = "its spatial convolutions have no time here"


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


WRAPPERS: dict[str, Rule] = {"lfm3_vl": lfm3_vl}
