"""Keys of a config that no reader used: known not to matter, noted by name, or refused where they name structure.

Most likely to be wrong: a key whose name does not say that it is structure. What stands beside a nested language model speaks of towers and projectors.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from simcost.errors import NotModelled, nearest
from simcost.hf import Reader
from simcost.model import keys, layers
from simcost.model.classes.family import defaults
from simcost.model.layers import Layer
from simcost.provenance import Kind


def report(r: Reader, known: set[str], outer: Collection[str], built: list[Layer]) -> list[str]:
    """Keys known not to matter; others are noted by name. `outer`: keys that stand beside a nested language model; `built`: the layers. Raises NotModelled for
    one that names structure."""
    idle = [key for key, value in r.config.items() if key not in r.used and value is not None]
    irrelevant = [key for key in idle if key in keys.IRRELEVANT]
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
            _one(r, key, known, key in outer)
    return [key for key in sorted(irrelevant) if not isinstance(r.config[key], str) and key not in _SILENT]


def _written(r: Reader, built: list[Layer]) -> set[str]:
    """Plug-ins whose keys the class writes into every config, where a list says what each layer is: the keys alone then say nothing."""
    if not r.config.get("layer_types"):
        return set()
    return {layers.of_others(key, built) for key in defaults(str(r.config.get("model_type")))}


_SILENT = ("architectures",)


def _one(r: Reader, key: str, known: set[str], outer: bool) -> None:
    value = r.config[key]
    said = f"'{key}' = {_short(value)} has no effect here"
    if key in known:
        r.note(said, Kind.UNUSED, key)
    elif outer and isinstance(value, Mapping) and value and key.endswith("_config"):
        r.note(
            f"{key}: what it describes is not counted: it stands beside the language model, which is counted",
            Kind.MISSING,
            key,
        )
    elif keys.of_structure(key, value) and not outer:
        raise NotModelled(
            f"{r.where}: not modelled: '{key}' = {_short(value)} names structure that nothing here reads{nearest(key, known)} "
            f"(where it changes no weight, --set model.{key}=null leaves it out)"
        )
    else:  # it may be one that matters, or a slip of one that does
        r.note(f"{said} (key not known{nearest(key, known)})", Kind.NO_EFFECT, key)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else text[:37] + "..."
