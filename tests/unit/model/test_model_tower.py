"""Towers: parameters of each wrapper's class, small ones by their shapes, what is not counted, and keys that say no number."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
from toykit import PARAMETERS, multimodal

import simcost
from simcost.errors import NotModelled, SpecError
from simcost.hf import flatten
from simcost.model import count, tower
from simcost.model.spec import ModelSpec, from_config
from simcost.num import Num

V, G, L, SIDE, D = 32, 48, 3, 56, 80  # width, inner width, layers, pixels, width of the language model
PATCHES = (SIDE // 14) ** 2
Shape = tuple[int, ...]


def found(config: dict[str, Any], width: Num = D) -> tower.Found:
    return tower.read(flatten(config, "config.json"), width, "config.json", "vision_config" not in config)


def parameters(config: dict[str, Any], width: Num = D) -> Num:
    read = found(config, width)
    assert read.uncounted == ()
    return sum((each.parameters for each in read.towers), 0.0)


# Parameters of towers and projectors of the classes in transformers 5.24.0, built on the meta device with their default configs: all but the language
# model and its head. Width of the language model, table, model_type of the table.
CLASSES = [
    ("gemma3", 2304, "vision_config", "siglip_vision_model", 94_654_464),
    ("shieldgemma2", 2304, "vision_config", "siglip_vision_model", 94_654_464),
    ("glm4v", 4096, "vision_config", "glm4v_vision", 892_498_432),
    ("glm4v_moe", 4096, "vision_config", "glm4v_moe_vision", 892_498_432),
    ("glm46v", 4096, "vision_config", "glm4v_vision", 892_498_432),
    ("glmga", 4096, "vision_config", "glm4v_vision", 892_498_432),
    ("glm_ocr", 1024, "vision_config", "glm_ocr_vision", 434_120_192),
    ("glm5_next", 4096, "vision_config", "glm5_next_vision", 460_072_448),
    ("glmasr", 2048, "audio_config", "glmasr_encoder", 664_415_232),
    ("got_ocr2", 1024, "vision_config", "got_ocr2_vision", 96_618_752),
    ("pp_chart2table", 1024, "vision_config", "pp_chart2table_vision", 96_618_752),
    ("idefics2", 4096, "vision_config", "idefics2_vision", 819_662_848),
    ("idefics3", 4096, "vision_config", "idefics3_vision", 171_270_144),
    ("smolvlm", 4096, "vision_config", "smolvlm_vision", 171_270_144),
    ("internvl", 4096, "vision_config", "internvl_vision", 337_509_376),
    ("kimi_k25", 7168, "vision_config", "kimi_k25_vision", 471_143_920),
    ("llama4", 5120, "vision_config", "llama4_vision_model", 455_178_240),
    ("minimax_m3_vl", 6144, "vision_config", "minimax_m3_vl_vision", 865_567_232),
    ("moss_transcribe_diarize", 1024, "audio_config", "moss_transcribe_diarize_audio", 312_463_360),
    ("qwen2_vl", 8192, "vision_config", "qwen2_vl_vision", 675_759_104),
    ("qwen2_5_vl", 8192, "vision_config", "qwen2_5_vl_vision", 3_083_025_152),
    ("qwen3_vl", 4096, "vision_config", "qwen3_vl_vision", 566_949_104),
    ("qwen3_vl_moe", 2048, "vision_config", "qwen3_vl_moe_vision", 566_949_104),
    ("cosmos3_omni", 4096, "vision_config", "qwen3_vl_vision", 566_949_104),
    ("qwen3_5", 4096, "vision_config", "qwen3_5_vision", 453_650_672),
    ("qwen3_5_moe", 2048, "vision_config", "qwen3_5_moe_vision", 453_650_672),
    ("qwen4_exp", 2048, "vision_config", "qwen4_exp_vision", 453_650_672),
    ("qwen3_asr", 2048, "audio_config", "qwen3_asr_encoder", 319_051_904),
    ("video_llama_3", 4096, "vision_config", "video_llama_3_vision", 105_577_728),
    ("qwen2_audio", 4096, "audio_config", "qwen2_audio_encoder", 642_215_936),
    ("step3p7", 4096, "vision_config", "step3p5_vision", 1_981_014_784),
    ("voxtral", 3072, "audio_config", "voxtral_encoder", 662_134_784),
    ("hy_v4_vl", 6144, "vision_config", "hy_v4_vl_vision", 1_235_126_784),
    ("lfm2_vl", 2560, "vision_config", "siglip2_vision_model", 107_359_488),
    ("lfm3_vl", 2048, "vision_config", "lfm3_vl_vision", 189_380_352),
    ("molmo2", 3584, "vision_config", "molmo2_vision", 503_342_544),
    ("gemma3n", 2048, "vision_config", "gemma3n_vision", 294_126_912 + 689_154_592),
    ("mllama", 4096, "vision_config", "mllama_vision_model", 867_749_395),
    ("aria", 4096, "vision_config", "idefics3_vision", 184_816_000),
    ("chameleon", 4096, "vq_config", "chameleon_vqgan", 29_423_616),
    ("janus", 4096, "vision_config", "janus_vision_model", 309_984_256 + 113_996_427),
]


@pytest.mark.parametrize(("wrapper", "width", "table", "kind", "published"), CLASSES)
def test_defaults_of_a_class_give_its_parameters(
    wrapper: str, width: int, table: str, kind: str, published: int
) -> None:
    beside = {
        "idefics2": {"perceiver_config": {"model_type": "idefics2_perceiver"}},
        "gemma3n": {"audio_config": {"model_type": "gemma3n_audio"}},
        "janus": {"vq_config": {"model_type": "janus_vqgan"}},
        "molmo2": {"adapter_config": {"model_type": "molmo2_adapter"}},
    }
    inner = {"hidden_size": width, "intermediate_size": 14336}
    config = {"model_type": wrapper, "text_config": inner, table: {"model_type": kind}, **beside.get(wrapper, {})}
    assert parameters(config, float(width)) == published
    assert any("class defaults" in note for note in found(config, float(width)).notes)


_CLIP = {"model_type": "clip_vision_model", "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16, "image_size": 336, "patch_size": 14}  # fmt: skip
_SIGLIP = {"model_type": "siglip_vision_model", "hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "num_attention_heads": 16, "vision_use_head": False}  # fmt: skip
_QWEN25 = {"model_type": "qwen2_5_vl", "depth": 32, "hidden_size": 1280, "intermediate_size": 3420}
_QWEN3 = {"model_type": "qwen3_vl", "depth": 27, "hidden_size": 1152, "intermediate_size": 4304, "deepstack_visual_indexes": [8, 16, 24]}  # fmt: skip
# The same of configs as they are published, or as the wrapper's class fills them in.
PUBLISHED = [
    ("gemma3", 3840, {**_SIGLIP, "image_size": 896, "patch_size": 14}, {}, 421_290_864),
    ("gemma3", 5376, {**_SIGLIP, "image_size": 896, "patch_size": 14}, {}, 423_060_336),
    ("paligemma", 2048, {**_SIGLIP, "intermediate_size": 4096, "patch_size": 14}, {}, 401_858_816),
    ("llama4", 5120, {"hidden_size": 1408, "image_size": 336, "vision_output_dim": 4096}, {}, 871_932_416),
    ("mistral3", 5120, {"model_type": "pixtral", "patch_size": 14}, {}, 438_958_080),
    ("lighton_ocr", 1024, {"model_type": "pixtral", "patch_size": 14}, {}, 409_597_952),
    ("kimi_k25", 7168, {"vt_hidden_size": 1152, "vt_intermediate_size": 4304, "vt_num_hidden_layers": 27}, {}, 471_143_920),
    ("qwen2_5_vl", 2048, {**_QWEN25, "out_hidden_size": 2048}, {}, 668_684_288),
    ("qwen2_5_vl", 3584, {**_QWEN25, "out_hidden_size": 3584}, {}, 676_550_144),
    ("qwen2_5_vl", 8192, {**_QWEN25, "intermediate_size": 3456, "out_hidden_size": 8192}, {}, 704_573_696),
    ("qwen3_vl_moe", 2048, {**_QWEN3, "out_hidden_size": 2048}, {}, 538_631_408),
    ("qwen3_vl_moe", 4096, {**_QWEN3, "out_hidden_size": 4096}, {}, 576_388_336),
    ("qwen3_5", 5120, {**_QWEN3, "deepstack_visual_indexes": [], "out_hidden_size": 5120}, {}, 460_730_096),
    ("exaone4_5", 4096, {"model_type": "exaone4_5_vision", "num_key_value_heads": 8}, {}, 2_671_868_672),
    ("glm4v_moe", 4096, {"model_type": "glm4v_moe_vision", "intermediate_size": 10944}, {}, 858_681_856),
    ("internvl_chat", 3584, {"qkv_bias": True, "qk_normalization": False, "norm_type": "layer_norm", "use_moe": False, "num_experts": 8, "moe_intermediate_size": 768, "use_flash_attn": True}, {}, 331_552_768),
    ("qianfan_ocr", 4096, {"model_type": "qianfan_ocr_vision", "attention_bias": True}, {}, 337_583_104),
    ("llava", 4096, _CLIP, {}, 324_487_168),
    ("llava_next", 4096, _CLIP, {}, 324_491_264),
    ("vipllava", 4096, _CLIP, {}, 341_274_624),
    ("video_llava", 4096, {**_CLIP, "image_size": 224}, {}, 627_339_264),
    ("qwen2_5_omni_thinker", 3584, {"model_type": "x"}, {"audio_config": {"d_model": 1280}}, 3_722_672_384),
    ("qwen3_omni_moe_thinker", 2048, {"model_type": "x"}, {"audio_config": {"d_model": 1280}}, 649_894_784 + 566_949_104),
    ("llava_onevision", 4096, {**_SIGLIP, "num_hidden_layers": 26, "image_size": 384, "patch_size": 14}, {}, 419_255_840),
    ("cohere2_vision", 8192, {**_SIGLIP, "intermediate_size": 3072, "image_size": 512, "vision_use_head": True}, {}, 670_168_832),
    ("deepseek_vl", 4096, {"model_type": "siglip_vision_model"}, {}, 112_815_360),
    ("gemma4", 5376, {"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "num_attention_heads": 16, "num_key_value_heads": 16, "head_dim": 72}, {}, 575_741_232),
    ("gemma4", 1536, {"model_type": "gemma4_vision"}, {"audio_config": {"model_type": "gemma4_audio"}}, 168_544_256 + 307_183_904),
]  # fmt: skip


@pytest.mark.parametrize(("wrapper", "width", "vision", "own", "published"), PUBLISHED)
def test_published_towers_are_counted_to_the_integer(wrapper: str, width: int, vision: Any, own: Any, published: int) -> None:  # fmt: skip
    config = {"model_type": wrapper, "text_config": {"hidden_size": width}, "vision_config": vision, **own}
    assert parameters(config, float(width)) == published


def linear(inner: int, outer: int, bias: bool = True) -> list[Shape]:
    return [(outer, inner), (outer,)] if bias else [(outer, inner)]


def norm(width: int, vectors: int = 2) -> list[Shape]:
    return [(width,)] * vectors


def plain(layers: int) -> list[Shape]:
    """Attention of four projections, a product of two, two LayerNorms, each with biases."""
    return [*linear(V, V) * 4, *linear(V, G), *linear(G, V), *norm(V) * 2] * layers


SIZES = {"hidden_size": V, "intermediate_size": G, "num_hidden_layers": L, "num_attention_heads": 4, "patch_size": 14}
SMALL: dict[str, tuple[dict[str, Any], list[Shape]]] = {
    "gemma3": (
        {"model_type": "siglip_vision_model", "image_size": SIDE, "vision_use_head": False},
        [*plain(L), (V, 3, 14, 14), (V,), (PATCHES, V), *norm(V), (V, D), *norm(V, 1)],
    ),
    "kimi_vl": (
        {"model_type": "moonvit"},
        [*plain(L), (V, 3, 14, 14), (V,), (64, 64, V), *norm(V), *norm(V), *linear(4 * V, 4 * V), *linear(4 * V, D)],
    ),
    "mistral3": (
        {"model_type": "pixtral"},
        [
            *[*linear(V, V, False) * 4, *linear(V, G, False) * 2, *linear(G, V, False), *norm(V, 1) * 2] * L,
            (V, 3, 14, 14), *norm(V, 1), *norm(V, 1), *linear(4 * V, V, False), *linear(V, D, False), *linear(D, D, False),
        ],
    ),
    "llama4": (
        {"model_type": "llama4_vision_model", "image_size": SIDE, "vision_output_dim": 96, "projector_input_dim": 96, "projector_output_dim": 96},
        [
            *plain(L), (V, 3 * 14 * 14), (PATCHES + 1, V), (V,), *norm(V) * 2, *linear(G, 96, False), *linear(96, 96, False),
            *linear(96, D, False),
        ],
    ),
    "llava": (
        {"model_type": "clip_vision_model", "image_size": SIDE},
        [*plain(L), (V, 3, 14, 14), (V,), (PATCHES + 1, V), *norm(V) * 2, *linear(V, D), *linear(D, D)],
    ),
}  # fmt: skip


def small(wrapper: str, **more: Any) -> dict[str, Any]:
    return {
        "model_type": wrapper,
        "text_config": {"hidden_size": D},
        "vision_config": {**SIZES, **SMALL[wrapper][0], **more},
    }


@pytest.mark.parametrize("wrapper", SMALL)
def test_a_small_towers_shapes_add_up(wrapper: str) -> None:
    assert parameters(small(wrapper)) == sum(math.prod(shape) for shape in SMALL[wrapper][1])


def test_another_patch_changes_the_embedding_and_the_positions() -> None:
    more = parameters(small("gemma3", patch_size=7)) - parameters(small("gemma3"))
    assert more == 3 * V * (7**2 - 14**2) + V * ((SIDE // 7) ** 2 - PATCHES)


@pytest.mark.parametrize("wrapper", SMALL)
def test_of_several_widths_each_has_its_projector(wrapper: str) -> None:
    many, alone = parameters(small(wrapper), np.array([D, 3.0 * D])), parameters(small(wrapper), 3.0 * D)
    assert np.asarray(many)[1] == alone != np.asarray(many)[0]


@pytest.mark.parametrize("value", [0, -3, "32", True, [32], float("nan"), float("inf"), 2e8])
@pytest.mark.parametrize("key", ["hidden_size", "num_hidden_layers"])
def test_a_key_that_is_no_size_is_named(key: str, value: Any) -> None:
    with pytest.raises(
        SpecError, match=rf"^config.json: 'vision_config.{key}' must be a number above 0 and at most 100,000,000, not "
    ):
        found(small("kimi_vl", **{key: value}))


@pytest.mark.parametrize(("config", "reason"), [
    ({"model_type": "llama", "vision_config": {"hidden_size": 3}}, r"vision_config: the parts beside .* 'llama'"),
    ({"model_type": "foo", "audio_config": {"x": 1}, "text_config": {"model_type": "llama"}}, r"audio_config: the parts beside"),
    ({"model_type": "blip-2", "qformer_config": {"num_hidden_layers": 2}}, r"qformer_config: the parts beside"),
    ({"model_type": "llava", "text_config": {"model_type": "llama"}}, r"^vision_config is absent"),
    ({"model_type": "llava", "vision_config": {"model_type": "resnet"}}, r"'resnet' is not known"),
    ({"model_type": "deepseek_vl_v2"}, r"'deepseek_vl_v2' has towers, and the config states none"),
    (small("gemma3", num_extra_layers=2), r"^vision_config: unknown keys num_extra_layers, which look like structure"),
    (small("gemma3", image_size=[56, 28]), r"vision_config.image_size is not a square"),
    ({**small("gemma3"), "talker_config": {"hidden_size": 8}}, r"^talker_config: not counted for gemma3"),
    ({"model_type": "qwen2_5_omni", "vision_config": _QWEN25, "audio_config": {"d_model": 8}, "text_config": {"x": 1}}, r"^talker_config is absent"),
    ({"model_type": "internvl_chat", "vision_config": {"use_moe": True}, "llm_config": {"x": 1}}, r"vision_config has experts"),
    ({"model_type": "gemma3n", "text_config": {"x": 1}, "vision_config": {"architecture": "mobilenetv5"}}, r"by name alone \(mobilenetv5, of width 2048\)"),
    (small("mistral3", head_dim=16), r"head_dim x num_attention_heads is not hidden_size"),
])  # fmt: skip
def test_what_is_not_counted_is_named_with_its_reason(config: dict[str, Any], reason: str) -> None:
    (said,) = found(config).uncounted
    assert re.search(reason, said)


def test_a_head_width_that_is_the_width_over_the_heads_says_nothing_new() -> None:
    assert parameters(small("llava", head_dim=V // 4)) == parameters(small("llava"))
    assert found(small("llava", head_dim=V)).uncounted == (
        "vision_config: unknown keys head_dim, which look like structure",
    )


@pytest.mark.parametrize("config", [
    {"model_type": "llama"}, {"model_type": "llama", "quantization_config": {"bits": 4}}, {"model_type": "llama", "generation_config": {"top_k": 1}},
    {"model_type": "gemma4", "vision_config": None, "audio_config": None, "text_config": {"model_type": "gemma4_text"}},
])  # fmt: skip
def test_a_language_model_alone_has_no_towers(config: dict[str, Any]) -> None:
    assert tower.read(flatten(config, "x"), D, "x") == tower.Found()


def read(config: dict[str, Any]) -> ModelSpec:
    return from_config(config, "toy", "toy.json")


def test_the_total_is_the_language_model_and_its_towers() -> None:
    model = read({**small("kimi_vl"), **multimodal("kimi_vl", {})})
    counts, towers = count.parameters(model), count.parameters(model)["params_towers"]
    assert towers == model.towers[0].parameters > 0.0
    assert (counts["params_language"], counts["params_total"]) == (PARAMETERS, PARAMETERS + towers)
    assert counts["params_active_all"] == PARAMETERS
    assert count.weight_bytes(model) == 2 * (PARAMETERS + towers)


def test_a_quantised_checkpoint_keeps_its_towers_in_the_base_format() -> None:
    scheme = {"quant_method": "fp8"}
    config = {
        **multimodal("kimi_vl", {"vision_config": {**SIZES, "model_type": "moonvit"}}),
        "quantization_config": scheme,
    }
    alone = read({**multimodal("kimi_vl", {})["text_config"], "quantization_config": scheme})
    model = read(config)
    assert count.weight_bytes(model) - count.weight_bytes(alone) == 2 * model.towers[0].parameters
    assert any("towers are taken to stay in bf16" in note for note in model.notes)


def test_a_total_that_misses_a_tower_is_no_number() -> None:
    model = read(multimodal("mystery", {"vision_config": {"hidden_size": 64}}))
    counts = count.parameters(model)
    assert counts["params_language"] == PARAMETERS
    assert math.isnan(counts["params_total"])
    assert math.isnan(counts["params_towers"])
    assert math.isnan(count.weight_bytes(model))
    assert any("params_total is not known" in note for note in model.notes)


def test_keys_of_the_wrapper_that_its_rule_reads_are_no_strangers() -> None:
    config = multimodal("llava", {"vision_config": {**SIZES, **SMALL["llava"][0]}}, vision_feature_layer=-2)
    assert not any("vision_feature_layer" in note and "not known" in note for note in read(config).notes)
    assert count.parameters(read({**config, "vision_feature_layer": [-2, -5]}))["params_towers"] > parameters(config)


# Of the wrapper and of the language model inside: what the classes do on the meta device. (wrapper, pairs of which the head is tied)
TIES = [
    ("gemma3", {(True, False), (True, True)}), ("llava", {(True, False), (False, True), (True, True)}), ("llama4", {(False, True), (True, True)}), ("voxtral", set()),
]  # fmt: skip


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("inner", [False, True])
@pytest.mark.parametrize(("wrapper", "tied"), TIES)
def test_heads_are_tied_as_the_class_ties_them(wrapper: str, tied: set[Any], own: bool, inner: bool) -> None:
    config = multimodal(wrapper, {"vision_config": {"model_type": "clip_vision_model"}}, tie_word_embeddings=own)
    model = read({**config, "text_config": {**config["text_config"], "tie_word_embeddings": inner}})
    assert model.head.tied == ((own, inner) in tied)
    assert any("of the language model inside" in note for note in model.notes) == (own != inner or (not tied and inner))
    assert read(flatten(config, "toy.json")).head.tied == ((own, False) in tied)


def test_ties_that_contradict_in_a_class_that_is_not_known_are_refused_with_the_way_round() -> None:
    config = multimodal("mystery", {}, tie_word_embeddings=True)
    with pytest.raises(NotModelled, match=r"--set model.tie_word_embeddings=\.\.\. chooses one"):
        read(config)
    assert simcost.show_model(config, set={"model.tie_word_embeddings": True}).metrics["params_language"] < PARAMETERS


def test_a_config_on_one_level_keeps_the_wrapper() -> None:
    config = multimodal("llava", {"vision_config": {**SIZES, **SMALL["llava"][0]}})
    flat = flatten(config, "toy.json")
    assert (flat["model_type"], flat["wrapper_model_type"]) == ("llama", "llava")
    assert count.parameters(read(flat)) == count.parameters(read(config))


def test_a_swap_keeps_the_towers() -> None:
    config = multimodal("llava", {"vision_config": {**SIZES, **SMALL["llava"][0]}}, vision_feature_layer=-2)
    swapped = simcost.show_model(config, set={"model.attention": "gqa:4"}).metrics
    assert swapped["params_towers"] == simcost.show_model(config).metrics["params_towers"] > 0
    assert swapped["params_total"] == swapped["params_language"] + swapped["params_towers"]
