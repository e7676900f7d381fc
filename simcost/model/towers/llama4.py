"""Llama 4: a linear embedding of patches, a class token, pixels shuffled to a quarter, an adapter, one product into the language model.

Source: Hugging Face `modeling_llama4.py`.
"""

from __future__ import annotations

from simcost.blocks.tower.tower import Encoder, Matrix, Rows, Tower
from simcost.model.tower_parts import trunks
from simcost.model.tower_parts.table import Rule, Wrapper


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


def mllama(c: Wrapper) -> tuple[Tower, ...]:
    """Llama 3.2 Vision: blocks without biases of attention, then `num_global_layers` with two gates each; tables of positions, tiles and aspect ratios, each gated; one product
    of the last output beside those of `intermediate_layers_indices`."""
    vision = c.table("vision_config")
    v, g = vision.num("hidden_size", default=1280), vision.num("intermediate_size", default=5120)
    layers = vision.num("num_hidden_layers", default=32)
    global_ = vision.num("num_global_layers", default=8)
    heads = vision.num("attention_heads", "num_attention_heads", default=16)
    patch, side = vision.side("patch_size", 14), vision.side("image_size", 448)
    tiles, out = vision.num("max_num_tiles", default=4), vision.num("vision_output_dim", default=7680)
    ratios = vision.length("supported_aspect_ratios", 8) + 1.0
    vision.ignore("intermediate_layers_indices")
    rows = (side // patch) ** 2 + 1.0
    block = Encoder(layers + global_, v, heads, v / heads, g, g + 5.0 * v, rows=Rows(1.0, 1.0))
    tables = 2.0 * (ratios * tiles * v + 1.0) + 1.0 + rows * v + ratios * tiles * rows * v
    beside = v + tables + 4.0 * v + 2.0 * global_
    trunk = trunks.Trunk(v, (trunks.embedding(vision, v, patch, False), block), beside, patch, side)
    why = "images pass layers of cross-attention of the language model, whose time with images is not modelled"
    return (trunks.tower(trunk, (Matrix("multi_modal_projector", out, c.hidden),), 0.0, Rows(), refuses=why),)


WRAPPERS: dict[str, Rule] = {"llama4": llama4, "mllama": mllama}
