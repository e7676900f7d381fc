"""What files of Inkling say of their layers, in the words of the readers: hybrid layers are attention, full or with a window; modules of multi-token prediction are layers behind the last.

Most likely to be wrong: a repository's own code that takes another of two forms which disagree. Sources: transformers `configuration_inkling.py`, `configuration_inkling2.py`,
`configuration_inkling2_loop.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simcost.blocks._layer_kinds import FULL, SLIDING
from simcost.errors import NotModelled, SpecError

FAMILIES = frozenset(("inkling_text", "inkling2_text", "inkling2_loop_text"))
_WORDS = {"hybrid": FULL, "hybrid_sliding": SLIDING}
_MTP = "num_nextn_predict_layers"


def plain(family: str, config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The config with the layers in the words of the readers. Raises NotModelled for another word, SpecError for a malformed list or count."""
    out = {key: value for key, value in config.items() if key != "local_layer_ids"}
    stated, local, layers = config.get("layer_types"), config.get("local_layer_ids"), config.get("num_hidden_layers")
    if stated is not None:
        out["layer_types"] = [_word(word, where) for word in _list(stated, "layer_types", where)]
    elif local is not None and type(layers) is int and 1 <= layers <= 2000:
        sliding = _list(local, "local_layer_ids", where)
        out["layer_types"] = [SLIDING if layer in sliding else FULL for layer in range(layers)]
    if out.get("dense_intermediate_size") is not None:
        # Beside it, intermediate_size is the width of the experts.
        out["moe_intermediate_size"] = out.pop("intermediate_size", None)
        out["intermediate_size"] = out.pop("dense_intermediate_size")
    return _with_mtp(out, where) if family == "inkling_text" and _MTP in out else out


def _with_mtp(config: dict[str, Any], where: str) -> dict[str, Any]:
    """The lists of layers with the modules of multi-token prediction behind the last layer: dense FFNs, and attention with a window where `mtp_local_layer_ids` names them."""
    modules, local = config.pop(_MTP), config.pop("mtp_local_layer_ids", None) or []
    if not modules:
        return config
    if type(modules) is not int or not 1 <= modules <= 100:
        raise SpecError(f"{where}: '{_MTP}' must be a whole number from 1 to 100, not {modules!r}")
    layers = config.get("num_hidden_layers")
    kinds, ffns = config.get("layer_types"), config.get("mlp_layer_types")
    if type(layers) is not int or not 1 <= layers <= 2000:
        return config
    kinds = kinds or [SLIDING if (layer + 1) % 6 else FULL for layer in range(layers)]
    dense = config.pop("first_k_dense_replace", None) or 0
    ffns = ffns or ["dense" if layer < dense else "sparse" for layer in range(layers)]
    sliding = _list(local, "mtp_local_layer_ids", where)
    return {
        **config, _MTP: modules,
        "layer_types": [*kinds, *(SLIDING if module in sliding else FULL for module in range(modules))],
        "mlp_layer_types": [*_list(ffns, "mlp_layer_types", where), *["dense"] * modules],
    }  # fmt: skip


def _word(word: Any, where: str) -> str:
    if not isinstance(word, str) or word not in _WORDS:
        raise NotModelled(
            f"{where}: not modelled: 'layer_types' with {word!r}: layers of Inkling are {' or '.join(_WORDS)}"
        )
    return _WORDS[word]


def _list(value: Any, key: str, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise SpecError(f"{where}: '{key}' must be a list, not {value!r}")
    return value
