"""Muse Spark: gates on the residual stream, a norm and a gate of attention's output, experts at a width of their own with norms, and its two towers."""

from __future__ import annotations

from typing import Any

import pytest
from blockkit import ops, shapes, view

from simcost.blocks.attention.gqa import GQA
from simcost.blocks.attention.sliding_window import SlidingWindow
from simcost.blocks.ffn.normed_moe import NormedMoE
from simcost.errors import SimcostError
from simcost.model import count
from simcost.model.spec import ModelSpec, from_config
from simcost.plan import Plan

LAYERS = 6
TEXT: dict[str, Any] = {
    "model_type": "muse_spark_text", "hidden_size": 8192, "intermediate_size": 16384, "num_hidden_layers": LAYERS, "num_attention_heads": 128,
    "vocab_size": 202048, "layer_types": ["sliding_attention", "full_attention", *["sliding_attention"] * 3, "full_attention"],
}  # fmt: skip
TABLES: dict[str, Any] = {
    "vision_config": {"model_type": "muse_spark_vision"}, "audio_config": {"model_type": "muse_spark_audio"},
}  # fmt: skip
TOWERS = (
    2_045_977_600  # of Hugging Face's MuseSparkForConditionalGeneration at its defaults, both with their projectors
)
SMALL = [  # the same of both with keys of one table changed
    ("vision_config", {"hidden_size": 768, "merge_size": 4}, {"out_hidden_size": 12288, "projector_hidden_size": 1000}, 947_899_456),
    ("vision_config", {"pos_emb_width": 16}, {}, 2_045_191_168),
    ("audio_config", {"mlp_ratio": 2.5}, {}, 2_012_542_720),
    ("audio_config", {"hidden_sizes": [64, 100, 300, 500]}, {}, 1_938_733_980),
    ("audio_config", {"depths": [1, 2], "hidden_sizes": [32, 64], "patch_sizes": [3, 4], "num_hidden_layers": 2}, {}, 1_928_762_400),
]  # fmt: skip


def read(**changes: Any) -> ModelSpec:
    return from_config({**TEXT, **changes}, "x", "x.json")


def whole(outer: dict[str, Any], **tables: Any) -> ModelSpec:
    text = {**TEXT, "num_hidden_layers": 2, "layer_types": ["sliding_attention", "full_attention"]}
    config = {"model_type": "muse_spark", "text_config": text, **TABLES, **outer}
    return from_config({**config, **{key: {**TABLES[key], **own} for key, own in tables.items()}}, "x", "x.json")


def one(kind: type, model: ModelSpec | None = None) -> Any:
    return next(block for _, block in (model or read()).blocks() if isinstance(block, kind))


def test_a_layer_has_two_norms_and_a_gate_for_each_sublayer() -> None:
    model = read()
    layer = model.stacks[model.order[0]][1]
    assert [type(b).__name__ for b in layer] == [
        "Norm", "SlidingWindow", "Norm", "ResidualGate", "Norm", "NormedMoE", "Norm", "ResidualGate",
    ]  # fmt: skip
    assert [sum(w.count for w in b.weights(Plan())) for b in layer if b.kind == "norm"] == [
        8192,
        0,
        8192,
        8192,
        8192,
        8192,
    ]
    assert [isinstance(model.stacks[i][1][1], SlidingWindow) for i in model.order] == [
        True,
        False,
        True,
        True,
        True,
        False,
    ]
    gate = ops(layer[3].program(view(2.0, 1.0, 9.0)))["attention_residual_gate"].work()
    assert (gate.bytes_read, gate.bytes_written) == (2 * 2 * 8192 * 2, 2 * 8192 * 2)


def test_the_gate_of_the_output_has_no_bias_and_a_norm_stands_before_it() -> None:
    plain, biased = one(GQA), one(GQA, read(attention_bias=True))
    found = shapes(biased.weights(Plan(tp=4.0)))
    assert found["qkv_proj"] == (32 * 128 + 4 * 128, 8192)
    assert (found["qkv_bias"], found["o_bias"]) == ((32 * 64 + 4 * 128,), (8192,))
    assert "qk_norm" not in found
    tags = list(ops(plain.program(view(2.0, 1.0, 9.0))))
    assert tags[tags.index("core") + 1 :] == ["output norm", "output gate", "o_proj", "all-reduce"]


def test_experts_run_at_a_width_of_their_own_between_norms() -> None:
    moe = one(NormedMoE)
    found = shapes(moe.weights(Plan()))
    assert found["experts_up"] == (256, 8192, 4096)
    assert (found["latent_down"], found["latent_up"], found["latent_norms"]) == ((4096, 8192), (8192, 4096), (8192,))
    assert found["router"] == (256, 8192)
    found_ops = ops(moe.program(view(4.0, 1.0, 9.0)))
    assert found_ops["latent norm"].work().bytes_read == 4 * 4096 * 2
    assert found_ops["expert norm"].work().bytes_read == 4 * 8 * 4096 * 2
    assert one(NormedMoE, read(moe_hidden_size=2048)).moe_latent_size == 2048


def test_dense_layers_are_as_wide_as_said() -> None:
    model = read(mlp_layer_types=["dense"] + ["sparse"] * (LAYERS - 1))
    assert shapes(next(b for b in model.stacks[0][1] if b.kind == "ffn").weights(Plan()))["down_proj"] == (8192, 16384)


def test_towers_have_the_parameters_of_the_class() -> None:
    model = whole({})
    assert count.parameters(model)["params_towers"] == TOWERS
    assert [tower.name for tower in model.towers] == ["vision tower", "audio tower"]
    encoder = model.towers[0].parts[1]
    assert (encoder.windowed, encoder.window) == (37, 1024)  # type: ignore[union-attr]


@pytest.mark.parametrize(("table", "own", "outer", "parameters"), SMALL)
def test_towers_with_other_sizes(table: str, own: dict[str, Any], outer: dict[str, Any], parameters: int) -> None:
    assert count.parameters(whole(outer, **{table: own}))["params_towers"] == parameters


def test_what_does_not_fit_is_not_counted() -> None:
    assert "merged patches" in whole({"out_hidden_size": 6000}).uncounted[0]
    assert "differ in length" in whole({}, audio_config={"depths": [2]}).uncounted[0]


@pytest.mark.parametrize(("changes", "says"), [
    ({"layer_types": None}, "layer_types"), ({"tie_word_embeddings": True}, "tie_word_embeddings"), ({"num_nextn_predict_layers": 1}, "num_nextn_predict_layers"),
])  # fmt: skip
def test_what_the_class_does_not_have_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(SimcostError, match=says):
        read(**changes)


@pytest.mark.parametrize(("own", "says"), [({"layer_types": ["full_attention"]}, "each of 50 layers"), ({"layer_types": ["half"] * 50}, "window_attention")])  # fmt: skip
def test_words_of_a_tower_are_read_strictly(own: dict[str, Any], says: str) -> None:
    with pytest.raises(SimcostError, match=says):
        whole({}, vision_config=own)
