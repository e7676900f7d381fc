"""Keys and per-layer forms of one class in the words of the readers: keys that mean something else elsewhere, lists of layer kinds in other words, tables by layer.

Most likely to be wrong: a repository that states a list in two forms that disagree; the one that its class reads wins. Sources: `renamed` and `layer_words` of
families.toml; transformers `configuration_gpt_neo.py` (kinds with how often they repeat) and `configuration_utils.py` (`per_layer_config`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simcost import settings
from simcost.errors import NotModelled, SpecError
from simcost.hf import canonical
from simcost.model.classes import ernie_vl, inkling
from simcost.model.classes.family import families, implied

_TABLES = "per_layer_config"
_COUNTS = {one.key for one in settings.MODEL if one.kind in (settings.COUNT, settings.LENGTH)}


def plain(family: str, config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The config with what its class alone spells so in the words of the readers. Raises SpecError for a malformed table of layers, NotModelled for one of
    other keys than counts."""
    table = families().get(family, {})
    out = dict(config)
    # Files of a class whose layers are of one kind list none: a list says that a swap made the design, in the words of the readers.
    swapped = "layer_kind" in table and out.get("layer_types") is not None
    for key, name in ({} if swapped else table.get("renamed", {})).items():
        value = out.pop(key, None)
        if value is not None:
            out[name] = _worded(value, table.get("layer_words", {})) if name == "layer_types" else value
    out = inkling.plain(family, out, where) if family in inkling.FAMILIES else out
    out = ernie_vl.plain(family, out, where) if family in ernie_vl.FAMILIES else out
    itself = _TABLES in table.get("reads", ())  # its block reads the table
    return _by_layer(family, out, where) if out.get(_TABLES) and not itself else out


def _worded(kinds: Any, words: Mapping[str, str]) -> Any:
    """A list of layer kinds; GPT-Neo nests them with how often they repeat: [[["global", "local"], 12]]."""
    if not isinstance(kinds, list):
        return kinds
    out: list[Any] = []
    for kind in kinds:
        if (
            isinstance(kind, list)
            and len(kind) == 2
            and isinstance(kind[0], list)
            and type(kind[1]) is int
            and kind[1] < 2000
        ):
            out += _worded(kind[0], words) * kind[1]
        else:
            out.append(words.get(kind, kind) if isinstance(kind, str) else kind)
    return out


def _by_layer(family: str, config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """`per_layer_config`, what single layers have of their own by their number, as a list a layer of every key in it."""
    tables, layers = config[_TABLES], config.get("num_hidden_layers")
    if not isinstance(tables, Mapping) or type(layers) is not int or not 1 <= layers <= 2000:
        raise SpecError(f"{where}: '{_TABLES}' must be a table by layer of a config with num_hidden_layers")
    out = {key: value for key, value in config.items() if key != _TABLES}
    facts = implied(family, out)
    for number, own in tables.items():
        if not str(number).isdecimal() or int(number) >= layers or not isinstance(own, Mapping):
            raise SpecError(
                f"{where}: '{_TABLES}' must map the number of a layer to its keys, not {number!r} to {own!r}"
            )
        for key, value in own.items():
            name = canonical(key)
            if name not in _COUNTS:
                raise NotModelled(f"{where}: not modelled: '{_TABLES}.{number}.{key}': only counts may differ by layer")
            listed = out.get(name, facts.get(name))
            listed = list(listed) if isinstance(listed, list) and len(listed) == layers else [listed] * layers
            listed[int(number)] = value
            out[name] = listed
    return out
