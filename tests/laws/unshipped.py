"""Small models of classes of which no published config is at hand: their blocks keep the laws of the zoo's."""

from __future__ import annotations

from typing import Any

_SIZES: dict[str, Any] = {
    "hidden_size": 512, "num_hidden_layers": 8, "num_attention_heads": 32, "intermediate_size": 1024, "moe_intermediate_size": 256, "vocab_size": 1024,
    "n_routed_experts": 32, "num_experts_per_tok": 4, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
}  # fmt: skip
_LATENT: dict[str, Any] = {
    "kv_lora_rank": 128,
    "qk_nope_head_dim": 64,
    "v_head_dim": 64,
    "index_n_heads": 4,
    "index_head_dim": 64,
    "index_topk": 64,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "glm5_next": {
        **_SIZES, **_LATENT, "model_type": "glm5_next_text", "q_lora_rank": 128, "linear_num_heads": 32, "linear_head_dim": 64, "index_kpool": 4,
        "first_k_dense_replace": 1, "n_shared_experts": 1,
    },
    "mistral_large4": {
        **_SIZES, **_LATENT, "model_type": "mistral_large4_text", "qk_rope_head_dim": 32, "kv_source_layers": [0, 1, 2, 3, 2, 1, 0, 3], "n_shared_experts": 1,
    },
    "qwen4": {
        **_SIZES, "model_type": "qwen4_exp_text", "num_key_value_heads": 4, "head_dim": 64, "indexer_n_heads": 4, "indexer_head_dim": 64, "indexer_budget": 64,
        "indexer_compress_ratio": 4, "linear_num_key_heads": 16, "linear_num_value_heads": 32, "ple_layer_ids": [1], "ngram_vocab_size_base": 100,
        "hc_lowrank": 64, "shared_expert_intermediate_size": 256,
    },
    "muse_spark": {
        **_SIZES, "model_type": "muse_spark_text", "num_key_value_heads": 4, "head_dim": 64, "sliding_window": 64, "moe_hidden_size": 256,
        "layer_types": [*["sliding_attention"] * 3, "full_attention"] * 2,
    },
    "dots3": {
        **_SIZES, **_LATENT, "model_type": "dots3_note_text", "q_lora_rank": 128, "qk_rope_head_dim": 32, "n_shared_experts": 1, "sliding_window": 64,
        "layer_types": [*["full_attention"] * 2, *["sliding_attention"] * 6], "swa_num_attention_heads": 16, "swa_q_lora_rank": 64, "swa_kv_lora_rank": 192,
        "swa_head_dim": 96, "swa_qk_nope_head_dim": 64, "swa_v_head_dim": 32, "shared_expert_intermediate_size": 256,
    },
    "axk2": {
        **_SIZES, **_LATENT, "model_type": "axk2", "q_lora_rank": 128, "qk_rope_head_dim": 32, "n_shared_experts": 1, "gated_norm_rank": 16,
    },
}  # fmt: skip
