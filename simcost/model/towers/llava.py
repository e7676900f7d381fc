"""LLaVA and its kin: CLIP, SigLIP or Pixtral, with two products into the language model.

Sources: Hugging Face `modeling_llava.py`, `modeling_llava_next.py`, `modeling_llava_onevision.py`, `modeling_vipllava.py`, `modeling_video_llava.py`,
`modeling_aya_vision.py`, `modeling_cohere2_vision.py`, `modeling_deepseek_vl.py`, `modeling_video_llama_3.py`.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from math import ceil

from simcost.blocks.tower._tiles import Tiles
from simcost.blocks.tower.tower import PATCHES, Encoder, Matrix, Rows, Tower, Video
from simcost.model.tower_parts import trunks
from simcost.model.tower_parts.table import Rule, Wrapper
from simcost.num import Num

_SIZES = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]
_ONEVISION = [[384 * y, 384 * x] for y in range(1, 7) for x in range(1, 7)]
_MOST = "anyres_max_"


def _llava(c: Wrapper, kind: str = trunks.CLIP, layers: int = 1, norm: bool = False) -> tuple[Tower, ...]:
    """`kind`: the encoder where the table names none; `layers`: whose outputs are joined, where no key says; `norm`: a LayerNorm over them."""
    trunk = trunks.of(c.table("vision_config"), kind)
    projector, more = _projector(c, trunk, layers, norm)
    return (trunks.tower(trunk, projector, more, PATCHES),)


def _projector(c: Wrapper, trunk: trunks.Trunk, layers: int = 1, norm: bool = False) -> tuple[tuple[Matrix, ...], Num]:
    """Two products, and the parameters of a norm before them."""
    c.own.ignore("vision_feature_select_strategy")
    joined = c.own.length("vision_feature_layer", layers) * trunk.width
    bias = norm or c.own.flag("multimodal_projector_bias", True)
    return trunks.two(trunks.LINEARS, joined, c.hidden, c.hidden, bias=bias), 2.0 * joined if norm else 0.0


def next_(c: Wrapper, kind: str = trunks.CLIP, one: bool = False) -> tuple[Tower, ...]:
    """LLaVA-NeXT, and OneVision (`one`): pictures are cut by their shape, and rows of patches end in a learned line break. OneVision scales long ones down, and cuts no picture beside others."""
    trunk = trunks.of(c.table("vision_config"), kind)
    projector, more = _projector(c, trunk)
    ratio = str(c.own.raw("vision_aspect_ratio", default=f"{_MOST}9")) if one else ""
    most, sizes = ratio.removeprefix(_MOST), c.own.pairs("image_grid_pinpoints", _ONEVISION if one else _SIZES)
    refuses = f"vision_aspect_ratio = {ratio!r} is not known" if one and not most.isdecimal() else ""
    side, tiles = trunk.side, None
    if side is None:
        refuses = "its encoder keeps the size of images, and its processor cuts them"
    elif any(length % side for size in sizes for length in size):
        refuses = f"image_grid_pinpoints has sizes that are no multiples of the tower's {side:.0f} pixels"
    else:
        tiles = Tiles(sizes, side, side // trunk.patch, float(most) if most.isdecimal() else 0.0, alone=one)
    found = trunks.tower(trunk, projector, more + c.hidden, PATCHES, refuses=refuses, tiles=tiles)
    if not one or side is None:
        return (found,)
    return (
        replace(found, video=Video(tokens=ceil(side // trunk.patch / 2.0) ** 2, more=1.0)),
    )  # frames shrink to a half, and a line break ends the video


def video_llava(c: Wrapper) -> tuple[Tower, ...]:
    """Two towers of one table, one for images and one for videos, and one projector; images pass the first."""
    (found,) = _llava(c)
    trunk = trunks.of(c.table("vision_config"), trunks.CLIP)
    videos = trunks.tower(trunk, (), 0.0, PATCHES).parameters
    return (replace(found, beside=found.beside + videos),)


def aligned(c: Wrapper, norm: bool) -> tuple[Tower, ...]:
    """Aya Vision and Command A Vision: patches merged by `downsample_factor`, a gated product, one into the language model. `norm`: a LayerNorm before."""
    trunk = trunks.of(c.table("vision_config"), trunks.SIGLIP)
    c.own.ignore("vision_feature_layer", "vision_feature_select_strategy")
    factor = c.own.num("downsample_factor", default=2)
    rows, inner = Rows(1.0 / factor**2), trunk.width * factor**2
    stated = c.own.raw("alignment_intermediate_size")
    middle = c.own.num("alignment_intermediate_size", default=36864) if stated is not None or not norm else c.hidden
    projector = (Matrix("linear_1", inner, middle, rows), Matrix("linear_2", middle / 2.0, c.hidden, rows))
    return (trunks.tower(trunk, projector, 2.0 * inner if norm else 0.0, rows, multiple=factor),)


def deepseek_vl(c: Wrapper) -> tuple[Tower, ...]:
    """SigLIP and an aligner of two products."""
    trunk = trunks.of(c.table("vision_config"), trunks.SIGLIP)
    return (trunks.tower(trunk, trunks.two(("linear1", "linear2"), trunk.width, c.hidden, c.hidden), 0.0, PATCHES),)


def video_llama_3(c: Wrapper) -> tuple[Tower, ...]:
    """SigLIP's blocks with rotary positions and no head: images keep their size; two products for every patch, or for what is left of merged ones."""
    vision = c.table("vision_config")
    v, g, layers, heads, patch, _ = trunks.Sizes().read(vision)
    vision.taken.pop("image_size", None)  # which the class has not
    blocks = Encoder(layers, v, heads, v / heads, g, trunks.plain_vectors(v, g))
    trunk = trunks.Trunk(v, (trunks.embedding(vision, v, patch, True), blocks), 2.0 * v, patch, None)
    why = "how many patches are merged is the processor's choice"
    return (trunks.tower(trunk, trunks.two(("readout_0", "readout_2"), v, c.hidden, c.hidden), 0.0, PATCHES, refuses=why),)  # fmt: skip


WRAPPERS: dict[str, Rule] = {
    "llava": _llava,
    "llava_next": next_,
    "llava_next_video": next_,
    "llava_onevision": partial(next_, kind=trunks.SIGLIP, one=True),
    "vipllava": partial(_llava, layers=5, norm=True),
    "video_llava": video_llava,
    "aya_vision": partial(aligned, norm=True),
    "cohere2_vision": partial(aligned, norm=False),
    "deepseek_vl": deepseek_vl,
    "video_llama_3": video_llama_3,
}
