"""Fuyu: no encoder; one product makes a token of every patch.

Source: Hugging Face `modeling_fuyu.py`.
"""

from __future__ import annotations

from simcost.blocks.tower.tower import PATCHES, Matrix, Tower
from simcost.model.tower_parts import trunks
from simcost.model.tower_parts.table import Rule, Wrapper


def fuyu(c: Wrapper) -> tuple[Tower, ...]:
    """The keys of the patches stand beside the language model's table, in none of their own."""
    patch, side = c.own.num("patch_size", default=30), c.own.num("image_size", default=300)
    channels = c.own.num("num_channels", default=3)
    pixels = patch**2 * channels
    product = Matrix("vision_embed_tokens", pixels, c.hidden)
    return (trunks.tower(trunks.Trunk(pixels, (), 0.0, patch, side), (product,), 0.0, PATCHES),)


WRAPPERS: dict[str, Rule] = {"fuyu": fuyu}
