"""Layers that only images pass (Llama 3.2 Vision): loaded, without work or cache for a text, and refused where they cannot be."""

from __future__ import annotations

from typing import Any

import pytest

import simcost
from simcost.errors import NotModelled, SpecError
from simcost.model import count
from simcost.model.spec import ModelSpec, from_config

# As save_pretrained writes Llama-3.2-11B-Vision: what the class has by default is left out.
VISION = {
    "model_type": "mllama_vision_model", "image_size": 560, "supported_aspect_ratios": [[1, 1], [1, 2], [1, 3], [1, 4], [2, 1], [2, 2], [3, 1], [4, 1]],
    "intermediate_layers_indices": [3, 7, 15, 23, 30], "attention_heads": 16, "num_global_layers": 8, "max_num_tiles": 4,
}  # fmt: skip
CONFIG: dict[str, Any] = {
    "model_type": "mllama",
    "text_config": {"model_type": "mllama_text_model", "hidden_size": 4096},
    "vision_config": VISION,
}
LAYER = (
    4096 * (4096 + 2 * 1024) + 4096 * 4096 + 3 * 4096 * 14336 + 2 * 4096
)  # of a text: four projections, an FFN, two norms


def read(**text: Any) -> ModelSpec:
    return from_config({**CONFIG, "text_config": {**CONFIG["text_config"], **text}}, "x", "x.json")


def test_the_checkpoint_has_what_its_index_says() -> None:
    """Half the bytes of the index of meta-llama/Llama-3.2-11B-Vision, in bf16, and the parameters of the class on the meta device."""
    assert count.parameters(read())["params_total"] == 10_670_220_835


def test_a_layer_of_cross_attention_has_two_gates_and_two_norms_more() -> None:
    counts = [count.parameters(read(cross_attention_layers=layers))["params_language"] for layers in ([], [1], [1, 39])]
    assert [counts[1] - counts[0], counts[2] - counts[1]] == [2 * 128 + 2] * 2


def test_a_text_passes_none_of_them() -> None:
    none, eight = read(cross_attention_layers=[]), read()
    active = [count.parameters(model)["params_active_all"] for model in (none, eight)]
    assert active[0] - active[1] == 8 * LAYER
    assert count.state_elements(eight, 10.0) == 32 / 40 * count.state_elements(none, 10.0)
    times = [
        simcost.decode(
            {**CONFIG, "text_config": {**CONFIG["text_config"], **text}}, "h100", batch=8, context=4096
        ).metrics["tpot_s"]
        for text in ({}, {"num_hidden_layers": 32, "cross_attention_layers": []})
    ]
    assert times[0] == pytest.approx(times[1], rel=1e-9)


@pytest.mark.parametrize("plan", [{"plan.tp": 4}, {"plan.pp": 4}])
def test_plans_cut_them_as_other_layers(plan: dict[str, int]) -> None:
    whole, cut = (simcost.decode(CONFIG, "h100", batch=8, context=4096, set=s).metrics for s in ({}, plan))
    assert whole["weight_bytes_per_gpu"] / 4 < cut["weight_bytes_per_gpu"] < whole["weight_bytes_per_gpu"] / 2


def test_images_are_refused_with_the_reason() -> None:
    with pytest.raises(NotModelled, match="layers of cross-attention of the language model"):
        simcost.prefill(CONFIG, "h100", isl=4096, set={"images": 1})


@pytest.mark.parametrize("entry", [-1, "3", True, 2.5])
def test_an_entry_that_is_no_layer_is_named(entry: Any) -> None:
    with pytest.raises(SpecError, match=r"x.json: 'cross_attention_layers' must list layers, counted from 0, not "):
        read(cross_attention_layers=[3, entry])


def test_another_attention_beside_images_is_refused() -> None:
    with pytest.raises(NotModelled, match="cross_attention_layers"):
        simcost.decode(CONFIG, "h100", batch=1, context=128, set={"model.attention": "mla"})
