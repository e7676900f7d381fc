"""What a class implies: defaults of keys that a file leaves out, derived ones, keys that it alone has or does not read, lists a layer, and outer ties."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from simcost.cli.app import run
from simcost.errors import NotModelled, SpecError
from simcost.model import count, load
from simcost.model.classes import family
from simcost.model.spec import ModelSpec, from_config
from simcost.plan import Plan

LLAMA = {
    "model_type": "llama", "hidden_size": 512, "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 2,
    "intermediate_size": 1024, "vocab_size": 1000, "torch_dtype": "bfloat16", "tie_word_embeddings": False,
}  # fmt: skip


def spec(**change: Any) -> ModelSpec:
    return from_config({**LLAMA, **change}, "m", "config.json")


def total(**change: Any) -> float:
    return float(count.parameters(spec(**change))["params_total"])


def without(*keys: str, **change: Any) -> dict[str, Any]:
    return {key: value for key, value in {**LLAMA, **change}.items() if key not in keys}


def test_a_key_that_a_file_leaves_out_is_the_default_of_its_class_and_said() -> None:
    model = from_config({**LLAMA, "model_type": "qwen3"}, "m", "c")
    assert model.stacks == spec(model_type="qwen3", head_dim=128).stacks != spec(model_type="qwen3", head_dim=64).stacks
    said = [note for note in model.notes if note.startswith("class defaults of qwen3 used")]
    assert said
    assert "head_dim = 128" in said[0]


def test_null_is_what_the_class_gets_and_no_key_that_is_left_out() -> None:
    latent = {
        "kv_lora_rank": 64,
        "qk_nope_head_dim": 32,
        "qk_rope_head_dim": 16,
        "v_head_dim": 32,
        "n_routed_experts": None,
    }
    direct = total(model_type="deepseek_v3", q_lora_rank=None, **latent)
    assert (
        total(model_type="deepseek_v3", **latent)
        == total(model_type="deepseek_v3", q_lora_rank=1536, **latent)
        != direct
    )


def test_a_config_without_its_sizes_is_none() -> None:
    for key in ("hidden_size", "num_hidden_layers", "vocab_size", "intermediate_size", "num_attention_heads"):
        with pytest.raises(SpecError, match=f"missing key '{key}'"):
            from_config(without(key), "m", "c")


def test_every_recorded_family_is_one() -> None:
    assert all(family.is_recorded(name) for name in ("llama", "deepseek_v3", "gemma3_text", "mpt"))
    for name, table in family.families().items():
        for key, rule in table.get("derived", {}).items():
            assert len(rule) == 2 or rule[1] == "//", (name, key)


def test_a_key_that_a_class_derives_follows_its_own() -> None:
    kinds = ["full_attention", "sliding_attention"] * 2
    keys = {
        "model_type": "mimo_v2_flash",
        "layer_types": kinds,
        "sliding_window": 16,
        "head_dim": 64,
        "v_head_dim": 32,
        "n_routed_experts": None,
    }
    stated = {"swa_num_attention_heads": 8, "swa_num_key_value_heads": 4, "swa_head_dim": 64, "swa_v_head_dim": 32}
    assert spec(**keys).stacks == spec(**keys, **stated).stacks
    assert float(count.state_elements(spec(**keys), 1.0)) == 2 * 2 * 96 + 2 * 4 * 96


@pytest.mark.parametrize(("change", "said"), [
    ({"model_type": "exaone", "tie_word_embeddings": None}, "missing key 'tie_word_embeddings'"),
    ({"model_type": "laguna", "gating": "per-element"}, "not modelled: 'gating' = 'per-element' of laguna: only True, 'per-head'"),
    ({"model_type": "apertus1p5_text", "output_vocab_size": 4}, "not modelled: 'output_vocab_size' = 4 .* only where it is absent"),
    ({"model_type": "moshi", "tie_word_embeddings": True}, "not modelled: 'tie_word_embeddings' = True of moshi: only False"),
])  # fmt: skip
def test_what_an_entry_does_not_cover_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(NotModelled, match=f"config.json: {said}"):
        spec(**change)


@pytest.mark.parametrize("key", ["num_local_experts", "kv_lora_rank", "sliding_window"])
def test_a_size_that_the_class_does_not_read_is_refused_in_a_file_and_may_be_asked_for(
    key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = "n_routed_experts" if key == "num_local_experts" else key
    file = tmp_path / "config.json"
    beside = {"num_experts_per_tok": 2} if key == "num_local_experts" else {}
    file.write_text(json.dumps({**LLAMA, key: 64, **beside}))
    for question in (["show", "model", str(file)], ["decode", "--model", str(file), "--hw", "h200"]):
        assert run(question) == 2
        assert f"'{ours}' = 64: the class of model_type 'llama' does not read it" in capsys.readouterr().err
        assert run([*question, "--set", f"model.{key}=null"]) == 0
        capsys.readouterr()
    assert load.load("llama-3.1-8b", {"sliding_window": 64}).stacks != load.load("llama-3.1-8b").stacks


def test_a_size_that_the_class_does_not_read_and_that_changes_nothing_is_noted_alone(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**LLAMA, "moe_layer_freq": 1, "max_window_layers": 2}))
    assert load.load(str(file)).stacks == spec().stacks


def test_a_count_may_be_a_list_of_one_a_layer() -> None:
    assert total(intermediate_size=[1024] * 4) == total()
    assert total(intermediate_size=[1024, 1024, 2048, 512]) == total(intermediate_size=[1024, 1024, 1536, 1024])
    kv = spec(num_key_value_heads=[1, 2, 4, 8])
    assert len(kv.stacks) == 4
    assert float(count.state_elements(kv, 10.0)) == 10 * 2 * 64 * (1 + 2 + 4 + 8)
    assert total(hidden_size=[512] * 4) == total()


@pytest.mark.parametrize("change", [
    {"intermediate_size": [1024]}, {"intermediate_size": [1024] * 5}, {"intermediate_size": []}, {"hidden_size": [512, 512, 512, 256]},
    {"num_key_value_heads": [2, 2, 2, 3]}, {"num_key_value_heads": [2, 2, 2, "2"]}, {"intermediate_size": [[1024]] * 4},
])  # fmt: skip
def test_a_list_that_is_none_of_one_a_layer_is_refused_by_its_key(change: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match=rf"config\.json: .*{next(iter(change))}"):
        spec(**change)


def test_a_table_by_layer_is_a_list() -> None:
    assert (
        spec(per_layer_config={"1": {"num_key_value_heads": 8}}).stacks == spec(num_key_value_heads=[2, 8, 2, 2]).stacks
    )
    for wrong in ({"9": {"head_dim": 8}}, {"x": {}}, {"1": 3}, [1]):
        with pytest.raises(SpecError, match="per_layer_config"):
            spec(per_layer_config=wrong)
    with pytest.raises(NotModelled, match=r"per_layer_config\.1\.mlp"):
        spec(per_layer_config={"1": {"mlp": None}})


def test_the_words_of_one_class_are_read_in_that_class_alone() -> None:
    keys = {
        "model_type": "gpt_neo",
        "attention_types": [[["global", "local"], 2]],
        "window_size": 16,
        "max_position_embeddings": 32,
    }
    model = spec(**keys, num_key_value_heads=8)
    assert sorted(float(block.state_elements(100.0, Plan())) for _, block in model.blocks() if block.mask) == [
        16 * 1024,
        100 * 1024,
    ]
    with pytest.raises(NotModelled, match="attention_types"):
        spec(**{**keys, "model_type": "llama"})
    laguna = {**LLAMA, "model_type": "laguna", "num_experts": None, "head_dim": 64}
    assert from_config({**laguna, "num_attention_heads_per_layer": [8, 8, 4, 4]}, "m", "c").stacks[1][0] == 2


def tied(outer: Any, inner: Any, version: Any, kind: str = "gemma3") -> bool:
    config = {
        "model_type": kind,
        "tie_word_embeddings": outer,
        "text_config": {**LLAMA, "tie_word_embeddings": inner},
        "transformers_version": version,
    }
    return from_config({key: value for key, value in config.items() if value is not None}, "m", "config.json").head.tied


def test_the_outer_table_ties_the_head_since_version_5_where_its_class_reads_it() -> None:
    assert tied(True, False, "5.1.0")
    assert not tied(True, False, "4.57.1")
    assert not tied(True, False, "5.1.0", "llama4")
    assert tied(None, False, "5.1.0")  # the class ties by default
    assert not tied(None, False, "5.1.0", "llava")
    assert not tied(None, False, None)
    assert tied(True, False, None)  # nothing says which version wrote it: its class, as the latest one has it
    with pytest.raises(SpecError, match=r"tie_word_embeddings = True beside False .*--set model.tie_word_embeddings"):
        tied(True, False, None, "no_such_class")


def test_what_stands_beside_a_language_model_is_no_structure_of_it() -> None:
    config = {"text_config": LLAMA, "projector_hidden_size": 64, "qformer_config": {"num_hidden_layers": 2}}
    model = from_config(config, "m", "c")
    assert model.stacks == spec().stacks
    assert any(reason.startswith("qformer_config: the parts beside") for reason in model.uncounted)
    with pytest.raises(NotModelled, match="projector_hidden_size"):
        spec(projector_hidden_size=64)


SMALL = {
    "hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "intermediate_size": 128, "vocab_size": 512,
}  # fmt: skip
EXPERTS = {**SMALL, "moe_intermediate_size": 32, "num_experts": 8, "num_experts_per_tok": 2}
NEOX = {
    "hidden_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "vocab_size": 512,
    "intermediate_multiple_size": 2,
}
LATENT = {
    "hidden_size": 64, "num_hidden_layers": 6, "num_attention_heads": 4, "intermediate_size": 128, "vocab_size": 512, "moe_intermediate_size": 32,
    "n_routed_experts": 8, "num_experts_per_tok": 2, "n_shared_experts": 1, "q_lora_rank": 24, "kv_lora_rank": 16, "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 8, "v_head_dim": 16,
}  # fmt: skip
INDEXED = {**LATENT, "index_n_heads": 4, "index_head_dim": 16, "index_topk": 32}
# Totals of the classes of transformers 5.24.0 on the meta device (tests/oracles asks them again).
TOTALS = (
    ("afmoe", {**EXPERTS, "num_dense_layers": 1, "num_shared_experts": 1}, 324_312),
    ("beam", EXPERTS, 255_704),
    ("bitnet", {k: v for k, v in SMALL.items() if k != "head_dim"}, 214_336),
    ("gpt_neox_japanese", NEOX, 165_056),
    ("axk1", LATENT, 439_704),
    ("hy_v4", {**INDEXED, "hc_mult": 4}, 498_253),
    ("axk2", {**INDEXED, "gated_norm_rank": 8}, 499_992),
    ("chameleon", {k: v for k, v in SMALL.items() if k != "head_dim"}, 214_336),
    ("lfm3", {**SMALL, "layer_types": ["conv", "conv", "full_attention", "sliding_attention"]}, 190_976),
    ("laguna", {**EXPERTS, "shared_expert_intermediate_size": 32}, 308_440),
    ("apertus", SMALL, 180_936),
    ("openai-gpt", {"n_embd": 64, "n_layer": 4, "n_head": 4, "vocab_size": 512, "n_positions": 128}, 240_896),
)


@pytest.mark.parametrize(("kind", "config", "total"), TOTALS, ids=[kind for kind, _, _ in TOTALS])
def test_gates_scalars_and_absent_norms_are_counted(kind: str, config: dict[str, Any], total: int) -> None:
    assert count.parameters(from_config({**config, "model_type": kind}, kind, kind))["params_total"] == total


def test_a_product_that_makes_tokens_of_patches_is_counted() -> None:
    config = {"model_type": "fuyu", "patch_size": 30, "text_config": {**SMALL, "model_type": "persimmon"}}
    config["text_config"].pop("num_key_value_heads")
    assert count.parameters(from_config(config, "f", "f"))["params_towers"] == (30 * 30 * 3 + 1) * 64


def test_an_architecture_proves_the_type_that_a_file_states_wrongly() -> None:
    config = {**load.load_config("deepseek-v4-flash")[2], "model_type": "deepseek_ref"}
    found = from_config({**config, "architectures": ["DeepseekV4ForCausalLM"]}, "m", "m")
    assert found.stacks == load.load("deepseek-v4-flash").stacks
    with pytest.raises(NotModelled, match="deepseek_ref"):
        from_config({**config, "architectures": ["LlamaForCausalLM"]}, "m", "m")


def test_step_3_5_without_the_heads_of_its_window_layers_is_refused() -> None:
    config = {k: v for k, v in load.load_config("step-3.5-flash")[2].items() if k != "attention_other_setting"}
    with pytest.raises(NotModelled, match="missing key 'swa_num_attention_heads' or 'per_layer_config'"):
        from_config(config, "m", "m")
    assert from_config({**config, "num_sliding_attention_heads": 96}, "m", "m").stacks == load.load("step-3.5-flash").stacks  # fmt: skip


def test_a_word_for_layers_with_an_indexer_and_nemotrons_older_key_are_read() -> None:
    glm = load.load_config("glm-5")[2]
    words = {**glm, "layer_types": ["deepseek_sparse_attention"] * glm["num_hidden_layers"]}
    assert from_config(words, "m", "m").stacks == load.load("glm-5").stacks
    nemotron = load.load_config("nemotron-h-8b")[2]
    older = {k: v for k, v in nemotron.items() if k != "head_dim"} | {"attention_head_dim": 128}
    assert from_config(older, "m", "m").stacks == load.load("nemotron-h-8b").stacks
