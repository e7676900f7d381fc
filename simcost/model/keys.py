"""Every config key is used, known to be irrelevant to cost, or reported. Here: what is known.

A key leaves these tables the day a block reads it: blocks are asked first.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from simcost import settings
from simcost.blocks._layer_kinds import OLDER

# Initialisation, tokens, training losses, numerics, positions and bookkeeping: none changes work, memory or traffic.
IRRELEVANT = frozenset(
    """
    architectures auto_map model_type _name_or_path _asked name_or_path transformers_version torch_dtype use_cache is_decoder
    bos_token_id eos_token_id pad_token_id sep_token_id decoder_start_token_id unk_token_id image_token_index boi_token_index
    initializer_range initializer_factor init_std init_method rms_norm_eps layer_norm_eps layer_norm_epsilon norm_epsilon norm_eps
    attention_dropout hidden_dropout dropout resid_pdrop attn_pdrop embd_pdrop resid_dropout residual_dropout layerdrop
    activation_dropout hidden_dropout_prob attention_dropout_prob classifier_dropout summary_type
    rope_theta rope_scaling rope_parameters rope_local_base_freq rotary_base rope_interleave rope_pct rotary_emb_base swa_rope_theta
    max_position_embeddings original_max_position_embeddings max_window_layers initial_context_length sliding_window_base
    routed_scaling_factor norm_topk_prob norm_expert_weight use_gemma_norm embedding_multiplier_scale output_multiplier_scale router_logit_softcapping attn_logit_softcapping_method attn_temperature_len rope_type mla_scale_q_lora mla_scale_kv_lora attention_method moe_router_scaling_factor router_aux_loss_coef aux_loss_alpha seq_aux output_router_logits router_jitter_noise
    input_jitter_noise moe_aux_loss_coeff router_scale pretraining_tp ep_size num_experts_per_tok_train
    query_pre_attn_scalar attn_logit_softcapping final_logit_softcapping attention_multiplier residual_multiplier
    embedding_multiplier logits_scaling logit_scale scale_depth scale_emb clip_qkv resid_scale attn_scale floor_scale
    attn_temperature_tuning for_llm_compressor no_rope_layers use_rope_layers yarn_only_types att_impl_type need_fp32_gate zero_centered swiglu_limit swiglu_limits swiglu_limits_shared swiglu_alpha alibi apply_residual_connection_post_layernorm
    parallel_attn new_decoder_architecture use_parallel_residual bias_dropout_fusion
    attn_implementation _attn_implementation id2label label2id problem_type task_specific_params chunk_size_feed_forward
    vision_config image_token_id image_bos_token_id audio_token_id audio_bos_token_id video_token_id vision_start_token_id vision_end_token_id tokenizer_class
    bf16 fp16 fp32 use_flash_attn use_dynamic_ntk use_logn_attn onnx_safe fp32_residual_connection
    lm_head rm_head layer_rope_theta
    return_dict output_hidden_states output_attentions qk_head_dim use_bidirectional_attention scale_attn_weights
    scale_attn_by_inverse_layer_idx reorder_and_upcast_attn attention_softmax_in_fp32 scale_attention_softmax_in_fp32 summary_use_proj
    summary_proj_to_labels summary_first_dropout summary_activation embedding_dropout emb_pdrop slow_but_exact eod_token_id
    moe_normalize_expert_weights moe_norm_min moe_loss_weight ffn_act_fn _sliding_window_pattern layer_norm_elementwise_affine
    moe_renormalize num_logits_to_keep z_loss_coefficient position_embedding_type mlp_hidden_act moe_shared_expert_overlap lm_head_multiplier mlp_multipliers
    key_multiplier attention_out_multiplier attention_in_multiplier rescale_prenorm_residual residual_in_fp32
    route_scale logits_mup_width_multiplier log_scaling_n_floor log_scaling_alpha rms_norm_eps_moe_gate qk_l2_clip_threshold rel_l2_clip_threshold
    mlp_gate_softcap mlp_up_softcap chain_hidden_post_norm
    hidden_act act_fn model_max_length quantization_config source use_qk_norm_type cache_implementation hybrid_cache attention_value_scale
    """.split()  # noqa: SIM905 -- a table to read
)


# Counts and lists in words that classes have too; those in simcost's own words are read whatever the class.
SIZES = frozenset(
    one.key for one in settings.MODEL if one.kind in (settings.COUNT, settings.LENGTH, settings.LIST)
) - {
    "norm_vectors", "norms_per_layer", "num_ln_in_parallel_attn", "parallel_norms", "learned_positions", "ffn_multiple", "no_rope_layer_interval",
    "max_position_embeddings", "rotary_dim", "num_nextn_predict_layers", "num_mtp_modules",
}  # fmt: skip

# Tables of models beside the language model, whatever they state: a checkpoint holds their weights (`model/tower.py`).
BESIDE = (
    "vision_config", "audio_config", "talker_config", "token2wav_config", "code2wav_config", "audio_encoder_config", "depth_decoder_config", "vq_config",
)  # fmt: skip


@cache
def tables() -> dict[str, dict[str, Any]]:
    """Structure that no block models yet, with what it means: keys, their prefixes, lists of layer kinds, model types."""
    with (Path(__file__).parent / "unmodelled.toml").open("rb") as file:
        return tomllib.load(file)


def structural() -> set[str]:
    """Keys of `tables` by their whole name."""
    return {*tables()["keys"], *tables()["kinds"]}


def unmodelled(
    config: Mapping[str, Any], handled: frozenset[str], layer_types: frozenset[str], families: frozenset[str]
) -> tuple[str, str] | None:
    """The first key whose structure nobody models, with what it means; None when all is well.

    `handled`, `layer_types` and `families` are what the discovered blocks and the table of families say they read: a new
    block needs no edit here. A key says more than the model's type, so keys are asked first.
    """
    for key, value in config.items():
        if key not in handled and not is_off(value) and not switched_off(key, config):
            meaning = _meaning(key, value)
            if meaning is not None:
                return key, meaning
    kinds = config.get("layer_types")
    for kind in kinds if isinstance(kinds, list) else []:
        if not isinstance(kind, str) or OLDER.get(kind, kind) not in layer_types:
            return "layer_types", f"layers of type {kind!r}"
    family = str(config.get("model_type", ""))
    if family not in families and family.lower() in tables()["model_types"]:
        return f"model_type = {family!r}", tables()["model_types"][family.lower()]
    return None


def _meaning(key: str, value: Any) -> str | None:
    """What a key that is set stands for, where no block models it."""
    found = tables()
    if key in found["keys"]:
        return str(found["keys"][key])
    if key in found["kinds"]:
        return next((f"layers of type {kind!r}" for kind in _kinds(value) if kind not in found["kinds"][key]), None)
    if key in ("attention_type", "attn_type", "attention_class"):
        return _named_kind(value)
    return next((str(what) for prefix, what in found["prefixes"].items() if key.startswith(prefix)), None)


def _kinds(value: Any) -> list[Any]:
    """The words of a list of layer kinds; GPT-Neo nests them with how often they repeat, Nemotron-H writes a letter a layer."""
    if isinstance(value, str):
        return list(value)
    if isinstance(value, np.ndarray):
        return list(value.ravel())
    if not isinstance(value, Sequence):
        return [value]
    if len(value) == 2 and isinstance(value[0], list) and isinstance(value[1], int):
        return _kinds(value[0])
    return [kind for part in value for kind in (_kinds(part) if isinstance(part, list) else [part])]


# Words that name structure: a key with one of them says how many, how wide or of which kind.
_STRUCTURE = frozenset(
    """
    layer layers block blocks expert experts moe attention attn head heads kv mixer mlp ffn hidden intermediate rank window conv state
    """.split()  # noqa: SIM905 -- a table to read
)
# Words beside them that speak of training, numerics or a kernel.
_NO_STRUCTURE = frozenset(
    """
    dropout drop eps epsilon coef coeff loss init initializer std scale scaling implementation impl backend kernel fused fusion jitter
    temperature softcap softcapping cap fp32 dtype clip checkpointing recompute parallel norm norms layernorm
    """.split()  # noqa: SIM905 -- a table to read
)


def of_structure(key: str, value: Any) -> bool:
    """Whether a key that no reader knows may change what is counted: its name has a word of structure and it is on."""
    words = set(re.split(r"[^a-z0-9]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", key).lower()))
    return bool(words & _STRUCTURE) and not words & _NO_STRUCTURE and on(value)


def on(value: Any) -> bool:
    """Whether a value may say how many or of which kind: it is not off, no text, and no number with a fraction."""
    return not is_off(value) and not isinstance(value, str) and (not isinstance(value, float) or value.is_integer())


_OTHER = ("multiquery", "sparse", "linear", "lightning", "mamba", "rwkv", "retention", "recurrent", "hyena")


def _named_kind(value: Any) -> str | None:
    return next((f"{value} attention" for word in _OTHER if isinstance(value, str) and word in value.lower()), None)


def switched_off(key: str, config: Mapping[str, Any]) -> bool:
    """Whether another key turns off what this one is of: published configs keep the sizes."""
    switch = tables()["switches"].get(key)
    return switch is not None and switch in config and is_off(config[switch])


def is_off(value: Any) -> bool:
    """Whether a value says that there is none: null, false, 0, or empty."""
    if isinstance(value, np.ndarray):
        return not value.any()
    if isinstance(value, list):
        return all(is_off(part) for part in value)
    return value is None or value is False or value in (0, "") or value == {}
