"""A `quantization_config` read: its method, its exceptions, its cache, and what of it is not read.

Embedding, head, router and norms stay in the base format in every scheme here unless the scheme says otherwise
(DeepSeek-V3 README_WEIGHTS.md; gpt-oss modules_to_not_convert; llm-compressor's default ignore list).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from simcost import dtypes
from simcost.dtypes import Dtype
from simcost.errors import NotModelled, SpecError, nearest
from simcost.model.quantisation import by_module, methods
from simcost.model.quantisation.cache_format import KEYS as CACHE
from simcost.model.quantisation.cache_format import cache_format
from simcost.model.quantisation.formats import WAY, Scheme, one_line, refused
from simcost.model.quantisation.roles import by_role
from simcost.model.quantisation.seen import Seen
from simcost.model.quantisation.stored import Held, Quantisation
from simcost.provenance import Kind, Note

_READERS = methods.READERS | {"compressed-tensors": by_module.compressed, "quark": by_module.quark, "torchao": by_module.torchao} | dict.fromkeys(
    ("modelopt", "modelopt-fp4", "modelopt-fp8", "modelopt-mxfp8", "modelopt-mixed"), by_module.modelopt
)  # fmt: skip
_EXCEPTIONS = (
    "modules_to_not_convert", "ignore", "ignored_layers", "exclude_modules", "llm_int8_skip_modules", "skip_modules", "linear_weights_not_to_quantize", "exclude",
)  # fmt: skip
_TABLES = frozenset(
    """
    config_groups sparsity_config producer meta dynamic extra_config quantized_layers quant_config config_for_layers shared_layer_config
    module_quant_configs global_quant_config layer_quant_config layer_type_quant_config quant_type quant_type_kwargs export algo_config tune_metadata
    module_config_overrides tensors
    """.split()  # noqa: SIM905 -- a table to read
) | frozenset(CACHE)  # tables that a reader reads, or that say nothing of formats
# Read by a reader, or of no effect on bytes and rates (calibration, packing order, versions).
_KNOWN = _TABLES | frozenset(_EXCEPTIONS) | frozenset(
    """
    quant_method weight_block_size fmt activation_scheme bits group_size format quantization_status version quant_algo lm_head desc_act sym
    damp_percent static_groups true_sequential zero_point checkpoint_format is_marlin_format model_name_or_path model_file_base_name
    global_compression_ratio dequantize scale_fmt backend provider pack_dtype side_file side_file_differs has_zero_point pre_quant_scale moe_quant_algo
    load_in_4bit load_in_8bit bnb_4bit_use_double_quant bnb_4bit_quant_type bnb_4bit_compute_dtype bnb_4bit_quant_storage
    llm_int8_threshold llm_int8_has_fp16_weight llm_int8_enable_fp32_cpu_offload _load_in_4bit _load_in_8bit mode modules_to_convert expert_dtype
    modules_in_block_to_quantize act_bits data_type iters autoround_version packing_format block_name_to_quantize quant_block_list act_data_type act_dynamic
    act_group_size act_sym nsamples seqlen batch_size lr minmax_lr low_gpu_mem_usage enable_quanted_input gradient_accumulate_steps amp dataset
    enable_minmax_tuning super_bits super_group_size act_group_aware weights activations nbits tiling_mode method in_group_size out_group_size num_codebooks
    nbits_per_codebook p hadamard_size linear_class quantization_mode use_rms_norm rms_norm_eps forward_dtype forward_method backward_dtype
    store_master_weights hadamard_group_size pseudoquantization transform_init activation_scale_ub num_bits quantize_embeddings dtype weight_dtype
    keep_master_weights activation_dtype gradient_dtype scale_rule quantize_backend matmul_backend output_dtype include_input_output_embeddings
    untie_embedding_weights activation_scale_rule gradient_scale_rule weight_scale_rule weight_scale_2d enable_proxy_error quant_mode
    run_compressed use_optimized_inference tokenizer model_seqlen pad_token_id max_input_length cache_block_outputs module_name_preceding_first_block use_cuda_fp16
    use_exllama exllama_config disable_exllama do_fuse modules_to_fuse fuse_max_seq_len
    """.split()  # noqa: SIM905 -- a table to read
)  # fmt: skip


def read(table: Any, where: str, held: Held, base: Dtype) -> Quantisation:
    """The `quantization_config` of a model. `held`: the matrices of every role, layer by layer; `base`: the format of the others. Raises
    SpecError for malformed tables, NotModelled for schemes that nobody models yet."""
    if not isinstance(table, Mapping) or not all(isinstance(key, str) for key in table):
        raise SpecError(f"{where}: 'quantization_config' must be a table, not {table!r}")
    method, seen = _method(table), Seen(table)
    scheme = _scheme(seen, method, where)
    if table.get("lm_head") is True:
        scheme = replace(scheme, roles=(*scheme.roles, "head"))
    formats, notes = by_role(scheme, _excepted(table, where), held, base, where)
    if table.get("side_file"):
        text = f"quantization_config is read from {table['side_file']}, beside the config"
        notes.append(Note(text, Kind.SAID, ("quantization_config",)))
    if table.get("side_file_differs"):
        text = f"{table['side_file_differs']}, which is not read: the config's own quantization_config wins"
        notes.append(Note(text, Kind.ASSUMED, ("quantization_config",)))
    if table.get("dequantize"):
        notes.append(
            Note("quantization_config: dequantize: the weights count as the checkpoint has them", Kind.ASSUMED)
        )
    notes += _kernels(method, {each.dtype.name for each in formats.values()})
    modules = {key for key in table if method == "mlx" and "." in key}
    idle = sorted(
        key for key, value in table.items() if key not in _KNOWN | modules and value not in (None, False, [], {})
    )
    if idle:
        notes.append(
            Note(
                f"quantization_config: not read: {', '.join(map(one_line, idle))}",
                Kind.UNUSED,
                tuple(f"quantization_config.{key}" for key in idle),
            )
        )
    cache = cache_format(seen, where)
    if unread := [key for key in seen.unread() if key not in _SAID and key not in idle]:
        about = tuple(f"quantization_config.{key}" for key in unread)
        text = f"quantization_config: no effect on formats: {', '.join(map(one_line, unread))}"
        notes.append(Note(text, Kind.UNUSED, about))
    return Quantisation(method, formats, cache, tuple(notes), _over(table) is not None)


_SAID = ("lm_head", "dequantize")  # read here, beside what a method reads


def _kernels(method: str, kinds: set[str]) -> list[Note]:
    """Whose kernels times are of, where they are not the method's own."""
    known, strange = kinds & set(dtypes.names()), ", ".join(sorted(kinds - set(dtypes.names())))
    said = []
    if method in methods.OTHER_KERNELS and known:
        said.append(f"{method}: bytes are exact, times are those of other kernels for {', '.join(sorted(known))}")
    if strange:
        said.append(
            f"{method}: no kernel for {strange} was measured: times follow from its bytes and from wider arithmetic"
        )
    return [Note(f"quantization_config: {text}", Kind.ASSUMED) for text in said]


def _scheme(table: Mapping[str, Any], method: str, where: str) -> Scheme:
    if method in methods.REFUSED:
        raise refused(where, f"quantization_config.quant_method {method!r}: {methods.REFUSED[method]}")
    if method not in _READERS:
        raise NotModelled(
            f"{where}: not modelled yet: quantization_config.quant_method {method!r}{nearest(method, _READERS)}; {WAY}"
        )
    tables = (key for key, value in table.items() if isinstance(value, Mapping) and value and key not in _TABLES)
    strange = next(tables, None) if method != "mlx" else None
    over = _over(table)
    if over and method == "fp8":
        return by_module.on_fp8(table, where)
    if strange is not None or (over is not None and _READERS[method] is not by_module.modelopt):
        raise refused(where, f"quantization_config.{strange or over}: formats that differ by module")
    return _READERS[method](table, where)


def _over(table: Mapping[str, Any]) -> str | None:
    """The key by which ModelOpt names formats of single layers, or of the experts, beside those of the others."""
    return next((key for key in ("quantized_layers", "moe_quant_algo") if table.get(key)), None)


def _method(table: Mapping[str, Any]) -> str:
    """The scheme. ModelOpt's older files and MLX's state none."""
    stated = str(table.get("quant_method") or "").lower().replace("_", "-")
    if stated:
        return stated
    return "modelopt" if "quant_algo" in table else "mlx" if {"bits", "group_size"} <= set(table) else ""


def _excepted(table: Mapping[str, Any], where: str) -> list[str]:
    """Names of modules that stay in the base format."""
    found: list[str] = []
    own = ("ignore",) if _method(table) == "fp8" and _over(table) else ()  # of ModelOpt's groups, on top of fp8
    for key in (key for key in _EXCEPTIONS if key not in own):
        names = table.get(key) or []
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise SpecError(f"{where}: 'quantization_config' exceptions must be a list of module names ('{key}')")
        found += names
    return list(dict.fromkeys(found))
