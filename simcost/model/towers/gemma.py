"""Gemma 3, PaliGemma, Gemma 4: SigLIP or Gemma 4's own encoder, and one matrix into the language model.

Sources: Hugging Face `modeling_gemma3.py`, `modeling_paligemma.py`, `modeling_gemma4.py`.
"""

from __future__ import annotations

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


def gemma3n(c: Wrapper) -> tuple[Tower, ...]:
    """Raises Uncounted: the config names a MobileNet and states none of its sizes."""
    raise Uncounted(f"a network that is stated by name alone ({c.table('vision_config').raw('architecture')})")


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
