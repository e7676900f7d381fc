"""Every config key is used, known to be irrelevant to cost, or reported. Here: what is known.

A key leaves these tables the day a block reads it: blocks are asked first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Initialisation, tokens, training losses, numerics, positions and bookkeeping: none changes work, memory or traffic.
IRRELEVANT = frozenset(
    """
    architectures auto_map model_type _name_or_path name_or_path transformers_version torch_dtype use_cache is_decoder
    bos_token_id eos_token_id pad_token_id sep_token_id decoder_start_token_id unk_token_id image_token_index boi_token_index
    initializer_range initializer_factor init_std init_method rms_norm_eps layer_norm_eps layer_norm_epsilon norm_epsilon norm_eps
    attention_dropout hidden_dropout dropout resid_pdrop attn_pdrop embd_pdrop resid_dropout residual_dropout layerdrop
    activation_dropout hidden_dropout_prob attention_dropout_prob classifier_dropout summary_type
    rope_theta rope_scaling rope_parameters rope_local_base_freq rotary_base rope_interleave rope_pct rotary_emb_base swa_rope_theta
    max_position_embeddings original_max_position_embeddings max_window_layers initial_context_length sliding_window_base
    routed_scaling_factor norm_topk_prob router_aux_loss_coef aux_loss_alpha seq_aux output_router_logits router_jitter_noise
    input_jitter_noise moe_aux_loss_coeff router_scale pretraining_tp ep_size num_experts_per_tok_train
    query_pre_attn_scalar attn_logit_softcapping final_logit_softcapping attention_multiplier residual_multiplier
    embedding_multiplier logits_scaling logit_scale scale_depth scale_emb clip_qkv resid_scale attn_scale floor_scale
    attn_temperature_tuning for_llm_compressor no_rope_layers swiglu_limit swiglu_alpha alibi apply_residual_connection_post_layernorm
    parallel_attn new_decoder_architecture use_parallel_residual bias_dropout_fusion
    attn_implementation _attn_implementation id2label label2id problem_type task_specific_params chunk_size_feed_forward
    vision_config audio_config image_token_id video_token_id vision_start_token_id vision_end_token_id tokenizer_class
    return_dict output_hidden_states output_attentions qk_head_dim use_bidirectional_attention scale_attn_weights
    scale_attn_by_inverse_layer_idx reorder_and_upcast_attn attention_softmax_in_fp32 scale_attention_softmax_in_fp32 summary_use_proj
    summary_proj_to_labels summary_first_dropout summary_activation embedding_dropout emb_pdrop slow_but_exact eod_token_id
    moe_normalize_expert_weights moe_norm_min moe_loss_weight ffn_act_fn _sliding_window_pattern layer_norm_elementwise_affine
    hidden_act act_fn model_max_length quantization_config source use_qk_norm_type cache_implementation hybrid_cache attention_value_scale
    """.split()  # noqa: SIM905 -- a table to read
)

# Structure that no block models yet; reading past it would give a wrong number.
UNMODELLED = {
    "linear_attn_config": "linear attention (KDA)",
    "attn_type_list": "lightning attention",
    "full_attention_interval": "gated delta net layers",
    "linear_num_value_heads": "gated delta net layers",
    "index_topk": "sparse attention (DSA indexer)",
    "index_n_heads": "sparse attention (DSA indexer)",
    "mamba_d_state": "state-space layers",
    "mamba_d_ssm": "state-space layers",
    "ssm_state_size": "state-space layers",
    "ssm_cfg": "state-space layers",
    "mamba_num_heads": "state-space layers",
    "attn_layer_period": "hybrid attention/state-space layers",
    "hybrid_override_pattern": "hybrid attention/state-space layers",
    "layers_block_type": "hybrid layers",
    "use_mfa": "multi-matrix factorisation attention (MFA)",
    "share_q_dim": "multi-matrix factorisation attention (MFA)",
    "use_cla": "cross-layer KV sharing",
    "cla_share_factor": "cross-layer KV sharing",
    "num_kv_shared_layers": "cross-layer KV sharing",
    "zero_expert_num": "zero (identity) experts",
    "zero_expert_type": "zero (identity) experts",
    "sparse_attention_config": "sparse attention",
    "compress_ratios": "compressed attention",
    "altup_num_inputs": "AltUp",
    "hidden_size_per_layer_input": "per-layer embeddings",
    "num_local_heads": "heads that differ by layer",
    "add_cross_attention": "cross-attention",
    "is_encoder_decoder": "encoder-decoder models",
    "block_configs": "blocks that differ by layer (NAS)",
    "kda_layers": "linear attention (KDA)",
    "global_attn_every_n_layers": "ModernBERT-style encoders",
}


def unmodelled(
    config: Mapping[str, Any], handled: frozenset[str], layer_types: frozenset[str]
) -> tuple[str, str] | None:
    """The first key whose structure nobody models, with what it means; None when all is well.

    `handled` and `layer_types` are what the discovered blocks say they read: a new block needs no edit here.
    """
    for key, value in config.items():
        if key in UNMODELLED and key not in handled and not _idle(value):
            return key, UNMODELLED[key]
    kinds = config.get("layer_types")
    for kind in kinds if isinstance(kinds, list) else []:
        if not isinstance(kind, str) or kind not in layer_types:
            return "layer_types", f"layers of type {kind!r}"
    return None


def _idle(value: Any) -> bool:
    return value is None or value is False or (isinstance(value, (int, float)) and value == 0) or value in ([], {}, "")
