"""A tower's weights, work and rules by hand: blocks over all patches or within windows, tokens of an image, what a rank holds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from blockkit import moves, ops, products, view

from simcost.blocks.tower._resampler import Resampler
from simcost.blocks.tower._tiles import Tiles
from simcost.blocks.tower.tower import Encoder, Matrix, Rows, Tower
from simcost.errors import NotModelled, SpecError
from simcost.model import images
from simcost.ops.attention_core import AttentionCore
from simcost.plan import Phase, Plan
from simcost.program import calls

V, G, HEADS, D, L = 32.0, 64.0, 4.0, 80.0, 3.0
QUARTER = Rows(0.25)
EMBED = Matrix("patch_embedding", 3.0 * 14 * 14, V, cut=False)
BLOCKS = Encoder(L, V, HEADS, V / HEADS, G, 9.0 * V + G)
MERGE = Matrix("linear", 4.0 * V, D, QUARTER)
FIXED = Tower("vision tower", "vision_config", (EMBED, BLOCKS, MERGE), 100.0, 14.0, side=56.0, tokens=QUARTER)
OPEN = replace(FIXED, side=None, multiple=2.0)
N = 16.0  # patches of 56 x 56 pixels


def phase(**more: Any) -> Phase:
    return Phase(1.0, 100.0, 0.0, **more)


def test_parameters_are_those_of_every_part_and_of_what_no_product_reads() -> None:
    embed, blocks, merge = 3 * 196 * V + V, L * (4 * V * V + 2 * V * G + 9 * V + G), 4 * V * D + D
    assert FIXED.parameters == embed + blocks + merge + 100.0
    gated = replace(FIXED, parts=(replace(BLOCKS, gated=True),))
    assert gated.parameters - replace(FIXED, parts=(BLOCKS,)).parameters == L * V * G
    grouped = replace(FIXED, parts=(replace(BLOCKS, kv_heads=1.0),))
    assert replace(FIXED, parts=(BLOCKS,)).parameters - grouped.parameters == L * 2 * 3 * (V / HEADS) * V


def test_all_images_of_a_rank_pass_each_part_together() -> None:
    at = view(5.0, 100.0, 0.0, images=3.0)
    shapes = products(FIXED.program(at))
    rows = 15 * N
    assert shapes["patch_embedding"] == (1.0, rows, V, 588.0)
    assert shapes["qkv_proj"] == (1.0, rows, 3 * V, V)
    assert (shapes["up_proj"], shapes["down_proj"]) == ((1.0, rows, G, V), (1.0, rows, V, G))
    assert shapes["linear"] == (1.0, rows / 4, D, 4 * V)
    core = ops(FIXED.program(at))["core"]
    assert isinstance(core, AttentionCore)
    assert (core.batch, core.q_len, core.past, core.mask.label()) == (15.0, N, 0.0, "full")
    assert core.work().flops == 15 * 4 * N * N * V


def test_layers_with_windows_attend_within_them() -> None:
    inside = replace(BLOCKS, windowed=2.0, window=4.0)
    cores = [
        call.op
        for call in calls(inside.program(view(1.0, 100.0, 0.0, images=1.0), 1.0, N))
        if isinstance(call.op, AttentionCore)
    ]
    assert [(core.batch, core.q_len) for core in cores] == [(1.0, N), (N / 4, 4.0)]
    assert BLOCKS.flops(N) - inside.flops(N) == 2 * (4 * N * N * V - 4 * N * 4 * V)
    every = replace(inside, windowed=L)
    assert len([1 for call in calls(every.program(view(1.0, 100.0, 0.0), 1.0, N)) if isinstance(call.op, AttentionCore)]) == 1  # fmt: skip


def test_a_class_token_is_a_row_more_of_the_blocks_alone() -> None:
    token = replace(FIXED, parts=(EMBED, replace(BLOCKS, rows=Rows(1.0, 1.0)), MERGE))
    shapes = products(token.program(view(1.0, 100.0, 0.0, images=2.0)))
    assert (shapes["patch_embedding"][1], shapes["qkv_proj"][1], shapes["linear"][1]) == (32.0, 34.0, 8.0)


def test_ranks_share_heads_widths_and_the_projector_and_join_what_they_make() -> None:
    at = view(1.0, 100.0, 0.0, Plan(tp=2.0), images=1.0)
    shapes, moved = products(FIXED.program(at)), moves(FIXED.program(at))
    assert (shapes["patch_embedding"][2], shapes["linear"][2]) == (V, D / 2)
    assert (shapes["qkv_proj"][2:], shapes["o_proj"][2:], shapes["down_proj"][2:]) == ((48.0, V), (V, 16.0), (V, 32.0))
    assert moved["all-reduce"][:3] == ("all_reduce", 2 * N * V, 2.0)
    assert moved["all-gather"][:3] == ("all_gather", 2 * N / 4 * D, 2.0)
    assert [check.reason for check in FIXED.checks(Plan(tp=3.0)) if not check.ok] == [
        "vision tower: heads = 4 cannot be cut into 3 equal parts", "vision tower: width of the FFN = 64 cannot be cut into 3 equal parts",
    ]  # fmt: skip


@pytest.mark.parametrize(("sides", "patches"), [((56, 56), 16), ((28, 112), 16), ((280, 140), 200)])
def test_images_that_keep_their_size_have_as_many_patches(sides: tuple[int, int], patches: int) -> None:
    at = phase(images=1.0, image_height=float(sides[0]), image_width=float(sides[1]))
    assert OPEN.patches(at) == patches
    assert OPEN.taken(at) == patches / 4
    assert FIXED.patches(phase(images=1.0)) == N


def test_flops_of_an_image_are_those_of_its_program() -> None:
    at = view(1.0, 100.0, 0.0, images=1.0)
    program = FIXED.program(at)
    repeat = {"patch_embedding": 1.0, "linear": 1.0}
    counted = sum(
        repeat.get(tag, L) * float(op.work().flops) for tag, op in ops(program).items() if tag.split()[0] in (*repeat, "qkv_proj", "o_proj", "up_proj", "down_proj", "core")
    )  # fmt: skip
    assert counted == FIXED.flops(at.phase)


@pytest.mark.parametrize(("towers", "asked", "error", "says"), [
    ((), phase(images=1.0), SpecError, "images: m has no tower for images"),
    ((replace(FIXED, key="audio_config"),), phase(images=1.0), SpecError, "no tower for images"),
    ((replace(FIXED, refuses="it resamples"),), phase(images=1.0), NotModelled, "not modelled for m: it resamples"),
    ((FIXED,), phase(images=1.0, image_width=28.0), SpecError, "image_width: m makes every image 56 x 56 pixels"),
    ((OPEN,), phase(images=1.0), SpecError, "m keeps their size: state image_height and image_width"),
    ((OPEN,), phase(images=1.0, image_width=28.0), SpecError, "state image_height and image_width"),
])  # fmt: skip
def test_images_that_have_no_time_are_refused(towers: tuple[Tower, ...], asked: Phase, error: type[Exception], says: str) -> None:  # fmt: skip
    with pytest.raises(error, match=says):
        images.required("m", towers, (), asked)
    assert images.required("m", towers, (), replace(asked, images=0.0)) is None


def test_a_tower_that_is_not_counted_is_named() -> None:
    with pytest.raises(SpecError, match=r"no tower that is counted \(vision_config: no rule\)"):
        images.required("m", (), ("vision_config: no rule",), phase(images=1.0))


@pytest.mark.parametrize(("asked", "says"), [
    (phase(images=26.0, image_height=56.0, image_width=56.0), "images take 104 tokens of each prompt, but isl is smaller"),
    (phase(images=1.0, image_height=42.0, image_width=56.0), "image_height must be a multiple of 28 pixels"),
    (phase(images=1.0, image_height=56.0, image_width=29.0), "image_width must be a multiple of 28 pixels"),
])  # fmt: skip
def test_rules_of_images_name_the_number(asked: Phase, says: str) -> None:
    (reason,) = [check.reason for check in images.checks((OPEN,), Plan(), asked) if not check.ok]
    assert reason.startswith(says)
    assert images.checks((OPEN,), Plan(), replace(asked, images=0.0)) == []
    assert all(check.ok for check in images.checks((OPEN,), Plan(), replace(asked, images=25.0, image_height=56.0, image_width=56.0)))  # fmt: skip


NEXT = Tiles(((336, 672), (672, 336), (672, 672), (1008, 336), (336, 1008)), 336.0, 24.0)
ONE = Tiles(tuple((384 * y, 384 * x) for y in range(1, 7) for x in range(1, 7)), 384.0, 27.0, 9.0, alone=True)
# (tokens, squares) of processors of transformers 5.24.0: `_get_number_of_features` and `image_size_to_num_patches`.
CUT = [
    (NEXT, 336, 1008, 2328, 4), (NEXT, 1954, 2688, 2242, 5), (NEXT, 175, 504, 1360, 3), (NEXT, 1844, 1110, 1968, 5), (NEXT, 336, 1344, 1890, 4),
    (ONE, 1344, 1008, 7332, 13), (ONE, 336, 1344, 3672, 5), (ONE, 78, 1233, 1492, 5), (ONE, 3295, 793, 7047, 13), (ONE, 1008, 1008, 7371, 10),
    (ONE, 3300, 1013, 7254, 13),
]  # fmt: skip


@pytest.mark.parametrize(("tiles", "height", "width", "tokens", "squares"), CUT)
def test_a_picture_is_cut_and_unpadded_as_its_processor_does(tiles: Tiles, height: int, width: int, tokens: int, squares: int) -> None:  # fmt: skip
    at = phase(images=1.0, image_height=float(height), image_width=float(width))
    cut = replace(FIXED, tiles=tiles)
    assert (cut.taken(at), cut.squares(at)) == (tokens, squares)
    assert cut.flops(at) == squares * FIXED.flops(at)
    several = replace(at, images=2.0)
    assert (cut.taken(several), cut.squares(several)) == ((27**2 + 1, 1) if tiles.alone else (tokens, squares))


def test_arrays_of_shapes_are_cut_one_by_one() -> None:
    mine = [case[1:] for case in CUT if case[0] is ONE]
    sides = [np.array([float(case[i]) for case in mine]) for i in (0, 1)]
    at = phase(images=1.0, image_height=sides[0], image_width=sides[1])
    assert ONE.tokens(at).tolist() == [case[2] for case in mine]
    assert ONE.count(at).tolist() == [case[3] for case in mine]


def test_squares_of_a_picture_pass_the_tower_together_and_too_narrow_ones_are_refused() -> None:
    cut = replace(FIXED, tiles=NEXT)
    at = view(5.0, 9000.0, 0.0, images=3.0, image_height=1954.0, image_width=2688.0)
    assert products(cut.program(at))["qkv_proj"][1] == 15 * 5 * N
    assert [check.ok for check in images.checks((cut,), Plan(), at.phase)] == [True] * 4
    narrow = replace(at.phase, image_height=1.0)
    failed = [check.reason for check in images.checks((cut,), Plan(), narrow) if not check.ok]
    assert failed == ["the picture is too narrow: no size of image_grid_pinpoints shows any of it"]
    with pytest.raises(SpecError, match="cuts them by their shape: state image_height and image_width"):
        images.required("m", (cut,), (), phase(images=1.0))


def test_latents_of_a_resampler_attend_to_patches_and_each_other() -> None:
    part = Resampler(2.0, 40.0, 4.0, 2.0, 12.0, 160.0, 6.0, 120.0)
    assert sum(weight.count for weight in part.weights(Plan())) == 2 * (2 * 40 * 48 + 40 * 48 + 3 * 40 * 160 + 120)
    at = view(1.0, 100.0, 0.0, images=3.0)
    program = part.program(at, 3.0, N)
    shapes, core = products(program), ops(program)["core"]
    assert (shapes["q_proj"][1], shapes["kv_proj"][1], shapes["down_proj"][1]) == (18.0, 3 * (N + 6), 18.0)
    assert isinstance(core, AttentionCore)
    assert core.work().flops == 3 * 4 * 6 * (N + 6) * 48
    counted = sum(2.0 * float(op.work().flops) for tag, op in ops(program).items() if tag.endswith(("proj", "core")))
    assert counted == 3 * part.flops(N)
    said = [check.reason for check in part.checks(Plan(tp=4.0), "vision tower") if not check.ok]
    assert said == ["vision tower: heads of keys of the resampler = 2 cannot be cut into 4 equal parts"]


def test_an_image_larger_than_the_encoder_takes_is_refused() -> None:
    at = phase(images=1.0, image_height=56.0, image_width=112.0)
    assert all(check.ok for check in images.checks((replace(OPEN, largest=112.0),), Plan(), at))
    (failed,) = [check for check in images.checks((replace(OPEN, largest=84.0),), Plan(), at) if not check.ok]
    assert failed.reason == "image_width may be 84 pixels at most: larger images are scaled down to it first"
