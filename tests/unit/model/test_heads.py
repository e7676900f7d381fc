"""What `architectures` says of the head, and models that stand beside the language model without a table of their own name."""

from __future__ import annotations

from typing import Any

import pytest

from simcost.errors import SpecError
from simcost.model import count
from simcost.model.load import overridden
from simcost.model.spec import ModelSpec, from_config

LLAMA: dict[str, Any] = {
    "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 8,
    "vocab_size": 128256, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
}  # fmt: skip
MISTRAL = {**LLAMA, "model_type": "mistral", "vocab_size": 32000}


def read(config: dict[str, Any], **more: Any) -> ModelSpec:
    return from_config(overridden({**config, **more}, {}, "test"), "test", "test")


def total(config: dict[str, Any], **more: Any) -> float:
    return float(count.parameters(read(config, **more))["params_total"])


def test_a_classifiers_head_has_a_row_a_label() -> None:
    # The elements of Skywork/Skywork-Reward-Llama-3.1-8B: Llama 3.1 8B with one row of 4,096 for its head.
    one = total(LLAMA, architectures=["LlamaForSequenceClassification"], id2label={"0": "LABEL_0"})
    assert one == 7_504_928_768
    assert total(LLAMA, architectures=["LlamaForSequenceClassification"]) == one + 4096
    assert total(LLAMA, architectures=["LlamaForSequenceClassification"], num_labels=5) == one + 4 * 4096
    assert total(LLAMA, architectures=["LlamaForTokenClassification"], num_labels=5) == one + 4 * 4096 + 5


def test_a_model_of_embeddings_has_no_head() -> None:
    assert total(MISTRAL, architectures=["MistralModel"]) == 7_110_660_096  # intfloat/e5-mistral-7b-instruct


@pytest.mark.parametrize("name", ["GPT2LMHeadModel", "LlamaForCausalLM"])
def test_other_classes_have_a_head_over_the_vocabulary(name: str) -> None:
    assert total(LLAMA, architectures=[name]) == 8_030_261_248


def test_a_class_of_a_repository_may_have_a_head_under_the_name_of_a_model() -> None:
    shape = {
        "model_type": "chatglm",
        "num_layers": 2,
        "hidden_size": 64,
        "ffn_hidden_size": 128,
        "num_attention_heads": 4,
        "padded_vocab_size": 1000,
    }
    assert not any("has no head" in note for note in read({**shape, "kv_channels": 16}, architectures=["ChatGLMModel"]).notes)  # fmt: skip


@pytest.mark.parametrize("name", ["EagleLlamaForCausalLM", "LlamaForCausalLMEagle3", "MLPSpeculatorPreTrainedModel", "InternLM2ForRewardModel"])  # fmt: skip
def test_a_draft_or_an_own_head_is_refused_with_the_way_round(name: str) -> None:
    with pytest.raises(SpecError, match=f"architectures = {name}.*--set model.architectures=null"):
        read(LLAMA, architectures=[name])


def test_a_draft_is_told_by_its_vocabulary() -> None:
    with pytest.raises(SpecError, match="draft_vocab_size"):
        read(LLAMA, draft_vocab_size=32000)


@pytest.mark.parametrize("labels", [0, 2.5, "two"])
def test_labels_are_a_count(labels: Any) -> None:
    with pytest.raises(SpecError, match="'num_labels' must be a positive integer"):
        read(LLAMA, architectures=["LlamaForSequenceClassification"], num_labels=labels)


@pytest.mark.parametrize("beside", [{"visual": {"layers": 48, "width": 1664}}, {"mm_vision_tower": "openai/clip-vit-large-patch14-336"}])  # fmt: skip
def test_a_tower_by_another_name_leaves_the_total_open(beside: dict[str, Any]) -> None:
    found = read(LLAMA, **beside)
    assert len(found.uncounted) == 1
    assert next(iter(beside)) in found.uncounted[0]


def test_llavas_own_classes_are_the_language_model_that_they_name() -> None:
    own = {
        "model_type": "llava_llama",
        "architectures": ["LlavaLlamaForCausalLM"],
        "mm_vision_tower": "openai/clip",
        "mm_hidden_size": 1024,
    }
    assert read(LLAMA, **own).stacks == read(LLAMA).stacks
