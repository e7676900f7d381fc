"""Laws of prompts with a video: frames that a patch joins pass as one image, take its tokens, and a model without a rule refuses them."""

from __future__ import annotations

from typing import Any

import pytest

import simcost
from simcost.errors import NotModelled, SimcostError, SpecError

_QWEN = {"model_type": "qwen3", "hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936}  # fmt: skip
VL: dict[str, Any] = {
    "model_type": "qwen2_5_vl", "text_config": {**_QWEN, "model_type": "qwen2"}, "tie_word_embeddings": True,
    "vision_config": {"model_type": "qwen2_5_vl", "depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "out_hidden_size": 2048, "patch_size": 14, "temporal_patch_size": 2},
}  # fmt: skip
ONE: dict[str, Any] = {
    "model_type": "llava_onevision", "text_config": {**_QWEN, "model_type": "qwen2"},
    "vision_config": {"model_type": "siglip_vision_model", "hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 26, "num_attention_heads": 16, "image_size": 384, "patch_size": 14, "vision_use_head": False},
}  # fmt: skip
SIDES = {"image_height": 448, "image_width": 448}


def prefill(model: Any = VL, isl: int = 32768, **sets: Any) -> simcost.Result:
    given = {key.replace("__", "."): value for key, value in sets.items()}
    return simcost.prefill(model, "h100", isl=isl, set={"engine": "vllm", **given})


@pytest.mark.parametrize("frames", [1, 2, 7, 32])
def test_frames_that_a_patch_joins_are_an_image(frames: int) -> None:
    """Qwen2.5-VL joins two frames; the last one is repeated where it is alone."""
    video = prefill(video_frames=frames, **SIDES).metrics
    assert video == prefill(images=-(-frames // 2), **SIDES).metrics


def test_images_and_a_video_add_up() -> None:
    none, images, video, both = (
        prefill(**more).metrics
        for more in (
            {},
            {"images": 3, **SIDES},
            {"video_frames": 8, **SIDES},
            {"images": 3, "video_frames": 8, **SIDES},
        )
    )
    assert both["flops_per_token"] - none["flops_per_token"] == pytest.approx(
        images["flops_per_token"] + video["flops_per_token"] - 2 * none["flops_per_token"], rel=1e-9
    )
    assert none["ttft_s"] < images["ttft_s"] < both["ttft_s"]


def test_a_video_takes_what_its_processor_says() -> None:
    """16 x 16 tokens for every two frames of 448 pixels; in OneVision 14 x 14 for each frame of 27 x 27 patches, and a line break."""
    assert any(
        "the video takes 4,096 tokens of isl, 2 frames to a patch" in note
        for note in prefill(video_frames=32, **SIDES).warnings
    )
    assert any("the video takes 6,273 tokens of isl" in note for note in prefill(ONE, video_frames=32).warnings)
    with pytest.raises(SimcostError, match="a video takes 6,273 tokens of each prompt, but isl is smaller"):
        prefill(ONE, isl=6272, video_frames=32)
    assert prefill(ONE, isl=6273, video_frames=32).metrics["ttft_s"] > 0.0


def test_a_frame_of_onevision_is_one_square() -> None:
    """However an image of its shape is cut: a small one is one square beside the whole, two in all."""
    frames = prefill(ONE, video_frames=4).metrics["flops_per_token"]
    text = prefill(ONE).metrics["flops_per_token"]
    image = prefill(ONE, images=1, image_height=384, image_width=384).metrics["flops_per_token"]
    assert frames - text == pytest.approx(2 * (image - text), rel=1e-9)


def test_a_video_passes_its_tower_once_however_the_prompt_is_cut() -> None:
    whole, chunked = ([prefill(video_frames=count, **(SIDES if count else {}), **more).metrics["ttft_s"] for count in (0, 16)] for more in ({}, {"chunk": 8192}))  # fmt: skip
    assert chunked[1] - chunked[0] == pytest.approx(whole[1] - whole[0], rel=1e-6)


def test_frames_of_a_sweep_are_their_own_questions() -> None:
    rows = simcost.prefill(
        VL, "h100", isl=32768, set={"engine": "vllm", **SIDES}, vary={"video_frames": [0, 8, 64]}
    ).rows
    assert [row["ttft_s"] for row in rows] == sorted(row["ttft_s"] for row in rows)
    assert rows[1]["ttft_s"] == pytest.approx(prefill(video_frames=8, **SIDES).metrics["ttft_s"], rel=1e-12)


@pytest.mark.parametrize(("model", "sets", "error", "says"), [
    ("gemma-3-27b", {}, NotModelled, "video_frames: not modelled for gemma-3-27b: no rule for the frames"),
    ("llama-3.1-8b", {}, SpecError, "video_frames: llama-3.1-8b has no tower for images: leave video_frames out"),
    (VL, {}, SpecError, "video_frames: .* keeps their size: state image_height and image_width"),
    (VL, {"image_height": 450, "image_width": 448}, SimcostError, "image_height must be a multiple of 28"),
    (ONE, {"image_height": 384}, SpecError, "makes every frame 384 x 384 pixels: leave it out"),
])  # fmt: skip
def test_a_video_that_cannot_be_is_one_line(
    model: Any, sets: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says) as raised:
        prefill(model, video_frames=8, **sets)
    assert "\n" not in str(raised.value)


def test_decode_takes_no_video() -> None:
    with pytest.raises(SpecError, match="'video_frames' does not apply to decode"):
        simcost.decode(VL, "h100", context=4096, set={"video_frames": 1})
