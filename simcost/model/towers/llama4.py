"""Llama 4: a linear embedding of patches, a class token, pixels shuffled to a quarter, an adapter, one product into the language model.

Source: Hugging Face `modeling_llama4.py`.
"""

from __future__ import annotations

from simcost.blocks.tower.tower import Encoder, Matrix, Rows, Tower
from simcost.model.towers import _trunks as trunks
from simcost.model.towers._table import Rule, Wrapper


def llama4(c: Wrapper) -> tuple[Tower, ...]:
    """LayerNorms before and after the blocks, positions of the patches and of the class token."""
    vision = c.table("vision_config")
    v, g, layers, heads, patch, side = trunks.Sizes(768.0, 5632.0, 34.0, 16.0, 14.0, 448.0).read(vision)
    inner, middle = vision.num("projector_input_dim", default=4096), vision.num("projector_output_dim", default=4096)
    out = vision.num("vision_output_dim", default=7680)
    ratio = vision.num("pixel_shuffle_ratio", default=0.5)
    vision.ignore("multi_modal_projector_bias")  # which the class does not read
    rows = Rows(ratio**2)
    blocks = Encoder(layers, v, heads, v / heads, g, trunks.plain_vectors(v, g), rows=Rows(1.0, 1.0))
    beside = v + ((side // patch) ** 2 + 1.0) * v + 4.0 * v
    trunk = trunks.Trunk(v, (trunks.embedding(vision, v, patch, False), blocks), beside, patch, side)
    projector = (
        Matrix("adapter_fc1", g, inner, rows, bias=False),
        Matrix("adapter_fc2", middle, middle, rows, bias=False),
        Matrix("linear_1", out, c.hidden, rows, bias=False),
    )
    return (trunks.tower(trunk, projector, 0.0, rows),)


WRAPPERS: dict[str, Rule] = {"llama4": llama4}
