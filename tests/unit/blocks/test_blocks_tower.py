"""A tower's weights, work and rules by hand: blocks over all patches or within windows, tokens of an image, what a rank holds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from blockkit import moves, ops, products, view

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
    assert images.tokens(OPEN, at) == patches / 4
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
