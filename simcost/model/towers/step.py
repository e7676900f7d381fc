"""Step-3.7: blocks with layer scale, two convolutions of stride 2, one product into the language model.

Source: Hugging Face `modeling_step3p7.py`.
"""

from __future__ import annotations

from simcost.blocks.tower.tower import Encoder, Matrix, Rows, Tower
from simcost.model.tower_parts import trunks
from simcost.model.tower_parts.table import Rule, Wrapper


def step3p7(c: Wrapper) -> tuple[Tower, ...]:
    """A table of positions without a class token, a LayerNorm before the blocks; each convolution doubles the width."""
    vision = c.table("vision_config")
    v, g, layers, heads, patch, side = trunks.Sizes(1536.0, 8960.0, 47.0, 16.0, 14.0, 728.0).read(vision)
    bias = c.own.flag("projector_bias", False)
    vision.ignore("mlp_ratio", "max_position_embeddings")
    blocks = Encoder(layers, v, heads, v / heads, g, trunks.plain_vectors(v, g) + 2.0 * v)
    half, quarter = Rows(0.25), Rows(0.0625)
    trunk = trunks.Trunk(
        v, (trunks.embedding(vision, v, patch, False), blocks), (side // patch) ** 2 * v + 2.0 * v, patch, side
    )
    projector = (
        Matrix("downsampler1", 9.0 * v, 2.0 * v, half),
        Matrix("downsampler2", 9.0 * 2.0 * v, 4.0 * v, quarter),
        Matrix("multi_modal_projector", 4.0 * v, c.hidden, quarter, bias),
    )
    return (trunks.tower(trunk, projector, 0.0, quarter),)


WRAPPERS: dict[str, Rule] = {"step3p7": step3p7}
