"""Gemma 3, PaliGemma, Gemma 3n, Gemma 4: SigLIP or Gemma 4's own encoder, and one matrix into the language model.

Sources: Hugging Face `modeling_gemma3.py`, `modeling_paligemma.py`, `modeling_gemma3n.py`, `modeling_gemma4.py`.
"""

from __future__ import annotations

from typing import Any

from simcost.blocks.tower.tower import Encoder, Matrix, Rows, Tower
from simcost.model.tower_parts import trunks
from simcost.model.tower_parts.table import Rule, Table, Uncounted, Wrapper
from simcost.num import Num


def gemma3(c: Wrapper) -> tuple[Tower, ...]:
    """Patches are pooled to `mm_tokens_per_image`, normed, and multiplied by one matrix."""
    trunk = trunks.of(c.table("vision_config"), trunks.SIGLIP)
    tokens = Rows(0.0, c.own.num("mm_tokens_per_image", default=256))
    projector = Matrix("mm_input_projection", trunk.width, c.hidden, tokens, bias=False)
    return (trunks.tower(trunk, (projector,), trunk.width, tokens),)


def paligemma(c: Wrapper) -> tuple[Tower, ...]:
    """One product with a bias for every patch."""
    vision = c.table("vision_config")
    trunk = trunks.of(vision, trunks.SIGLIP)
    vision.ignore("num_image_tokens", "projection_dim")
    c.own.used.update(("projection_dim", "hidden_size"))
    stated = c.own.values.get("projection_dim")
    out = c.hidden if stated is None else c.own.num("projection_dim")
    return (trunks.tower(trunk, (Matrix("linear", trunk.width, out),), 0.0, Rows()),)


_NETWORKS = {
    "mobilenetv5_300m_enc": (294_126_912.0, 2048.0)
}  # parameters of timm 1.0.31's create_model on the meta device, and the width of its output


def gemma3n(c: Wrapper) -> tuple[Tower, ...]:
    """A network that the config names and states no size of, and a conformer; each with a table of tokens, two norms and a product into the language model. Raises Uncounted for another network."""
    vision = c.table("vision_config")
    name = str(vision.raw("architecture", default="mobilenetv5_300m_enc"))
    width = vision.num("hidden_size", default=2048)
    if name not in _NETWORKS or width != _NETWORKS[name][1] or vision.raw("model_args"):
        raise Uncounted(f"a network that is stated by name alone ({name}, of width {width:.0f})")
    audio = c.table("audio_config")
    c.own.ignore("vision_soft_tokens_per_image", "audio_soft_tokens_per_image")
    vision.ignore("vocab_offset", "do_pooling", "num_classes", "label_names")
    why = "its network of convolutions is counted, and is not timed"
    seen = _NETWORKS[name][0] + _embedder(vision, width, c.hidden)
    return (
        Tower("vision tower", "vision_config", (), seen, refuses=why),
        Tower(
            "audio tower",
            "audio_config",
            (),
            _conformer(audio) + _embedder(audio, audio.num("hidden_size", default=1536), c.hidden),
        ),
    )


def _embedder(table: Table, width: float, d: Num) -> Num:
    return table.num("vocab_size", default=128) * width + 2.0 * width + width * d


def _conformer(audio: Table) -> float:
    """Blocks of two FFNs, attention with relative keys and a convolution, each between norms of one vector; two convolutions over time and mel bins before them."""
    audio.ignore(
        "conf_attention_chunk_size",
        "conf_attention_context_left",
        "conf_attention_context_right",
        "conf_reduction_factor",
        "vocab_offset",
    )
    a, layers = audio.num("hidden_size", default=1536), audio.num("conf_num_hidden_layers", default=12)
    heads, kernel = audio.num("conf_num_attention_heads", default=8), audio.num("conf_conv_kernel_size", default=5)
    layer = 2.0 * (8.0 * a * a + 2.0 * a) + 5.0 * a * a + a / heads + 2.0 * a + 3.0 * a * a + kernel * a + 2.0 * a + a
    stem, colours, bins = 0.0, 1.0, audio.num("input_feat_size", default=128)
    shapes = [audio.raw(f"sscp_conv_{key}", default=value) for key, value in _STEM.items()]
    for channels, kernel_, stride in zip(*(_two(shape) for shape in shapes), strict=True):
        (tall, wide), step = _two(kernel_), _two(stride)[1]
        stem += channels * colours * tall * wide + channels
        bins, colours = (bins + 2.0 - wide) // step + 1.0, channels
    return layers * layer + stem + colours * bins * a


_STEM = {"channel_size": [128, 32], "kernel_size": [[3, 3], [3, 3]], "stride_size": [[2, 2], [2, 2]]}


def _two(value: Any) -> Any:
    """A list of two. Raises Uncounted for anything else."""
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise Uncounted(f"audio_config: convolutions of another form than pairs ({value!r})")
    return value


def gemma4(c: Wrapper) -> tuple[Tower, ...]:
    """Each of vision and audio where its table is stated: a null table is no tower."""
    found = []
    if c.stated("vision_config"):
        found.append(_vision(c.table("vision_config"), c.hidden))
    if c.stated("audio_config"):
        found.append(_audio(c.table("audio_config"), c.hidden))
    return tuple(found)


def _vision(vision: Table, d: Num) -> Tower:
    """Gated blocks with four RMSNorms and norms of queries and keys, a table of positions for each axis, patches pooled by `pooling_kernel_size`."""
    v, g = vision.num("hidden_size", default=768), vision.num("intermediate_size", default=3072)
    layers, heads = vision.num("num_hidden_layers", default=16), vision.num("num_attention_heads", default=12)
    kv = vision.num("num_key_value_heads", default=12)
    width, patch = vision.num("head_dim", default=64), vision.side("patch_size", 16)
    positions = 2.0 * vision.num("position_embedding_size", default=10240) * v
    pooled = vision.num("pooling_kernel_size", default=3)
    vision.ignore("attention_bias", "global_head_dim", "image_seq_length", "default_output_length")
    blocks = Encoder(layers, v, heads, width, g, 4.0 * v + 2.0 * width, gated=True, kv_heads=kv)
    tokens = Rows(1.0 / pooled**2)
    parts = (
        trunks.embedding(vision, v, patch, False),
        blocks,
        Matrix("embedding_projection", v, d, tokens, bias=False),
    )
    return Tower("vision tower", "vision_config", parts, positions, patch, pooled, None, tokens)


def _audio(audio: Table, d: Num) -> Tower:
    """A conformer: two half FFNs, attention with relative keys, a convolution, and two convolutions over time and frequency before it."""
    audio.ignore(
        "attention_chunk_size", "attention_context_left", "attention_context_right", "attention_invalid_logits_value"
    )
    a, layers = audio.num("hidden_size", default=1024), audio.num("num_hidden_layers", default=12)
    heads, kernel = audio.num("num_attention_heads", default=8), audio.num("conv_kernel_size", default=5)
    first, second = audio.raw("subsampling_conv_channels", default=[128, 32])
    out = audio.num("output_proj_dims", default=1536)
    ffns = 2.0 * (8.0 * a * a + 2.0 * a)
    attention = 5.0 * a * a + a / heads
    convolution = 3.0 * a * a + kernel * a + 2.0 * a
    layer = ffns + attention + convolution + 3.0 * a
    stem = 9.0 * first + first + 9.0 * first * second + second + _BINS / 4.0 * second * a
    return Tower("audio tower", "audio_config", (), layers * layer + stem + a * out + out + out * d)


_BINS = 128.0  # mel bins, which the class fixes; two strides of 2 leave a quarter of them
WRAPPERS: dict[str, Rule] = {
    "gemma3": gemma3,
    "shieldgemma2": gemma3,
    "paligemma": paligemma,
    "gemma3n": gemma3n,
    "gemma4": gemma4,
}
