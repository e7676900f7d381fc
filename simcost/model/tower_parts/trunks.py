"""Encoders that several wrappers share: SigLIP, CLIP and Pixtral, and what a block has in norms and biases.

Sources: Hugging Face `modeling_siglip.py`, `modeling_clip.py`, `modeling_pixtral.py`.
"""

from __future__ import annotations

from typing import NamedTuple

from simcost.blocks.tower._tiles import Tiles
from simcost.blocks.tower.tower import PATCHES, Encoder, Matrix, Part, Rows, Tower
from simcost.model.tower_parts.table import Table, Uncounted
from simcost.num import Num

SIGLIP, CLIP, PIXTRAL = "siglip_vision_model", "clip_vision_model", "pixtral"
CUT = "a picture is one square of {side:.0f} x {side:.0f} pixels for the whole, and squares of its parts by its shape (image_grid_pinpoints)"
TILES = "one image is one square of {side:.0f} x {side:.0f} pixels; where a processor cuts pictures into several, each counts as an image"


class Trunk(NamedTuple):
    """What a projector builds on: `width` of its output, `parts` to run, parameters `beside` them, `patch` and `side` in pixels (`side` None: images keep
    their size)."""

    width: float
    parts: tuple[Part, ...]
    beside: float
    patch: float
    side: float | None


class Sizes(NamedTuple):
    """Of an encoder of square images with learned positions, as a class has them where no key says."""

    hidden: float = 768.0
    intermediate: float = 3072.0
    layers: float = 12.0
    heads: float = 12.0
    patch: float = 16.0
    side: float = 224.0

    def read(self, vision: Table) -> Sizes:
        """What the table states, and these for the rest."""
        return Sizes(
            vision.num("hidden_size", default=self.hidden), vision.num("intermediate_size", default=self.intermediate),
            vision.num("num_hidden_layers", default=self.layers), vision.num("num_attention_heads", default=self.heads),
            vision.side("patch_size", self.patch), vision.side("image_size", self.side),
        )  # fmt: skip


_BASE = Sizes()


def plain_vectors(v: float, g: float) -> float:
    """Biases of four projections and of two products, two LayerNorms."""
    return 4.0 * v + g + v + 4.0 * v


def channels(vision: Table) -> float:
    """Colours of a pixel: three where no key says, which is no news."""
    found = vision.num("num_channels", "in_channels", "in_chans", default=3)
    vision.taken.pop("num_channels", None)
    return found


def embedding(vision: Table, v: float, patch: float, bias: bool, frames: float = 1.0) -> Matrix:
    """The product that makes a row of a patch of `frames` images."""
    return Matrix("patch_embedding", channels(vision) * frames * patch * patch, v, bias=bias, cut=False)


def tower(trunk: Trunk, projector: tuple[Part, ...], more: Num, tokens: Rows, multiple: float = 1.0, refuses: str = "", tiles: Tiles | None = None) -> Tower:  # fmt: skip
    """A vision tower: a trunk, its projector, and `more` parameters that no product reads; `tiles`: how its processor cuts pictures."""
    said = "" if trunk.side is None else (TILES if tiles is None else CUT).format(side=trunk.side)
    return Tower(
        "vision tower", "vision_config", (*trunk.parts, *projector), trunk.beside + more, trunk.patch, multiple, trunk.side, tokens,
        refuses, said, tiles,
    )  # fmt: skip


def of(vision: Table, default: str) -> Trunk:
    """The trunk that `vision_config.model_type` names; `default`: the wrapper's own. Raises Uncounted for another one."""
    kind = str(vision.raw("model_type", default=default))
    if kind not in _TRUNKS:
        raise Uncounted(f"vision_config.model_type = {kind!r} is not known")
    return _TRUNKS[kind](vision)


def siglip(vision: Table, head: bool = True, defaults: Sizes = _BASE) -> Trunk:
    """Biases everywhere, a learned table of positions, a final LayerNorm; with `head` an idle pooling head, which only a key takes away."""
    v, g, layers, heads, patch, side = defaults.read(vision)
    beside = (side // patch) ** 2 * v + 2.0 * v
    if head and vision.flag("vision_use_head", True):
        beside += pooling(v, g)
    blocks = Encoder(layers, v, heads, v / heads, g, plain_vectors(v, g))
    return Trunk(v, (embedding(vision, v, patch, True), blocks), beside, patch, side)


def pooling(v: float, g: float) -> float:
    """Parameters of SigLIP's idle pooling head: a probe, attention, a LayerNorm, an FFN."""
    return v + 4.0 * v * v + 4.0 * v + 2.0 * v + 2.0 * v * g + g + v


def clip(vision: Table) -> Trunk:
    """A class token with a position of its own, LayerNorms before and after."""
    v, g, layers, heads, patch, side = Sizes(patch=32.0).read(vision)
    beside = v + ((side // patch) ** 2 + 1.0) * v + 4.0 * v
    blocks = Encoder(layers, v, heads, v / heads, g, plain_vectors(v, g), rows=Rows(1.0, 1.0))
    return Trunk(v, (embedding(vision, v, patch, False), blocks), beside, patch, side)


def pixtral(vision: Table) -> Trunk:
    """Gated blocks without biases, RMSNorms, rotary positions: images keep their size."""
    v, g = vision.num("hidden_size", default=1024), vision.num("intermediate_size", default=4096)
    layers, heads = vision.num("num_hidden_layers", default=24), vision.num("num_attention_heads", default=16)
    head_dim = v / heads
    if vision.raw("head_dim") not in (None, head_dim):
        raise Uncounted("vision_config: head_dim x num_attention_heads is not hidden_size")
    patch = vision.side("patch_size", 16)
    vision.ignore("image_size")
    return Trunk(v, (embedding(vision, v, patch, False), Encoder(layers, v, heads, head_dim, g, 2.0 * v, gated=True)), v, patch, None)  # fmt: skip


_TRUNKS = {SIGLIP: siglip, CLIP: clip, PIXTRAL: pixtral}


def two(names: tuple[str, str], inner: Num, middle: Num, out: Num, rows: Rows = PATCHES, bias: bool = True) -> tuple[Matrix, Matrix]:  # fmt: skip
    """A projector of two products."""
    return Matrix(names[0], inner, middle, rows, bias), Matrix(names[1], middle, out, rows, bias)


LINEARS = ("linear_1", "linear_2")
