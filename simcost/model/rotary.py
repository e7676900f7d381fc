"""How many positions the tables of rotary embeddings have, which engines keep beside the weights, and the part of a head that they rotate.

A scaled embedding has a table of its own length; a model whose window layers rotate by another base has a second one. Most likely to be
wrong: a scaling that a config names and this page does not. Sources: vLLM `model_executor/layers/rotary_embedding` (0.8 to 0.27); Hugging Face
transformers `modeling_rope_utils.py` (5.24), which keeps the part of a head that rotates in `rope_parameters`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

_WIDER = 4.0  # Qwen-VL's three-dimensional positions: `mrope.py`
TABLES = ("rope_scaling", "rope_parameters")
_BY_KIND = "full_attention"  # a table for every kind of layer, by the words of layer_types
PART = "partial_rotary_factor"
_WHOLE = "proportional"  # a scaling that rotates a part of a head through a table as wide as the head
LIMIT, ORIGINAL, SECOND = "max_position_embeddings", "original_max_position_embeddings", "rope_local_base_freq"
KEYS = (*TABLES, LIMIT, ORIGINAL, SECOND)


class Tables(NamedTuple):
    """`rows`: positions of every table, () where the config states no limit; `used`: keys of the config that say so; `idle`: keys of its scaling that change nothing,
    with the scaling's name before them; `said`: of keys that count by standing there, what their number does not change."""

    rows: tuple[float, ...] = ()
    used: frozenset[str] = frozenset()
    idle: tuple[str, ...] = ()
    said: Mapping[str, str] = {}


class _Scaling:
    """One scaling: its values, and which of them were asked for."""

    def __init__(self, values: Mapping[str, Any], path: str) -> None:
        self.values, self.path = values, path
        self.used = {PART} - ({PART} if values.get("rope_type") == _WHOLE else set())

    def get(self, key: str) -> Any:
        self.used.add(key)
        return self.values.get(key)

    def kind(self) -> str:
        return str(self.get("rope_type") or self.get("type") or "default")

    def idle(self) -> list[str]:
        numbers = (key for key, value in self.values.items() if value is not None and not isinstance(value, str))
        return [f"{self.path}.{key}" for key in numbers if key not in self.used]


def rows(config: Mapping[str, Any]) -> tuple[float, ...]:
    """Positions of every rotary table; () where the config states no limit."""
    return read(config).rows


def read(config: Mapping[str, Any]) -> Tables:
    """The tables of a config, and which of its keys decide them."""
    limit = config.get(LIMIT)
    if isinstance(limit, bool) or not isinstance(limit, (int, float)) or not limit:
        return Tables()
    used, said = {LIMIT}, {}
    scalings = _scalings(config)
    found = [_rows(float(limit), each, config, used) for each in scalings]
    if not scalings:
        found = [float(limit)]
    used |= {each.path.partition(".")[0] for each in scalings}
    if config.get(SECOND) and not any("." in each.path for each in scalings):
        found.append(float(limit))
        used.add(SECOND)
        said[SECOND] = "its number: a second table of positions exists wherever the key is set"
    for each in scalings:
        if "mrope_section" in each.values and each.kind() != "mrope":
            said[f"{each.path}.mrope_section"] = "its numbers: tables of three-dimensional positions exist wherever the key is set"  # fmt: skip
    return Tables(tuple(found), frozenset(used), tuple(key for each in scalings for key in each.idle()), said)


def _scalings(config: Mapping[str, Any]) -> list[_Scaling]:
    """Those of the first table that a config has: one, or one for every kind of layer."""
    name = next((key for key in TABLES if config.get(key)), "")
    table = config.get(name)
    if not isinstance(table, Mapping):
        return []
    if not isinstance(table.get(_BY_KIND), Mapping):
        return [_Scaling(table, name)]
    return [_Scaling(part, f"{name}.{kind}") for kind, part in table.items() if isinstance(part, Mapping)]


def _rows(limit: float, scaling: _Scaling, config: Mapping[str, Any], used: set[str]) -> float:
    """Positions of one table. `used` gets the keys beside the scaling that were read."""
    kind = scaling.kind()
    if kind in ("linear", "dynamic"):
        return limit * _number(scaling.get("factor"), 1.0)
    if kind in ("yarn", "longrope"):
        stated = scaling.get(ORIGINAL)
        if ORIGINAL not in scaling.values:
            stated = config.get(ORIGINAL)
            used.add(ORIGINAL)
        original = _number(stated, limit)
        return original * _number(scaling.get("factor"), 1.0) if kind == "yarn" else original + limit
    wide = kind == "mrope" or scaling.get("mrope_section") is not None
    return limit * _WIDER if wide else limit


def _number(value: Any, default: float) -> float:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else default


def with_part(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config with the part of a head that rotates as a key of its own, where its scaling states it: transformers writes it there, and reads it there first. A
    scaling for every kind of layer, and a proportional one, leave the config as it is."""
    scalings = _scalings(config)
    if len(scalings) != 1 or "." in scalings[0].path or scalings[0].kind() == _WHOLE:
        return dict(config)
    part = scalings[0].values.get(PART)
    return dict(config) if part is None else {**config, PART: part}


def unread_parts(config: Mapping[str, Any]) -> list[str]:
    """Scalings of a kind of layer that rotate a part of a head, which is not counted."""
    return [
        f"{each.path}.{PART}"
        for each in _scalings(config)
        if "." in each.path and each.kind() != _WHOLE and each.values.get(PART) not in (None, 1, 1.0)
    ]
