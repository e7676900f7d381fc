"""Reading a config: aliases fold to one name, types are strict, conflicts are errors, and every key used is recorded."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest

from simcost.errors import NotModelled, SpecError
from simcost.files import folder
from simcost.hf import ALIASES, CANONICAL, Reader, canonical, flatten
from simcost.model import count, keys, load
from simcost.model.classes.family import families
from simcost.model.spec import from_config

LLAMA = {
    "model_type": "llama", "hidden_size": 512, "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 2,
    "intermediate_size": 1024, "vocab_size": 1000, "torch_dtype": "bfloat16", "tie_word_embeddings": False,
}  # fmt: skip


def total(config: dict[str, object]) -> float:
    return float(count.parameters(from_config(config, "m", "config.json"))["params_language"])


def reader(**config: object) -> Reader:
    return Reader(config, {}, "config.json")


def test_no_alias_stands_for_two_names() -> None:
    every = [alias for aliases in ALIASES.values() for alias in aliases]
    assert len(every) == len(set(every))
    assert not set(every) & set(ALIASES)
    assert all(canonical(alias) == name for alias, name in CANONICAL.items())


@pytest.mark.parametrize(("name", "alias"), [(n, a) for n in LLAMA for a in ALIASES.get(n, ())])
def test_an_alias_reads_as_its_canonical_name(name: str, alias: str) -> None:
    renamed = {alias if key == name else key: value for key, value in LLAMA.items()}
    assert total(renamed) == total(LLAMA)


def test_two_spellings_that_disagree_are_an_error_that_names_both() -> None:
    with pytest.raises(SpecError, match=r"n_embd.*contradicts.*hidden_size"):
        flatten({"hidden_size": 512, "n_embd": 256}, "config.json")
    assert flatten({"hidden_size": 512, "n_embd": 512}, "config.json") == {"hidden_size": 512}


def test_a_null_twin_is_absent_and_does_not_contradict() -> None:
    for config in (
        {"hidden_act": "gelu", "hidden_activation": None},
        {"hidden_activation": None, "hidden_act": "gelu"},
    ):
        assert flatten(config, "c") == {"hidden_act": "gelu"}
    assert flatten({"tie_word_embeddings": True, "text_config": {"tie_word_embeddings": None}}, "c") == {
        "tie_word_embeddings": True
    }


def test_a_training_length_does_not_contradict_the_longest_context() -> None:
    for config in (
        {"seq_length": 8192, "max_position_embeddings": 32768},
        {"max_position_embeddings": 32768, "seq_length": 8192},
    ):
        assert flatten(config, "c") == {"max_position_embeddings": 32768}
    assert flatten({"seq_length": 8192}, "c") == {"max_position_embeddings": 8192}


def test_a_key_that_a_file_states_twice_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text('{"model_type": "llama", "hidden_size": 512, "hidden_size": 256}')
    with pytest.raises(SpecError, match=r"config\.json: 'hidden_size' is stated twice"):
        load.load(str(file))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_routed_experts", 256),
        ("residual_mlp_branch", True),
        ("attn_window_list", [0, 4]),
        ("headsPerGroup", 4),
        ("n_expert_layers", 2.0),
    ],
)
def test_structure_that_no_reader_knows_is_refused_and_may_be_left_out(key: str, value: object) -> None:
    with pytest.raises(
        NotModelled, match=f"'{key}'.*looks like structure, but the key is unknown.*--set model.{key}=null"
    ):
        total({**LLAMA, key: value})
    assert total({**LLAMA, key: None}) == total(LLAMA)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("moe_aux_loss", 0.1),
        ("attn_scale_base", 2.0),
        ("expert_noise", 0.01),
        ("use_extra_block", False),
        ("layer_kinds", []),
        ("head_kind", "x"),
    ],
)
def test_keys_that_are_off_or_of_numerics_are_noted_alone(key: str, value: object) -> None:
    assert total({**LLAMA, key: value}) == total(LLAMA)


def test_a_nested_text_config_wins_over_the_outer_one() -> None:
    assert flatten({"hidden_size": 1, "text_config": {"hidden_size": 2}}, "c") == {"hidden_size": 2}
    assert total({"architectures": ["X"], "text_config": LLAMA, "vision_config": {"hidden_size": 9}}) == total(LLAMA)


@pytest.mark.parametrize("value", ["512", True, 1.5, math.nan, math.inf, -1, 0, 10**9, [], {}, [512]])
def test_a_count_of_the_wrong_type_or_size_is_an_error_that_names_file_and_key(value: object) -> None:
    with pytest.raises(SpecError, match=r"config\.json: 'hidden_size'"):
        reader(hidden_size=value).num("hidden_size")


def test_a_whole_float_is_a_count_and_null_is_absent() -> None:
    assert reader(hidden_size=512.0).num("hidden_size") == 512.0
    assert reader(hidden_size=None).num("hidden_size", 7) == 7.0
    assert not reader(hidden_size=None).has("hidden_size")
    with pytest.raises(SpecError, match="missing key 'hidden_size'"):
        reader(hidden_size=None).num("hidden_size")


def test_an_array_is_a_count_but_never_a_structure() -> None:
    r = reader(hidden_size=np.asarray([256.0, 512.0]))
    assert np.array_equal(r.num("hidden_size"), [256.0, 512.0])
    with pytest.raises(SpecError, match="decides the structure"):
        r.layout("hidden_size")
    with pytest.raises(SpecError, match="hidden_size"):
        reader(hidden_size=np.asarray([256.0, 0.5])).num("hidden_size")


@pytest.mark.parametrize(
    ("method", "bad"), [("flag", 1), ("flag", "true"), ("text", 3), ("items", "ab"), ("items", {})]
)
def test_flags_texts_and_lists_are_strict(method: str, bad: object) -> None:
    with pytest.raises(SpecError, match=r"config\.json: 'key'"):
        getattr(reader(key=bad), method)("key")


@pytest.mark.parametrize("value", [0, -0.5, 1.5, "0.5", True, math.nan])
def test_a_fraction_lies_in_zero_to_one(value: object) -> None:
    with pytest.raises(SpecError, match="'f'"):
        reader(f=value).fraction("f", 1.0)


def test_what_the_file_says_wins_over_what_the_family_implies() -> None:
    r = Reader({"o_bias": True, "x": None}, {"o_bias": False, "x": 3}, "config.json")
    assert r.flag("o_bias") is True
    assert r.num("x") == 3.0
    assert r.used == {"o_bias", "x"}


def test_a_list_a_layer_must_have_one_entry_a_layer() -> None:
    assert reader(k=[1, 2]).per_layer("k", 1, 2) == 2
    assert reader().per_layer("k", 1, 2) is None
    with pytest.raises(SpecError, match="2 entries for 3 layers"):
        reader(k=[1, 2]).per_layer("k", 1, 3)


@pytest.mark.parametrize(("change", "word"), [
    ({"num_key_value_heads": 3}, "multiple of num_key_value_heads"), ({"num_attention_heads": 7}, "head_dim"),
    ({"torch_dtype": "bf17"}, "torch_dtype"), ({"num_hidden_layers": 0}, "num_hidden_layers"),
    ({"num_hidden_layers": 2001}, "num_hidden_layers"), ({"quantization_config": []}, "quantization_config"),
    ({"num_experts": 4, "num_experts_per_tok": 8}, "num_experts_per_tok"),
    ({"num_experts": 10, "num_experts_per_tok": 2, "n_group": 4}, "n_group"),
    ({"num_experts": 8, "num_experts_per_tok": 2, "n_group": 4, "topk_group": 5}, "topk_group"),
    ({"layer_types": ["full_attention"]}, "layer_types"), ({"scoring_func": "relu", "num_experts": 4,
      "num_experts_per_tok": 1}, "scoring_func"),
])  # fmt: skip
def test_a_contradiction_in_a_config_is_an_error_that_names_file_and_key(change: dict[str, object], word: str) -> None:
    with pytest.raises(SpecError, match=word) as error:
        from_config({**LLAMA, **change}, "m", "config.json")
    assert str(error.value).startswith("config.json")


@pytest.mark.parametrize("change", [
    {"index_topk": 2048}, {"full_attention_interval": 4}, {"layer_types": ["linear_attention"] * 4}, {"num_local_heads": [8]},
    {"quantization_config": {"quant_method": "spqr"}}, {"kv_reuse_group": 4},
    {"quantization_config": {"quant_method": "gptq", "bits": 5}}, {"mamba_d_state": 16}, {"zero_expert_num": 4},
    {"type_vocab_size": 2}, {"num_hidden_groups": 1},
])  # fmt: skip
def test_structure_that_nobody_models_is_refused_never_guessed(change: dict[str, object]) -> None:
    with pytest.raises(NotModelled, match="not modelled yet"):
        from_config({**LLAMA, **change}, "m", "config.json")


def test_an_unknown_key_is_named_with_its_nearest() -> None:
    spec = from_config({**LLAMA, "rope_tetha": 8}, "m", "config.json")
    assert any("rope_tetha" in note and "rope_theta" in note for note in spec.notes)
    with pytest.raises(NotModelled, match=r"num_atention_heads.*did you mean 'num_attention_heads'"):
        from_config({**LLAMA, "num_atention_heads": 8}, "m", "config.json")


def test_an_unknown_family_is_said_aloud() -> None:
    assert any(
        "frob" in note for note in from_config({**LLAMA, "model_type": "frob", "hidden_act": "silu"}, "m", "c").notes
    )


# Totals: model cards and the facts of each class (bias of QKV and half the width in Qwen v1; ties of MiniCPM; one norm and three biases in GPT-J).
OWN = {
    "qwen": ({"hidden_size": 4096, "ffn_hidden_size": 22016, "n_inner": None, "n_layer": 32, "n_head": 32, "kv_channels": 128, "vocab_size": 151936,
              "padded_vocab_size": 151936, "no_bias": True, "tie_word_embeddings": False}, 7_721_324_544),
    "chatglm": ({"hidden_size": 4096, "ffn_hidden_size": 13696, "num_layers": 28, "num_attention_heads": 32, "kv_channels": 128, "multi_query_attention": True,
                 "multi_query_group_num": 2, "padded_vocab_size": 65024, "add_bias_linear": False, "add_qkv_bias": True, "post_layer_norm": True,
                 "tie_word_embeddings": False}, 6_243_584_000),
    "minicpm": ({"hidden_size": 2304, "intermediate_size": 5760, "num_hidden_layers": 40, "num_attention_heads": 36, "num_key_value_heads": 36,
                 "vocab_size": 122753}, 2_724_880_896),
    "apertus": ({"hidden_size": 4096, "intermediate_size": 21504, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
                 "vocab_size": 131072, "hidden_act": "xielu", "qk_norm": True, "tie_word_embeddings": False}, 8_053_338_176),
    "mpt": ({"d_model": 4096, "n_heads": 32, "n_layers": 32, "expansion_ratio": 4, "vocab_size": 50432, "max_seq_len": 2048, "no_bias": True, "learned_pos_emb": True,
             "attn_config": {"alibi": True, "attn_type": "multihead_attention", "qk_ln": False}}, 6_649_286_656),
    "gptj": ({"n_embd": 4096, "n_layer": 28, "n_head": 16, "n_inner": None, "rotary_dim": 64, "vocab_size": 50400, "tie_word_embeddings": False}, 6_050_882_784),
}  # fmt: skip


# Totals of the class of transformers 5.24.0 on the meta device, with its default config.
CLASSES = {
    "codegen": ({"vocab_size": 50400, "n_embd": 4096, "n_layer": 28, "n_head": 16}, 6_050_882_784),
    "vaultgemma": ({"vocab_size": 256000, "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256}, 2_614_222_080),
    "nanochat": ({"vocab_size": 50304, "hidden_size": 768, "intermediate_size": 8192, "num_hidden_layers": 12, "num_attention_heads": 6}, 256_573_440),
    "persimmon": ({"vocab_size": 262144, "hidden_size": 4096, "intermediate_size": 16384, "num_hidden_layers": 36, "num_attention_heads": 64, "qk_layernorm": True}, 9_397_175_296),
    "jais2": ({"vocab_size": 150272, "hidden_size": 3328, "intermediate_size": 26624, "num_hidden_layers": 32, "num_attention_heads": 26, "attention_bias": True, "mlp_bias": True}, 8_090_401_280),
    "mellum": ({"vocab_size": 98304, "hidden_size": 2304, "num_hidden_layers": 28, "num_attention_heads": 32, "num_key_value_heads": 4, "moe_intermediate_size": 896, "num_experts_per_tok": 8, "num_local_experts": 64, "head_dim": 128}, 12_149_923_072),
    "biogpt": ({"vocab_size": 42384, "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096, "max_position_embeddings": 1024}, 346_763_264),
    "solar_open": ({"vocab_size": 196608, "hidden_size": 4096, "num_hidden_layers": 48, "num_attention_heads": 64, "num_key_value_heads": 8, "moe_intermediate_size": 1280, "num_experts_per_tok": 8, "n_shared_experts": 1, "n_routed_experts": 128, "head_dim": 128}, 102_651_799_552),
}  # fmt: skip


@pytest.mark.parametrize("family", CLASSES)
def test_a_family_is_exact_with_the_defaults_of_its_class(family: str) -> None:
    config, parameters = CLASSES[family]
    assert total({"model_type": family, **config}) == parameters


@pytest.mark.parametrize("family", OWN)
def test_a_family_whose_code_fixes_what_its_config_leaves_out_is_exact(family: str) -> None:
    config, published = OWN[family]
    assert total({"model_type": family, **config}) == published


def test_positions_of_mpt_are_learned_where_neither_alibi_nor_rope_is_on() -> None:
    config = {"model_type": "mpt", **OWN["mpt"][0]}
    rows = 2048 * 4096
    assert total({**config, "attn_config": {"alibi": False}}) == OWN["mpt"][1] + rows
    assert total({**config, "attn_config": {"alibi": False, "rope": True}}) == OWN["mpt"][1]
    with pytest.raises(NotModelled, match="multiquery_attention"):
        total({**config, "attn_config": {"attn_type": "multiquery_attention"}})


def test_mla_that_is_switched_off_is_mha_whatever_its_sizes() -> None:
    sizes = {"v_head_dim": 0, "qk_nope_head_dim": 0, "qk_rope_head_dim": 0, "kv_lora_rank": None, "q_lora_rank": None}
    for config in ({**sizes, "use_mla": False}, {**sizes, "kv_lora_rank": 64, "use_mla": False}):
        assert total({**LLAMA, "model_type": "deepseek_v2", "n_routed_experts": None, **config}) == total(LLAMA)


def test_a_language_model_inside_a_thinker_is_read_and_what_stands_beside_it_is_named() -> None:
    inner = {**LLAMA, "model_type": "qwen2_5_omni_text"}
    config = {
        "model_type": "qwen2_5_omni",
        "thinker_config": {"audio_config": {"d_model": 8}, "vision_config": {"depth": 2}, "text_config": inner},
        "talker_config": {"hidden_size": 3},
    }
    assert total(config) == total({**LLAMA, "model_type": "qwen2"})
    notes = from_config(config, "m", "c").notes
    assert any(note.startswith("talker_config: not counted for qwen2_5_omni") for note in notes)
    assert [note for note in notes if "tower's" in note]


def test_groups_of_heads_have_no_effect_where_multi_query_attention_is_off() -> None:
    config = {**OWN["chatglm"][0], "model_type": "chatglm"}
    off = {**config, "multi_query_attention": False}
    assert total(off) == total({**config, "multi_query_group_num": 32})
    assert any("multi_query_attention = false" in note for note in from_config(off, "m", "c").notes)


def test_override_by_alias_replaces_the_canonical_key() -> None:
    by_name, by_alias = load.load("llama-3.1-8b", {"hidden_size": 2048}), load.load("llama-3.1-8b", {"n_embd": 2048})
    assert count.parameters(by_name) == count.parameters(by_alias)
    with pytest.raises(SpecError, match="no config key"):
        load.load("llama-3.1-8b", {"hiden_size": 2048})


HYBRIDS: list[tuple[dict[str, object], str]] = [
    ({"model_type": "recurrent_gemma", "block_types": ["recurrent", "recurrent", "attention"]}, "block_types"),
    ({"lru_width": 2560}, "lru_width"),
    ({"conv1d_width": 4}, "conv1d_width"),
    ({"decoder_retention_heads": 3}, "decoder_retention_heads"),
    ({"full_attn_idxs": [2, 5]}, "full_attn_idxs"),
    ({"conv_L_cache": 3}, "conv_L_cache"),
    ({"mixer_types": ["minicpm4", "lightning-attn"]}, "mixer_types"),
    ({"sparse_config": {"kernel_size": 32, "topk": 64}}, "sparse_config"),
    ({"attn_mode": "chunk"}, "attn_mode"),
    ({"state_size": 16}, "state_size"),
    ({"ssm_multipliers": [0.3, 0.2]}, "ssm_multipliers"),
    ({"mamba_expand": 2}, "mamba_expand"),
    ({"linear_key_head_dim": 128}, "linear_key_head_dim"),
    ({"decay_low_rank_dim": 64}, "decay_low_rank_dim"),
    ({"index_head_dim": 128}, "index_head_dim"),
    ({"indexer_types": ["full"]}, "indexer_types"),
    ({"moba_topk": 8}, "moba_topk"),
    ({"nsa_block_size": 64}, "nsa_block_size"),
    ({"blocksparse_block_size": 64}, "blocksparse_block_size"),
    ({"attention_type": "block_sparse"}, "attention_type"),
    ({"attention_types": [[["global", "local"], 2]]}, "attention_types"),
    ({"num_kv_shared_layers": 10}, "num_kv_shared_layers"),
    ({"cla_share_factor": 2}, "cla_share_factor"),
    ({"zero_expert_num": 128}, "zero_expert_num"),
    ({"laurel_rank": 64}, "laurel_rank"),
    ({"altup_coef_clip": 120.0}, "altup_coef_clip"),
    ({"vocab_size_per_layer_input": 262144}, "vocab_size_per_layer_input"),
    ({"diffusion_block_size": 32}, "diffusion_block_size"),
    ({"text_config": {**LLAMA, "lru_width": 512}}, "lru_width"),
]


@pytest.mark.parametrize(("change", "key"), HYBRIDS, ids=[key for _, key in HYBRIDS])
def test_layers_that_are_no_attention_are_refused_by_the_key_that_says_so(change: dict[str, object], key: str) -> None:
    with pytest.raises(NotModelled, match=rf"config\.json: not modelled yet: {key} \(.+\)") as error:
        from_config({**LLAMA, **change}, "m", "config.json")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "change",
    [
        {"layers_block_type": ["attention", "mamba"] * 2},
        {"hybrid_override_pattern": "M-M*"},
        {"attn_layer_period": 4},
        {"layer_group_size": 4},
    ],
)
def test_recurrent_layers_without_the_keys_of_any_kind_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(NotModelled, match=r"layer \d \(linear_attention without the keys of any known kind\)"):
        from_config({**LLAMA, **change}, "m", "config.json")


@pytest.mark.parametrize(("change", "says"), [
    ({"hybrid_override_pattern": "M-M*-"}, "'hybrid_override_pattern' has 5 letters for 4 layers"),
    ({"hybrid_override_pattern": "M-X*"}, "has the letter 'X', which is not one of M * - E"),
    ({"layers_block_type": ["attention", "mamba"]}, "'layer_types' has 2 entries for 4 layers"),
])  # fmt: skip
def test_a_pattern_that_is_none_is_an_error(change: dict[str, object], says: str) -> None:
    with pytest.raises(SpecError) as error:
        from_config({**LLAMA, **change}, "m", "config.json")
    assert says in str(error.value)


@pytest.mark.parametrize("family", ["rwkv", "gla", "gated_deltanet", "hgrn2", "retnet", "hyena", "llada", "xlstm"])
def test_a_family_without_attention_is_refused_by_its_name_before_a_key_is_missed(family: str) -> None:
    bare = {"model_type": family, "hidden_size": 512, "num_hidden_layers": 4, "vocab_size": 1000}
    with pytest.raises(NotModelled, match=f"not modelled yet: model_type = '{family}'"):
        from_config(bare, "m", "config.json")
    with pytest.raises(NotModelled, match=family):
        from_config({**LLAMA, "model_type": family}, "m", "config.json")


def test_structure_that_is_turned_off_is_no_refusal() -> None:
    for key in [key for change, key in HYBRIDS if "text_config" not in change]:
        for value in (None, False, 0, "", [], {}):
            assert total({**LLAMA, key: value}) == total(LLAMA)
    kept = {
        "layers_block_type": ["attention"] * 4, "activation_sparsity_pattern": [0.0, 0.0],
        "use_cla": False, "cla_share_factor": 2, "attention_type": "softmax", "attention_types": [[["global"], 4]],
    }  # fmt: skip
    assert total({**LLAMA, **kept}) == total(LLAMA)
    assert total({**LLAMA, "attn_type_list": [1, 1, 1, 1]}) == total(LLAMA)


def test_no_key_is_irrelevant_and_structural_at_once() -> None:
    assert not keys.structural() & keys.IRRELEVANT
    prefixes = tuple(keys.tables()["prefixes"])
    assert not [key for key in keys.IRRELEVANT if key.startswith(prefixes)]
    assert not set(keys.tables()["model_types"]) & set(families())


def test_an_ordinary_unknown_config_still_loads_with_its_notes() -> None:
    spec = from_config({**LLAMA, "model_type": "frob", "hidden_act": "silu", "frob_scale": 2.5}, "m", "config.json")
    assert float(count.parameters(spec)["params_total"]) == total(LLAMA)
    assert any("frob_scale" in note for note in spec.notes)


def test_a_repository_is_a_file_of_the_zoo_in_any_case() -> None:
    for name in ("meta-llama/Llama-3.3-70B-Instruct", "META-LLAMA/llama-3.3-70b-instruct"):
        assert load.of_name(name) == load.find(name)[0] == load.spelled(name) == "llama-3.1-70b"
    assert load.load_config("Qwen/Qwen2-7B")[:2] == ("qwen2.5-7b", "qwen2.5-7b.json")
    assert load.load("Qwen/Qwen2-7B").name == "qwen2.5-7b"
    for name in ("Qwen/no-such", "llama-9", "a/config.json"):
        assert load.of_name(name) is None
        assert load.spelled(name) == name


@pytest.mark.parametrize(("typed", "meant"), [
    ("Llama-3.1-70B", "llama-3.1-70b"), ("Llama 3.1 70B", "llama-3.1-70b"), ("llama3.1-70b", "llama-3.1-70b"),
    ("Meta-Llama-3.1-70B-Instruct", "llama-3.1-70b"), ("DeepSeek-V3", "deepseek-v3"), ("deepseek_v3", "deepseek-v3"),
    ("deepseek-ai/DeepSeek-V3", "deepseek-v3"), ("Mixtral-8x7B-Instruct-v0.1", "mixtral-8x7b"),
])  # fmt: skip
def test_a_model_may_be_called_as_people_do(typed: str, meant: str) -> None:
    assert load.of_name(typed) == load.find(typed)[0] == meant


def test_no_name_that_a_model_is_called_by_means_two() -> None:
    assert {said: found for said, found in load._called().items() if len(found) > 1} == {}


def test_a_name_of_two_models_names_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "_called", lambda: {"x1": ("dbrx", "grok-1")})
    with pytest.raises(SpecError, match="model 'X-1' can be dbrx or grok-1: write one of them"):
        load.find("X-1")


def test_every_repository_belongs_to_one_file_that_ships() -> None:
    with (folder("workloads") / "models" / "sources.csv").open(encoding="utf-8", newline="") as file:
        listed = [repo.lower() for row in csv.DictReader(file) for repo in row["hugging_face"].split()]
    assert len(listed) == len(set(listed)) == len(load.repositories())
    assert all(repo.count("/") == 1 for repo in listed)
    assert set(load.repositories().values()) <= set(load.names())


def test_a_path_that_exists_wins_over_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    here = tmp_path / "Qwen" / "Qwen3-8B"
    here.mkdir(parents=True)
    assert load.of_name("Qwen/Qwen3-8B") is None
    with pytest.raises(SpecError, match=r"Qwen/Qwen3-8B: no config\.json in this directory"):
        load.load("Qwen/Qwen3-8B")
    (here / "config.json").write_text(json.dumps(LLAMA), encoding="utf-8")
    assert float(count.parameters(load.load("Qwen/Qwen3-8B"))["params_total"]) == total(LLAMA)


@pytest.mark.parametrize(("typed", "meant"), [
    ("Qwen/Qwen3-8b-Bas", "Qwen/Qwen3-8B-Base"), ("meta-llama/Llama-3.1-8B-Instuct", "meta-llama/Llama-3.1-8B-Instruct"),
    ("deepsek-v3", "deepseek-v3"),
])  # fmt: skip
def test_an_unknown_name_is_told_the_nearest_repository_too(typed: str, meant: str) -> None:
    with pytest.raises(SpecError, match=f"unknown model '{typed}' .*; did you mean '{meant}'"):
        load.load(typed)
