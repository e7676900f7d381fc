"""What files of ERNIE 4.5 VL say of its two sets of experts, in the words of the readers: pairs, the first for text and the second for images.

Most likely to be wrong: a file of the repositories' own code whose sets stand on different layers, which is refused. Sources: transformers `configuration_ernie4_5_vl_moe.py`;
baidu/ERNIE-4.5-VL-28B-A3B-PT `configuration_ernie4_5_vl.py` for pairs of numbers and layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simcost.errors import NotModelled, SpecError

FAMILIES = frozenset(("ernie4_5_vl_moe_text", "ernie4_5_moe_vl"))
_WIDTH, _VISION = "moe_intermediate_size", "vision_moe_intermediate_size"
_SAME = ("n_routed_experts", "moe_layer_start_index")


def plain(family: str, config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The config with a number for each pair. Raises SpecError for a list that is no pair, NotModelled for sets of different sizes or layers."""
    out = dict(config)
    if isinstance(out.get(_WIDTH), list):
        out[_WIDTH], out[_VISION] = _pair(out, _WIDTH, where)
    for key in _SAME:
        if isinstance(out.get(key), list):
            first, second = _pair(out, key, where)
            if first != second:
                raise NotModelled(
                    f"{where}: not modelled: '{key}' = {out[key]}: experts for text and for images that differ in more than their width"
                )
            out[key] = first
    last, layers = out.get("moe_layer_end_index"), out.get("num_hidden_layers")
    if isinstance(last, list):
        ends = _pair(out, "moe_layer_end_index", where)
        if not isinstance(layers, int) or any(not isinstance(end, int) or 0 <= end < layers - 1 for end in ends):
            raise NotModelled(
                f"{where}: not modelled: 'moe_layer_end_index' = {last}: only experts up to the last layer are known"
            )
        out["moe_layer_end_index"] = -1
    return out


def _pair(config: Mapping[str, Any], key: str, where: str) -> tuple[Any, Any]:
    """Both entries, of text and of images."""
    value = config[key]
    if len(value) != 2:
        raise SpecError(f"{where}: '{key}' must be a number for text and one for images, not {value!r}")
    return value[0], value[1]
