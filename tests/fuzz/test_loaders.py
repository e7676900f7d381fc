"""Mutated model configs and hardware profiles: a one-line SimcostError that names the file, or success; never a crash."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simcost.errors import SimcostError
from simcost.estimate import answer
from simcost.estimate import step as steps
from simcost.hardware import load as hardware
from simcost.model import count, load
from simcost.model.spec import from_config
from simcost.plan import Phase, Plan
from simcost.workload import build

MODELS = [
    "llama-3.1-8b", "deepseek-v3", "gpt-oss-20b", "mixtral-8x7b", "gemma-3-27b", "llama-4-scout", "dbrx", "mimo-v2-flash",
    "bloom-176b", "glm-4.5-air", "minimax-m2", "ernie-4.5-21b-a3b", "falcon-40b", "qwen2.5-7b",
]  # fmt: skip
_SMALL = {
    "hidden_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 96,
    "vocab_size": 100,
}
_EXPERTS = {
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "mlp_layer_types": ["dense", "sparse", "sparse", "sparse"],
}
_KINDS = ["full_attention", "sliding_attention"] * 2
# Families whose entries have more than facts: renamed, derived and needed keys, lists and tables by layer, words of their own, a model inside.
OWN: dict[str, dict[str, Any]] = {
    "gpt_neo": {"attention_types": [[["global", "local"], 2]], "attention_layers": ["global", "local"] * 2, "window_size": 8, "max_position_embeddings": 32, "num_key_value_heads": None},
    "laguna": {"num_attention_heads_per_layer": [4, 4, 2, 2], "gating": True, "layer_types": _KINDS, "sliding_window": 8, **_EXPERTS},
    "mimo_v2_flash": {"head_dim": 24, "v_head_dim": 16, "layer_types": _KINDS, "sliding_window": 8, **_EXPERTS},
    "gemma4_unified_text": {"per_layer_config": {"1": {"head_dim": 32}, "03": {"num_key_value_heads": 4}}, "head_dim": 16},
    "minicpm3": {"kv_lora_rank": 16, "q_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 8},
    "hunyuan_v1_moe": {"num_experts": [4] * 4, "moe_topk": [2] * 4, "num_shared_expert": [1] * 4, "head_dim": 16},
    "cohere2_moe": {"prefix_dense_intermediate_size": 64, "prefix_dense_sliding_window_pattern": 1, "sliding_window": 8, "layer_types": _KINDS, **_EXPERTS, "moe_intermediate_size": None},
    "helium": {"head_dim": 16}, "exaone": {"tie_word_embeddings": True}, "glm4_moe": {"n_routed_experts": 4, "num_experts_per_tok": 2, "first_k_dense_replace": 1},
    "xglm": {"attention_heads": 4, "num_key_value_heads": None}, "ctrl": {"dff": 96, "num_key_value_heads": None}, "moshi": {"gating": False}, "hyperclovax": {"use_post_norm": True},
    "gemma3": {"transformers_version": "5.1.0", "tie_word_embeddings": True, "text_config": {**_SMALL, "model_type": "gemma3_text", "tie_word_embeddings": False}},
    "llava": {"projector_hidden_size": 8, "qformer_config": {"num_hidden_layers": 2}, "text_config": {**_SMALL, "model_type": "llama"}},
}  # fmt: skip
PROFILES = ["h100", "mi300x", "gb200", "tpu-v5p", "l4", "gaudi3"]
BULK = settings(max_examples=1200, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
SHORT = settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 70), st.sampled_from([-1, 0, 2**31, 10**9, 10**30, -(10**30)]),
    st.sampled_from([math.nan, math.inf, -math.inf, 0.5, -0.0, 1e-300, 1e308, 2.5]), st.text(max_size=8),
    st.sampled_from(["", "fp8", "bf16", "auto", "64", "mxfp4", "awq", "8 TB/s", "-1 B", "nan", "x2", "\n", "null", "full_attention"]),
    st.lists(st.one_of(st.integers(-2, 9), st.none(), st.text(max_size=3)), max_size=4), st.just({}), st.just([[]]),
    st.dictionaries(st.text(max_size=4), st.integers(-2, 9), max_size=2), st.just({"a": {"b": [{}, None]}}),
    st.just({"quant_method": "fp8", "weight_block_size": [0, 1]}), st.just({"value": "1 GB", "source": []}),
    st.just({"value": [], "source": "x"}), st.just({"value": "1 TB/s", "source": {}}),
).map(copy.deepcopy)  # fmt: skip
NEW_KEYS = st.sampled_from([
    "kv_lora_rank", "q_lora_rank", "n_group", "topk_group", "moe_layer_freq", "layer_types", "sliding_window", "head_dim",
    "quantization_config", "n_shared_experts", "n_routed_experts", "num_experts_per_tok", "model_type", "text_config",
    "attn_config", "ffn_config", "partial_rotary_factor", "rotary_dim", "first_k_dense_replace", "mlp_only_layers",
    "decoder_sparse_step", "num_nextn_predict_layers", "hybrid_layer_pattern", "attention_chunk_size", "v_head_dim",
    "no_rope_layer_interval", "sliding_window_pattern", "moe_layer_end_index", "moe_layer_start_index", "n_layer",
    "qk_norm", "max_window_layers", "scoring_func", "torch_dtype", "index_topk", "norms_per_layer", "norm_vectors",
    "qk_norm_type", "max_position_embeddings", "learned_positions", "shared_expert_intermediate_size", "topk_method",
    "ffn_multiple", "swa_num_attention_heads", "zzz", "per_layer_config", "num_key_value_heads", "intermediate_size", "attention_types", "tie_word_embeddings",
    "transformers_version", "use_post_norm", "mlp_layer_types",
])  # fmt: skip
B200 = hardware.load("b200")


def paths(table: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = table.items() if isinstance(table, dict) else enumerate(table) if isinstance(table, list) else ()
    for key, value in items:
        yield (*at, key)
        yield from paths(value, (*at, key))


def mutate(data: st.DataObject, tables: dict[str, Any], fresh: st.SearchStrategy[str]) -> dict[str, Any]:
    """One to three deletions, replacements or new keys at any depth."""
    out = copy.deepcopy(tables)
    for _ in range(data.draw(st.integers(1, 3))):
        action = data.draw(st.sampled_from(["delete", "replace", "replace", "replace", "add"]))
        if action == "add":
            out[data.draw(fresh)] = data.draw(JUNK)
            continue
        every = list(paths(out))
        if not every:
            continue
        path = data.draw(st.sampled_from(every))
        table: Any = out
        for key in path[:-1]:
            table = table[key]
        if action == "delete":
            del table[path[-1]]
        else:
            table[path[-1]] = data.draw(JUNK)
    return out


def config_of(name: str) -> dict[str, Any]:
    """A model of the zoo, or a small one of a family."""
    return (
        {"model_type": name, **({} if "text_config" in OWN[name] else _SMALL), **OWN[name]}
        if name in OWN
        else load.load_config(name)[2]
    )


def one_line(error: SimcostError, where: str) -> None:
    said = str(error)
    assert said.strip()
    assert "\n" not in said
    assert where in said


def test_a_small_model_of_every_family_is_read() -> None:
    for name in OWN:
        spec = from_config(load.overridden(config_of(name), {}, name), name, name)
        assert float(count.parameters(spec)["params_language"]) > 0


@BULK
@given(name=st.sampled_from([*MODELS, *OWN]), data=st.data())
def test_a_mutated_config_is_a_model_or_one_line_that_names_the_file(name: str, data: st.DataObject) -> None:
    config = mutate(data, config_of(name), NEW_KEYS)
    try:
        spec = from_config(load.overridden(config, {}, "some/config.json"), name, "some/config.json")
    except SimcostError as error:
        one_line(error, "some/config.json")
        return
    found = count.parameters(spec)
    # A tower that the config does not determine leaves the two totals that hold it unknown.
    unknown = {"params_total", "params_towers"} if spec.uncounted else set()
    assert all(np.isfinite(v) and v >= 0 for name, v in found.items() if name not in unknown)
    assert all(np.isnan(found[name]) for name in unknown)
    try:
        w = build(spec, B200, Plan(), Phase(2.0, 1.0, 99.0))
        values = answer.metrics(steps.run(w), True, None)
    except SimcostError as error:
        one_line(error, "")
        return
    assert values["tpot_s"] > 0
    assert all(not np.isnan(v) for name, v in values.items() if name not in unknown)


@settings(BULK, max_examples=400)
@given(name=st.sampled_from(PROFILES), data=st.data())
def test_a_mutated_profile_is_a_device_or_one_line_that_names_the_file(name: str, data: st.DataObject) -> None:
    fresh = st.sampled_from(
        ["links", "peak", "memory", "assumed", "sources", "notes", "price", "power", "compute", "zzz"]
    )
    tables = mutate(data, hardware.read(name)[1], fresh)
    where = "some/profile.toml"
    try:
        # What `load` does after it has read the file.
        for key in tables:
            if key not in hardware._TOP:
                raise SimcostError(f"{where}: unknown key '{key}'")
        device = hardware._device(tables, hardware.facts(tables, where), where)
    except SimcostError as error:
        one_line(error, where)
        return
    assert device.capacity > 0
    assert device.bandwidth > 0
    assert all(v > 0 for v in device.peaks.values())


@SHORT
@given(blob=st.one_of(st.binary(max_size=60), st.text(max_size=60).map(str.encode),
                      st.recursive(JUNK, lambda x: st.lists(x, max_size=3), max_leaves=8)
                      .map(lambda v: json.dumps(v).encode())))  # fmt: skip
def test_any_bytes_as_a_config_file_are_one_line_that_names_the_file(
    blob: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("c") / "config.json"
    path.write_bytes(blob)
    with pytest.raises(SimcostError) as error:
        load.load(str(path))
    one_line(error.value, str(path))


@SHORT
@given(blob=st.one_of(st.binary(max_size=60), st.text(max_size=60).map(lambda t: t.encode("utf-8", "replace"))))
def test_any_bytes_as_a_profile_are_one_line_that_names_the_file(
    blob: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path: Path = tmp_path_factory.mktemp("p") / "profile.toml"
    path.write_bytes(blob)
    with pytest.raises(SimcostError) as error:
        hardware.load(str(path))
    one_line(error.value, str(path))


@pytest.mark.parametrize("text", [
    "", "[]", "null", "3", '"x"', "{", '{"a": NaN}', "[" * 5000, '{"a":' * 5000, "{}", '{"hidden_size": 1e400}', "\ufeff{}",
])  # fmt: skip
def test_a_malformed_config_file_is_one_line_that_names_the_file(text: str, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SimcostError) as error:
        load.load(str(path))
    one_line(error.value, str(path))


def test_a_missing_file_and_a_wrong_name_are_one_line_that_names_the_file(tmp_path: Path) -> None:
    for call in (load.load, hardware.load):
        for name in (str(tmp_path / "none"), "h1000000", "", "../x", "\0", str(tmp_path)):
            with pytest.raises(SimcostError) as error:
                call(name)
            assert "\n" not in str(error.value)


@settings(SHORT, max_examples=300)
@given(name=st.sampled_from([*MODELS, *OWN]), key=NEW_KEYS, value=JUNK)
def test_any_override_of_a_config_is_a_model_or_one_line(name: str, key: str, value: Any) -> None:
    try:
        from_config(load.overridden(config_of(name), {key: value}, name), name, name)
    except SimcostError as error:
        one_line(error, "")
