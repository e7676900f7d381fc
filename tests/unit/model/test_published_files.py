"""Files of public models, as their repositories state them: keys that the class does not read, tables on one level, twins of other words. Totals from the class of transformers 5.24.0 on the meta device, or by hand."""

from __future__ import annotations

from typing import Any

import pytest

from simcost.errors import NotModelled, SpecError
from simcost.model import count
from simcost.model.spec import ModelSpec, from_config

S, F, C = "sliding_attention", "full_attention", "conv"
# model_type, width, layers, heads, heads of keys, width of the FFN, vocabulary, what else the file states, parameters
FILES: dict[str, tuple[str, int, int, int, int, int, int, dict[str, Any], int]] = {
    # its class has biases everywhere, whatever attention_bias says
    "phi-1": ("phi", 2048, 24, 32, 32, 8192, 50295, {"attention_bias": False, "partial_rotary_factor": 0.5, "qk_layernorm": False, "rotary_dim": 32, "hidden_act": "gelu_new"}, 1_414_562_935),
    # an older word for the pattern of windows
    "command-a": ("cohere2", 12288, 64, 96, 8, 36864, 256000, {"head_dim": 128, "layer_switch": 4, "order_of_interleaved_layers": "local_attn_first", "sliding_window": 4096, "sliding_window_pattern": 4, "use_gated_activation": True, "use_parallel_block": True}, 111_057_580_032),
    # scoring_func of another key's words, which its class does not read
    "dots.llm1": ("dots1", 4096, 62, 32, 32, 10944, 152064, {"first_k_dense_replace": 1, "moe_intermediate_size": 1408, "n_routed_experts": 128, "n_shared_experts": 2, "num_experts_per_tok": 6, "n_group": 1, "topk_group": 1, "scoring_func": "noaux_tc", "topk_method": "noaux_tc", "sliding_window": None, "max_window_layers": 62, "use_sliding_window": False}, 142_774_381_696),
    # groups of experts that are false
    "hunyuan-a13b": ("hunyuan_v1_moe", 4096, 32, 32, 8, 3072, 128167, {"attention_head_dim": 128, "head_dim": 128, "group_limited_greedy": False, "moe_intermediate_size": [3072] * 32, "moe_topk": [8] * 32, "n_group": False, "topk_group": False, "num_experts": 64, "num_shared_expert": [1] * 32, "tie_word_embeddings": True, "use_cla": False, "use_mla": False, "use_mixed_mlp_moe": True, "use_qk_norm": True}, 80_393_183_232),
    # values as wide as the model's heads
    "minicpm3-4b": ("minicpm3", 2560, 62, 40, 40, 6400, 73448, {"kv_lora_rank": 256, "q_lora_rank": 768, "qk_nope_head_dim": 64, "qk_rope_head_dim": 32, "scale_depth": 1.4, "scale_emb": 12, "dim_model_base": 256, "tie_word_embeddings": True}, 4_073_875_968),
    # an activation by two words
    "falcon3-10b": ("llama", 3072, 40, 12, 4, 23040, 131072, {"activation": "swiglu", "hidden_act": "silu", "head_dim": 256}, 10_305_653_760),
    # heads whose width only the modeling file reads
    "qwen3-omni-30b, language": ("qwen3_omni_moe_text", 2048, 48, 32, 4, 768, 152064, {"head_dim": 128, "moe_intermediate_size": 768, "num_experts": 128, "num_experts_per_tok": 8, "decoder_sparse_step": 1}, 30_532_646_912),
    # LayerNorms with biases under a key of RMSNorms: 40 layers of two and a last one, 2 x 5,120 each
    "orion-14b": ("orion", 5120, 40, 40, 40, 15360, 84608, {"rms_norm_eps": 1e-05}, 2 * 84608 * 5120 + 40 * (4 * 5120**2 + 3 * 5120 * 15360) + 81 * 2 * 5120),
}  # fmt: skip


def sizes(width: int, layers: int, heads: int, kv: int, ffn: int, words: int) -> dict[str, int]:
    return {
        "hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": kv, "intermediate_size": ffn, "vocab_size": words,
    }  # fmt: skip


def read(config: dict[str, Any]) -> ModelSpec:
    return from_config({"tie_word_embeddings": False, "torch_dtype": "bfloat16", **config}, "m", "config.json")


@pytest.mark.parametrize("name", FILES)
def test_a_public_file_is_read_as_its_class_reads_it(name: str) -> None:
    kind, *numbers, more, published = FILES[name]
    config = {"model_type": kind, **sizes(*numbers), **more}
    config = {key: value for key, value in config.items() if key != "tie_word_embeddings" or kind != "cohere2"}
    found = from_config({"torch_dtype": "bfloat16", "tie_word_embeddings": kind == "cohere2", **config}, "m", "config.json")  # fmt: skip
    assert count.parameters(found)["params_total"] == published


def test_a_bias_that_a_class_gives_to_some_products_alone_is_counted_or_refused() -> None:
    """GLM, Helium, MiMo-V2: of queries, keys and values alone; experts and Mamba have none by the keys of others."""
    small = sizes(64, 2, 4, 2, 128, 1000)

    def total(kind: str, **more: Any) -> float:
        return float(count.parameters(read({"model_type": kind, **small, "head_dim": 16, **more}))["params_total"])

    for kind in ("glm", "helium", "solar_open"):
        assert total(kind, attention_bias=True) - total(kind, attention_bias=False) == 2 * (64 + 32 + 32)
    for kind, key in (("deepseek_v2", "mlp_bias"), ("ernie4_5_moe", "use_bias"), ("nemotron_h", "use_bias"), ("beam", "attention_bias"), ("opt", "_remove_final_layer_norm")):  # fmt: skip
        with pytest.raises(NotModelled, match=f"not modelled: '{key}' = True of {kind}"):
            total(kind, **{key: True})


def test_two_words_for_an_activation_agree_and_others_do_not() -> None:
    kind, *numbers, more, published = FILES["falcon3-10b"]
    turned = dict(reversed(more.items()))
    assert count.parameters(read({"model_type": kind, **sizes(*numbers), **turned}))["params_total"] == published
    with pytest.raises(SpecError, match="'activation' = 'gelu' contradicts 'hidden_act' = 'silu'"):
        read({"model_type": kind, **sizes(*numbers), **turned, "activation": "gelu"})


def test_the_older_word_for_a_pattern_of_windows_sets_it_where_it_stands_alone() -> None:
    kind, *numbers, more, _ = FILES["command-a"]
    alone = {key: value for key, value in more.items() if key != "sliding_window_pattern"}

    def stacks(**change: Any) -> object:
        return read({"model_type": kind, **sizes(*numbers), "tie_word_embeddings": True, **alone, **change}).stacks

    assert stacks(layer_switch=2) == stacks(layer_switch=None, sliding_window_pattern=2) != stacks()
    assert stacks(layer_switch=2, sliding_window_pattern=4) == stacks()


GLM = {
    "model_type": "glm4v", "attention_bias": True, **sizes(4096, 40, 32, 2, 13696, 151552), "partial_rotary_factor": 0.5,
    "vision_config": {
        "hidden_size": 1536, "depth": 24, "num_heads": 12, "attention_bias": False, "intermediate_size": 13696, "image_size": 336, "patch_size": 14, "out_hidden_size": 4096,
        "spatial_merge_size": 2, "temporal_patch_size": 2,
    },
}  # fmt: skip


def test_a_wrapper_that_states_its_language_model_beside_its_tower_is_read_by_the_inner_type() -> None:
    """GLM-4.1V-9B: four norms a layer, biases of q, k and v alone."""
    flat = read(GLM)
    assert flat.family == "glm4v_text"
    assert count.parameters(flat)["params_total"] == 10_292_777_472
    tower = ("model_type", "vision_config")
    inner = {key: value for key, value in GLM.items() if key not in tower}
    nested = read({"model_type": "glm4v", "text_config": inner, "vision_config": GLM["vision_config"]})
    assert (flat.stacks, flat.towers) == (nested.stacks, nested.towers)


EXAONE = {
    "model_type": "exaone4_5", "vocab_size": 153600,
    "text_config": {
        "model_type": "exaone4_5_text", **sizes(5120, 64, 40, 8, 27392, 153600), "layer_types": [S, S, S, F] * 16, "sliding_window": 4096, "sliding_window_pattern": "LLLG",
        "_num_mtp_layers": 1, "num_nextn_predict_layers": 1, "mtp_share_layers": True, "mtp_loss_scaling_factor": 0.05,
    },
    "vision_config": {
        "model_type": "exaone4_5_vision", "depth": 28, "fullatt_block_indexes": [6, 13, 20, 27], "hidden_size": 2048, "in_channels": 3, "intermediate_size": 5120, "num_heads": 32,
        "num_key_value_heads": 8, "out_hidden_size": 5120, "patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2, "tokens_per_second": 2, "window_size": 112,
    },
    "vision_token_id": 67,
}  # fmt: skip


def test_exaone_4_5_has_one_layer_that_predicts_further_tokens() -> None:
    counts = count.parameters(read(EXAONE))
    assert counts["params_total"] == 33_813_987_328
    assert counts["params_mtp"] > 0
    several = {**EXAONE, "text_config": {**EXAONE["text_config"], "num_nextn_predict_layers": 2}}
    with pytest.raises(NotModelled, match="'num_nextn_predict_layers' = 2 of exaone4_5_text"):
        read(several)


def test_lfm2_vl_keeps_the_shape_of_images() -> None:
    """LFM2.5-VL-1.6B: SigLIP 2 with 256 positions and without a head, no LayerNorm before the projector."""
    config = {
        "model_type": "lfm2_vl", "downsample_factor": 2, "encoder_patch_size": 16, "projector_bias": True, "projector_hidden_size": 2048, "projector_use_layernorm": False,
        "text_config": {
            "model_type": "lfm2", "block_auto_adjust_ff_dim": True, "block_dim": 2048, "block_ff_dim": 12288, "block_ffn_dim_multiplier": 1.0, "block_multiple_of": 256,
            "conv_L_cache": 3, "conv_bias": False, "conv_dim": 2048, "conv_dim_out": 2048, "num_heads": 32, **sizes(2048, 16, 32, 8, 12288, 65536),
            "layer_types": [C, C, F, C, C, F, C, C, F, C, F, C, F, C, F, C], "tie_word_embeddings": True,
        },
        "vision_config": {
            "model_type": "siglip2_vision_model", "hidden_size": 1152, "intermediate_size": 4304, "num_attention_heads": 16, "num_channels": 3, "num_hidden_layers": 27,
            "num_patches": 256, "patch_size": 16, "vision_use_head": False,
        },
    }  # fmt: skip
    found = from_config({"torch_dtype": "bfloat16", **config}, "m", "config.json")
    assert count.parameters(found)["params_total"] == 1_596_625_904
    (tower,) = found.towers
    assert (tower.side, tower.patch, tower.multiple) == (None, 16.0, 2.0)


def test_a_resampler_that_the_class_has_not_leaves_the_total_known() -> None:
    """Idefics3-8B: its language model's table still describes the one of Idefics 2."""
    config = {
        "model_type": "idefics3", "scale_factor": 2,
        "text_config": {
            "model_type": "llama", **sizes(4096, 32, 32, 8, 14336, 128260), "head_dim": 128, "neftune_noise_alpha": 0.0, "pixel_shuffle_factor": 2, "qk_layer_norms": False, "use_resampler": False,
            "perceiver_config": {"hidden_act": "silu", "model_type": "vllama3", "num_key_value_heads": 1, "resampler_n_latents": 64},
        },
        "vision_config": {
            "model_type": "idefics3_vision", "hidden_size": 1152, "image_size": 364, "intermediate_size": 4304, "num_attention_heads": 16, "num_hidden_layers": 27, "patch_size": 14,
        },
    }  # fmt: skip
    assert count.parameters(read(config))["params_total"] == 8_462_094_576
