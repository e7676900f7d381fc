"""Mutated files that lie in a model's directory: quantisations, GGUF, native parameters, checkpoints; one line or an answer, never a crash."""

from __future__ import annotations

import copy
import json
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simcost.errors import SimcostError
from simcost.model import count, load
from simcost.model.spec import from_config

BULK = settings(max_examples=700, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
SHORT = settings(BULK, max_examples=150)
GROUP = {
    "targets": ["Linear"],
    "weights": {"num_bits": 4, "type": "int", "group_size": 128, "strategy": "group", "symmetric": True},
    "input_activations": None,
}
TABLES: list[dict[str, Any]] = [
    {"quant_method": "fp8", "weight_block_size": [128, 128], "modules_to_not_convert": ["model.layers.0.mlp", "lm_head"]},
    {"quant_method": "gptq", "bits": 4, "group_size": 128, "dynamic": {"-:.*attn.*": {}, "+:.*down.*": {"bits": 8}}},
    {"quant_method": "gptq", "bits": 4, "group_size": 128, "modules_in_block_to_quantize": [["mlp.up_proj"]]},
    {"quant_method": "compressed-tensors", "config_groups": {"a": GROUP, "b": {**GROUP, "targets": ["re:.*mlp.*"]}}, "ignore": ["lm_head"], "kv_cache_scheme": {"num_bits": 8, "type": "float"}},
    {"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION", "quantized_layers": {"model.layers.1.mlp.experts": {"quant_algo": "NVFP4", "group_size": 16}}},
    {"quant_method": "modelopt", "quant_algo": "NVFP4", "exclude_modules": ["model.layers.0*", "*gate*"], "kv_cache_quant_algo": "FP8"},
    {"quant_method": "hqq", "quant_config": {"weight_quant_params": {"nbits": 4, "group_size": 64, "axis": 1}}, "skip_modules": ["lm_head"]},
    {"quant_method": "aqlm", "in_group_size": 8, "out_group_size": 1, "num_codebooks": 1, "nbits_per_codebook": 16},
    {"quant_method": "vptq", "config_for_layers": {"model.layers.0.mlp.up_proj": {"vector_lens": [-1, 8], "num_centroids": [-1, 256], "num_res_centroids": [-1, -1]}}},
    {"quant_method": "torchao", "quant_type": {"default": {"_type": "FqnToConfig", "_data": {"fqn_to_config": {"_default": {"_type": "Int4WeightOnlyConfig", "_data": {"group_size": 32}}}}}}},
    {"quant_method": "quark", "global_quant_config": {"weight": {"dtype": "fp4", "qscheme": "per_group", "group_size": 32, "scale_format": "e8m0"}}, "layer_quant_config": {"*attn*": {}}},
    {"quant_method": "auto-round", "bits": 4, "group_size": 128, "extra_config": {".*gate.*": {"bits": 16}}}, {"bits": 4, "group_size": 64, "model.layers.0.mlp.gate": {"bits": 8}},
    {"quant_method": "gguf", "tensors": {"attention": ["q4_k", 4.5]}}, {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_use_double_quant": True},
    {"quant_method": "gemma", "num_bits": 4, "module_quant_configs": {"mlp": {"num_bits": 2}}}, {"quant_method": "sinq"}, {"quant_method": "higgs"}, {"quant_method": "quanto"},
]  # fmt: skip
JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 70), st.sampled_from([-1, 0, 2**31, 10**30, float("nan"), float("inf"), 0.5, 1e-300]), st.text(max_size=8),
    st.sampled_from(["re:(", "re:.*", "*", "[", "model.layers.9999999999999999999.x", "layers." + "9" * 5000, "lm_head", "fp8", "\n"]),
    st.lists(st.one_of(st.integers(-2, 300), st.none(), st.text(max_size=3)), max_size=3), st.just({}), st.just({"a": {"b": [{}, None]}}), st.just([[]]),
).map(copy.deepcopy)  # fmt: skip


def paths(table: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = table.items() if isinstance(table, dict) else enumerate(table) if isinstance(table, list) else ()
    return [path for key, value in items for path in ((*at, key), *paths(value, (*at, key)))]


def mutate(data: st.DataObject, table: Any) -> Any:
    """One to three replacements, deletions or new keys at any depth."""
    out = {"root": copy.deepcopy(table)}
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(paths(out)))
        inner: Any = out
        for key in path[:-1]:
            inner = inner[key]
        action = data.draw(st.sampled_from(["replace", "replace", "delete", "add"]))
        if action == "delete" and len(path) > 1:
            del inner[path[-1]]
        elif action == "add" and isinstance(inner[path[-1]], dict):
            inner[path[-1]][
                data.draw(
                    st.one_of(st.text(max_size=5), st.sampled_from(["lm_head", "ignore", "kv_cache_scheme", "a.b"]))
                )
            ] = data.draw(JUNK)
        else:
            inner[path[-1]] = data.draw(JUNK)
    return out["root"]


def one_line(error: SimcostError, where: str) -> None:
    assert str(error).strip()
    assert "\n" not in str(error)
    assert where in str(error)


@BULK
@given(
    model=st.sampled_from(["llama-3.1-8b", "deepseek-v3", "gpt-oss-20b", "qwen3-30b-a3b"]),
    table=st.sampled_from(TABLES),
    data=st.data(),
)
def test_a_mutated_quantisation_is_a_model_or_one_line(model: str, table: dict[str, Any], data: st.DataObject) -> None:
    config = {**load.load_config(model)[2], "quantization_config": mutate(data, table)}
    try:
        built = from_config(config, model, "some/config.json")
        found = count.weight_bytes(built)
    except SimcostError as error:
        one_line(error, "some/config.json")
        return
    assert np.isfinite(found)
    assert found > 0
    assert not any("\n" in note for note in built.notes)


def word(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()


def gguf() -> bytes:
    """A llama of one layer."""
    numbers = {
        "block_count": 1,
        "embedding_length": 64,
        "feed_forward_length": 128,
        "attention.head_count": 4,
        "context_length": 128,
    }
    sides = {"attn_q": (64, 64), "attn_k": (64, 64), "attn_v": (64, 64), "attn_output": (64, 64), "ffn_gate": (64, 128), "ffn_up": (64, 128), "ffn_down": (128, 64),
             "attn_norm": (64,), "ffn_norm": (64,)}  # fmt: skip
    tensors = {f"blk.0.{name}.weight": shape for name, shape in sides.items()} | {
        "token_embd.weight": (64, 100),
        "output_norm.weight": (64,),
    }
    found = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(numbers) + 2)
    found += word("general.architecture") + struct.pack("<I", 8) + word("llama")
    found += word("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 3) + word("a") * 3
    found += b"".join(word(f"llama.{key}") + struct.pack("<II", 4, value) for key, value in numbers.items())
    for name, shape in tensors.items():
        found += (
            word(name)
            + struct.pack("<I", len(shape))
            + b"".join(struct.pack("<Q", side) for side in shape)
            + struct.pack("<IQ", 0, 0)
        )
    return found


def test_the_seed_is_a_model(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("g") / "m.gguf"
    path.write_bytes(gguf())
    assert count.parameters(load.load(str(path)))["params_total"] == 4 * 64 * 64 + 3 * 64 * 128 + 3 * 64 + 6400


@BULK
@given(data=st.data())
def test_a_broken_gguf_file_is_one_line(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    blob = bytearray(gguf())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(4, len(blob) - 1))
        if data.draw(st.booleans()):
            del blob[at : at + data.draw(st.integers(1, 40))]
            blob += b"\x00" * (5 - min(5, len(blob)))
        else:
            width = data.draw(st.sampled_from([1, 4, 8]))
            blob[at : at + width] = data.draw(st.sampled_from([b"\xff", b"\x00", b"\x01", b"\x7f"])) * width
    path = tmp_path_factory.mktemp("g") / "m.gguf"
    path.write_bytes(bytes(blob))
    try:
        load.load(str(path))
    except SimcostError as error:
        one_line(error, "m.gguf")


@SHORT
@given(data=st.data())
def test_mutated_native_parameters_are_a_model_or_one_line(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    table = {"dim": 256, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "vocab_size": 100, "multiple_of": 16, "ffn_dim_multiplier": 1.3,
             "moe": {"num_experts": 4, "num_experts_per_tok": 2}}  # fmt: skip
    path = tmp_path_factory.mktemp("n") / "params.json"
    path.write_text(json.dumps(mutate(data, table)))
    try:
        load.load(str(path))
    except SimcostError as error:
        one_line(error, "params.json")


@SHORT
@given(data=st.data())
def test_whatever_lies_beside_a_config_is_no_crash(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = tmp_path_factory.mktemp("b")
    (home / "config.json").write_text(json.dumps(load.load_config("llama-3.1-8b")[2]))
    side = {
        "producer": {"name": "modelopt"},
        "quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8", "exclude_modules": ["lm_head"]},
    }
    index = {"metadata": {"total_size": 16_060_522_496}, "weight_map": {}}
    header = json.dumps({"a": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}).encode()
    for name, table in (("hf_quant_config.json", side), ("model.safetensors.index.json", index)):
        if data.draw(st.booleans()):
            (home / name).write_text(json.dumps(mutate(data, table)))
    if data.draw(st.booleans()):
        blob = bytearray(struct.pack("<Q", len(header)) + header)
        blob[data.draw(st.integers(0, len(blob) - 1))] = data.draw(st.integers(0, 255))
        (home / "model.safetensors").write_bytes(bytes(blob[: data.draw(st.integers(0, len(blob)))]))
    try:
        load.load(str(home))
    except SimcostError as error:
        one_line(error, str(home))
