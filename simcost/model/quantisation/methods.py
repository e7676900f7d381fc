"""Methods that state one format: `quant_method` -> bits, scales and zero points, as the class that loads them lays them out.

Most likely to be wrong: a tool that changes its layout without a new name. Sources: `transformers` 5.24 (utils/quantization_config.py, integrations/);
AutoGPTQ, AutoAWQ, bitsandbytes; hqq 0.2.8 (core/bitpack.py), sinq 0.2, aqlm 1.1.7 (inference.py), vptq 0.0.5 (layers/vqlinear.py), optimum-quanto 0.2.7
(nn/qmodule.py), auto-round 0.16; vLLM `experts_int8`; SGLang `w8a8_int8`, `w8a8_fp8`, `blockwise_int8`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
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
from simcost.model.quantisation.stored import CONVERTED
from simcost.sharding.shard import ROLES

Table = Mapping[str, Any]
Reader = Callable[[Table, str], Scheme]


def fp8(table: Table, where: str) -> Scheme:
    """One scale a matrix, or fp32 ones a block; `modules_to_convert`: others that are converted too."""
    block = table.get("weight_block_size")
    form = plain("fp8") if block is None else blocks("fp8_block", block, where)
    if str(table.get("expert_dtype") or "fp8") != "fp8":
        raise refused(where, f"{named('expert_dtype')} = {table['expert_dtype']!r}")
    more = table.get("modules_to_convert") or []
    if not isinstance(more, list) or not all(isinstance(name, str) for name in more):
        raise SpecError(f"{where}: '{named('modules_to_convert')}' must be a list of module names")
    return Scheme(form, rules=tuple((name, form) for name in more))


def blocks(name: str, block: Any, where: str, key: str = "weight_block_size", scale: float = 32) -> Format:
    """Scales of tiles (rows, columns), fp32 ones unless stated. Raises SpecError for a tile that is none."""
    ok = isinstance(block, list) and len(block) == 2 and all(type(b) is int and 1 <= b <= 1 << 20 for b in block)
    if not ok:
        raise SpecError(f"{where}: '{named(key)}' must be two positive integers, not {block!r}")
    kind = block_scaled(dtype(name), block[0], block[1], scale)
    return Format(kind, kind)


def _mxfp8(table: Table, where: str) -> Scheme:
    if table.get("weight_block_size") not in (None, [1, 32]):
        raise SpecError(
            f"{where}: '{named('weight_block_size')}' of mxfp8 is [1, 32], not {table['weight_block_size']!r}"
        )
    return Scheme(plain("mxfp8"))


def gptq(table: Table, where: str) -> Scheme:
    """A group has an fp16 scale and a zero point as wide as an element. `dynamic` and `modules_in_block_to_quantize` choose by module."""
    form = _gptq_format(table, where)
    rules: list[tuple[str, Format | None]] = []
    for pattern, change in mapping(table, "dynamic", where).items():
        change = tabled(change, f"dynamic.{pattern}", where)
        regex = "re:" + pattern.removeprefix("+:").removeprefix("-:")
        rules.append((regex, None if pattern.startswith("-:") else _gptq_format({**table, **change}, where)))
    inside = table.get("modules_in_block_to_quantize")
    if not inside:
        return Scheme(form, rules=tuple(rules))
    parts = inside if isinstance(inside, list) else [inside]
    names = [name for part in parts for name in (part if isinstance(part, list) else [part])]
    if not all(isinstance(name, str) for name in names):
        raise SpecError(f"{where}: '{named('modules_in_block_to_quantize')}' must be lists of module names")
    return Scheme(None, rules=(*rules, *((name, form) for name in names)))


def _gptq_format(table: Table, where: str) -> Format:
    bits = positive(table, "bits", where)
    if bits not in (2, 3, 4, 8):
        raise refused(where, f"{named('bits')} = {bits} (2, 3, 4 and 8 are)")
    return integers(bits, group_size(table, where), 16 + bits)


def _awq(table: Table, where: str) -> Scheme:
    bits = positive(table, "bits", where)
    if bits not in (4, 8):
        raise refused(where, f"{named('bits')} = {bits} (4 and 8 are)")
    return Scheme(integers(bits, group_size(table, where), 16 + bits))


def _auto_round(table: Table, where: str) -> Scheme:
    """Packed as GPTQ or AWQ does; `extra_config` changes single modules, 16 bits leave one as it is."""
    rules = []
    for name, change in mapping(table, "extra_config", where).items():
        change = tabled(change, f"extra_config.{name}", where)
        pattern = f"re:{name}" if any(sign in name for sign in "*+?[\\^(|$") else name
        rules.append((pattern, _auto_round_format({**table, **change}, where)))
    return Scheme(_auto_round_format(table, where), rules=tuple(rules))


def _auto_round_format(table: Table, where: str) -> Format | None:
    bits, kind = positive(table, "bits", where), str(table.get("data_type") or "int")
    computes = (table.get("act_bits") or 16) < 16
    if bits >= 16:
        return None
    if kind == "int" and bits <= 8:
        if computes and (bits, table.get("act_bits")) != (8, 8):
            raise refused(where, f"{named('act_bits')} = {table['act_bits']} of auto-round with {bits} bits")
        return integers(bits, group_size(table, where), 16 + bits, dtype("int8") if computes else None)
    known = {("mx_fp", 4): "mxfp4", ("mx_fp", 8): "mxfp8", ("nv_fp", 4): "nvfp4", ("fp", 8): "fp8"}
    name = next((known[key] for key in known if kind.startswith(key[0]) and bits == key[1]), None)
    if name is None:
        raise refused(where, f"{named('data_type')} = {kind!r} of {bits} bits")
    return plain(name, computes)


def _mlx(table: Table, where: str) -> Scheme:
    """Affine: a scale and a bias of 16 bits a group; embedding and head too. Other keys name modules: a table of their own, or false."""
    own = _mlx_format(table, where)
    tables = {key: value for key, value in table.items() if "." in key or isinstance(value, (Mapping, bool))}
    rules = tuple((key, _mlx_rule(table, key, value, own, where)) for key, value in tables.items())
    return Scheme(own, (*CONVERTED, "embedding", "head"), rules)


def _mlx_rule(table: Table, name: str, value: Any, own: Format, where: str) -> Format | None:
    if isinstance(value, bool):
        return own if value else None
    return _mlx_format({**table, **tabled(value, name, where)}, where)


def _mlx_format(table: Table, where: str) -> Format:
    bits, mode = positive(table, "bits", where), str(table.get("mode") or "affine")
    if mode == "affine" and bits in (2, 3, 4, 5, 6, 8):
        return integers(bits, positive(table, "group_size", where), 32)
    known = {("mxfp4", 4): "mxfp4", ("mxfp8", 8): "mxfp8", ("nvfp4", 4): "nvfp4"}
    if (mode, bits) not in known:
        raise refused(where, f"MLX's quantization of {bits} bits, mode {mode!r}")
    return plain(known[mode, bits], False)


def _metal(table: Table, where: str) -> Scheme:
    bits = positive(table, "bits", where, 4)
    if bits not in (2, 4, 8):
        raise refused(where, f"{named('bits')} = {bits} (2, 4 and 8 are)")
    return Scheme(integers(bits, positive(table, "group_size", where, 64), 64))


def _bitsandbytes(table: Table, where: str) -> Scheme:
    """Of 4 bits: blocks of 64 with an fp32 scale, or of 8 bits where 256 of them share an fp32 one; of 8 bits: an fp32 scale a row."""
    if table.get("load_in_8bit") or table.get("_load_in_8bit"):
        if table.get("llm_int8_has_fp16_weight"):
            return Scheme(None)
        return Scheme(by_row("int8", 32, computes=False))
    if not (table.get("load_in_4bit") or table.get("_load_in_4bit")):
        raise SpecError(f"{where}: 'quantization_config' of bitsandbytes needs load_in_4bit or load_in_8bit")
    return Scheme(
        Format(block_scaled(dtype("int4"), 1, 64, 8 + 32 / 256 if table.get("bnb_4bit_use_double_quant") else 32))
    )


def _hqq(table: Table, where: str) -> Scheme:
    """A scale and a zero point of 16 bits a group; three bits are packed ten to 32, five and six into bytes. `quant_config` may be one table, or one for each
    of the linear layers that are converted."""
    config = mapping(table, "quant_config", where) or table
    if "weight_quant_params" in config or "nbits" in config:
        return Scheme(_hqq_format(config, where))
    if config is table:
        raise SpecError(f"{where}: '{named('quant_config')}' of hqq is missing or empty")
    rules = []
    for tag, each in config.items():
        form = None if each is None else _hqq_format(tabled(each, f"quant_config.{tag}", where), where)
        rules.append((tag, form))
    return Scheme(None, rules=tuple(rules))


_HQQ = {8: 8.0, 6: 8.0, 5: 8.0, 4: 4.0, 3: 3.2, 2: 2.0, 1: 1.0}


def _hqq_format(config: Table, where: str) -> Format:
    own = mapping(config, "weight_quant_params", where) or config
    if config.get("scale_quant_params") or config.get("zero_quant_params"):
        raise refused(where, f"{named('quant_config')}: scales that are quantised themselves")
    bits, group, axis = positive(own, "nbits", where), own.get("group_size"), own.get("axis", 1)
    if bits not in _HQQ or axis not in (0, 1):
        raise refused(where, f"{named('nbits')} = {bits}, axis {axis!r} of hqq")
    size = 0 if group is None else positive(own, "group_size", where)
    tile = (1, size) if axis == 1 else (size, 1)
    return Format(packed(f"int{bits}", _HQQ[bits], *tile, 32))


def _sinq(table: Table, where: str) -> Scheme:
    """Packed as hqq; scale and zero point of 8 bits a group, two values of 16 bits for 32 scales and for all zero points, a second scale a column."""
    bits, method, mode = positive(table, "nbits", where, 4), table.get("method", "sinq"), table.get("tiling_mode", "1D")
    if bits not in _HQQ or method != "sinq" or mode != "1D":
        raise refused(where, f"{named('nbits')} = {bits}, method {method!r}, tiling_mode {mode!r} of sinq")
    kind = packed(f"int{bits}", _HQQ[bits], 1, positive(table, "group_size", where, 64), 8 + 8 + 1)
    return Scheme(Format(kind, once=32.0, column=16.0))


def _aqlm(table: Table, where: str) -> Scheme:
    """Codes of a tile of in_group_size x out_group_size in whole integers, a scale a row of tiles, and codebooks of every matrix."""
    inner, out = positive(table, "in_group_size", where, 8), positive(table, "out_group_size", where, 1)
    books, bits = positive(table, "num_codebooks", where, 1), positive(table, "nbits_per_codebook", where, 16)
    if bits > 32:
        raise refused(where, f"{named('nbits_per_codebook')} = {bits}")
    whole = 8 if bits <= 8 else 16 if bits <= 16 else 32
    kind = packed("aqlm", books * whole / (inner * out), out, 0, 16)
    return Scheme(Format(kind, once=16.0 * books * 2.0**bits * inner * out))


def _vptq(table: Table, where: str) -> Scheme:
    """Indices of vectors along a column, with centroids of every matrix, a scale and a bias of 16 bits and a place of 16 a column."""
    rules = []
    for name, each in mapping(table, "config_for_layers", where).items():
        rules.append((name, _vptq_format(tabled(each, f"config_for_layers.{name}", where), where)))
    if not rules or table.get("shared_layer_config"):
        raise refused(where, f"{named('config_for_layers')} of vptq that is empty, or beside a shared_layer_config")
    return Scheme(None, rules=tuple(rules))


def _second(table: Table, key: str, where: str) -> int:
    """The second of two integers: of the vectors; the first is of outliers."""
    pair = table.get(key)
    ok = isinstance(pair, list) and len(pair) == 2 and all(type(each) is int and -1 <= each <= 1 << 20 for each in pair)
    if not isinstance(pair, list) or not ok or (pair[1] < 1 and key != "num_res_centroids"):
        raise SpecError(f"{where}: '{named(key)}' must be two integers, not {pair!r}")
    return int(pair[1])


def _vptq_format(table: Table, where: str) -> Format:
    length, main, rest = (_second(table, key, where) for key in ("vector_lens", "num_centroids", "num_res_centroids"))
    if table.get("outlier_size", 0) or table.get("group_num", 1) != 1:
        raise refused(where, f"{named('config_for_layers')}: vptq with outliers or several groups")
    bits = int(math.log2(main)) + (int(math.log2(rest)) if rest > 0 else 0)
    column = 32.0 * bool(table.get("enable_norm", True)) + 16.0 * bool(table.get("enable_perm", True))
    return Format(packed("vptq", bits / length, 0, 0, 0), once=16.0 * length * (main + max(rest, 0)), column=column)


def _quanto(table: Table, where: str) -> Scheme:
    """int8 and float8 with a scale a row; int4 and int2 with scale and shift of 128 elements."""
    weights, inputs = str(table.get("weights") or "int8"), table.get("activations")
    if weights in ("int4", "int2") and inputs is None:
        return Scheme(integers(int(weights[3:]), 128, 32))
    known = {"int8": "int8", "float8": "fp8"}
    if weights not in known or inputs not in (None, weights):
        raise refused(where, f"quanto's weights {weights!r} with activations {inputs!r}")
    return Scheme(by_row(known[weights], 16, inputs is not None))


def _higgs(table: Table, where: str) -> Scheme:
    """A scale of 16 bits a group, and two tables of every matrix."""
    bits, group = positive(table, "bits", where, 4), positive(table, "group_size", where, 256)
    if bits not in (2, 3, 4):
        raise refused(where, f"{named('bits')} = {bits} of higgs (2, 3 and 4 are)")
    return Scheme(Format(packed("higgs", bits, 1, group, 16), once=16.0 * (2**bits + 2 * 4**bits)))


def _bitnet(table: Table, where: str) -> Scheme:
    """Ternary weights, four to a byte; quantised while running ("online") they are kept as they are."""
    if table.get("quantization_mode", "offline") == "online":
        return Scheme(None)
    return Scheme(Format(Dtype("int2", 2, "")))


def _fp_quant(table: Table, where: str) -> Scheme:
    name = str(table.get("forward_dtype") or "nvfp4")
    if name not in ("nvfp4", "mxfp4"):
        raise refused(where, f"{named('forward_dtype')} = {name!r}")
    return Scheme(None if table.get("store_master_weights") or table.get("pseudoquantization") else plain(name))


def _four_over_six(table: Table, where: str) -> Scheme:
    name = str(table.get("weight_dtype") or table.get("dtype") or "nvfp4")
    if name not in ("nvfp4", "mxfp4") or table.get("module_config_overrides"):
        raise refused(where, f"fouroversix with dtype {name!r} or module_config_overrides")
    return Scheme(None if table.get("keep_master_weights") else plain(name))


def _gemma(table: Table, where: str) -> Scheme:
    """An fp32 scale a row; `module_quant_configs` sets the bits by module, `quantize_embeddings` takes the embedding too."""

    def form(each: Table) -> Format:
        bits = positive(each, "num_bits", where, 4)
        if bits not in (2, 4, 8):
            raise refused(where, f"{named('num_bits')} = {bits} (2, 4 and 8 are)")
        return integers(bits, None, 32)

    rules = []
    for pattern, each in mapping(table, "module_quant_configs", where).items():
        each = tabled(each, f"module_quant_configs.{pattern}", where)
        rules.append((f"re:.*(?:{pattern})", form({"num_bits": table.get("num_bits"), **each})))
    roles = (*CONVERTED, "embedding") if table.get("quantize_embeddings") else CONVERTED
    return Scheme(form(table), roles, tuple(rules))


def _experts_int8(table: Table, where: str) -> Scheme:
    return Scheme(by_row("int8", 32, computes=False), ("experts",))


def _block_int8(table: Table, where: str) -> Scheme:
    return Scheme(blocks("int8", table.get("weight_block_size"), where))


def _gguf(table: Table, where: str) -> Scheme:
    """Formats of whole roles, as the reader of a GGUF file finds them: the type of most elements, and the bits of one."""
    tensors = mapping(table, "tensors", where)
    if not tensors:
        raise refused(where, f"{named('quant_method')} 'gguf': the GGUF file has the formats: pass the file itself")
    own = {}
    for role, stated in tensors.items():
        ok = role in ROLES and isinstance(stated, list) and len(stated) == 2 and isinstance(stated[0], str)
        if not ok or isinstance(stated[1], bool) or not isinstance(stated[1], (int, float)) or not 0 < stated[1] <= 64:
            raise SpecError(f"{where}: '{named('tensors')}.{role}' must be a type and its bits, not {stated!r}")
        own[role] = Format(Dtype(stated[0], stated[1], stated[0] if stated[0] in ("fp32", "fp16", "bf16") else ""))
    return Scheme(None, tuple(own), own=own)


def _fixed(form: Format) -> Reader:
    return lambda table, where: Scheme(form)


# Names as `quant_method` spells them, "_" as "-".
READERS: dict[str, Reader] = {
    "fp8": fp8, "fbgemm-fp8": _fixed(by_row("fp8", 32)), "ptpc-fp8": _fixed(by_row("fp8", 32)), "w8a8-fp8": _fixed(by_row("fp8", 32)), "mxfp4": _fixed(plain("mxfp4", False)),
    "mxfp8": _mxfp8, "nvfp4": _fixed(plain("nvfp4")), "gptq": gptq, "gptq-marlin": gptq, "awq": _awq, "awq-marlin": _awq, "auto-round": _auto_round,
    "intel/auto-round": _auto_round, "gguf": _gguf, "mlx": _mlx, "metal": _metal, "bitsandbytes": _bitsandbytes, "hqq": _hqq, "sinq": _sinq, "aqlm": _aqlm, "vptq": _vptq,
    "quanto": _quanto, "eetq": _fixed(by_row("int8", 16, computes=False)), "higgs": _higgs, "bitnet": _bitnet, "fp-quant": _fp_quant,
    "fouroversix": _four_over_six, "gemma": _gemma, "experts-int8": _experts_int8, "w8a8-int8": _fixed(by_row("int8", 32)), "blockwise-int8": _block_int8,
}  # fmt: skip
# Methods that are known and not read, with the reason.
REFUSED = {
    "spqr": "its sizes depend on outliers that only the checkpoint counts", 
    "qqq": "weights of 4 bits with scales of two levels", "gptq-marlin-24": "sparse weights", "deepspeedfp": "weights are quantised while loading",
}  # fmt: skip
# Methods whose own kernels no engine here runs: bytes are theirs, times those of the nearest kernel.
OTHER_KERNELS = frozenset(READERS) - {
    "fp8", "fbgemm-fp8", "ptpc-fp8", "w8a8-fp8", "mxfp4", "mxfp8", "nvfp4", "gptq", "gptq-marlin", "awq", "awq-marlin", "auto-round", "intel/auto-round",
    "w8a8-int8", "gguf",
}  # fmt: skip
