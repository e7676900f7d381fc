"""Every config key is used, known to be irrelevant to cost, or reported. Here: what is known.

A key leaves these tables the day a block reads it: blocks are asked first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from simcost import settings
from simcost.blocks._layer_kinds import OLDER
from simcost.texts import toml


def _read(name: str) -> dict[str, dict[str, Any]]:
    return toml((Path(__file__).parent / name).read_text(encoding="utf-8"))


# Why each key means nothing: the reason of its table in irrelevant.toml.
REASONS = {
    key: str(table["why"])
    for table in _read("irrelevant.toml").values()
    for key in (*table["keys"], *table.get("own", ()))
}
# Initialisation, tokens, training losses, numerics, positions and bookkeeping: none changes work, memory or traffic.
IRRELEVANT = frozenset(REASONS)


# Counts and lists in words that classes have too; those in simcost's own words are read whatever the class.
SIZES = frozenset(
    one.key for one in settings.MODEL if one.kind in (settings.COUNT, settings.LENGTH, settings.LIST)
) - {
    "norm_vectors", "norms_per_layer", "num_ln_in_parallel_attn", "parallel_norms", "learned_positions", "ffn_multiple", "no_rope_layer_interval",
    "max_position_embeddings", "rotary_dim", "num_nextn_predict_layers", "num_mtp_modules",
}  # fmt: skip

# Tables of models beside the language model, whatever they state, and names of such models: a checkpoint holds their weights (`model/tower.py`).
BESIDE = (
    "vision_config", "audio_config", "talker_config", "token2wav_config", "code2wav_config", "audio_encoder_config", "depth_decoder_config", "vq_config",
    "visual", "vision_tower", "audio_tower", "vision_encoder", "audio_encoder", "mm_vision_tower", "mm_audio_tower", "img_processor", "audio_processor",
)  # fmt: skip


@cache
def tables() -> dict[str, dict[str, Any]]:
    """Structure that no block models yet, with what it means: keys, their prefixes, lists of layer kinds, model types."""
    return _read("unmodelled.toml")


def structural() -> set[str]:
    """Keys of `tables` by their whole name."""
    return {*tables()["keys"], *tables()["kinds"]}


def unmodelled(
    config: Mapping[str, Any], handled: frozenset[str], layer_types: frozenset[str], families: frozenset[str]
) -> tuple[str, str] | None:
    """The first key whose structure nobody models, with what it means; None when all is well.

    `handled`, `layer_types` and `families` are what the discovered blocks and the table of families say they read: a new
    block needs no edit here. A key says more than the model's type, so keys are asked first.
    """
    for key, value in config.items():
        if key not in handled and not is_off(value) and not switched_off(key, config):
            meaning = _meaning(key, value)
            if meaning is not None:
                return key, meaning
    kinds = config.get("layer_types")
    for kind in kinds if isinstance(kinds, list) else []:
        if not isinstance(kind, str) or OLDER.get(kind, kind) not in layer_types:
            return "layer_types", f"layers of type {kind!r}"
    family = str(config.get("model_type", ""))
    if family not in families and family.lower() in tables()["model_types"]:
        return f"model_type = {family!r}", tables()["model_types"][family.lower()]
    return None


def _meaning(key: str, value: Any) -> str | None:
    """What a key that is set stands for, where no block models it."""
    found = tables()
    if key in found["keys"]:
        return str(found["keys"][key])
    if key in found["kinds"]:
        return next((f"layers of type {kind!r}" for kind in _kinds(value) if kind not in found["kinds"][key]), None)
    if key in ("attention_type", "attn_type", "attention_class"):
        return _named_kind(value)
    return next((str(what) for prefix, what in found["prefixes"].items() if key.startswith(prefix)), None)


def _kinds(value: Any) -> list[Any]:
    """The words of a list of layer kinds; GPT-Neo nests them with how often they repeat, Nemotron-H writes a letter per layer."""
    if isinstance(value, str):
        return list(value)
    if isinstance(value, np.ndarray):
        return list(value.ravel())
    if not isinstance(value, Sequence):
        return [value]
    if len(value) == 2 and isinstance(value[0], list) and isinstance(value[1], int):
        return _kinds(value[0])
    return [kind for part in value for kind in (_kinds(part) if isinstance(part, list) else [part])]


# Words that name structure: a key with one of them says how many, how wide or of which kind.
_STRUCTURE = frozenset(
    """
    layer layers block blocks expert experts moe attention attn head heads kv mixer mlp ffn hidden intermediate rank window conv state
    """.split()  # noqa: SIM905 -- a table to read
)
# Words beside them that speak of training, numerics or a kernel.
_NO_STRUCTURE = frozenset(
    """
    dropout drop eps epsilon coef coeff loss init initializer std scale scaling implementation impl backend kernel fused fusion jitter
    temperature softcap softcapping cap fp32 dtype clip checkpointing recompute parallel norm norms layernorm
    """.split()  # noqa: SIM905 -- a table to read
)


def of_structure(key: str, value: Any) -> bool:
    """Whether a key that no reader knows may change what is counted: its name has a word of structure and it is on."""
    words = set(re.split(r"[^a-z0-9]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", key).lower()))
    return bool(words & _STRUCTURE) and not words & _NO_STRUCTURE and on(value)


def on(value: Any) -> bool:
    """Whether a value may say how many or of which kind: it is not off, no text, and no number with a fraction."""
    return not is_off(value) and not isinstance(value, str) and (not isinstance(value, float) or value.is_integer())


_OTHER = ("multiquery", "sparse", "linear", "lightning", "mamba", "rwkv", "retention", "recurrent", "hyena")


def _named_kind(value: Any) -> str | None:
    return next((f"{value} attention" for word in _OTHER if isinstance(value, str) and word in value.lower()), None)


def switched_off(key: str, config: Mapping[str, Any]) -> bool:
    """Whether another key turns off what this one is of: published configs keep the sizes."""
    switch = tables()["switches"].get(key)
    return switch is not None and switch in config and is_off(config[switch])


def is_off(value: Any) -> bool:
    """Whether a value says that there is none: null, false, 0, or empty."""
    if isinstance(value, np.ndarray):
        return not value.any()
    if isinstance(value, list):
        return all(is_off(part) for part in value)
    return value is None or value is False or value in (0, "") or value == {}
