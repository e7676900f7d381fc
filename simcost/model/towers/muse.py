"""Muse Spark: a tower for images with windows, and one for sounds of convolutions alone.

Source: Hugging Face `modeling_muse_spark.py`.
"""

from __future__ import annotations

from math import prod

from simcost.blocks.tower.tower import Encoder, Matrix, Rows, Tower
from simcost.errors import SpecError
from simcost.model.tower_parts import trunks
from simcost.model.tower_parts.table import Rule, Table, Uncounted, Wrapper

_FULL = 4  # layers of which one sees the whole image, as does the last


def muse_spark(c: Wrapper) -> tuple[Tower, ...]:
    """Both towers."""
    return (_vision(c), _audio(c))


def _vision(c: Wrapper) -> Tower:
    """A table of positions, LayerNorms, biases; square windows as high as the table; patches merged side by side, three products without biases."""
    vision = c.table("vision_config")
    v, g = vision.num("hidden_size", default=1536), vision.num("intermediate_size", default=8960)
    layers, heads = vision.num("num_hidden_layers", default=50), vision.num("num_attention_heads", default=16)
    patch, frames, merge = (
        vision.side("patch_size", 14),
        vision.num("patch_temporal", default=2),
        vision.num("merge_size", default=2),
    )
    high = vision.num("pos_emb_height", default=32)
    table = high * vision.num("pos_emb_width", default=32)
    vision.used.add("max_position_embeddings")
    out, inner = c.own.num("out_hidden_size", default=6144), c.own.num("projector_hidden_size", default=4096)
    if out != v * merge**2:
        raise Uncounted("out_hidden_size is not the width of merged patches")
    rows = Rows(1.0 / merge**2)
    parts = (
        trunks.embedding(vision, v, patch, False, frames),
        Encoder(
            layers, v, heads, v / heads, g, trunks.plain_vectors(v, g), windowed=_windowed(vision, int(layers)), window=high**2
        ),
        *trunks.two(("adapter_fc1", "adapter_fc2"), out, inner, inner, rows, False),
        Matrix("vision_projection", inner, c.hidden, rows, bias=False),
    )  # fmt: skip
    return Tower("vision tower", "vision_config", parts, table * v + 4.0 * v, patch, merge, None, rows)


def _windowed(vision: Table, layers: int) -> float:
    """Layers that see a window. Raises SpecError for a list of another length or of other words."""
    kinds = vision.raw("layer_types")
    if kinds is None:
        return float(sum((i + 1) % _FULL != 0 and i != layers - 1 for i in range(layers)))
    words = {"window_attention", "full_attention"}
    if not isinstance(kinds, list) or len(kinds) != layers or not set(map(str, kinds)) <= words:
        raise SpecError(
            f"{vision.where}: 'vision_config.layer_types' must name {' or '.join(sorted(words))} for each of {layers} layers"
        )
    return float(kinds.count("window_attention"))


def _audio(c: Wrapper) -> Tower:
    """A pyramid: at each stage frames side by side, a product, a norm, then blocks of a convolution of each channel, a norm and an FFN; a norm, a product and a norm behind it."""
    audio = c.table("audio_config")
    widths, patches, depths = (
        _list(audio, key, default)
        for key, default in (
            ("hidden_sizes", (256, 512, 1024, 2048)),
            ("patch_sizes", (16, 6, 5, 4)),
            ("depths", (2, 2, 2, 2)),
        )
    )
    stages = audio.num("num_hidden_layers", default=4)
    if not len(widths) == len(patches) == len(depths) == stages:
        raise Uncounted("audio_config: hidden_sizes, patch_sizes and depths differ in length")
    ratio, kernel = float(audio.raw("mlp_ratio", default=4.0)), audio.num("conv_kernel_size", default=7)
    out = audio.num("out_hidden_size", default=8192)
    found, came = 0.0, 1.0
    for width, patch, depth in zip(widths, patches, depths, strict=True):
        wide = float(int(width * ratio))
        block = (kernel + 1.0) * width + width + 2.0 * width * wide + wide + width
        found += came * patch * width + 2.0 * width + depth * block
        came = width
    found += came + came * out + 2.0 * out
    said = f"a token of sound stands for {prod(patches):.0f} samples"
    return Tower("audio tower", "audio_config", (), found, said=said)


def _list(audio: Table, key: str, default: tuple[int, ...]) -> list[float]:
    """A list of numbers above 0. Raises SpecError for anything else."""
    value = audio.raw(key, default=list(default))
    if not isinstance(value, (list, tuple)):
        raise SpecError(f"{audio.where}: 'audio_config.{key}' must be a list of numbers, not {value!r}")
    return [Table({key: one}, audio.name, audio.where).num(key) for one in value]


WRAPPERS: dict[str, Rule] = {"muse_spark": muse_spark}
