"""How many positions the tables of rotary embeddings have, which engines keep beside the weights.

A scaled embedding has a table of its own length; a model whose window layers rotate by another base has a second one. Most likely to be
wrong: a scaling that a config names and this page does not. Source: vLLM `model_executor/layers/rotary_embedding` (0.8 to 0.27).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_WIDER = 4.0  # Qwen-VL's three-dimensional positions: `mrope.py`


def rows(config: Mapping[str, Any]) -> tuple[float, ...]:
    """Positions of every rotary table; () where the config states no limit."""
    limit = config.get("max_position_embeddings")
    if isinstance(limit, bool) or not isinstance(limit, (int, float)) or not limit:
        return ()
    scaling = config.get("rope_scaling") or config.get("rope_parameters")
    scaling = scaling if isinstance(scaling, Mapping) else {}
    if isinstance(scaling.get("full_attention"), Mapping):  # a table for every kind of layer
        return tuple(_rows(float(limit), part, config) for part in scaling.values() if isinstance(part, Mapping))
    found = [_rows(float(limit), scaling, config)]
    if config.get("rope_local_base_freq"):
        found.append(float(limit))
    return tuple(found)


def _rows(limit: float, scaling: Mapping[str, Any], config: Mapping[str, Any]) -> float:
    kind = str(scaling.get("rope_type", scaling.get("type", "default")))
    factor = _number(scaling.get("factor"), 1.0)
    original = _number(
        scaling.get("original_max_position_embeddings", config.get("original_max_position_embeddings")), limit
    )
    if kind in ("linear", "dynamic"):
        return limit * factor
    if kind == "yarn":
        return original * factor
    if kind == "longrope":
        return original + limit
    return limit * _WIDER if kind == "mrope" or "mrope_section" in scaling else limit


def _number(value: Any, default: float) -> float:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else default
