"""quantization_config tables as checkpoints bring them: the format, who computes in it, what stays wide, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from simcost.dtypes import Dtype, block_scaled, dtype
from simcost.errors import NotModelled, SpecError
from simcost.model.quant import CONVERTED, Held, Quantisation, read
from simcost.sharding.shard import Weight

DEEPSEEK = {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemm", "zero_point": True}
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": True, "sym": True, "damp_percent": 0.1}
GPT_OSS = {"quant_method": "mxfp4", "modules_to_not_convert": [
    "model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head",
]}  # fmt: skip
MODELOPT = {
    "quant_method": "modelopt",
    "quant_algo": "NVFP4",
    "kv_cache_quant_algo": "FP8",
    "exclude_modules": ["lm_head"],
}
FBGEMM = {"quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0, "modules_to_not_convert": ["lm_head"]}


def compressed(bits: int, kind: str, activations: bool = True, **weights: Any) -> dict[str, Any]:
    """As llm-compressor writes it."""
    group = {"weights": {"num_bits": bits, "type": kind, **weights}, "targets": ["Linear"]}
    group["input_activations"] = {"num_bits": 8} if activations else None
    return {
        "quant_method": "compressed-tensors",
        "config_groups": {"group_0": group},
        "format": "x",
        "ignore": ["lm_head"],
    }


def matrix(role: str, name: str, copies: float = 1.0) -> Weight:
    return Weight(name, role, 4096.0, 4096.0, copies)


def gated(role: str, name: str, copies: float = 1.0) -> Weight:
    """A gate and an up-projection, with as many elements as a matrix."""
    return Weight(name, role, 8192.0, 2048.0, copies)


# Eight layers, the first three dense, the others of 16 experts: every matrix is 4096 x 4096, those of a gate and an up-projection as large.
ATTENTION = (matrix("attention", "qkv_proj"), matrix("attention", "o_proj"))
FFN = (matrix("ffn", "gate_up_proj"), matrix("ffn", "down_proj"))
HELD: Held = {
    "attention": dict.fromkeys(range(8), ATTENTION), "ffn": dict.fromkeys(range(3), FFN),
    "experts": dict.fromkeys(range(3, 8), (gated("experts", "experts_up", 16.0), matrix("experts", "experts_down", 16.0))),
    "shared_experts": dict.fromkeys(range(3, 8), (gated("shared_experts", "shared_up"), matrix("shared_experts", "shared_down"))),
    "router": dict.fromkeys(range(3, 8), (matrix("router", "router"),)), "embedding": {0: (matrix("embedding", "embed_tokens"),)},
    "head": {0: (matrix("head", "lm_head"),)}, "norm": {},
}  # fmt: skip


def found(table: Any) -> Quantisation:
    quantisation = read(table, "config.json", HELD, dtype("bf16"))
    assert quantisation is not None
    return quantisation


def bits(kind: Dtype) -> float:
    """Of an element of a large matrix, its scales with it."""
    return kind.matrix_bytes(4096.0, 4096.0) * 8 / 4096.0**2


@pytest.mark.parametrize(("table", "name", "stored", "computes"), [
    (DEEPSEEK, "fp8_block", 8 + 32 / 128 / 128, True), ({**DEEPSEEK, "weight_block_size": [1, 64]}, "fp8_block", 8 + 32 / 64, True),
    ({"quant_method": "fp8"}, "fp8", 8.0, True), (FBGEMM, "fp8", 8.0 + 32 / 4096, True), (GPT_OSS, "mxfp4", 4.25, False),
    (AWQ, "int4", 4 + 20 / 128, False), ({**AWQ, "group_size": 32}, "int4", 4 + 20 / 32, False), ({**AWQ, "bits": 8}, "int8", 8 + 24 / 128, False),
    (GPTQ, "int4", 4 + 20 / 128, False), ({**GPTQ, "group_size": -1}, "int4", 4 + 20 / 4096, False), ({**GPTQ, "bits": 3}, "int3", 3 + 19 / 128, False),
    ({**GPTQ, "bits": 2}, "int2", 2 + 18 / 128, False), ({**GPTQ, "quant_method": "gptq_marlin"}, "int4", 4 + 20 / 128, False),
    (MODELOPT, "nvfp4", 4.5, True), ({**MODELOPT, "quant_algo": "fp8"}, "fp8", 8.0, True),
    (compressed(8, "float"), "fp8", 8.0, True), (compressed(8, "float", False), "fp8", 8.0, False), (compressed(8, "int"), "int8", 8.0, True),
    (compressed(4, "float"), "nvfp4", 4.5, True), (compressed(4, "int", False, group_size=64), "int4", 4 + 16 / 64, False),
    (compressed(4, "int", False, group_size=64, symmetric=False), "int4", 4 + 20 / 64, False),
    (compressed(4, "int", False, group_size=None, strategy="channel"), "int4", 4 + 16 / 4096, False),
    (compressed(8, "int", group_size=128, strategy="group"), "int8", 8 + 16 / 128, True),
    (compressed(8, "int", strategy="channel", group_size=None), "int8", 8.0 + 16 / 4096, True),
    (compressed(8, "float", strategy="block", block_structure=[128, 128]), "fp8_block", 8 + 16 / 128 / 128, True),
    (compressed(4, "float", group_size=32), "mxfp4", 4.25, True), (compressed(4, "float", group_size=16), "nvfp4", 4.5, True),
    (compressed(8, "float", group_size=32), "mxfp8", 8.25, True), (compressed(6, "float", False, group_size=32), "mxfp6", 6.25, False),
    # compressed-tensors packs 3 bits densely; without a group and a strategy the scale is one of the whole matrix (quant_args.py)
    (compressed(3, "int", False, group_size=128), "int3", 3 + 16 / 128, False), (compressed(4, "int", False), "int4", 4.0, False),
    ({"quant_algo": "FP8", "producer": {"name": "modelopt"}}, "fp8", 8.0, True),
    ({"bits": 4, "group_size": 64}, "int4", 4.5, False), ({"bits": 8, "group_size": 32, "mode": "affine"}, "int8", 9.0, False),
    ({"bits": 6, "group_size": 64}, "int6", 6.5, False), ({"bits": 4, "group_size": 32, "mode": "mxfp4"}, "mxfp4", 4.25, False),
    ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "int8", 8 + 32 / 4096, False), ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "int4", 4.5, False),
    ({"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_use_double_quant": True}, "int4", 4 + 8 / 64 + 32 / (256 * 64), False),
])  # fmt: skip
def test_a_scheme_stores_its_bits_and_its_scales(
    table: dict[str, Any], name: str, stored: float, computes: bool
) -> None:
    one = found(table).formats["experts"]
    assert (one.dtype.name, one.compute is not None) == (name, computes)
    assert bits(one.dtype) == pytest.approx(stored)


HQQ = {
    "weight_quant_params": {"nbits": 4, "group_size": 64, "axis": 1, "channel_wise": True},
    "scale_quant_params": None,
    "zero_quant_params": None,
}
TORCHAO = {"_type": "Int4WeightOnlyConfig", "_version": 2, "_data": {"group_size": 128}}
VPTQ = {
    "vector_lens": [-1, 8],
    "num_centroids": [-1, 65536],
    "num_res_centroids": [-1, 256],
    "group_num": 1,
    "group_size": 4096,
    "outlier_size": 0,
}


@pytest.mark.parametrize(("table", "name", "stored"), [
    # hqq core/bitpack.py: 3 bits are ten to an int32; scale and zero of 16 bits a group
    ({"quant_method": "hqq", "quant_config": HQQ, "skip_modules": ["lm_head"]}, "int4", 4.5),
    ({"quant_method": "hqq", "quant_config": {"weight_quant_params": {"nbits": 3, "group_size": 64, "axis": 0}}}, "int3", 3.2 + 32 / 64),
    ({"quant_method": "sinq", "nbits": 4, "group_size": 64}, "int4", 4 + 17 / 64 + 16 / 4096 + 32 / 4096**2),
    # aqlm inference.py: int16 codes of 8 elements, a scale a row, 2^16 vectors of 8 in 16 bits
    ({"quant_method": "aqlm", "in_group_size": 8, "out_group_size": 1, "num_codebooks": 1, "nbits_per_codebook": 16}, "aqlm", 2 + 16 / 4096 + 65536 * 8 * 16 / 4096**2),
    ({"quant_method": "aqlm", "in_group_size": 8, "num_codebooks": 2, "nbits_per_codebook": 8}, "aqlm", 2 + 16 / 4096 + 2 * 256 * 8 * 16 / 4096**2),
    # vptq vqlinear.py: 16 + 8 bits a vector of 8, two tables of vectors, scale, bias and permutation a column
    ({"quant_method": "vptq", "config_for_layers": {"model.layers.0.self_attn.o_proj": VPTQ}},
     "vptq", 3 + (65536 + 256) * 8 * 16 / 4096**2 + 48 / 4096),
    ({"quant_method": "quanto", "weights": "int8"}, "int8", 8 + 16 / 4096), ({"quant_method": "quanto", "weights": "int2"}, "int2", 2 + 32 / 128),
    ({"quant_method": "eetq", "weights": "int8"}, "int8", 8 + 16 / 4096),
    # higgs.py HiggsLinear: tables of 2^4 and of 2^4 x 2^4 x 2 values of 16 bits
    ({"quant_method": "higgs", "bits": 4, "group_size": 256}, "higgs", 4 + 16 / 256 + 16 * (16 + 512) / 4096**2),
    ({"quant_method": "bitnet", "linear_class": "autobitlinear", "quantization_mode": "offline"}, "int2", 2.0),
    ({"quant_method": "fp_quant", "forward_dtype": "mxfp4"}, "mxfp4", 4.25), ({"quant_method": "fouroversix"}, "nvfp4", 4.5),
    ({"quant_method": "metal", "bits": 4, "group_size": 64}, "int4", 5.0), ({"quant_method": "gemma", "num_bits": 4}, "int4", 4 + 32 / 4096),
    ({"quant_method": "mxfp8", "weight_block_size": [1, 32]}, "mxfp8", 8.25), ({"quant_method": "nvfp4"}, "nvfp4", 4.5),
    ({"quant_method": "auto-round", "bits": 2, "group_size": 32, "sym": True, "packing_format": "auto_round:auto_gptq"}, "int2", 2 + 18 / 32),
    ({"quant_method": "intel/auto-round", "bits": 4, "group_size": 128}, "int4", 4 + 20 / 128),
    ({"quant_method": "auto-round", "bits": 4, "group_size": 32, "data_type": "mx_fp", "act_bits": 4}, "mxfp4", 4.25),
    ({"quant_method": "torchao", "quant_type": {"default": TORCHAO}}, "int4", 4 + 32 / 128),
    ({"quant_method": "torchao", "quant_type": "int4_weight_only", "quant_type_kwargs": {"group_size": 32}}, "int4", 5.0),
    ({"quant_method": "torchao", "quant_type": {"default": {"_type": "Int8WeightOnlyConfig", "_data": {}}}}, "int8", 8 + 40 / 4096),
    ({"quant_method": "torchao", "quant_type": {"default": {"_type": "IntxWeightOnlyConfig", "_data": {"granularity": {"_type": "PerGroup", "_data": {"group_size": 32}}}}}},
     "int8", 8 + 24 / 32),
    ({"quant_method": "torchao", "quant_type": {"default": {"_type": "Float8WeightOnlyConfig", "_data": {}}}}, "fp8", 8 + 32 / 4096),
    ({"quant_method": "quark", "global_quant_config": {"weight": {"dtype": "fp4", "qscheme": "per_group", "group_size": 32, "scale_format": "e8m0"}}}, "mxfp4", 4.25),
    ({"quant_method": "quark", "global_quant_config": {"weight": {"dtype": "uint4", "qscheme": "per_group", "group_size": 128, "symmetric": False}}}, "int4", 4 + 20 / 128),
    ({"quant_method": "w8a8_int8"}, "int8", 8 + 32 / 4096), ({"quant_method": "blockwise_int8", "weight_block_size": [128, 128]}, "int8", 8 + 32 / 128**2),
    ({"quant_method": "modelopt", "quant_algo": "W4A16_AWQ", "group_size": 128}, "int4", 4 + 32 / 128 + 16 / 4096),
    ({"quant_method": "modelopt", "quant_algo": "MXFP8", "group_size": 32}, "mxfp8", 8.25),
    ({"quant_method": "modelopt", "quant_algo": "FP8_PB_WO"}, "fp8_block", 8 + 32 / 128**2),
])  # fmt: skip
def test_every_method_stores_what_its_class_lays_out(table: dict[str, Any], name: str, stored: float) -> None:
    one = read(table, "config.json", {"attention": {0: (matrix("attention", "o_proj"),)}}, dtype("bf16"))
    assert one is not None
    kind = one.formats["attention"].dtype
    assert (kind.name, bits(kind)) == (name, pytest.approx(stored, rel=1e-12))


def test_codebooks_are_those_of_every_module_of_the_checkpoint() -> None:
    aqlm = {
        "quant_method": "aqlm",
        "in_group_size": 8,
        "out_group_size": 1,
        "num_codebooks": 1,
        "nbits_per_codebook": 16,
    }
    book = 65536 * 8 * 16  # bits; qkv_proj is three modules, o_proj one
    assert bits(found(aqlm).formats["attention"].dtype) == pytest.approx(2 + 16 / 4096 + 4 * book / (2 * 4096**2))


def test_without_a_table_nothing_is_quantised() -> None:
    assert read(None, "config.json", HELD, dtype("bf16")) is None


@pytest.mark.parametrize(("table", "roles"), [
    (DEEPSEEK, CONVERTED), (GPT_OSS, ("ffn", "experts", "shared_experts")), ({**AWQ, "lm_head": True}, (*CONVERTED, "head")),
    ({**DEEPSEEK, "ignored_layers": ["re:.*mlp.*"]}, ("attention",)), ({**DEEPSEEK, "exclude_modules": ["*.self_attn*"]}, ("ffn", "experts", "shared_experts")),
    ({**DEEPSEEK, "ignore": ["re:.*shared_experts.*", "lm_head"]}, ("attention", "ffn", "experts")),
    ({**DEEPSEEK, "modules_to_not_convert": []}, CONVERTED), ({**DEEPSEEK, "ignore": ["re:["]}, CONVERTED),
    ({**DEEPSEEK, "modules_to_not_convert": ["model.layers.*.mlp.experts.*"]}, ("attention", "ffn", "shared_experts")),
    ({"quant_method": "experts_int8"}, ("experts",)), ({**FBGEMM, "modules_to_not_convert": ["self_attn", "mlp.shared_experts"]}, ("ffn", "experts")),
    ({**DEEPSEEK, "modules_to_convert": ["model.embed_tokens"]}, (*CONVERTED, "embedding")),
    ({**compressed(8, "float"), "ignore": []}, (*CONVERTED, "head")), ({"quant_method": "bitnet", "quantization_mode": "online"}, ()),
    ({"quant_method": "bitsandbytes", "load_in_8bit": True, "llm_int8_has_fp16_weight": True}, ()),
    ({"quant_method": "hqq", "quant_config": {"self_attn.o_proj": HQQ, **{f"self_attn.{p}_proj": HQQ for p in "qkv"}}}, ("attention",)),
])  # fmt: skip
def test_exceptions_keep_whole_kinds_of_layers_wide(table: dict[str, Any], roles: tuple[str, ...]) -> None:
    assert sorted(found(table).roles) == sorted(roles)


def test_layers_of_a_role_that_stay_wide_count_with_their_own_bytes() -> None:
    names = [
        f"model.layers.{i}.mlp.down_proj" for i in (0, 60, 61)
    ]  # of three dense layers; two of multi-token prediction
    one = found({**DEEPSEEK, "modules_to_not_convert": [*names, "lm_head"]})
    assert sorted(one.roles) == sorted(CONVERTED)
    # Of six matrices, one is bf16.
    assert bits(one.formats["ffn"].dtype) == pytest.approx((5 * (8 + 32 / 128**2) + 16) / 6)
    assert one.formats["ffn"].compute == block_scaled(dtype("fp8_block"), 128, 128, 32)
    assert one.notes == (
        "quantization_config: ffn: 83.3% in fp8_block, 16.7% in bf16: bytes are exact, each part is timed in its own",
    )
    most = found({**DEEPSEEK, "ignore": ["re:.*layers.[02].mlp.(down|gate|up)_proj"]})
    assert bits(most.formats["ffn"].dtype) == pytest.approx((2 * 16 + 8 + 32 / 128**2) / 3)
    assert most.formats["ffn"].compute is None


@pytest.mark.parametrize("prefix", ["model.", "language_model.model.", "model.language_model."])
def test_exceptions_that_name_every_layer_are_those_of_the_role(prefix: str) -> None:
    one = found({**MODELOPT, "exclude_modules": [*(f"{prefix}layers.{i}.self_attn*" for i in range(8)), "lm_head"]})
    assert (sorted(one.roles), one.notes) == (["experts", "ffn", "shared_experts"], ())


def test_a_shells_pattern_after_a_number_fits_every_number_that_begins_so() -> None:
    held = {"attention": dict.fromkeys(range(12), ATTENTION)}
    one = read({**DEEPSEEK, "ignore": ["model.layers.1*"]}, "config.json", held, dtype("bf16"))
    assert one is not None
    # Layers 1, 10 and 11 of twelve.
    assert bits(one.formats["attention"].dtype) == pytest.approx((9 * (8 + 32 / 128**2) + 3 * 16) / 12)


def test_mlx_quantises_embedding_and_head_too() -> None:
    one = found({"bits": 4, "group_size": 64})
    assert one.roles == (*CONVERTED, "embedding", "head")
    assert one.notes == ("quantization_config: mlx: bytes are exact, times are those of other kernels for int4",)


def test_a_format_without_a_measured_kernel_is_said() -> None:
    assert found({**GPTQ, "bits": 3}).notes == (
        "quantization_config: gptq: no kernel for int3 was measured: times follow from its bytes and from wider arithmetic",
    )


MIXED = {f"model.layers.{i}.self_attn.{p}_proj": {"quant_algo": "FP8"} for i in range(8) for p in "qkvo"} | {
    f"model.layers.{i}.mlp.experts.{e}.{p}_proj": {"quant_algo": "NVFP4", "group_size": 16} for i in range(3, 8) for e in range(16) for p in ("gate", "up", "down")
}  # fmt: skip
BY_ROLE: list[tuple[dict[str, Any], dict[str, float]]] = [
    ({"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION", "quantized_layers": MIXED}, {"attention": 8.0, "experts": 4.5}),
    ({**GPTQ, "dynamic": {"-:.*attn.*": {}, "+:.*experts.*": {"bits": 8, "group_size": 64}}}, {"ffn": 4 + 20 / 128, "experts": 8 + 24 / 64, "shared_experts": 8 + 24 / 64}),
    ({**GPTQ, "modules_in_block_to_quantize": [["mlp.experts"], ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]]}, {"experts": 4 + 20 / 128, "ffn": 4 + 20 / 128}),
    ({"bits": 4, "group_size": 64, **{f"model.layers.{i}.self_attn.{p}_proj": {"bits": 8, "group_size": 64} for i in range(8) for p in "qkvo"}, "lm_head": False,
      "model.embed_tokens": {"bits": 6, "group_size": 64}},
     {"attention": 8.5, "ffn": 4.5, "experts": 4.5, "shared_experts": 4.5, "embedding": 6.5}),
    ({"quant_method": "compressed-tensors", "ignore": ["lm_head"], "config_groups": {
        "group_0": {"targets": ["Linear"], "weights": {"num_bits": 8, "type": "float"}, "input_activations": {"num_bits": 8, "type": "float"}},
        "group_1": {"targets": ["re:.*experts.*"], "weights": {"num_bits": 4, "type": "int", "group_size": 32}},
    }}, {"attention": 8.0, "ffn": 8.0, "experts": 4.5, "shared_experts": 4.5}),
    ({"quant_method": "quark", "exclude": ["lm_head"], "layer_quant_config": {"*self_attn*": {"weight": {"dtype": "fp8_e4m3", "qscheme": "per_tensor"}}},
      "global_quant_config": {"weight": {"dtype": "fp4", "qscheme": "per_group", "group_size": 32, "scale_format": "e8m0"}}},
     {"attention": 8.0, "ffn": 4.25, "experts": 4.25, "shared_experts": 4.25}),
    ({"quant_method": "torchao", "quant_type": {"default": {"_type": "FqnToConfig", "_data": {"fqn_to_config": {"_default": TORCHAO, "re:.*self_attn.*": None}}}}},
     {"ffn": 4.25, "experts": 4.25, "shared_experts": 4.25}),
    # nvidia/DeepSeek-V4-Flash-NVFP4, config.json: what its groups ignore stays in fp8.
    ({"quant_method": "fp8", "weight_block_size": [128, 128], "quant_algo": "MIXED_PRECISION", "moe_quant_algo": "NVFP4", "ignore": ["*.attn.*", "*.ffn.shared_experts.*", "head"],
      "config_groups": {"group_0": {"targets": ["Linear"], "weights": {"num_bits": 4, "type": "float", "group_size": 16}}},
      "quantized_layers": {f"layers.{i}.ffn.experts": {"quant_algo": "NVFP4", "group_size": 16} for i in range(3, 8)}},
     {"attention": 8 + 32 / 128**2, "ffn": 8 + 32 / 128**2, "experts": 4.5, "shared_experts": 8 + 32 / 128**2}),
    ({"quant_method": "fp8", "moe_quant_algo": "NVFP4"}, {"attention": 8.0, "ffn": 8.0, "experts": 4.5, "shared_experts": 8.0}),
    ({"quant_method": "auto-round", "bits": 4, "group_size": 128, "extra_config": {".*self_attn.*": {"bits": 16}, "model.layers.3.mlp.gate": {"bits": 16}}},
     {"ffn": 4 + 20 / 128, "experts": 4 + 20 / 128, "shared_experts": 4 + 20 / 128}),
    ({"quant_method": "gemma", "num_bits": 4, "module_quant_configs": {r"self_attn": {"num_bits": 8}}},
     {"attention": 8 + 32 / 4096, "ffn": 4 + 32 / 4096, "experts": 4 + 32 / 4096, "shared_experts": 4 + 32 / 4096}),
]  # fmt: skip


@pytest.mark.parametrize(("table", "stored"), BY_ROLE, ids=range(len(BY_ROLE)))
def test_formats_that_differ_by_module_are_read_role_by_role(table: dict[str, Any], stored: dict[str, float]) -> None:
    one = found(table)
    assert {role: pytest.approx(bits(each.dtype)) for role, each in one.formats.items()} == stored


def test_experts_without_a_gate_are_named_by_their_up_projection() -> None:
    """nvidia/NVIDIA-Nemotron-3.5-Lightning-30B-A3B-NVFP4, hf_quant_config.json."""
    alone = {
        "experts": dict.fromkeys(
            range(2), (matrix("experts", "experts_up", 4.0), matrix("experts", "experts_down", 4.0))
        )
    }
    names = {f"backbone.layers.{i}.mixer.experts.{e}.{p}_proj": {"quant_algo": "W4A16_NVFP4", "group_size": 16} for i in range(2) for e in range(4) for p in ("up", "down")}  # fmt: skip
    table = {"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION", "quantized_layers": names}
    one = read(table, "config.json", alone, dtype("bf16"))
    assert one is not None
    assert {role: bits(each.dtype) for role, each in one.formats.items()} == {"experts": pytest.approx(4.5)}


def test_formats_that_differ_within_a_role_keep_their_bytes() -> None:
    rest = {name: each for name, each in MIXED.items() if "experts" in name}
    halves = {f"model.layers.{i}.self_attn.o_proj": {"quant_algo": "NVFP4"} for i in range(8)}
    one = found(
        {"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION", "quantized_layers": {**MIXED, **rest, **halves}}
    )
    # qkv_proj in 8 bits, o_proj in 4.5, each half of the elements here.
    assert bits(one.formats["attention"].dtype) == pytest.approx((8 + 4.5) / 2)
    assert [str(note) for note in one.notes] == [
        "quantization_config: attention: 50.0% in fp8, 50.0% in nvfp4: bytes are exact, each part is timed in its own"
    ]


def test_parts_of_one_matrix_in_different_formats_are_refused() -> None:
    with pytest.raises(NotModelled, match="q_proj and k_proj and v_proj of layer 0 in different formats"):
        found({**DEEPSEEK, "ignore": ["v_proj"]})


@pytest.mark.parametrize(
    "more",
    [
        {"quantized_layers": {"model.layers.0": {"quant_algo": "FP8"}}},
        {"moe_quant_algo": "NVFP4"},
        {"model.layers.0.mlp": {"bits": 6}},
    ],
)
def test_tables_that_a_method_does_not_read_are_refused(more: dict[str, Any]) -> None:
    with pytest.raises(NotModelled, match=r"formats that differ by module; --set model\.quantization_config=null"):
        found({**GPTQ, **more})


def test_exceptions_of_a_tower_are_no_exceptions_of_the_decoder() -> None:
    one = found(
        {**MODELOPT, "exclude_modules": [f"vision_model.encoder.layers.{i}.self_attn.q_proj" for i in range(8)]}
    )
    assert one.roles == CONVERTED


def test_an_exception_for_what_a_design_lacks_is_known() -> None:
    dense: Held = {role: layers for role, layers in HELD.items() if role in ("attention", "ffn", "embedding")}
    names = ["lm_head", "re:.*mlp.gate$", "*shared_expert*", "model.layers.1.mlp.gate"]
    one = read({**DEEPSEEK, "modules_to_not_convert": names}, "config.json", dense, dtype("bf16"))
    assert one is not None
    assert one.notes == ()


def part(role: str, name: str) -> Held:
    return {role: {0: (matrix(role, name),)}}


@pytest.mark.parametrize(("held", "name"), [
    (part("attention", "kv_a_proj"), "model.layers.0.self_attn.kv_a_proj_with_mqa"), (part("attention", "o_proj"), "model.layers.0.linear_attn.out_proj"),
    (part("attention", "in_proj_qkvz"), "model.layers.0.linear_attn.in_proj_qkvz"), (part("attention", "index_wq_b"), "model.layers.0.self_attn.indexer.wq_b"),
    (part("attention", "in_proj"), "backbone.layers.0.mixer.in_proj"), (part("experts", "experts_up"), "model.layers.0.mlp.experts"), (part("experts", "experts_down"), "model.layers.0.mlp.switch_mlp.down_proj"), (part("ffn", "up_proj"), "model.decoder.layers.0.fc1"),
    (part("attention", "qkv_proj"), "transformer.h.0.attn.c_attn"), (part("ffn", "down_proj"), "transformer.h.0.mlp.c_proj"), (part("experts", "experts_down"), "model.layers.0.block_sparse_moe.experts"),
    (part("attention", "qkv_proj"), "model.layers.0.self_attn"), (part("shared_experts", "shared_up"), "*shared_expert*"), (part("ffn", "gate_up_proj"), "re:.*mlp\\.(gate_up|gate|up)_proj$"),
])  # fmt: skip
def test_a_module_goes_by_the_names_of_its_class(held: Held, name: str) -> None:
    one = read({**DEEPSEEK, "modules_to_not_convert": [name]}, "config.json", held, dtype("bf16"))
    assert one is not None
    assert not set(one.formats) & set(held)
    assert one.notes == ()


def test_exceptions_for_modules_that_are_not_known_are_noted() -> None:
    names = [f"model.layers.{i}.odd_proj" for i in range(4)]
    assert found({**DEEPSEEK, "modules_to_not_convert": names}).notes == (
        f"quantization_config: unknown modules, which count as the others of their kind: {', '.join(names[:3])} and 1 more",
    )


def test_a_key_that_nobody_reads_is_noted_unless_it_is_off() -> None:
    assert found(DEEPSEEK).notes == ()
    assert found({**DEEPSEEK, "zeta": 3, "alpha": "x", "off": False, "none": None, "empty": []}).notes == (
        "quantization_config: not read: alpha, zeta",
    )


QUARK_KV = {"*k_proj": {"output_tensors": {"dtype": "fp8_e4m3"}}, "*v_proj": {"output_tensors": {"dtype": "fp8_e4m3"}}}


@pytest.mark.parametrize(("more", "kv"), [
    ({}, None), ({"kv_cache_scheme": None}, None), ({"kv_cache_scheme": {"num_bits": 8, "type": "float"}}, "fp8"),
    ({"kv_cache_scheme": {"num_bits": 8, "type": "int"}}, "int8"), ({"kv_cache_quant_algo": "FP8"}, "fp8"), ({"kv_cache_scheme": "fp8"}, "fp8"),
    ({"kv_cache_quant_algo": "NVFP4"}, "nvfp4"), ({"kv_cache_scheme": {"num_bits": 4, "type": "float", "group_size": 16}}, "nvfp4"), ({"kv_cache_quant_algo": "INT8"}, "int8"),
    ({"kv_cache_quant_algo": None}, None), ({"kv_cache_quant_algo": "none"}, None), ({"kv_cache_quant_config": QUARK_KV}, "fp8"), ({"kv_cache_quant_config": {}}, None),
    ({"kv_cache_scheme": {"num_bits": 8, "type": "float"}, "kv_cache_quant_algo": "FP8"}, "fp8"),
])  # fmt: skip
def test_a_scheme_may_say_the_caches_format(more: dict[str, Any], kv: str | None) -> None:
    assert found({**DEEPSEEK, **more}).kv == (None if kv is None else dtype(kv))


def test_the_cache_alone_may_be_quantised() -> None:
    one = found({"quant_method": "modelopt", "quant_algo": None, "kv_cache_quant_algo": "FP8"})
    assert (one.roles, one.kv) == ((), dtype("fp8"))


MALFORMED: list[tuple[Any, str]] = [
    ("fp8", "must be a table"), ([], "must be a table"), ({**DEEPSEEK, "weight_block_size": [128]}, "two positive integers, not [128]"),
    ({**DEEPSEEK, "weight_block_size": [0, 128]}, "two positive integers"), ({**DEEPSEEK, "weight_block_size": [True, 128]}, "two positive integers"),
    ({**DEEPSEEK, "weight_block_size": 128}, "two positive integers, not 128"), ({**AWQ, "bits": "4"}, "'quantization_config.bits' must be a positive integer, not '4'"),
    ({**AWQ, "bits": True}, "positive integer, not True"), ({**AWQ, "group_size": 0}, "'quantization_config.group_size' must be"),
    ({"quant_method": "awq", "bits": 4}, "'quantization_config.group_size' must be a positive integer, not None"),
    ({"quant_method": "bitsandbytes"}, "needs load_in_4bit or load_in_8bit"), ({"quant_method": "compressed-tensors"}, "'quantization_config.config_groups' is missing"),
    ({"quant_method": "compressed-tensors", "config_groups": {"group_0": {}}}, "has no 'weights' table"),
    ({"quant_method": "compressed-tensors", "config_groups": {"group_0": 3}}, "has no 'weights' table"),
    ({**DEEPSEEK, "kv_cache_scheme": "fp8", "kv_cache_quant_algo": "NVFP4"}, "'quantization_config.kv_cache_scheme' says fp8 but 'quantization_config.kv_cache_quant_algo' says nvfp4"),
    ({**GPTQ, "dynamic": {"+:x": 4}}, "dynamic.+:x' must be a table"), ({**GPTQ, "dynamic": []}, "'quantization_config.dynamic' must be a table"),
    ({"quant_method": "hqq"}, "'quantization_config.quant_config' of hqq is missing"),
    ({"quant_method": "hqq", "quant_config": {"a.b": 3}}, "quant_config.a.b' must be a table"), ({"quant_method": "torchao"}, "'quantization_config.quant_type' must be a name"),
    ({"quant_method": "vptq", "config_for_layers": {"a": {}}}, "vector_lens' must be two integers, not None"), ({3: 4}, "must be a table"),
    ({"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION"}, "'quantization_config.quantized_layers' of MIXED_PRECISION is missing"),
    ({**DEEPSEEK, "modules_to_convert": "x"}, "must be a list of module names"), ({**DEEPSEEK, "ignore": "lm_head"}, "exceptions must be a list"), ({**DEEPSEEK, "ignore": [3]}, "exceptions must be a list"),
]  # fmt: skip


@pytest.mark.parametrize(("table", "said"), MALFORMED)
def test_a_malformed_table_is_one_line(table: Any, said: str) -> None:
    with pytest.raises(SpecError) as error:
        read(table, "config.json", HELD, dtype("bf16"))
    assert not isinstance(error.value, NotModelled)
    assert str(error.value).startswith("config.json: ")
    assert said in str(error.value)


@pytest.mark.parametrize(("table", "said"), [
    ({}, "quant_method ''"), ({"quant_method": "spqr"}, "outliers that only the checkpoint counts"), ({"bits": 7, "group_size": 64}, "MLX's quantization of 7 bits"), (compressed(4, "float", group_size=8), "group_size = 8"), ({"quant_method": "mxfp44"}, "did you mean 'mxfp4'?"),
    ({**AWQ, "bits": 3}, "quantization_config.bits = 3 (4 and 8 are)"), ({**MODELOPT, "quant_algo": "W4A8"}, "quant_algo 'W4A8'"),
    (compressed(9, "int"), "weights of num_bits = 9, type 'int'"), ({**MODELOPT, "kv_cache_quant_algo": "NVFP4_AFFINE"}, "cache scheme kv_cache_quant_algo = 'NVFP4_AFFINE'"),
    ({**compressed(4, "int"), "sparsity_config": {"format": "sparse-24-bitmask"}}, "weights that leave zeros out"), ({"quant_method": "gguf"}, "pass the file itself"),
    ({**MODELOPT, "kv_cache_quantized_layers": ["model.layers.0"]}, "kv_cache_quantized_layers"), ({**DEEPSEEK, "expert_dtype": "fp4"}, "expert_dtype = 'fp4'"),
    ({"quant_method": "torchao", "quant_type": {"default": {"_type": "UIntXWeightOnlyConfig", "_data": {}}}}, "torchao's UIntXWeightOnlyConfig"),
    ({"quant_method": "quark", "global_quant_config": {"weight": [{}, {}]}}, "tensors in two stages"), ({"quant_method": "sinq", "method": "asinq"}, "method 'asinq'"),
    ({**DEEPSEEK, "kv_cache_scheme": {"num_bits": 4, "type": "float"}}, "cache scheme"), ({**DEEPSEEK, "kv_cache_scheme": {"num_bits": [8], "type": "float"}}, "cache scheme"),
    ({**DEEPSEEK, "kv_cache_scheme": {"num_bits": 8, "type": []}}, "cache scheme"),
])  # fmt: skip
def test_a_scheme_that_nobody_models_is_never_a_wrong_number(table: dict[str, Any], said: str) -> None:
    with pytest.raises(NotModelled) as error:
        read(table, "config.json", HELD, dtype("bf16"))
    assert str(error.value).startswith("config.json: not modelled yet: ")
    assert said in str(error.value)
    assert "--set model.quantization_config=null" in str(error.value)
