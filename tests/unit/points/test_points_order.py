"""Points and their order: keys, what is one point, what interleaves, what a call takes and holds, which stage comes first."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")

from simcost.dtypes import dtype
from simcost.measure.machine.target import Target
from simcost.measure.points import anchors, design, kinds, order
from simcost.measure.points.kernel_class import kernel_classes
from simcost.measure.points.point import Kind, Point, alternated, in_turn, interleaved, kind_of, unique
from simcost.ops.fused import Fused
from simcost.ops.gemm import Gemm
from simcost.ops.grouped_gemm import GroupedGemm
from simcost.plan import Phase, Plan

EXAMPLES = settings(max_examples=60, deadline=None, derandomize=True)
GEMM = kind_of("gemm", x="bf16", w="bf16", compute="bf16")
FP8 = kind_of("gemm", x="fp8", w="fp8", compute="fp8")
CUDA = Target("cuda:0", 1, 4e10, 1e8, ("bf16", "fp16", "fp8"), {})
BF16 = dtype("bf16")


def points(kind: Kind, count: int) -> list[Point]:
    return [Point(kind, (1.0, float(i + 1), 8.0, 8.0)) for i in range(count)]


def test_labels_stand_in_the_family_s_order() -> None:
    assert kind_of("gemm", compute="bf16", w="int4", x="fp16").name == "fp16-int4-bf16"
    with pytest.raises(KeyError):
        kind_of("gemm", x="bf16", w="bf16")


def test_a_key_is_what_the_row_starts_with() -> None:
    assert Point(GEMM, (1.0, 4096.0, 14336.0, 8.0)).key == "1,4096,14336,8"
    load = kind_of("grouped_gemm", x="bf16", w="bf16", compute="bf16")
    assert Point(load, (64.0, 8.0, 16.0, 32.0, 64.0, 2.0 / 3.0)).key == "64,8,16,32,64,0.6667"


def test_a_point_is_the_op_of_its_numbers() -> None:
    op = Point(GEMM, (1.0, 16.0, 32.0, 64.0)).op
    assert op == Gemm(16.0, 32.0, 64.0, BF16, BF16, BF16, BF16)
    assert str(Point(GEMM, (1.0, 16.0, 32.0, 64.0))) == "gemm/bf16-bf16-bf16 batch=1 m=16 n=32 k=64"


@EXAMPLES
@given(st.lists(st.integers(1, 5), max_size=20))
def test_of_equal_points_the_first_stays(rows: list[int]) -> None:
    listed = [Point(GEMM, (1.0, float(m), 8.0, 8.0), str(i)) for i, m in enumerate(rows)]
    found = unique([*listed, *(Point(FP8, point.numbers, "other") for point in listed)])
    mine = [point for point in found if point.kind == GEMM]
    assert [point.numbers[1] for point in mine] == list(dict.fromkeys(map(float, rows)))
    assert [point.origin for point in mine] == [str(rows.index(int(point.numbers[1]))) for point in mine]
    assert len(found) == 2 * len(mine)


@EXAMPLES
@given(st.integers(0, 12), st.integers(0, 12))
def test_any_prefix_is_half_of_each_while_both_last(free: int, anchored: int) -> None:
    mixed = alternated(points(GEMM, free), points(FP8, anchored))
    assert sorted(map(str, mixed)) == sorted(map(str, [*points(GEMM, free), *points(FP8, anchored)]))
    for end in range(2 * min(free, anchored)):
        here = [point.kind for point in mixed[:end]]
        assert abs(here.count(GEMM) - here.count(FP8)) <= 1


@EXAMPLES
@given(st.lists(st.integers(1, 30), min_size=1, max_size=4), st.integers(0, 9))
def test_a_stop_at_any_time_leaves_each_queue_as_far(sizes: list[int], seed: int) -> None:
    queues = [[Point(GEMM, (float(which), float(i + 1), 8.0, 8.0)) for i in range(n)] for which, n in enumerate(sizes)]
    mixed = interleaved(queues, random.Random(seed))
    assert len(mixed) == sum(sizes)
    for which, queue in enumerate(queues):
        own = [i for i, point in enumerate(mixed) if point.numbers[0] == which]
        assert [mixed[i] for i in own] == queue  # in order
        for i, at in enumerate(own):  # each of the others is as far as this one, give or take one
            for other, size in enumerate(sizes):
                done = sum(point.numbers[0] == other for point in mixed[:at])
                assert i / len(queue) * size - 1 <= done <= (i + 1) / len(queue) * size + 1


def test_a_stage_ends_before_the_next_begins() -> None:
    queues = {GEMM: points(GEMM, 5), FP8: points(FP8, 7)}
    mixed = in_turn(queues, [[FP8], [GEMM, kind_of("router", scoring="softmax")]], random.Random(0))
    assert [point.kind for point in mixed] == [FP8] * 7 + [GEMM] * 5


def test_the_main_format_comes_first_then_what_models_are_served_in() -> None:
    fp16 = kind_of("gemm", x="fp16", w="fp16", compute="fp16")
    prefill = kind_of("attention_prefill", x="bf16", kv="bf16", compute="bf16", layout="gqa", scope="core")
    norm = kind_of("stream", what="norm", x="bf16", out="bf16")
    router = kind_of("router", scoring="softmax")
    cast = kind_of("stream", what="quantise", x="bf16", out="fp8")
    found = order.stages([fp16, cast, router, FP8, norm, GEMM, prefill], CUDA)
    places = {one: i for i, stage in enumerate(found) for one in stage}
    assert places[GEMM] == places[prefill] < places[norm] < places[router] < places[FP8] < places[fp16]
    assert places[cast] >= places[FP8]
    assert sorted(one for stage in found for one in map(str, stage)) == sorted(map(str, places))


@pytest.mark.parametrize("family", sorted(kernel_classes()))
def test_every_kind_of_a_class_has_a_stage(family: str) -> None:
    wanted = kinds.kinds(CUDA, "full", [family])
    found = order.stages(wanted, CUDA)
    assert sorted(str(one) for stage in found for one in stage) == sorted(map(str, wanted))


# ---- what is left out ------------------------------------------------------------------------------------------------------


def test_a_guess_is_arithmetic_and_bytes_at_a_third_of_what_was_probed() -> None:
    rates = design.Rates({"bf16": 1e12, "fp32": 1e11}, 1e10)
    op = Gemm(16.0, 32.0, 64.0, BF16, BF16, BF16, BF16)
    flops, moved = 2 * 16 * 32 * 64, 2 * (16 * 64 + 32 * 64 + 16 * 32)
    assert rates.seconds(op) == pytest.approx(flops / 0.3e12 + moved / 0.3e10)
    unknown = Gemm(16.0, 32.0, 64.0, BF16, BF16, BF16, dtype("fp8"))
    assert rates.seconds(unknown) == rates.seconds(op)  # the fastest that was probed


def test_idle_experts_take_memory_all_the_same() -> None:
    op = GroupedGemm(64.0, 4.0, 32.0, 16.0, BF16, BF16, BF16, BF16, held=10.0)
    assert design.footprint(op) == 2 * (64 * 16 + 64 * 32 + 10 * 32 * 16)
    assert design.footprint(Fused("experts", (op, op))) == 2 * design.footprint(op)


@pytest.mark.parametrize(("memory", "call_s", "why"), [
    (1e3, 1.0, "memory"), (1e9, 1e-9, "too long"), (1e9, 1.0, ""),
])  # fmt: skip
def test_a_point_is_left_out_for_a_reason(memory: float, call_s: float, why: str) -> None:
    target = Target("cpu", 1, memory, 1e8, ("bf16",), {})
    mode = kinds.Mode(24, 24, 24, 24, 1, 0.03, call_s)
    said = design.reason(Point(GEMM, (1.0, 64.0, 64.0, 64.0)), target, mode, design.Rates({"bf16": 1e12}, 1e10))
    assert why in said
    assert bool(said) is bool(why)


@pytest.mark.parametrize(("mode", "wanted"), [("quick", ["bf16", "fp8"]), ("full", ["bf16", "fp16", "fp8"])])
def test_layers_are_anchored_in_the_formats_that_models_are_served_in(mode: str, wanted: list[str]) -> None:
    assert design.anchored_formats(CUDA, mode) == wanted
    absent = Target("cuda:0", 1, 4e10, 1e8, ("bf16", "fp16", "fp8"), {"fp8_block": "no"})
    assert design.anchored_formats(absent, mode) == [*wanted, "fp8_block"]


# ---- anchors ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("format_", "act", "stored", "compute", "head"), [
    ("bf16", "bf16", "bf16", "bf16", "bf16"), ("tf32", "fp32", "fp32", "tf32", "fp32"), ("fp8", "bf16", "fp8", "fp8", "bf16"),
    ("fp8_row", "bf16", "fp8", "fp8", "bf16"), ("int4", "bf16", "int4", "bf16", "bf16"),
])  # fmt: skip
def test_a_model_in_a_format_keeps_what_nobody_converts(
    format_: str, act: str, stored: str, compute: str, head: str
) -> None:
    seen = anchors.view(format_, Phase(1.0, 16.0, 0.0), Plan())
    assert seen.activation.name == seen.kv.name == act
    for role in ("attention", "ffn", "experts", "shared_experts"):
        assert (seen.storage[role].name, seen.compute[role].name) == (stored, compute)
    assert seen.storage["head"].name == seen.storage["router"].name == head


def test_layers_are_measured_as_prompts_as_steps_and_attention_over_a_grid() -> None:
    found = list(anchors.phases())
    assert {(p.q_len, p.past) for p, grid in found if not grid and p.q_len > 1} == {
        (n, 0) for n in anchors.TOKENS if n > 1
    }
    assert {p.batch for p, grid in found if not grid and p.q_len == 1} == set(map(float, anchors.TOKENS))
    grid = {(p.batch, p.context) for p, grid in found if grid}
    assert grid == {(b, c) for b in anchors.BATCHES for c in anchors.CONTEXTS}


def test_a_prompt_behind_a_cache_has_no_backward_pass() -> None:
    prefill = kind_of("attention_prefill", x="bf16", kv="bf16", compute="bf16", layout="gqa", scope="core")
    back = Kind("attention_backward", prefill.labels)
    listed = [Point(prefill, (1.0, 64.0, past, 8.0, 2.0, 128.0, 128.0, 0.0), "llama") for past in (0.0, 32.0)]
    assert anchors.attention_gradients([*listed, *points(GEMM, 2)], [back]) == [Point(back, listed[0].numbers, "llama")]
    assert anchors.attention_gradients(listed, [prefill]) == []
