"""Which layers of a config have experts, by every key that configs use to say so."""

from __future__ import annotations

from typing import Any

from simcost.blocks._layer_kinds import HALVES, MOE, in_period, layer_kind, one_sublayer
from simcost.errors import NotModelled, SpecError
from simcost.hf import Reader

# Keys of Step-3.5 that its classes do not read, and of Hunyuan's shared expert: they say what the layers are at these values alone.
_ONLY = {"use_moe": True, "moe_every_n_layer": 1, "moe_layer_offset": 0, "use_mixed_mlp_moe": True}


def is_moe_layer(r: Reader, layer: int, layers: int) -> bool:
    """Whether this layer has experts, most specific key first."""
    if not r.given("n_routed_experts"):
        return False
    for key, only in _ONLY.items():
        if r.has(key) and r.raw(key) != only:
            raise NotModelled(
                f"{r.where}: not modelled: '{key}' = {r.config.get(key)!r} in a model with experts: only {only!r} is known (--set model.{key}=null leaves it out)"
            )
    if r.flag("shortcut_moe"):
        return layer % HALVES == 0  # beside the dense FFN of the first half of a layer
    if one_sublayer(r):
        return layer_kind(r, layer, layers) == MOE
    if r.has("expert_layer_period"):
        return in_period(r, "expert", layer, layers)
    kind = r.per_layer("mlp_layer_types", layer, layers)
    if kind is not None:
        return kind in ("sparse", "moe", "hash_moe")
    stated = _listed(r)
    if stated is not None:
        return layer in stated
    frequency = r.raw("moe_layer_freq")
    if isinstance(frequency, list):
        return bool(r.per_layer("moe_layer_freq", layer, layers))
    if layer in (r.items("mlp_only_layers") or []):
        return False
    if layer < r.layout("first_k_dense_replace", 0):
        return False
    if r.has("moe_layer_start_index"):
        last = r.layout("moe_layer_end_index", -1, least=-1)
        if not r.layout("moe_layer_start_index") <= layer <= (last if last >= 0 else layers - 1):
            return False
    if r.has("moe_layer_interval"):
        return (layer + 1) % r.layout("moe_layer_interval", least=1) == 0
    for key in ("interleave_moe_layer_step", "decoder_sparse_step", "moe_layer_frequency"):
        if r.has(key):
            return (layer + 1) % r.layout(key, least=1) == 0
    return layer % r.layout("moe_layer_freq", 1, least=1) == 0


def is_hash_layer(r: Reader, layer: int, layers: int) -> bool:
    """Whether tokens of a layer are sent to experts by a hash of the token: its router has no bias that balances loads (DeepSeek-V4)."""
    kind = r.per_layer("mlp_layer_types", layer, layers)
    return kind == "hash_moe" if kind is not None else layer < r.layout("num_hash_layers", 0)


def _listed(r: Reader) -> list[Any] | None:
    """The layers with experts where the config lists them: moe_layers, or Step-3's moe_layers_enum, a list or a text such as "4,5,6"."""
    if not r.has("moe_layers_enum"):
        return r.items("moe_layers")
    if isinstance(r.raw("moe_layers_enum"), list):
        return r.items("moe_layers_enum")
    text = r.text("moe_layers_enum")
    parts = [part.strip() for part in text.split(",")] if text else []
    if not all(part.isdecimal() for part in parts):
        raise SpecError(f"{r.where}: 'moe_layers_enum' must list layers such as \"4,5,6\", not {text!r}")
    return [int(part) for part in parts]
