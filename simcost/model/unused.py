"""Keys of a config that no reader used: known not to matter, noted by name, or refused where they name structure.

Most likely to be wrong: a key whose name does not say that it is structure. What stands beside a nested language model speaks of towers and projectors.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np

from simcost.errors import NotModelled, SpecError, nearest
from simcost.hf import Reader
from simcost.model import keys, layers
from simcost.model.classes.family import covered, defaults, reads
from simcost.model.layers import Layer
from simcost.provenance import Kind


def report(r: Reader, known: Callable[[], Collection[str]], outer: Collection[str], built: list[Layer]) -> list[str]:
    """Keys known not to matter; others are noted by name. `known`: the keys of all readers, of all tables, which most configs do not ask for; `outer`: keys that
    stand beside a nested language model; `built`: the layers. Raises NotModelled for one that names structure."""
    idle = [key for key, value in r.config.items() if key not in r.used and value is not None]
    irrelevant = [key for key in idle if key in keys.IRRELEVANT]
    if len(idle) > _MOST:
        raise SpecError(
            f"{r.where}: {len(idle):,} keys have no effect here, at most {_MOST}: is this the config of a model?"
        )
    for key in sorted(set(idle) - set(irrelevant)):
        off = keys.is_off(r.config[key]) or keys.switched_off(key, r.config)
        if not off and (others := layers.of_others(key, built)):
            if others in _written(r, built):
                r.note(f"'{key}' has no effect: no layer of layer_types is {others}", Kind.UNUSED, key)
                continue
            raise NotModelled(
                f"{r.where}: not modelled yet: {key} (a key of {others}, and no layer of this config is one)"
            )
        if key in layers.declared("IGNORES"):
            irrelevant.append(key)
        else:
            _one(r, key, known(), key in outer)
    return [key for key in sorted(irrelevant) if not isinstance(r.config[key], str) and key not in _SILENT]


def _written(r: Reader, built: list[Layer]) -> set[str]:
    """Plug-ins whose keys the class writes into every config, where a list says what each layer is: the keys alone then say nothing."""
    if not r.config.get("layer_types"):
        return set()
    return {layers.of_others(key, built) for key in defaults(str(r.config.get("model_type")))}


_SILENT = ("architectures",)
_MOST = (
    500  # keys without effect: each is compared with all that are known, and the longest config has two hundred keys
)

# Sizes of a kind of structure -> what has it. One that stands in a config none of whose layers has its kind says that the config, or this reader, leaves something out: the
# count of the experts under a name that is not known, say.
_EXPERTS = frozenset(
    """
    moe_intermediate_size n_shared_experts num_experts_per_tok shared_expert_intermediate_size shared_intermediate_size moe_latent_size n_group topk_group
    decoder_sparse_step expert_layer_period first_k_dense_replace interleave_moe_layer_step mlp_layer_types moe_layer_end_index moe_layer_freq moe_layer_interval
    moe_layers num_hash_layers mlp_only_layers expert_layer_offset moe_layer_start_index
    """.split()  # noqa: SIM905 -- a table to read
)
_LATENT = frozenset(("kv_lora_rank", "q_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim"))
_WINDOWS = frozenset(("swa_head_dim", "swa_v_head_dim", "swa_num_attention_heads", "swa_num_key_value_heads"))
_PERIODS = frozenset(
    """
    decoder_sparse_step expert_layer_period interleave_moe_layer_step moe_layer_freq moe_layer_interval n_group topk_group
    """.split()  # noqa: SIM905 -- a table to read
)  # of which 1 is off: every layer, one group


def idle_sizes(r: Reader, built: list[Layer]) -> list[str]:
    """What to say of each size of a structure that no layer has."""
    stated = [key for key, value in r.config.items() if key not in r.used and value is not None]
    lacking = ((key, _missing(r, key, built)) for key in sorted(stated))
    return [
        f"'{key}' = {_short(r.config[key])} is a size of {kind}, and no layer here has it: the key that states it is missing or has an unknown name "
        f"(--set model.{key}=null leaves it out)"
        for key, kind in lacking
        if kind
    ]


def _all(value: Any, holds: Callable[[float], bool]) -> bool:
    """Whether every number of a value holds: one number, or a list of one per layer. What is no number does not."""
    values = value if isinstance(value, list) else np.ravel(value).tolist()
    return all(isinstance(one, int | float) and holds(one) for one in values)


def _off(value: Any) -> bool:
    """Whether a number of experts means that there are none."""
    return value is None or _all(value, lambda number: number <= 1)


def _missing(r: Reader, key: str, built: list[Layer]) -> str:
    """What a size is of that no layer has; "" where a layer has it, where the config switches it off, and for a key that the class writes into every config."""
    value = r.config[key]
    if (
        key in reads(str(r.config.get("model_type")))
        or not keys.on(value)
        or (key in _PERIODS and _all(value, lambda period: period == 1))
        or _all_dense(key, value)
    ):
        return ""
    if key in _EXPERTS and not any(b.router is not None for layer in built for b in layer):
        counts = ("n_routed_experts", "num_experts_per_tok")
        off = any(name in r.config and _off(r.config[name]) for name in counts)
        return "" if off else "experts"
    if key in _LATENT and not any(b.forms for layer in built for b in layer):
        off = any(name in r.config and keys.is_off(r.config[name]) for name in ("kv_lora_rank", "use_mla"))
        return "" if off else "latent attention"
    slides = any(b.mask is not None and b.mask.bounded for layer in built for b in layer)
    if key in _WINDOWS or (key == "attention_chunk_size" and not slides):
        return "layers with a window"
    return ""


def _all_dense(key: str, value: Any) -> bool:
    """Whether a list of the FFNs of all layers says that none has experts."""
    return key == "mlp_layer_types" and isinstance(value, list) and all(kind == "dense" for kind in value)


def _one(r: Reader, key: str, known: Collection[str], outer: bool) -> None:
    value = r.config[key]
    said = f"'{key}' = {_short(value)} has no effect here"
    if key in known or key in covered(str(r.config.get("model_type", ""))):
        r.note(said, Kind.UNUSED, key)
    elif outer and isinstance(value, Mapping) and value and key.endswith("_config"):
        r.note(
            f"{key}: not counted: it is outside the language model, which is counted",
            Kind.MISSING,
            key,
        )
    elif keys.of_structure(key, value) and not outer:
        raise NotModelled(
            f"{r.where}: not modelled: '{key}' = {_short(value)} looks like structure, but the key is unknown{nearest(key, known)} "
            f"(where it changes no weight, --set model.{key}=null leaves it out)"
        )
    else:  # it may be one that matters, or a slip of one that does
        r.note(f"{said} (key not known{nearest(key, known)})", Kind.NO_EFFECT, key)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else text[:37] + "..."
