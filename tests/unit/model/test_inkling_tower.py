"""Towers of Inkling: parameters of the classes, the plan of folds, work of an image, and what is not counted."""

from __future__ import annotations

from typing import Any

import pytest

from simcost.hf import flatten
from simcost.model import tower
from simcost.model.tower_parts.table import Uncounted
from simcost.model.towers.inkling import planned
from simcost.plan import Phase

D = 96
SOUNDS = {"n_mel_bins": 80, "mel_vocab_size": 256}
SECOND = {
    "model_type": "inkling2_vision", "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "patch_size": 20, "spatial_merge_size": 2,
    "posemb_grid_size": 8, "projection_hidden_dim": 128,
}  # fmt: skip


def _found(kind: str, **tables: Any) -> tower.Found:
    config = {"model_type": kind, "text_config": {"model_type": f"{kind}_text"}, **tables}
    return tower.read(flatten(config, "x.json"), float(D), "x.json", True)


# Of the class of transformers 5.24.0 on the meta device, for a language model of width 96.
@pytest.mark.parametrize(("layers", "parameters"), [
    (2, 1_079_456), (3, 3_435_296), (4, 25_676_384), (5, 26_005_280), (6, 26_005_292), (8, 5_982_937_004), (24, 761_009_686_544),
])  # fmt: skip
def test_folds_are_those_of_the_class(layers: int, parameters: int) -> None:
    found = _found("inkling_mm_model", vision_config={"n_layers": layers, "patch_size": 40}, audio_config=SOUNDS)
    assert found.uncounted == ()
    assert [each.parameters for each in found.towers] == [parameters, 80 * 256 * D + D]


def test_a_patch_is_one_token_and_every_fold_has_fewer_rows() -> None:
    """40 x 40 pixels of 2 frames: 5 x 5 pixels first, 8 x 8 x 2 of them; at last one row."""
    found = _found("inkling_mm_model", vision_config={"n_layers": 3, "patch_size": 40}, audio_config=SOUNDS).towers[0]
    assert [(part.rows.each, part.inner, part.out) for part in found.parts] == [  # type: ignore[union-attr]
        (2 * 64, 75, 128), (2 * 4, 128 * 16, 1216), (1, 1216 * 4 * 2, 96),
    ]  # fmt: skip
    phase = Phase(1.0, 100.0, 0.0, images=1.0, image_height=400.0, image_width=800.0)
    assert found.patches(phase) == 200
    assert found.tokens.of(200.0) == 200
    assert found.flops(phase) == 2 * 200 * (128 * 75 * 128 + 8 * 2048 * 1216 + 9728 * 96)


@pytest.mark.parametrize(("arguments", "says"), [
    ((1, 40, 24, 3), "builds no tower"), ((2, 1, 24, 3), "builds no tower"), ((2, 2, 4, 4), "the rounding of its class decides"),
    ((8, 10, 5, 3), "the rounding of its class decides"), ((2, 1 << 12, 5, 3), "more than 12 scales"),
])  # fmt: skip
def test_a_plan_that_does_not_follow_is_not_counted(arguments: tuple[int, int, int, int], says: str) -> None:
    with pytest.raises(Uncounted, match=says):
        planned(*arguments)


@pytest.mark.parametrize("kind", ["inkling2", "inkling2_loop"])
def test_blocks_and_merger_of_the_second(kind: str) -> None:
    v, g, merged = 64, 256, 4 * 64
    layer = 4 * v * v + 4 * v + 2 * v * g + g + v + 4 * v + 2 * v
    whole = 3 * 400 * v + 64 * v + 2 * v + 2 * v + 3 * layer + merged * 128 + 128 * D
    (found,) = _found(kind, vision_config=SECOND).towers
    assert found.parameters == whole
    assert (found.patch, found.multiple, found.tokens.each) == (20, 2, 0.25)
    (biased,) = _found(kind, vision_config={**SECOND, "projector_bias": True, "intermediate_size": 100}).towers
    assert biased.parameters == whole + 128 + D - 3 * (2 * v + 1) * 156
