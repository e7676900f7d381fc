"""What `block_configs` says of a layer, where a search chose every layer's attention and FFN (NAS): Nemotron's models derived from Llama.

Most likely to be wrong: a key that a later model adds; one that is on and not known is refused. Source: nvidia/Llama-3_3-Nemotron-Super-49B-v1 `block_config.py` and `modeling_decilm.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simcost.errors import NotModelled, SpecError
from simcost.hf import Reader

KEY = "block_configs"
_SIZES = {"attention": "n_heads_in_group", "ffn": "ffn_mult"}


def part(r: Reader, layer: int, layers: int, kind: str) -> float | None:
    """The size of a layer's part: query heads for each KV head of its "attention", multiple of the width of its "ffn"; None where the layer has none. Raises SpecError for what is no such
    table, NotModelled for a part that is on and is not one of both."""
    entry = r.per_layer(KEY, layer, layers)
    said: Any = entry.get(kind) if isinstance(entry, Mapping) else None
    where = f"{r.where}: '{KEY}', layer {layer}: {kind}"
    if not isinstance(said, Mapping):
        raise SpecError(f"{where} must be a table")
    none, size = said.get("no_op", False), _SIZES[kind]
    if not isinstance(none, bool):
        raise SpecError(f"{where}.no_op must be true or false, not {none!r}")
    strange = sorted(key for key, value in said.items() if key not in ("no_op", size) and value not in (None, False, 0))
    if strange:
        raise NotModelled(f"{where}: not modelled: {strange[0]} = {said[strange[0]]!r}")
    if none:
        _check_other(r, entry, layer)
        return None
    value = said.get(size)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0.0 < value <= 10_000.0:
        raise SpecError(f"{where}.{size} must be a number above 0 where no_op is false, not {value!r}")
    return float(value)


def _check_other(r: Reader, entry: Mapping[str, Any], layer: int) -> None:
    """Raises SpecError where a layer has neither part."""
    if all(isinstance(entry.get(kind), Mapping) and entry[kind].get("no_op") is True for kind in _SIZES):
        raise SpecError(
            f"{r.where}: '{KEY}', layer {layer}: attention.no_op and ffn.no_op: the layer has neither attention nor FFN"
        )


def given(r: Reader) -> bool:
    """Whether the config says of each layer what it is."""
    return r.given(KEY)
