"""A language model inside a wrapper whose table leaves out what the wrapper's class, or its own, has by default."""

from __future__ import annotations

from typing import Any

import pytest

from simcost.errors import SpecError
from simcost.model import count
from simcost.model.load import overridden
from simcost.model.spec import ModelSpec, from_config

# llava-hf/llava-1.5-7b-hf, config.json: the table says neither width nor layers.
LLAVA: dict[str, Any] = {
    "model_type": "llava", "ignore_index": -100, "image_token_index": 32000, "projector_hidden_act": "gelu", "tie_word_embeddings": False,
    "text_config": {"model_type": "llama", "max_position_embeddings": 4096, "rms_norm_eps": 1e-05, "torch_dtype": "float16", "vocab_size": 32064},
    "torch_dtype": "float16", "vision_feature_layer": -2, "vision_feature_select_strategy": "default", "vocab_size": 32064,
    "vision_config": {
        "hidden_size": 1024, "image_size": 336, "intermediate_size": 4096, "model_type": "clip_vision_model", "num_attention_heads": 16,
        "num_hidden_layers": 24, "patch_size": 14, "projection_dim": 768, "vocab_size": 32000,
    },
}  # fmt: skip


def read(config: dict[str, Any]) -> ModelSpec:
    return from_config(overridden(config, {}, "test"), "test", "test")


def test_sizes_that_a_nested_table_leaves_out_are_its_classs() -> None:
    # 7,063,427,072: the elements that the hub counts in the repository's safetensors files.
    spec = read(LLAVA)
    assert count.parameters(spec)["params_total"] == 7_063_427_072
    assert any("class defaults of llama used: hidden_size = 4096" in note for note in spec.notes)


def test_the_type_that_a_nested_table_leaves_out_is_its_wrappers() -> None:
    nameless = {key: value for key, value in LLAVA["text_config"].items() if key != "model_type"}
    assert count.parameters(read({**LLAVA, "text_config": nameless})) == count.parameters(read(LLAVA))


@pytest.mark.parametrize(
    ("wrapper", "inner"), [("qwen2_5_vl", "qwen2_5_vl_text"), ("gemma3", "gemma3_text"), ("got_ocr2", "qwen2")]
)
def test_a_wrappers_language_model_is_read_by_its_inner_type(wrapper: str, inner: str) -> None:
    sizes = {
        "hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 128, "vocab_size": 1000, "num_hidden_layers": 2, "head_dim": 16,
    }  # fmt: skip
    named = read({"model_type": wrapper, "text_config": {"model_type": inner, **sizes}})
    nameless = read({"model_type": wrapper, "text_config": sizes})
    assert nameless.family == inner
    assert nameless.stacks == named.stacks


def test_sizes_of_a_config_of_its_own_are_no_defaults() -> None:
    with pytest.raises(SpecError, match="missing key 'hidden_size'"):
        read({"model_type": "llama", "vocab_size": 32064})


def test_a_type_of_a_wrapper_without_a_class_is_not_guessed() -> None:
    with pytest.raises(SpecError, match="model_type 'my_vlm' is not known"):
        read({**LLAVA, "model_type": "my_vlm", "text_config": {"hidden_size": 64, "num_hidden_layers": 2}})
