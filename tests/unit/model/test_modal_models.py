"""Models whose checkpoints hold more for images and sounds than towers: experts of their own (ERNIE 4.5 VL), adapters of the language model (Phi-4 multimodal)."""

from __future__ import annotations

from typing import Any

import pytest

import simcost
from simcost.errors import NotModelled, SpecError
from simcost.model import count
from simcost.model.spec import ModelSpec, from_config

# As save_pretrained writes the file of 28 B: what its class has by default is left out.
ERNIE: dict[str, Any] = {
    "model_type": "ernie4_5_vl_moe", "tie_word_embeddings": True, "text_config": {"model_type": "ernie4_5_vl_moe_text"},
    "vision_config": {"model_type": "ernie4_5_vl_moe_vision"},
}  # fmt: skip
# The repository's own form: on one level, with pairs for text and images.
ERNIE_FLAT: dict[str, Any] = {
    "model_type": "ernie4_5_moe_vl", "hidden_size": 2560, "intermediate_size": 12288, "num_hidden_layers": 28, "num_attention_heads": 20, "num_key_value_heads": 4,
    "vocab_size": 103424, "moe_num_experts": [64, 64], "moe_intermediate_size": [1536, 512], "moe_k": 6, "moe_layer_start_index": [1, 1], "moe_layer_end_index": [29, 28],
    "moe_layer_interval": 1, "moe_num_shared_experts": 2, "tie_word_embeddings": True, "use_bias": False, "moe_capacity": [128, 128, 128],
    "vision_config": {"model_type": "DFNRope_vision_transformer", "depth": 32, "embed_dim": 1280, "hidden_size": 1280, "mlp_ratio": 4, "num_heads": 16, "patch_size": 14},
}  # fmt: skip
_AUDIO = {
    "attention_dim": 1024, "attention_heads": 16, "num_blocks": 24, "linear_units": 1536, "kernel_size": 3, "input_size": 80, "time_reduction": 8, "input_layer": "nemo_conv",
    "depthwise_multiplier": 1, "depthwise_seperable_out_channel": 1024, "ext_pw_out_channel": 1024, "nemo_conv_settings": {"conv_channels": 1024},
    "relative_attention_bias_args": {"t5_bias_max_distance": 500, "type": "t5"}, "left_chunk": 18, "chunk_size": -1, "cnn_layer_norm": True, "encoder_embedding_config": {"input_size": 80},
}  # fmt: skip
PHI: dict[str, Any] = {
    "model_type": "phi4mm", "hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 32, "num_attention_heads": 24, "num_key_value_heads": 8, "vocab_size": 200064,
    "tie_word_embeddings": True, "sliding_window": 262144, "partial_rotary_factor": 0.75, "full_attn_mod": 1, "lm_head_bias": False, "torch_dtype": "bfloat16",
    "audio_processor": {"config": _AUDIO, "name": "cascades"},
    "embd_layer": {
        "audio_embd_layer": {"downsample_rate": 1, "projection_cls": "mlp", "use_qformer": False},
        "image_embd_layer": {"image_token_compression_cls": "avg_pool_2d", "projection_cls": "mlp"},
    },
    "speech_lora": {"r": 320, "lora_alpha": 640}, "vision_lora": {"r": 256, "lora_alpha": 512},
}  # fmt: skip
EXPERT, SEEING = 3 * 2560 * 1536, 3 * 2560 * 512


def read(config: dict[str, Any], **changes: Any) -> ModelSpec:
    return from_config({**config, **changes}, "x", "x.json")


@pytest.mark.parametrize("config", [ERNIE, ERNIE_FLAT])
def test_both_sets_of_experts_are_counted(config: dict[str, Any]) -> None:
    """The class on the meta device; the older form of the file says the same."""
    assert count.parameters(read(config))["params_total"] == 29_399_294_336


def test_a_text_passes_its_own_experts_alone() -> None:
    counts = count.parameters(read(ERNIE))
    router = 2560 * 64 + 64
    idle = 27 * ((64 - 6) * EXPERT + 64 * SEEING + router)
    assert counts["params_language"] - counts["params_active_all"] == idle


def test_experts_for_images_cost_memory_and_no_time() -> None:
    alone = {
        **ERNIE_FLAT,
        "model_type": "ernie4_5_moe",
        "moe_intermediate_size": 1536,
        "moe_num_experts": 64,
        "moe_layer_start_index": 1,
        "moe_layer_end_index": -1,
    }
    alone = {key: value for key, value in alone.items() if key not in ("vision_config", "moe_capacity")}
    both, one = (simcost.decode(config, "h100", batch=16, context=2048).metrics for config in (ERNIE, alone))
    assert both["tpot_s"] == pytest.approx(one["tpot_s"], rel=1e-9)
    assert both["weight_bytes_per_gpu"] - one["weight_bytes_per_gpu"] > 2 * 27 * 64 * SEEING


@pytest.mark.parametrize(("key", "value", "error", "reason"), [
    ("moe_num_experts", [64, 32], NotModelled, "differ in more than their width"), ("moe_layer_start_index", [1, 2], NotModelled, "differ in more than their width"),
    ("moe_layer_end_index", [29, 20], NotModelled, "up to the last layer"), ("moe_intermediate_size", [1536, 512, 4], SpecError, "one for images"),
    ("use_bias", True, NotModelled, "only False"),
])  # fmt: skip
def test_other_pairs_are_refused(key: str, value: Any, error: type[Exception], reason: str) -> None:
    with pytest.raises(error, match=reason):
        read(ERNIE_FLAT, **{key: value})


def test_adapters_stand_in_the_total_of_phi_4() -> None:
    """Language model, towers as transformers' class counts them with half the table of distances, mean and deviation of 80 bins, adapters by hand."""
    model = read(PHI)
    assert {tower.name: tower.parameters for tower in model.towers} == {
        "vision tower": 441_550_016.0, "audio tower": 466_416_256.0 + 160.0,
        "adapters for images and sounds": (256 + 320) * 32 * ((3072 + 5120) + (3072 + 3072) + (3072 + 16384) + (8192 + 3072)),
    }  # fmt: skip
    assert count.parameters(model)["params_total"] == 5_574_460_384
    assert model.uncounted == ()


@pytest.mark.parametrize(("key", "value"), [("vision_lora", None), ("embd_layer", {}), ("audio_processor", {"config": {**_AUDIO, "input_layer": "conv2d"}})])  # fmt: skip
def test_other_parts_of_phi_4_leave_the_total_open(key: str, value: Any) -> None:
    (said,) = read(PHI, **{key: value}).uncounted
    assert key in said


@pytest.mark.parametrize(
    ("key", "value"),
    [("embd_layer", 3), ("vision_lora", [1]), ("audio_processor", {"config": {"nemo_conv_settings": "x"}})],
)
def test_what_is_no_table_is_named(key: str, value: Any) -> None:
    with pytest.raises(SpecError, match="must be a table, not "):
        read(PHI, **{key: value})


def test_an_adapter_without_a_rank_is_named() -> None:
    with pytest.raises(SpecError, match=r"'speech_lora.r' must be a number above 0"):
        read(PHI, speech_lora={"lora_alpha": 3})


@pytest.mark.parametrize("kind", ["phi3", "phi4mm"])
def test_a_key_of_which_one_value_is_known_is_refused_at_another(kind: str) -> None:
    """Phi-4-mini states full_attn_mod = 1 too."""
    plain = {key: value for key, value in PHI.items() if kind == "phi4mm" or not isinstance(value, dict)}
    assert count.parameters(read(plain, model_type=kind))["params_language"] == 3_836_021_760
    with pytest.raises(NotModelled, match="'full_attn_mod' = 2"):
        read(plain, model_type=kind, full_attn_mod=2)
