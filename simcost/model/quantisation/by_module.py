"""Methods that state formats module by module: compressed-tensors, ModelOpt, Quark, torchao.

Most likely to be wrong: torchao's older releases, which kept zero points of int8 that are all zero. Sources: compressed-tensors 0.20
(quantization/quant_args.py, quant_scheme.py, compressors/pack_quantized), nvidia-modelopt 0.47 (torch/export/quant_utils.py, convert_hf_config.py), amd-quark
0.13 (torch/quantization/config), torchao 0.18 (quantization/quant_api.py, quantize_/workflows).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from simcost.dtypes import Dtype, block_scaled, dtype
from simcost.errors import SpecError
from simcost.model.quantisation.formats import (
    Format,
    Scheme,
    by_row,
    group_size,
    integers,
    mapping,
    named,
    packed,
    plain,
    positive,
    refused,
    tabled,
)
from simcost.model.quantisation.methods import blocks, fp8
from simcost.model.quantisation.stored import CONVERTED

Table = Mapping[str, Any]
Rules = tuple[tuple[str, Format | None], ...]


def inner(table: Table, key: str, where: str, of: str) -> Mapping[str, Any]:
    """A table that has to be there. Raises SpecError."""
    value = table.get(key)
    if not isinstance(value, Mapping):
        raise SpecError(f"{where}: '{named(of)}' has no '{key}' table")
    return value


def compressed(table: Table, where: str) -> Scheme:
    """Groups of `targets`: "Linear" names every linear layer, others name modules and win over it."""
    groups = table.get("config_groups")
    if not isinstance(groups, Mapping) or not groups:
        raise SpecError(f"{where}: '{named('config_groups')}' is missing or empty")
    sparse = mapping(table, "sparsity_config", where).get("format")
    layouts = [sparse, table.get("format"), *(g.get("format") for g in groups.values() if isinstance(g, Mapping))]
    if any(str(each).startswith(("sparse", "marlin-24")) for each in layouts):
        raise refused(where, f"{named('sparsity_config')}: weights that leave zeros out")
    default: Format | None = None
    roles: tuple[str, ...] = CONVERTED
    rules: list[tuple[str, Format | None]] = []
    for group in groups.values():
        form = _group(group, where)
        targets = group.get("targets") or ["Linear"]
        if not isinstance(targets, list) or not all(isinstance(name, str) for name in targets):
            raise SpecError(f"{where}: '{named('config_groups')}' targets must be a list of names, not {targets!r}")
        for name in targets:
            if name == "Linear":
                default, roles = form, (*CONVERTED, "head")
            elif name == "Embedding":
                rules.append(("embed_tokens", form))
            else:
                rules.append((name, form))
    return Scheme(default, roles, tuple(rules))


def _group(group: Any, where: str) -> Format:
    weights = inner(group, "weights", where, "config_groups") if isinstance(group, Mapping) else None
    if weights is None:
        raise SpecError(f"{where}: '{named('config_groups')}' has no 'weights' table")
    inputs = group.get("input_activations")
    if inputs is not None and not isinstance(inputs, Mapping):
        raise SpecError(f"{where}: '{named('config_groups')}': input_activations must be a table, not {inputs!r}")
    bits, kind, size = weights.get("num_bits"), weights.get("type", "int"), weights.get("group_size")
    strategy = weights.get("strategy") or ("tensor" if size is None else "channel" if size == -1 else "group")
    found = _stored(weights, bits, kind, strategy, where)
    if found is None:
        raise refused(
            where,
            f"{named('config_groups')}: weights of num_bits = {bits}, type {kind!r}, strategy {strategy!r}, group_size = {size}",
        )
    return replace(found, compute=None if inputs is None else _arithmetic(found.dtype, inputs, where))


def _stored(weights: Table, bits: Any, kind: Any, strategy: Any, where: str) -> Format | None:
    size = weights.get("group_size")
    if (bits, kind, strategy) == (8, "float", "block"):
        return blocks("fp8_block", weights.get("block_structure"), where, "config_groups.block_structure", 16)
    if kind == "float":
        floats = {(8, "tensor"): plain("fp8"), (8, "channel"): by_row("fp8", 16)}
        small = {(4, None): "nvfp4", (4, 16): "nvfp4", (4, 32): "mxfp4", (8, 32): "mxfp8"}
        if (bits, size) == (6, 32):
            return Format(packed("mxfp6", 6, 1, 32, 8))
        return floats.get((bits, strategy)) or (plain(small[bits, size]) if (bits, size) in small else None)
    if kind != "int" or type(bits) is not int or not 2 <= bits <= 8:
        return None
    beside = 16 + (0 if weights.get("symmetric", True) else bits)  # a symmetric group has a scale and no zero point
    if strategy == "tensor":
        return Format(dtype("int8") if bits == 8 else Dtype(f"int{bits}", bits, ""))
    if strategy in ("channel", "group"):
        return integers(bits, None if strategy == "channel" else group_size(weights, where), beside)
    return None


def _arithmetic(stored: Dtype, inputs: Table, where: str) -> Dtype:
    """What kernels compute in: inputs in the wider of the two formats, or in the weights' own."""
    bits, kind = inputs.get("num_bits"), inputs.get("type", "int")
    if kind == "int" and type(bits) is int and bits in (4, 8):
        return dtype("int8") if bits == 8 else Dtype("int4", 4, "int4")
    if kind == "float" and bits == 8:
        return (
            stored
            if stored.name in ("fp8", "fp8_block", "mxfp8")
            else dtype("mxfp8" if inputs.get("group_size") == 32 else "fp8")
        )
    if kind == "float" and bits == 4 and stored.name in ("nvfp4", "mxfp4"):
        return stored
    raise refused(where, f"{named('config_groups')}: input_activations of {bits} bits, type {kind!r}")


def modelopt(table: Table, where: str) -> Scheme:
    """`quant_algo` of all linear layers, or of the named ones (MIXED_PRECISION); none: the cache alone is quantised."""
    algorithm = table.get("quant_algo")
    if algorithm is None and table.get("config_groups"):
        return compressed(table, where)
    if algorithm is None:
        return Scheme(None)
    if str(algorithm).upper() != "MIXED_PRECISION":
        return Scheme(_algorithm(table, where))
    return Scheme(None, rules=_by_layers(table, where))


def on_fp8(table: Table, where: str) -> Scheme:
    """ModelOpt on top of a checkpoint in fp8: the layers that it names in formats of their own, the others as they were. Its `ignore` speaks of its own groups, so those stay
    in fp8. Source: nvidia/DeepSeek-V4-Flash-NVFP4 (experts alone are converted)."""
    found = fp8(table, where)
    if table.get("quantized_layers"):
        return replace(found, rules=(*found.rules, *_by_layers(table, where)))
    algorithm = table.get("moe_quant_algo")
    own = {"experts": _algorithm({**table, "quant_algo": algorithm}, where)} if algorithm else {}
    return replace(
        found, own={**found.own, **own}, roles=(*found.roles, *(role for role in own if role not in found.roles))
    )


def _by_layers(table: Table, where: str) -> Rules:
    """The format of each name of `quantized_layers`. Raises SpecError where there is none."""
    layers = mapping(table, "quantized_layers", where)
    if not layers:
        raise SpecError(f"{where}: '{named('quantized_layers')}' of MIXED_PRECISION is missing or empty")
    known: dict[tuple[Any, Any], Format | None] = {}
    rules: list[tuple[str, Format | None]] = []
    for name, each in layers.items():
        each = tabled(each, f"quantized_layers.{name}", where)
        key = str(each.get("quant_algo")), str(each.get("group_size"))
        if key not in known:
            known[key] = _algorithm(each, where)
        rules.append((name, known[key]))
    return tuple(rules)


def _algorithm(table: Table, where: str) -> Format:
    name = str(table.get("quant_algo", "")).upper()
    fixed = {
        "FP8": plain("fp8"), "FP8_PER_CHANNEL_PER_TOKEN": by_row("fp8", 32), "NVFP4": plain("nvfp4"), "W4A16_NVFP4": plain("nvfp4", False),
        "W4A8_NVFP4_FP8": Format(dtype("nvfp4"), dtype("fp8")), "MXFP4": plain("mxfp4", False), "W4A8_MXFP4_FP8": Format(dtype("mxfp4"), dtype("fp8")),
        "MXFP8": plain("mxfp8"), "FP8_PB_WO": Format(dtype("fp8_block")), "W8A16": by_row("int8", 32, computes=False),
        "W8A8_SQ_PER_CHANNEL": replace(by_row("int8", 32), column=16.0), "NVFP4_AWQ": replace(plain("nvfp4"), column=16.0),
    }  # fmt: skip
    if name in fixed:
        form = fixed[name]
        stated = table.get("group_size") or 0
        if form.dtype.name in ("nvfp4", "mxfp4", "mxfp8") and stated not in (0, form.dtype.block[1]):
            raise refused(where, f"{named('group_size')} = {stated!r} of {name}")
        return form
    if name in ("W4A16_AWQ", "W4A8_AWQ", "INT4_AWQ"):
        group = positive({"group_size": table.get("group_size") or None}, "group_size", where, 128)
        return replace(integers(4, group, 32, dtype("fp8") if name == "W4A8_AWQ" else None), column=16.0)
    raise refused(where, f"{named('quant_algo')} {name!r}")


def quark(table: Table, where: str) -> Scheme:
    """A format of all linear layers, and others by the pattern of a name."""
    if table.get("layer_type_quant_config"):
        raise refused(where, f"{named('layer_type_quant_config')}: formats by class")
    rules = tuple(
        (name, _quark_layer(each, where, name)) for name, each in mapping(table, "layer_quant_config", where).items()
    )
    return Scheme(_quark_layer(table.get("global_quant_config"), where, "global_quant_config"), rules=rules)


def _quark_layer(layer: Any, where: str, name: str) -> Format | None:
    layer = tabled(layer, name, where)
    weight = layer.get("weight")
    if weight is None:
        return None
    inputs = layer.get("input_tensors")
    if not isinstance(weight, Mapping) or (inputs is not None and not isinstance(inputs, Mapping)):
        raise refused(where, f"{named(name)}: tensors in two stages")
    kind, scheme, size = str(weight.get("dtype")), str(weight.get("qscheme")), weight.get("group_size")
    bits = int(kind[-1]) if kind in ("int2", "int3", "int4", "uint4", "int8", "uint8") else None
    scale = 32 if weight.get("scale_type") == "float32" else 16  # "float": the model's own
    form: Format | None = None
    if kind == "fp8_e4m3" and scheme in ("per_tensor", "per_channel"):
        form = plain("fp8") if scheme == "per_tensor" else by_row("fp8", scale)
    elif scheme == "per_group" and size == 32 and weight.get("scale_format") == "e8m0":
        form = {
            "fp4": plain("mxfp4"),
            "fp6_e2m3": Format(packed("mxfp6", 6, 1, 32, 8)),
            "fp6_e3m2": Format(packed("mxfp6", 6, 1, 32, 8)),
            "fp8_e4m3": plain("mxfp8"),
        }.get(kind)
    elif bits is not None and scheme in ("per_channel", "per_group"):
        form = integers(
            bits,
            None if scheme == "per_channel" else group_size(weight, where),
            scale + (0 if weight.get("symmetric") else bits),
        )
    elif bits is not None and scheme == "per_tensor":
        form = Format(dtype("int8") if bits == 8 else Dtype(f"int{bits}", bits, ""))
    if form is None:
        raise refused(where, f"{named(name)}: weight dtype {kind!r}, {scheme!r}, group_size {size!r}")
    return replace(form, compute=None if inputs is None else _quark_arithmetic(form.dtype, inputs, where, name))


def _quark_arithmetic(stored: Dtype, inputs: Table, where: str, name: str) -> Dtype:
    kind = str(inputs.get("dtype"))
    if kind in ("fp4", "fp8_e4m3") and stored.name in ("mxfp4", "fp8", "mxfp8"):
        wide = "mxfp8" if inputs.get("qscheme") == "per_group" else "fp8"
        return stored if kind == "fp4" or stored.name in ("fp8", "mxfp8") else dtype(wide)
    known = {"fp8_e4m3": "fp8", "int8": "int8", "uint8": "int8"}
    if kind not in known:
        raise refused(where, f"{named(name)}: input_tensors of dtype {kind!r}")
    return dtype(known[kind])


def torchao(table: Table, where: str) -> Scheme:
    """The serialised config class of all linear layers, or one a module (FqnToConfig); older files name a function and its arguments."""
    kind = table.get("quant_type")
    if isinstance(kind, str):
        kind = {"default": {"_type": kind, "_data": mapping(table, "quant_type_kwargs", where)}}
    if not isinstance(kind, Mapping) or not isinstance(kind.get("default"), Mapping):
        raise SpecError(f"{where}: '{named('quant_type')}' must be a name, or a table with a 'default', not {kind!r}")
    one = kind["default"]
    roles = (*CONVERTED, "embedding", "head") if table.get("include_input_output_embeddings") else CONVERTED
    if str(one.get("_type")) not in ("FqnToConfig", "ModuleFqnToConfig"):
        return Scheme(_ao(one, where), roles)
    data = mapping(one, "_data", where)
    tables = data.get("fqn_to_config") or data.get("module_fqn_to_config")
    if not isinstance(tables, Mapping):
        raise SpecError(f"{where}: '{named('quant_type')}' has no table of configs by module")
    known = {name.removesuffix(".weight"): None if each is None else _ao(each, where) for name, each in tables.items()}
    default = known.pop("_default", None)
    exact = sorted(known, key=lambda name: name.startswith("re:"))  # names win over patterns
    return Scheme(default, roles, tuple((name, known[name]) for name in exact))


def _ao(config: Any, where: str) -> Format:
    if not isinstance(config, Mapping) or not isinstance(config.get("_data", {}), Mapping):
        raise SpecError(f"{where}: '{named('quant_type')}' must hold tables with _type and _data, not {config!r}")
    name, data = str(config.get("_type")), config.get("_data", {})
    rows, group = _granularity(data.get("granularity"), data)
    if name in ("Int4WeightOnlyConfig", "int4_weight_only"):
        return integers(4, positive(data, "group_size", where, 128), 32)
    if name in (
        "Int8WeightOnlyConfig",
        "int8_weight_only",
        "Int8DynamicActivationInt8WeightConfig",
        "int8_dynamic_activation_int8_weight",
    ):
        found = integers(8, group, 32 + 8)  # a zero point of a byte stands beside, also where it is always zero
        return replace(found, compute=dtype("int8") if "ynamic" in name else None)
    if name in ("Float8WeightOnlyConfig", "float8_weight_only"):
        return Format(block_scaled(dtype("fp8"), 1, group, 32)) if group else by_row("fp8", 32, computes=False)
    if name in ("Float8DynamicActivationFloat8WeightConfig", "float8_dynamic_activation_float8_weight"):
        return by_row("fp8", 32) if rows else plain("fp8")
    if name in ("NVFP4DynamicActivationNVFP4WeightConfig", "NVFP4InferenceConfig", "NVFP4WeightOnlyConfig"):
        return plain("nvfp4", name != "NVFP4WeightOnlyConfig")
    if name in ("MXDynamicActivationMXWeightConfig", "MXFPInferenceConfig"):
        kind = _data(data.get("weight_dtype")) or "float8_e4m3fn"
        if kind in ("float8_e4m3fn", "float4_e2m1fn_x2") and data.get("block_size", 32) == 32:
            return plain("mxfp8" if kind == "float8_e4m3fn" else "mxfp4")
    if name == "IntxWeightOnlyConfig" and _data(data.get("intx_packing_format")) in (None, "UNPACKED_TO_INT8"):
        # Every integer takes a byte, whatever its width.
        return replace(integers(8, group, 16 + 8), compute=None)
    raise refused(where, f"{named('quant_type')}: torchao's {name}")


def _data(value: Any) -> str | None:
    """The name that torchao stores of an enum or a type."""
    if isinstance(value, Mapping):
        value = value.get("_data")
    return value if isinstance(value, str) else None


def _granularity(value: Any, data: Table) -> tuple[bool, int | None]:
    """(by row, group) of a serialised granularity; the weights' own where inputs have another."""
    if isinstance(value, list) and value:
        value = value[-1]
    kind = str(value.get("_type")) if isinstance(value, Mapping) else ""
    inside = value.get("_data") if isinstance(value, Mapping) else None
    size = inside.get("group_size") if isinstance(inside, Mapping) and kind == "PerGroup" else data.get("group_size")
    return kind in ("PerRow", "PerAxis"), size if type(size) is int and size > 0 else None
