"""The format of the cache that a quantisation states.

Most likely to be wrong: a cache of which single layers keep another format; that is refused. Sources: compressed-tensors (`kv_cache_scheme`), nvidia-modelopt
(`kv_cache_quant_algo`, one for all layers), amd-quark (`kv_cache_quant_config`), auto-round (`static_kv_dtype`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from simcost.dtypes import Dtype, dtype
from simcost.errors import NotModelled, SpecError

KEYS = (
    "kv_cache_scheme",
    "kv_cache_quant_algo",
    "kv_cache_quantized_layers",
    "kv_cache_quant_config",
    "static_kv_dtype",
)
_NAMES = {"FP8": "fp8", "FP8_E4M3": "fp8", "FLOAT8_E4M3FN": "fp8", "FP8_E5M2": "fp8", "INT8": "int8", "NVFP4": "nvfp4"}
_SCHEMES = {("float", 8): "fp8", ("int", 8): "int8"}


def cache_format(table: Mapping[str, Any], where: str) -> Dtype | None:
    """The cache's format; None where no key states one. Raises SpecError where two keys differ, NotModelled for a format that nobody models yet."""
    stated = dict(_stated(table, where))
    if len(set(stated.values())) > 1:
        raise SpecError(
            f"{where}: " + " but ".join(f"'quantization_config.{key}' says {name}" for key, name in stated.items())
        )
    return dtype(next(iter(stated.values()))) if stated else None


def _stated(table: Mapping[str, Any], where: str) -> Iterator[tuple[str, str]]:
    for key in KEYS:
        value = table.get(key)
        if value is None or value == "" or value == {} or value == [] or str(value).lower() in ("none", "auto"):
            continue
        name = (
            _quark(value)
            if key == "kv_cache_quant_config"
            else None
            if key == "kv_cache_quantized_layers"
            else _named(value)
        )
        if name is None:
            raise NotModelled(
                f"{where}: not modelled yet: quantization_config cache scheme {key} = {_short(value)}; --set model.quantization_config=null, with "
                "plan.weight_dtype and plan.kv_dtype, takes formats of your own"
            )
        yield key, name


def _named(value: Any) -> str | None:
    if isinstance(value, str):
        return _NAMES.get(value.upper().removeprefix("TORCH."))
    if (
        not isinstance(value, Mapping)
        or isinstance(value.get("num_bits"), list)
        or not isinstance(value.get("type", "int"), str)
    ):
        return None
    bits, kind = value.get("num_bits"), value.get("type", "int")
    if (kind, bits, value.get("group_size")) == ("float", 4, 16):
        return "nvfp4"
    return _SCHEMES.get((kind, bits)) if isinstance(bits, int) else None


def _quark(value: Any) -> str | None:
    """The one format of the outputs of the projections of K and V."""
    if not isinstance(value, Mapping):
        return None
    outputs = [each.get("output_tensors") if isinstance(each, Mapping) else None for each in value.values()]
    kinds = {str(each.get("dtype")) if isinstance(each, Mapping) else "" for each in outputs}
    return _NAMES.get(kinds.pop().upper()) if len(kinds) == 1 else None


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
