"""quantization_config tables as checkpoints bring them: the format, who computes in it, what stays wide, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from simcost.dtypes import Dtype, dtype
from simcost.errors import NotModelled, SpecError
from simcost.model.quant import CONVERTED, Quantisation, read

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


LAYERS = {role: frozenset(range(8)) for role in ("attention", "norm")} | {
    "ffn": frozenset({0, 1, 2}), "experts": frozenset(range(3, 8)), "shared_experts": frozenset(range(3, 8)), "router": frozenset(range(3, 8)),
}  # fmt: skip


def found(table: Any) -> Quantisation:
    quantisation = read(table, "config.json", LAYERS)
    assert quantisation is not None
    return quantisation


def bits(kind: Dtype) -> float:
    """Of an element of a large matrix, its scales with it."""
    return kind.matrix_bytes(4096.0, 4096.0) * 8 / 4096.0**2


@pytest.mark.parametrize(("table", "name", "stored", "computes"), [
    (DEEPSEEK, "fp8_block", 8 + 32 / 128 / 128, True), ({**DEEPSEEK, "weight_block_size": [1, 64]}, "fp8_block", 8 + 32 / 64, True),
    ({"quant_method": "fp8"}, "fp8", 8.0, True), (FBGEMM, "fp8", 8.0, True), (GPT_OSS, "mxfp4", 4.25, False),
    (AWQ, "int4", 4 + 20 / 128, False), ({**AWQ, "group_size": 32}, "int4", 4 + 20 / 32, False), ({**AWQ, "bits": 8}, "int8", 8 + 24 / 128, False),
    (GPTQ, "int4", 4 + 20 / 128, False), ({**GPTQ, "group_size": -1}, "int4", 4 + 20 / 4096, False),
    (MODELOPT, "nvfp4", 4.5, True), ({**MODELOPT, "quant_algo": "fp8"}, "fp8", 8.0, True),
    (compressed(8, "float"), "fp8", 8.0, True), (compressed(8, "float", False), "fp8", 8.0, False), (compressed(8, "int"), "int8", 8.0, True),
    (compressed(4, "float"), "nvfp4", 4.5, True), (compressed(4, "int", group_size=64), "int4", 4 + 16 / 64, False),
    (compressed(4, "int", group_size=64, symmetric=False), "int4", 4 + 20 / 64, False), (compressed(4, "int", group_size=None, strategy="channel"), "int4", 4 + 16 / 4096, False),
    (compressed(8, "int", group_size=128, strategy="group"), "int8", 8 + 16 / 128, True), (compressed(8, "int", strategy="channel", group_size=None), "int8", 8.0, True),
    (compressed(8, "float", strategy="block", block_structure=[128, 128]), "fp8_block", 8 + 32 / 128 / 128, True),
    (compressed(4, "float", group_size=32), "mxfp4", 4.25, True), (compressed(4, "float", group_size=16), "nvfp4", 4.5, True),
    ({"quant_algo": "FP8", "producer": {"name": "modelopt"}}, "fp8", 8.0, True),
    ({"bits": 4, "group_size": 64}, "int4", 4.5, False), ({"bits": 8, "group_size": 32, "mode": "affine"}, "int8", 9.0, False),
    ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "int8", 8 + 32 / 4096, False), ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "int4", 4.5, False),
    ({"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_use_double_quant": True}, "int4", 4 + 8 / 64 + 32 / (256 * 64), False), (compressed(4, "int"), "int4", 4 + 16 / 128, False),
])  # fmt: skip
def test_a_scheme_stores_its_bits_and_its_scales(
    table: dict[str, Any], name: str, stored: float, computes: bool
) -> None:
    one = found(table)
    assert (one.weights.name, one.activations) == (name, computes)
    assert bits(one.weights) == pytest.approx(stored)


def test_without_a_table_nothing_is_quantised() -> None:
    assert read(None, "config.json", LAYERS) is None


@pytest.mark.parametrize(("table", "roles"), [
    (DEEPSEEK, CONVERTED), (GPT_OSS, ("ffn", "experts", "shared_experts")), ({**AWQ, "lm_head": True}, (*CONVERTED, "head")),
    ({**DEEPSEEK, "ignored_layers": ["re:.*mlp.*"]}, ("attention",)), ({**DEEPSEEK, "exclude_modules": ["*.self_attn*"]}, ("ffn", "experts", "shared_experts")),
    ({**DEEPSEEK, "ignore": ["re:.*shared_experts.*", "lm_head"]}, ("attention", "ffn", "experts")),
    ({**DEEPSEEK, "modules_to_not_convert": []}, CONVERTED), ({**DEEPSEEK, "ignore": ["re:["]}, CONVERTED),
    ({**DEEPSEEK, "modules_to_not_convert": ["model.layers.*.mlp.experts.*"]}, ("attention", "ffn", "shared_experts")),
])  # fmt: skip
def test_exceptions_keep_whole_kinds_of_layers_wide(table: dict[str, Any], roles: tuple[str, ...]) -> None:
    assert found(table).roles == roles


def test_a_role_counts_as_most_of_its_layers_and_the_others_are_said() -> None:
    names = [
        f"model.layers.{i}.mlp.down_proj" for i in (0, 60, 61)
    ]  # of three dense layers; two of multi-token prediction
    one = found({**DEEPSEEK, "modules_to_not_convert": [*names, "lm_head"]})
    assert one.roles == CONVERTED
    assert one.notes == ("quantization_config: ffn of 1 of 3 layers is not quantised: all count as quantised",)
    most = found({**DEEPSEEK, "ignore": ["re:.*layers.[02].mlp.down_proj"]})
    assert most.roles == ("attention", "experts", "shared_experts")
    assert most.notes == ("quantization_config: ffn of 2 of 3 layers are not quantised: all count as not quantised",)


@pytest.mark.parametrize("prefix", ["model.", "language_model.model.", "model.language_model."])
def test_exceptions_that_name_every_layer_are_those_of_the_role(prefix: str) -> None:
    one = found({**MODELOPT, "exclude_modules": [*(f"{prefix}layers.{i}.self_attn*" for i in range(8)), "lm_head"]})
    assert (one.roles, one.notes) == (("ffn", "experts", "shared_experts"), ())


def test_mlx_quantises_embedding_and_head_too() -> None:
    one = found({"bits": 4, "group_size": 64})
    assert one.roles == (*CONVERTED, "embedding", "head")
    assert one.notes == ("quantization_config: mlx: bytes are its own, times those of other kernels for int4",)


@pytest.mark.parametrize("more", [
    {"quantized_layers": {"model.layers.0": {"quant_algo": "FP8"}}}, {"moe_quant_algo": "NVFP4"}, {"model.layers.0.mlp": {"bits": 6}},
    {"dynamic": {"-:.*attn.*": {}}}, {"modules_in_block_to_quantize": [["mlp.up_proj"]]},
])  # fmt: skip
def test_formats_that_differ_by_module_are_refused(more: dict[str, Any]) -> None:
    with pytest.raises(NotModelled, match="formats that differ by module"):
        found({**GPTQ, **more})


def test_exceptions_of_a_tower_are_no_exceptions_of_the_decoder() -> None:
    one = found(
        {**MODELOPT, "exclude_modules": [f"vision_model.encoder.layers.{i}.self_attn.q_proj" for i in range(8)]}
    )
    assert one.roles == CONVERTED


def test_exceptions_for_modules_that_are_not_known_are_noted() -> None:
    names = [f"model.layers.{i}.odd_proj" for i in range(4)]
    assert found({**DEEPSEEK, "modules_to_not_convert": names}).notes == (
        f"quantization_config: exceptions for single modules are not modelled, they count as quantised: {', '.join(names[:3])} and 1 more",
    )


def test_a_key_that_nobody_reads_is_noted_unless_it_is_off() -> None:
    assert found(DEEPSEEK).notes == ()
    assert found({**DEEPSEEK, "zeta": 3, "alpha": "x", "off": False, "none": None, "empty": []}).notes == (
        "quantization_config: not read: alpha, zeta",
    )


@pytest.mark.parametrize(("more", "kv"), [
    ({}, None), ({"kv_cache_scheme": None}, None), ({"kv_cache_scheme": {"num_bits": 8, "type": "float"}}, "fp8"),
    ({"kv_cache_scheme": {"num_bits": 8, "type": "int"}}, "int8"), ({"kv_cache_quant_algo": "FP8"}, "fp8"), ({"kv_cache_scheme": "fp8"}, "fp8"),
])  # fmt: skip
def test_a_scheme_may_say_the_caches_format(more: dict[str, Any], kv: str | None) -> None:
    assert found({**DEEPSEEK, **more}).kv == (None if kv is None else dtype(kv))


MALFORMED: list[tuple[Any, str]] = [
    ("fp8", "must be a table"), ([], "must be a table"), ({**DEEPSEEK, "weight_block_size": [128]}, "two positive integers, not [128]"),
    ({**DEEPSEEK, "weight_block_size": [0, 128]}, "two positive integers"), ({**DEEPSEEK, "weight_block_size": [True, 128]}, "two positive integers"),
    ({**DEEPSEEK, "weight_block_size": 128}, "two positive integers, not 128"), ({**AWQ, "bits": "4"}, "'quantization_config.bits' must be a positive integer, not '4'"),
    ({**AWQ, "bits": True}, "positive integer, not True"), ({**AWQ, "group_size": 0}, "'quantization_config.group_size' must be"),
    ({"quant_method": "awq", "bits": 4}, "'quantization_config.group_size' must be a positive integer, not None"),
    ({"quant_method": "bitsandbytes"}, "needs load_in_4bit or load_in_8bit"), ({"quant_method": "compressed-tensors"}, "'quantization_config.config_groups' is missing"),
    ({"quant_method": "compressed-tensors", "config_groups": {"group_0": {}}}, "has no 'weights' table"),
    ({"quant_method": "compressed-tensors", "config_groups": {"group_0": 3}}, "has no 'weights' table"),
    ({**DEEPSEEK, "ignore": "lm_head"}, "exceptions must be a list"), ({**DEEPSEEK, "ignore": [3]}, "exceptions must be a list"),
]  # fmt: skip


@pytest.mark.parametrize(("table", "said"), MALFORMED)
def test_a_malformed_table_is_one_line(table: Any, said: str) -> None:
    with pytest.raises(SpecError) as error:
        read(table, "config.json", LAYERS)
    assert not isinstance(error.value, NotModelled)
    assert str(error.value).startswith("config.json: ")
    assert said in str(error.value)


@pytest.mark.parametrize(("table", "said"), [
    ({}, "quant_method ''"), ({"quant_method": "hqq"}, "'hqq'"), ({"bits": 6, "group_size": 64}, "MLX's quantization of 6 bits"), (compressed(4, "float", group_size=8), "in groups of 8"), ({"quant_method": "mxfp5"}, "did you mean 'mxfp4'?"),
    ({**AWQ, "bits": 3}, "quantization_config.bits = 3 (4 and 8 are)"), ({**MODELOPT, "quant_algo": "W4A8"}, "quant_algo 'W4A8'"),
    (compressed(2, "int"), "weights of 2 bits, type 'int'"), ({**MODELOPT, "kv_cache_quant_algo": "NVFP4"}, "cache scheme 'NVFP4'"),
    ({**DEEPSEEK, "kv_cache_scheme": {"num_bits": 4, "type": "float"}}, "cache scheme"), ({**DEEPSEEK, "kv_cache_scheme": {"num_bits": [8], "type": "float"}}, "cache scheme"),
    ({**DEEPSEEK, "kv_cache_scheme": {"num_bits": 8, "type": []}}, "cache scheme"),
    ({**compressed(8, "float"), "config_groups": {"a": {}, "b": {}}}, "with 2 groups"),
])  # fmt: skip
def test_a_scheme_that_nobody_models_is_never_a_wrong_number(table: dict[str, Any], said: str) -> None:
    with pytest.raises(NotModelled) as error:
        read(table, "config.json", LAYERS)
    assert str(error.value).startswith("config.json: not modelled yet: ")
    assert said in str(error.value)
