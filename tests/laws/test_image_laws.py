"""Laws of prompts with images: none is no image, time and work rise with images and their size, a tower runs once."""

from __future__ import annotations

from typing import Any

import pytest

import simcost
from simcost.errors import SimcostError, SpecError

GEMMA, MISTRAL, LLAMA4 = "gemma-3-27b", "mistral-small-3.1-24b", "llama-4-scout"
SQUARE = {"image_height": 1120, "image_width": 1120}


def prefill(model: str = GEMMA, isl: int = 8192, **sets: Any) -> dict[str, Any]:
    given = {key.replace("__", "."): value for key, value in sets.items()}
    return simcost.prefill(model, "h100", isl=isl, set={"engine": "vllm", **given}).metrics


@pytest.mark.parametrize(("model", "more"), [(GEMMA, {}), (LLAMA4, {"plan__tp": 8}), ("llama-3.1-8b", {}), (MISTRAL, SQUARE)])  # fmt: skip
def test_no_images_are_no_images(model: str, more: dict[str, Any]) -> None:
    plan = {key: value for key, value in more.items() if key not in SQUARE}
    assert prefill(model, images=0, **more) == prefill(model, **plan)


@pytest.mark.parametrize(("model", "more"), [(GEMMA, {}), (LLAMA4, {"plan__tp": 8}), (MISTRAL, SQUARE), (GEMMA, {"plan__pp": 2}), (GEMMA, {"chunk": 2048})])  # fmt: skip
def test_time_and_work_rise_with_images(model: str, more: dict[str, Any]) -> None:
    found = [prefill(model, images=count, **more) for count in (0, 1, 2, 4)]
    for name in ("ttft_s", "speed_of_light_s", "flops_per_token"):
        values = [one[name] for one in found]
        assert values == sorted(set(values)), name
    fixed = [one["flops_per_token"] - found[0]["flops_per_token"] for one in found]
    assert fixed[2:] == pytest.approx([2 * fixed[1], 4 * fixed[1]])


def test_larger_images_take_longer() -> None:
    times = [prefill(MISTRAL, images=1, image_height=side, image_width=side)["ttft_s"] for side in (280, 560, 1120, 2240)]  # fmt: skip
    assert times == sorted(set(times))


def test_a_tower_runs_once_however_the_prompt_is_cut() -> None:
    whole, chunked = ([prefill(images=count, **more)["ttft_s"] for count in (0, 4)] for more in ({}, {"chunk": 2048}))
    assert chunked[1] - chunked[0] == pytest.approx(whole[1] - whole[0], rel=1e-6)


def test_prompts_of_a_sweep_are_their_own_questions() -> None:
    rows = simcost.prefill(MISTRAL, "h100", isl=8192, set={"engine": "vllm", **SQUARE}, vary={"batch": [1, 3], "images": [0, 2]}).rows  # fmt: skip
    for row in rows:
        alone = prefill(MISTRAL, batch=row["batch"], images=row["images"], **SQUARE)
        assert row["ttft_s"] == pytest.approx(alone["ttft_s"], rel=1e-12)


def test_images_beyond_the_prompt_are_refused_point_by_point() -> None:
    rows = simcost.prefill(GEMMA, "h100", vary={"isl": [512, 1024, 4096]}, set={"images": 3}).rows
    assert [row["feasible"] for row in rows] == [False, True, True]
    assert rows[0]["reason"].startswith("images take 768 tokens of each prompt")


@pytest.mark.parametrize(("sets", "says"), [
    ({"images": 3, "isl": 512}, "images take 768 tokens of each prompt, but isl is smaller"),
    ({"images": -1}, "images"), ({"images": 1.5}, "images"), ({"images": 1, "image_height": 896}, "makes every image 896 x 896 pixels"),
    ({"images": 1, "plan__tp": 5}, "cut into 5 equal parts"),
])  # fmt: skip
def test_what_cannot_be_is_one_line(sets: dict[str, Any], says: str) -> None:
    with pytest.raises(SimcostError, match=says) as raised:
        prefill(**sets)
    assert "\n" not in str(raised.value)


def test_images_are_an_argument_and_said_once() -> None:
    assert (
        simcost.prefill(GEMMA, "h100", isl=8192, images=2).metrics
        == simcost.prefill(GEMMA, "h100", isl=8192, set={"images": 2}).metrics
    )
    with pytest.raises(SpecError, match="'images' is given twice"):
        simcost.prefill(GEMMA, "h100", images=2, set={"images": 2})


def test_decode_takes_no_images() -> None:
    with pytest.raises(SpecError, match="'images' does not apply to decode"):
        simcost.decode(GEMMA, "h100", context=4096, set={"images": 1})


def test_the_tower_stands_in_explain_and_its_size_in_the_notes() -> None:
    found = simcost.explain(GEMMA, "h100", phase="prefill", isl=4096, set={"images": 2})
    assert any(row.get("part") == "vision tower" for row in found.rows)
    assert any("each image takes 256 tokens of isl" in note for note in found.warnings)
    assert any("896 x 896 pixels" in note for note in found.warnings)
    said = simcost.prefill(MISTRAL, "h100", isl=4096, set=SQUARE).warnings
    assert any("image_height and image_width have no effect" in note for note in said)
