"""Encoders of sound: Whisper's in Qwen2-Audio, Qwen2.5-Omni, Voxtral, GLM-ASR and MOSS; Qwen3's own. They are counted; no time is given for a sound.

Sources: Hugging Face `modeling_qwen2_audio.py`, `modeling_voxtral.py`, `modeling_glmasr.py`, `modeling_moss_transcribe_diarize.py`,
`modeling_qwen2_5_omni.py`, `modeling_qwen3_omni_moe.py`, `modeling_qwen3_asr.py`.
"""

from __future__ import annotations

import math

from simcost.blocks.tower.tower import Tower
from simcost.model.tower_parts.table import Rule, Table, Wrapper
from simcost.num import Num

_LARGE = (1280.0, 5120.0, 32.0, 128.0, 20.0)  # width, of the FFN, layers, mel bins, heads: where no key says
_MEDIUM = (1024.0, 4096.0, 24.0, 80.0, 16.0)


def _whisper(audio: Table, positions: bool = True, sizes: tuple[float, ...] = _LARGE) -> tuple[float, float, float]:
    """(width, width of the FFN, parameters) of two convolutions over mel bins, blocks whose keys have no bias, and a final LayerNorm; `positions`: with a table of them; `sizes`:
    the class's."""
    a = audio.num("hidden_size", "d_model", default=sizes[0])
    g = audio.num("intermediate_size", "encoder_ffn_dim", default=sizes[1])
    layers = audio.num("num_hidden_layers", "encoder_layers", default=sizes[2])
    mels = audio.num("num_mel_bins", default=sizes[3])
    heads = audio.num("num_attention_heads", "encoder_attention_heads", default=sizes[4])
    kv = a * audio.num("num_key_value_heads", default=heads) / heads
    if audio.values.get("num_key_value_heads") is None:
        audio.ignore("num_attention_heads", "encoder_attention_heads")  # they cut what is there; sounds are not timed
    audio.taken.pop("num_key_value_heads", None)  # as many as heads, in classes that have no such key too
    layer = 2.0 * a * a + 2.0 * a * kv + 2.0 * a + kv + 2.0 * a * g + g + a + 4.0 * a
    stem = 3.0 * mels * a + a + 3.0 * a * a + a
    table = audio.num("max_source_positions", default=1500) * a if positions else 0.0
    audio.ignore("max_position_embeddings")
    return a, g, stem + table + layers * layer + 2.0 * a


def _tower(parameters: Num) -> tuple[Tower, ...]:
    return (Tower("audio tower", "audio_config", (), parameters),)


def qwen2_audio(c: Wrapper) -> tuple[Tower, ...]:
    """One product with a bias."""
    a, _, count = _whisper(c.table("audio_config"))
    return _tower(count + a * c.hidden + c.hidden)


def voxtral(c: Wrapper) -> tuple[Tower, ...]:
    """Four frames side by side, two products without biases."""
    _, g, count = _whisper(c.table("audio_config"))
    c.own.used.add("hidden_size")
    return _tower(count + g * c.hidden + c.hidden * c.hidden)


def glmasr(c: Wrapper) -> tuple[Tower, ...]:
    """Rotary positions, so no table; two products, the first twice as wide as the language model."""
    _, g, count = _whisper(c.table("audio_config"), positions=False)
    d = c.hidden
    return _tower(count + g * 2.0 * d + 2.0 * d + 2.0 * d * d + d)


def moss(c: Wrapper) -> tuple[Tower, ...]:
    """`audio_merge_size` frames side by side, two products and a LayerNorm."""
    a, _, count = _whisper(c.table("audio_config"), sizes=_MEDIUM)
    d, inner = c.hidden, a * c.own.num("audio_merge_size", default=4)
    bias = 2.0 * d if c.own.flag("projector_bias", True) else 0.0
    return _tower(count + inner * d + d * d + bias + 2.0 * d)


def qwen2_5_omni(c: Wrapper) -> tuple[Tower, ...]:
    """No table of positions; one product with a bias, and two learned marks of begin and end."""
    audio = c.table("audio_config")
    a, _, count = _whisper(audio, positions=False)
    out = audio.num("output_dim", default=3584)
    audio.ignore("max_source_positions", "n_window")
    return _tower(count + a * out + out + 2.0 * out)


def qwen3(c: Wrapper, sizes: tuple[float, ...] = _LARGE) -> tuple[Tower, ...]:
    """Three convolutions of stride 2 over time and mel bins, blocks with all biases, a LayerNorm, two products."""
    audio = c.table("audio_config")
    a, g = audio.num("d_model", default=sizes[0]), audio.num("encoder_ffn_dim", default=sizes[1])
    layers, mels = (
        audio.num("encoder_layers", "num_hidden_layers", default=sizes[2]),
        audio.num("num_mel_bins", default=128),
    )
    h, out = audio.num("downsample_hidden_size", default=480), audio.num("output_dim", default=3584)
    audio.ignore("encoder_attention_heads", "n_window", "n_window_infer", "conv_chunksize", "max_position_embeddings")
    stem = 10.0 * h + 2.0 * (9.0 * h * h + h) + h * math.ceil(mels / 8.0) * a
    layer = 4.0 * a * a + 2.0 * a * g + 9.0 * a + g
    return _tower(stem + layers * layer + 2.0 * a + a * a + a + a * out + out)


def qwen3_asr(c: Wrapper) -> tuple[Tower, ...]:
    """A smaller one, where no key says."""
    return qwen3(c, _MEDIUM)


WRAPPERS: dict[str, Rule] = {"qwen2_audio": qwen2_audio, "voxtral": voxtral, "glmasr": glmasr, "moss_transcribe_diarize": moss, "qwen3_asr": qwen3_asr}  # fmt: skip
