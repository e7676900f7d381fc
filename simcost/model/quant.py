"""`quantization_config` -> the number format in which each kind of weight is stored.

Embedding, head, router and norms stay in the base format in every scheme here unless the scheme says otherwise
(DeepSeek-V3 README_WEIGHTS.md; gpt-oss modules_to_not_convert; llm-compressor's default ignore list).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatch
from typing import Any

from simcost.dtypes import Dtype, block_scaled, dtype
from simcost.errors import NotModelled, SpecError, nearest
from simcost.frozen import frozen
from simcost.provenance import Kind, Note

Layers = Mapping[str, frozenset[int]]  # numbers of the layers that hold weights of a role
CONVERTED = ("attention", "ffn", "experts", "shared_experts")
_PROBES = {
    "attention": ("model.layers.1.self_attn.q_proj", "model.layers.1.self_attn.q_b_proj", "model.layers.1.self_attn"),
    "ffn": ("model.layers.1.mlp.gate_proj", "model.layers.1.mlp.down_proj"),
    "experts": (
        "model.layers.1.mlp.experts.1.gate_proj",
        "model.layers.1.block_sparse_moe.experts.1.w1",
        "model.layers.1.mlp.experts",
    ),
    "shared_experts": ("model.layers.1.mlp.shared_experts.gate_proj", "model.layers.1.mlp.shared_expert.gate_proj"),
    "router": ("model.layers.1.mlp.gate", "model.layers.1.mlp.router", "model.layers.1.block_sparse_moe.gate"),
    "head": ("lm_head",),
    "embedding": ("model.embed_tokens",),
    "norm": (
        "model.layers.1.input_layernorm",
        "model.layers.1.post_attention_layernorm",
        "model.layers.1.mlp.gate.e_score_correction_bias",
        "e_score_correction_bias",
    ),
}


@frozen
class Quantisation:
    """`weights` of the converted roles; `activations` = whether GEMMs also compute in that format."""

    method: str
    weights: Dtype
    activations: bool
    roles: tuple[str, ...] = CONVERTED
    kv: Dtype | None = None
    notes: tuple[Note, ...] = ()


def read(table: Any, where: str, layers: Layers) -> Quantisation | None:
    """The `quantization_config` of a model; None when absent. `layers`: which of them hold weights of a role. Raises SpecError for malformed tables,
    NotModelled for schemes that nobody models yet, and for formats that differ by module."""
    if table is None:
        return None
    if not isinstance(table, Mapping):
        raise SpecError(f"{where}: 'quantization_config' must be a table, not {table!r}")
    method = _method(table)
    readers = {"fp8": _fp8, "fbgemm-fp8": _fp8, "mxfp4": _mxfp4, "gptq": _int, "awq": _int, "compressed-tensors": _compressed, "modelopt": _modelopt,
               "bitsandbytes": _bitsandbytes, "mlx": _mlx}  # fmt: skip
    if method not in readers:
        raise NotModelled(
            f"{where}: not modelled yet: quantization_config.quant_method {method!r}{nearest(method, readers)}; --set model.quantization_config=null counts "
            "weights as torch_dtype stores them"
        )
    mixed = next(
        (
            key
            for key, value in table.items()
            if (key in _MIXED or isinstance(value, Mapping)) and key not in _TABLES and value
        ),
        None,
    )
    if mixed is not None:
        raise NotModelled(f"{where}: not modelled yet: quantization_config.{mixed}: formats that differ by module")
    weights, activations = readers[method](table, where)
    roles, notes = _roles(table, where, layers)
    said = []
    if table.get("side_file"):
        said.append(
            Note(
                f"quantization_config is read from {table['side_file']}, beside the config",
                Kind.SAID,
                ("quantization_config",),
            )
        )
    if method in _OTHER_KERNELS:
        said.append(
            Note(
                f"quantization_config: {method}: bytes are its own, times those of other kernels for {weights.name}",
                Kind.ASSUMED,
            )
        )
    if table.get("lm_head") is True:
        roles = (*roles, "head")
    if method == "mlx":
        roles = (*roles, "embedding", "head")
    idle = sorted(key for key, value in table.items() if key not in _KNOWN and value not in (None, False, [], {}))
    if idle:
        said.append(Note(f"quantization_config: not read: {', '.join(idle)}", Kind.UNUSED, ("quantization_config",)))
    return Quantisation(method, weights, activations, roles, _kv(table, where), (*notes, *said))


def _method(table: Mapping[str, Any]) -> str:
    """The scheme. ModelOpt's older files and MLX's state none."""
    stated = str(table.get("quant_method") or "").replace("_", "-")
    if stated:
        return stated
    return "modelopt" if "quant_algo" in table else "mlx" if {"bits", "group_size"} <= set(table) else ""


_OTHER_KERNELS = ("bitsandbytes", "mlx")  # whose own kernels no engine here runs
_MIXED = (
    "quantized_layers",
    "moe_quant_algo",
    "dynamic",
    "modules_in_block_to_quantize",
)  # formats that differ by module
_TABLES = ("config_groups", "kv_cache_scheme", "sparsity_config", "producer", "meta")  # tables that say no such thing
# Read above, or of no effect on bytes and rates (calibration, packing order, versions).
_KNOWN = frozenset(
    """
    quant_method weight_block_size fmt activation_scheme modules_to_not_convert ignore ignored_layers exclude_modules bits group_size
    config_groups format quantization_status version quant_algo kv_cache_scheme kv_cache_quant_algo lm_head desc_act sym
    damp_percent static_groups true_sequential zero_point checkpoint_format is_marlin_format model_name_or_path model_file_base_name
    global_compression_ratio sparsity_config producer dequantize scale_fmt backend meta provider pack_dtype side_file
    load_in_4bit load_in_8bit llm_int8_skip_modules bnb_4bit_use_double_quant bnb_4bit_quant_type bnb_4bit_compute_dtype bnb_4bit_quant_storage
    llm_int8_threshold llm_int8_has_fp16_weight llm_int8_enable_fp32_cpu_offload _load_in_4bit _load_in_8bit mode
    """.split()  # noqa: SIM905 -- a table to read
)


def _kv(table: Mapping[str, Any], where: str) -> Dtype | None:
    """The cache's format, where the scheme has one."""
    scheme = table.get("kv_cache_scheme")
    if scheme is None and table.get("kv_cache_quant_algo") is None:
        return None
    if isinstance(scheme, Mapping):
        known = {"float": "fp8", "int": "int8"}
        if scheme.get("num_bits") == 8 and str(scheme.get("type")) in known:
            return dtype(known[str(scheme["type"])])
    if str(scheme or table.get("kv_cache_quant_algo")).upper() == "FP8":
        return dtype("fp8")
    raise NotModelled(
        f"{where}: not modelled yet: quantization_config cache scheme {scheme or table.get('kv_cache_quant_algo')!r}"
    )


def _positive(table: Mapping[str, Any], key: str, where: str, default: int | None = None) -> int:
    value = table.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 1 << 20:
        raise SpecError(f"{where}: 'quantization_config.{key}' must be a positive integer, not {value!r}")
    return value


def _fp8(table: Mapping[str, Any], where: str) -> tuple[Dtype, bool]:
    block = table.get("weight_block_size")
    if block is None:
        return dtype("fp8"), True
    ok = isinstance(block, list) and len(block) == 2 and all(type(b) is int and 1 <= b <= 1 << 20 for b in block)
    if not ok:
        raise SpecError(
            f"{where}: 'quantization_config.weight_block_size' must be two positive integers, not {block!r}"
        )
    return block_scaled(dtype("fp8_block"), block[0], block[1], 32), True


def _mxfp4(table: Mapping[str, Any], where: str) -> tuple[Dtype, bool]:
    return dtype("mxfp4"), False


_COLUMN = 1 << 20  # elements of a group that is a whole column: far below one bit an element


def _int(table: Mapping[str, Any], where: str) -> tuple[Dtype, bool]:
    """GPTQ and AWQ: a group has an fp16 scale and a zero point as wide as an element."""
    bits = _positive(table, "bits", where)
    if bits not in (4, 8):
        raise NotModelled(f"{where}: not modelled yet: quantization_config.bits = {bits} (4 and 8 are)")
    group = _COLUMN if table.get("group_size") == -1 else _positive(table, "group_size", where)
    return block_scaled(dtype(f"int{bits}"), 1, group, 16 + bits), False


def _mlx(table: Mapping[str, Any], where: str) -> tuple[Dtype, bool]:
    """A group has a scale and a bias of 16 bits."""
    bits, mode = _positive(table, "bits", where), table.get("mode", "affine")
    if bits not in (4, 8) or mode != "affine":
        raise NotModelled(
            f"{where}: not modelled yet: MLX's quantization of {bits} bits, mode {mode!r} (4 and 8, affine are)"
        )
    return block_scaled(dtype(f"int{bits}"), 1, _positive(table, "group_size", where), 32), False


def _bitsandbytes(table: Mapping[str, Any], where: str) -> tuple[Dtype, bool]:
    """Of 4 bits: blocks of 64 with an fp32 scale, or of 8 bits where 256 of them share an fp32 one; of 8 bits: an fp32 scale a row."""
    if table.get("load_in_8bit") or table.get("_load_in_8bit"):
        return block_scaled(dtype("int8"), 1, _COLUMN, 32), False
    if not (table.get("load_in_4bit") or table.get("_load_in_4bit")):
        raise SpecError(f"{where}: 'quantization_config' of bitsandbytes needs load_in_4bit or load_in_8bit")
    if table.get("bnb_4bit_use_double_quant"):
        return block_scaled(dtype("int4"), 256, 64, 256 * 8 + 32), False
    return block_scaled(dtype("int4"), 1, 64, 32), False


def _compressed(table: Mapping[str, Any], where: str) -> tuple[Dtype, bool]:
    groups = table.get("config_groups")
    if not isinstance(groups, Mapping) or not groups:
        raise SpecError(f"{where}: 'quantization_config.config_groups' is missing or empty")
    if len(groups) > 1:
        raise NotModelled(f"{where}: not modelled yet: quantization_config.config_groups with {len(groups)} groups")
    group = next(iter(groups.values()))
    weights = group.get("weights") if isinstance(group, Mapping) else None
    if not isinstance(weights, Mapping):
        raise SpecError(f"{where}: 'quantization_config.config_groups' has no 'weights' table")
    bits, kind, activations = weights.get("num_bits"), weights.get("type"), group.get("input_activations") is not None
    size = weights.get("group_size")
    whole = size is None and weights.get("strategy") in ("channel", "tensor")
    if (bits, kind) == (8, "float"):
        block = weights.get("block_structure") if weights.get("strategy") == "block" else None
        return _fp8({"weight_block_size": block}, where)[0], activations
    if (bits, kind) == (4, "float"):
        if size not in (None, 16, 32):
            raise NotModelled(
                f"{where}: not modelled yet: quantization_config weights of 4 bits, type 'float', in groups of {size}"
            )
        return dtype("mxfp4" if size == 32 else "nvfp4"), activations
    if (bits, kind) == (8, "int") and (whole or size is None):
        return dtype("int8"), activations
    if kind == "int" and bits in (4, 8):
        # A symmetric group has a scale and no zero point.
        bits_of_group = 16 if weights.get("symmetric", True) else 16 + bits
        group = _COLUMN if whole or size == -1 else _positive(weights, "group_size", where, 128)
        return block_scaled(dtype(f"int{bits}"), 1, group, bits_of_group), activations and bits == 8
    raise NotModelled(f"{where}: not modelled yet: quantization_config weights of {bits} bits, type {kind!r}")


def _modelopt(table: Mapping[str, Any], where: str) -> tuple[Dtype, bool]:
    algorithm = str(table.get("quant_algo", "")).upper()
    known = {"FP8": dtype("fp8"), "NVFP4": dtype("nvfp4")}
    if algorithm not in known:
        raise NotModelled(f"{where}: not modelled yet: quantization_config.quant_algo {algorithm!r}")
    return known[algorithm], True


def _roles(table: Mapping[str, Any], where: str, layers: Layers) -> tuple[tuple[str, ...], tuple[Note, ...]]:
    """Roles that stay converted after the exceptions, and notes on those that hold for a part of the layers or for modules that are not known. A role is
    counted as most of the layers are that hold it."""
    keys = ("modules_to_not_convert", "ignore", "ignored_layers", "exclude_modules", "llm_int8_skip_modules")
    names: Any = next((table[key] for key in keys if table.get(key)), [])
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
        raise SpecError(f"{where}: 'quantization_config' exceptions must be a list of module names")
    kept: dict[str, set[int]] = {role: set() for role in _PROBES}
    most = max((layer for held in layers.values() for layer in held), default=0)
    strange = [name for name in names if not _excepted(name, most + 1, kept)]
    converted, said = [], []
    for role in CONVERTED:
        held = layers.get(role, frozenset())
        part, of = len(kept[role] & held), len(held)
        if not of or 2 * part < of:
            converted.append(role)
        if 0 < part < of:
            said.append(
                f"{role.replace('_', ' ')} of {part} of {of} layers {'is' if part == 1 else 'are'} not quantised: all count as {'not ' if 2 * part >= of else ''}quantised"
            )
    if strange:
        shown = ", ".join(strange[:3]) + (f" and {len(strange) - 3} more" if len(strange) > 3 else "")
        said.append(f"exceptions for single modules are not modelled, they count as quantised: {shown}")
    return tuple(converted), tuple(Note(f"quantization_config: {text}", Kind.ASSUMED) for text in said)


_LAYER = re.compile(r"\blayers\.(\d+)\b")
_TOWER = re.compile(r"vis|audio|tower|encoder|projector")
_DECODER = re.compile(
    r"^.*?(?=\blayers\.|\bembed_tokens)|^.*?\.(?=lm_head)"
)  # what wrappers put before the decoder's modules


def _excepted(name: str, layers: int, kept: Mapping[str, set[int]]) -> bool:
    """Adds the layers in which an exception holds to the roles that it names; whether it names one, or modules outside the layers that are counted."""
    if name.startswith("re:"):
        found = [
            (role, layer)
            for role, probes in _PROBES.items()
            for layer in range(layers)
            if any(_matches(name, probe.replace(".1.", f".{layer}.", 1)) for probe in probes)
        ]
        for role, layer in found:
            kept[role].add(layer)
        return bool(found) or _TOWER.search(name) is not None
    if _TOWER.search(name):
        return True  # of a tower, which is counted in the base format
    number = _LAYER.search(name)
    here = range(layers) if number is None else range(int(number[1]), int(number[1]) + 1)
    if here.start >= layers:
        return True  # modules of multi-token prediction
    inner = _DECODER.sub("" if name.endswith("lm_head") else "model.", name)
    alike = _LAYER.sub("layers.1", inner)
    roles = [role for role, probes in _PROBES.items() if any(_matches(alike, probe) for probe in probes)]
    for role in roles:
        kept[role].update(here)
    return bool(roles)


def _matches(name: str, module: str) -> bool:
    if name.startswith("re:"):
        try:
            return re.match(name[3:], module) is not None
        except re.error:
            return False
    return fnmatch(module, name) or fnmatch(module, name + ".*") or name in module.split(".")
