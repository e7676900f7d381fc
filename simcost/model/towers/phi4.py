"""Phi-4 multimodal: SigLIP with a head that stays idle, patches pooled to a quarter; a conformer for sounds with two projectors; in the repository's own files two adapters of the language model.

The adapter of a modality runs beside the language model's matrices for prompts with images or sounds alone; a text passes none. Most likely to be wrong: engines that hold one
adapter, or merge it. Sources: Hugging Face `modeling_phi4_multimodal.py`; microsoft/Phi-4-multimodal-instruct `modeling_phi4mm.py` (phi4mm: LoRA of qkv_proj, o_proj, gate_up_proj and down_proj).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from simcost.blocks.tower.tower import Rows, Tower
from simcost.errors import SpecError
from simcost.model.tower_parts import trunks
from simcost.model.tower_parts.table import Rule, Table, Uncounted, Wrapper
from simcost.num import Num

_SIGLIP = trunks.Sizes(1152.0, 4304.0, 27.0, 16.0, 14.0, 448.0)
_NESTED = ("relative_attention_bias_args", "nemo_conv_settings")
_ADAPTERS = ("vision_lora", "speech_lora")
_SPLITS = "its processor cuts pictures into squares by a rule of its own, and an adapter runs beside the language model"


def _vision(vision: Table, d: Num) -> Tower:
    """Pooled patches, two products, and two learned marks between squares."""
    v, g, *_ = _SIGLIP.read(vision)
    trunk = trunks.siglip(vision, head=False, defaults=_SIGLIP)
    vision.ignore("crop_size", "feature_layer")
    rows = Rows(0.25)
    more = 2.0 * v + trunks.pooling(v, g)
    return trunks.tower(
        trunk, trunks.two(("img_projection_up", "img_projection_down"), v, d, d, rows), more, rows, refuses=_SPLITS
    )


def _audio(audio: Table, key: str, d: Num) -> Tower:
    """Blocks of two FFNs, attention and a convolution; depthwise convolutions over time and mel bins before them; a table of relative positions."""
    a, g = (
        audio.num("hidden_size", "attention_dim", default=1024),
        audio.num("intermediate_size", "linear_units", default=1536),
    )
    layers, heads = audio.num("num_blocks", default=24), audio.num("num_attention_heads", "attention_heads", default=16)
    out, kernel = audio.num("ext_pw_out_channel", default=1024), audio.num("kernel_size", default=3)
    wide = a * audio.num("depthwise_multiplier", default=1)
    separable = audio.num("depthwise_separable_out_channel", "depthwise_seperable_out_channel", default=1024)
    mels, reduction = audio.num("input_size", default=80), audio.num("time_reduction", default=8)
    channels, buckets = audio.num("nemo_conv_channels", default=1024), audio.num("bias_max_distance", default=1000)
    rate = audio.num("downsample_rate", default=1)
    audio.ignore(
        "feature_layer",
        "left_chunk",
        "chunk_size",
        "activation_checkpointing",
        "encoder_embedding_config",
        "ext_pw_kernel_size",
        "bias_in_glu",
        "causal",
        "batch_norm",
    )
    ffn = 2.0 * a + 2.0 * a * g + 2.0 * g + g * a + a
    attention = 4.0 * (a * a + a)
    convolution = 2.0 * a + 2.0 * a * out + 2.0 * out + 2.0 * out
    convolution += wide * kernel + wide + wide * separable + separable + a * out + out
    layer = 2.0 * ffn + attention + convolution + 4.0 * a
    steps = int(math.log2(reduction))
    bins = mels
    for _ in range(steps):
        bins = math.floor((bins - 1.0) / 2.0 + 1.0)
    bins = audio.num("nemo_final_size", default=bins)  # which the class states in its files, and then reads
    audio.taken.pop("nemo_final_size", None)
    stem = 10.0 * channels + (steps - 1) * (10.0 * channels + channels * channels + channels) + channels * bins * a + a
    table = buckets * heads * (1.0 if audio.flag("bias_symmetric", False) else 2.0)
    projectors = 2.0 * (a * rate * d + d + d * d + d)
    return Tower("audio tower", key, (), layers * layer + stem + table + projectors)


def phi4_multimodal(c: Wrapper) -> tuple[Tower, ...]:
    """The class of transformers, which holds no adapter."""
    return _vision(c.table("vision_config"), c.hidden), _audio(c.table("audio_config"), "audio_config", c.hidden)


def phi4mm(c: Wrapper) -> tuple[Tower, ...]:
    """The repository's own class: the encoder of images is fixed, that of sounds stands in `audio_processor`, and both adapters are in the checkpoint. Raises Uncounted for other parts than
    those of its code and for an adapter that is absent, SpecError for one without a rank."""
    c.own.used.update(("embd_layer", "audio_processor"))
    layers = _inside(c.config, "embd_layer", c.where)
    images, sounds = (_inside(layers, key, c.where) for key in ("image_embd_layer", "audio_embd_layer"))
    known = (
        images.get("image_token_compression_cls") == "avg_pool_2d"
        and images.get("projection_cls") == sounds.get("projection_cls") == "mlp"
    )
    if not known or sounds.get("use_qformer") or sounds.get("use_conv_downsample"):
        raise Uncounted("embd_layer describes other parts than those of Phi-4-multimodal-instruct")
    held = dict(_inside(_inside(c.config, "audio_processor", c.where), "config", c.where))
    bias, stem = (_inside(held, key, c.where) for key in _NESTED)
    held = {key: value for key, value in held.items() if key not in _NESTED}
    if bias.get("type") != "t5" or held.pop("input_layer", None) != "nemo_conv":
        raise Uncounted("audio_processor describes another encoder than that of Phi-4-multimodal-instruct")
    held |= {
        "bias_max_distance": bias.get("t5_bias_max_distance"),
        "nemo_conv_channels": stem.get("conv_channels"),
        "downsample_rate": sounds.get("downsample_rate"),
    }
    table = c.tables.setdefault("audio_processor", Table(held, "audio_processor.config", c.where))
    audio = _audio(table, "audio_config", c.hidden)
    audio = replace(audio, beside=audio.beside + 2.0 * table.num("input_size"))  # mean and deviation of each bin
    seen = _vision(Table({"hidden_size": _SIGLIP.hidden}, "vision_config", c.where), c.hidden)
    return (
        seen,
        audio,
        Tower("adapters for images and sounds", "adapters", (), sum((_adapter(c, key) for key in _ADAPTERS), 0.0)),
    )


def _adapter(c: Wrapper, key: str) -> Num:
    """Two matrices of rank r beside each of four products of every layer."""
    if c.own.raw(key) is None:
        raise Uncounted(f"{key} is absent, and the class has an adapter")
    rank = Table(_inside(c.config, key, c.where), key, c.where).num("r")
    d, g = c.hidden, c.own.num("intermediate_size")
    head = d / c.own.num("num_attention_heads")
    kv = 2.0 * head * c.own.num("num_key_value_heads")
    widths = (d + d + kv) + (d + d) + (d + 2.0 * g) + (g + d)
    return c.own.num("num_hidden_layers") * rank * widths


def _inside(of: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    """A table in a table, empty where it is absent. Raises SpecError for anything else."""
    value = of.get(key)
    if value is not None and not isinstance(value, Mapping):
        raise SpecError(f"{where}: '{key}' must be a table, not {value!r}")
    return value or {}


WRAPPERS: dict[str, Rule] = {"phi4_multimodal": phi4_multimodal, "phi4mm": phi4mm}
