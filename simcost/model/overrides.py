"""A config with the keys that a question sets, and what of a file's sizes its class does not read.

Most likely to be wrong: a repository with code of its own under the name of a class, which reads more than the class.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any

from simcost.errors import NotModelled, SpecError, nearest
from simcost.hf import ALIASES, CANONICAL, MODELS, canonical, flatten, outer_keys
from simcost.model import keys
from simcost.model.classes import wrappers
from simcost.model.classes.family import ignored, is_recorded, renamed
from simcost.model.spec import ModelSpec, from_config, known_keys

ASKED = "_asked"  # of a config that a question made: keys that it set, which are asked for whatever the class reads
_APART = ("quantization_config", *keys.BESIDE)  # tables whose keys are not the language model's


def overridden(
    config: Mapping[str, Any], overrides: Mapping[str, Any], where: str, ships: bool = False
) -> dict[str, Any]:
    """The config with `key: value` replaced, at whatever depth the key stands; its other spellings are dropped. `ships`: the config is of the zoo, none of which has a
    size of the following kind (tests/unit/model/test_idle_sizes.py). Raises SpecError for a key that neither simcost nor the config knows, and NotModelled for a size
    of the config that its class does not read and that would count here, unless it is replaced."""
    config = wrappers.typed(config)
    out = dict(config)
    family = str(flatten(config, where).get("model_type", "")) if overrides else ""
    for key, value in overrides.items():
        name = canonical(key)
        spellings = {name, *ALIASES.get(name, ()), *renamed(family, name)}
        if key not in CANONICAL and name not in known_keys() and not _stands(out, spellings):
            raise SpecError(f"{where}: no config key '{key}'{nearest(key, known_keys())}")
        inner = next((part for part in MODELS if isinstance(out.get(part), Mapping)), None)
        if inner is None:
            out = {**_without(out, spellings), name: value}
        elif name == "model_type":  # of the language model: the class around it, which holds the towers, stays
            out[inner] = {**_without(out[inner], spellings), name: value}
        else:
            out = _without(out, spellings)
            out[inner] = {**out[inner], name: value}
    if not ships:
        asked = config.get(ASKED)
        replaced = [*overrides, *(map(str, asked) if isinstance(asked, list) else ())]
        _check_read(config, {canonical(key) for key in replaced}, where)
    return out


def complete(found: ModelSpec, config: Mapping[str, Any], where: str) -> ModelSpec:
    """The model of a config, which is no design that a question made. Raises NotModelled for a size of a structure that no layer has."""
    if found.idle and ASKED not in config:
        raise NotModelled(f"{where}: not modelled: {found.idle[0]}")
    return found


def _check_read(config: Mapping[str, Any], replaced: set[str], where: str) -> None:
    """Raises NotModelled for a size of a file that its class does not read and that counts here."""
    flat = flatten(config, where)
    if _odd(config, flat) <= replaced:
        return
    for key in _counting(json.dumps(config, default=str), where):
        if key not in replaced:
            raise NotModelled(
                f"{where}: not modelled: '{key}' = {str(flat[key])[:40]}: the class of model_type {flat['model_type']!r} does not read it there "
                f"(--set model.{key}=null leaves it out, --set model.{key}=... insists on it)"
            )


def _odd(config: Mapping[str, Any], flat: Mapping[str, Any]) -> set[str]:
    """Sizes that the class of a config does not read: keys that it does not know, and keys beside a language model that has a table of its own."""
    found = ignored(str(flat.get("model_type", "")), flat, keys.SIZES)
    if is_recorded(str(config.get("model_type", ""))):
        found |= {key for key in outer_keys(config) & keys.SIZES if keys.on(flat.get(key))}
    return found


@lru_cache(maxsize=64)
def _counting(text: str, where: str) -> tuple[str, ...]:
    """Keys of a config that its class does not read and of which each alone would change its layers here, or leave them undefined."""
    config = json.loads(text)
    odd = frozenset(_odd(config, flatten(config, where)))

    @cache
    def layers(dropped: frozenset[str]) -> Any:
        spelled = {name for key in dropped for name in (key, *ALIASES.get(key, ()))}
        return _layers(_without(config, spelled), where)

    alone, whole = layers(odd), layers(frozenset())
    if alone is None and whole is None:
        return ()  # something else is wrong: it is said where the model is read
    if alone is None:
        return tuple(key for key in sorted(odd) if layers(frozenset({key})) != whole)
    return tuple(key for key in sorted(odd) if layers(odd - {key}) != alone)


def _layers(config: Mapping[str, Any], where: str) -> Any:
    """The layers of a config; None where it is refused."""
    try:
        return from_config(config, where, where).stacks
    except SpecError:
        return None


def _stands(config: Mapping[str, Any], spellings: set[str]) -> bool:
    return any(
        k in spellings or (isinstance(v, Mapping) and k not in _APART and _stands(v, spellings))
        for k, v in config.items()
    )


def _without(config: Mapping[str, Any], spellings: set[str]) -> dict[str, Any]:
    return {
        key: _without(value, spellings) if isinstance(value, Mapping) and key not in _APART else value
        for key, value in config.items()
        if key not in spellings
    }


def current(config: Mapping[str, Any], key: str) -> Any:
    """The value that a key has now, at any depth, by any spelling; None when absent."""
    spellings = {canonical(key), *ALIASES.get(canonical(key), ())}
    for name, value in config.items():
        if name in spellings:
            return value
        if isinstance(value, Mapping) and name not in _APART:
            inner = current(value, key)
            if inner is not None:
                return inner
    return None
