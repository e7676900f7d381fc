"""What is measured: rounding to what kernels run, off-grid points, anchors, order, what is left out."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")

from simcost.calibration import held_out, store
from simcost.calibration.curves import sites
from simcost.calibration.family import at, families, kind
from simcost.errors import SpecError
from simcost.hardware import load as hardware
from simcost.measure.kernels import grouped
from simcost.measure.machine.target import Target
from simcost.measure.points import anchors, design, kinds, sobol
from simcost.measure.points.kernel_class import kernel_classes, said
from simcost.measure.points.point import Kind, Point, alternated, interleaved, kind_of, unique
from simcost.measure.points.rounding import loaded, realised, row_width
from simcost.measure.timing.buffers import Bench
from simcost.measure.torch_layers import choice
from simcost.num import every
from simcost.routing.load import busiest_expert
from simcost.routing.router import Router, Routing

CPU = Target("cpu", 1, 1e10, 1e8, ("bf16", "fp32"), {})
CUDA = Target(
    "cuda:0", 1, 4e10, 1e8, ("bf16", "fp16", "tf32", "fp8", "fp8_row", "fp8_block", "nvfp4", "mxfp4", "int4"), {}
)
RATES = design.Rates({"bf16": 5e11, "fp32": 1e11}, 2e10)
EVERYTHING = sorted({*kinds.kinds(CPU, "full"), *kinds.kinds(CUDA, "full")}, key=str)


@given(st.integers(1, 300), st.integers(1, 64), st.integers(0, 64), st.integers(1, 8), st.floats(1.0, 16.0))
def test_loads_add_up_and_no_token_meets_an_expert_twice(tokens, touched, idle, top_k, load):
    touched = max(touched, top_k)
    copies = tokens * top_k
    touched = min(touched, copies)
    held = touched + idle
    counts = loaded(copies, touched, held, load, tokens)
    assert sum(counts) == copies
    assert len(counts) == touched
    assert 1 <= min(counts) <= max(counts) == counts[0] <= tokens
    assert loaded(copies, touched, held, max(counts) * held / copies, tokens) == counts


def test_a_wished_load_is_met_where_there_is_room_for_it():
    for load in sobol.SKEWS:
        counts = loaded(4096, 64, 128, 2.0 * load, 2048)
        assert max(counts) * 128 / 4096 == pytest.approx(2.0 * load, rel=0.05)


def test_a_layers_load_is_what_a_query_says_where_it_touches_few_of_its_experts():
    """DeepSeek-V3 at 16 tokens: 128 copies on about 102 of 256 experts, the busiest with some three rows."""
    found = [p for p in anchors.anchors(anchors.load(["deepseek-v3"]), kinds.kinds(CPU, "standard"), ["bf16"])
             if p.kind.family == "experts" and p.numbers[0] == 16.0]  # fmt: skip
    asked = float(busiest_expert(Routing(), Router(256.0, 8.0), 16.0))
    own = min(found, key=lambda p: abs(p.numbers[6] - asked))
    busiest = own.numbers[6] * own.numbers[1] / own.numbers[3]
    assert busiest == pytest.approx(round(busiest))
    assert abs(busiest - asked * 128 / 256) <= 0.5  # whole rows
    assert min(p.numbers[6] for p in found) >= 256 / own.numbers[2]  # no expert is busier than a balanced one is


@pytest.mark.parametrize("family", ["experts", "grouped_gemm"])
def test_the_rows_that_run_have_the_load_that_the_row_says(family):
    one = next(k for k in EVERYTHING if k.family == family)
    bench = Bench(CPU, 0)
    for point, _ in zip(sobol.space(one, False, 3), range(40), strict=False):
        x = dict(zip(families()[family].NUMBERS, point.numbers, strict=True))
        rows = int(x.get("copies") or x["rows"])
        most = int(x.get("tokens") or rows)
        counts = grouped.counts_of(rows, int(x["touched"]), int(x["experts"]), x["load"], most, bench)
        assert len(counts) == x["experts"]
        assert float(counts.max() / counts.double().mean()) == pytest.approx(x["load"])
        assert int((counts > 0).sum()) == x["touched"]


@pytest.mark.parametrize("one", EVERYTHING, ids=str)
def test_every_kind_draws_points_that_stay_what_they_are(one):
    family = families()[one.family]
    found = [point for point, _ in zip(sobol.space(one, True, 3), range(40), strict=False)]
    for point in found:
        names = dict(zip(family.NUMBERS, point.numbers, strict=True))
        assert realised(one, names) == pytest.approx(point.numbers)  # rounding again changes nothing
        assert all(v == int(v) for k, v in names.items() if k != "load")
        assert float(point.op.work().bytes) > 0
        numbers = family.numbers(point.op)
        assert [float(numbers[name]) for name in family.NUMBERS] == pytest.approx(point.numbers)


@pytest.mark.parametrize("one", EVERYTHING, ids=str)
def test_a_family_recognises_what_it_builds_and_its_terms_are_finite(one):
    family, device = families()[one.family], hardware.load("b200")
    op = next(sobol.space(one, True, 3)).op
    labels = family.labels(op)
    asked_by_label = one.table.get("what") == "row"  # a forward product as an op
    if not asked_by_label:
        assert labels is not None
        assert kind(labels) == one.name
        assert every(family.covers(op))
    claimed = [name for name, other in families().items() if other.labels(op) is not None and every(other.covers(op))]
    assert claimed == (["gemm"] if asked_by_label else [one.family])
    points, shape = at(family, op, family.terms(op, device))
    terms = family.terms(op, device).flat(shape)
    assert np.isfinite(points.features).all()
    assert np.isfinite(points.sites).all()
    assert float(terms.memory_s[0]) > 0
    for other in family.relatives(one.table):
        assert set(other) == set(one.table)


def test_off_grid_points_are_off_the_grid_and_the_same_for_the_same_seed():
    one = kind_of("gemm", x="bf16", w="bf16", compute="bf16")

    def some(seed):
        return [p.numbers for p, _ in zip(sobol.space(one, False, seed), range(64), strict=False)]

    assert some(1) == some(1)
    assert some(1) != some(2)
    round_m = [n[1] for n in some(1) if math.log2(n[1]) == int(math.log2(n[1])) and n[1] > 8]
    assert len(round_m) < 8


def test_a_kind_gets_its_share_and_training_waits_for_longer_runs():
    quick, standard = kinds.kinds(CPU, "quick"), kinds.kinds(CPU, "standard")
    main = kind_of("gemm", x="bf16", w="bf16", compute="bf16")
    assert quick[main] == 24
    assert standard[main] == 80
    assert standard[kind_of("gemm", x="fp32", w="fp32", compute="fp32")] == 40
    assert not [one for one in quick if said(one.family, "TRAINING", False)]
    assert min(quick.values()) > held_out.LEAST
    assert min(standard.values()) > store.LEAST  # fewer rows make no curve
    assert min(standard[one] for one in standard if "fp32" not in one.name) > held_out.LEAST
    assert {one.family for one in standard} == set(kernel_classes())
    assert not [one for one in standard if "fp8" in one.name]
    narrow = {one.name for one in kinds.kinds(CUDA, "standard") if one.family in ("gemm", "gemm_variant")}
    assert {
        "fp8-fp8-fp8",
        "row-fp8-fp8-fp8",
        "fp8_block-fp8_block-fp8_block",
        "nvfp4-nvfp4-nvfp4",
        "bf16-int4-bf16",
    } <= narrow


def test_named_families_only_and_a_clear_line_for_an_unknown_one():
    assert {one.family for one in kinds.kinds(CPU, "quick", ["gemm_variant"])} == {"gemm_variant"}
    with pytest.raises(SpecError, match="did you mean 'gemm'"):
        kinds.chosen(["gem"])
    with pytest.raises(SpecError, match="torchrun"):
        kinds.chosen(["collective"])


def test_anchors_are_the_layers_of_the_model_at_seven_token_counts():
    specs = anchors.load(["mixtral-8x7b"])
    found = anchors.anchors(specs, kinds.kinds(CPU, "standard"), ["bf16"])
    gemm = [p for p in found if str(p.kind) == "gemm/bf16-bf16-bf16"]
    sites = Counter(p.numbers[2:] for p in gemm)
    assert sites[(6144.0, 4096.0)] == 7  # qkv: 32 + 2 x 8 heads of 128
    assert sites[(4096.0, 4096.0)] == 7
    assert sites[(32000.0, 4096.0)] >= 7  # the head, in decode steps
    experts = [p.numbers for p in found if p.kind.family == "experts"]
    assert {n[0] for n in experts} == {float(t) for t in anchors.TOKENS}
    assert {n[3:6] for n in experts} == {(8.0, 4096.0, 14336.0)}
    loads = {round(n[6], 2) for n in experts if n[0] == 1024.0}
    assert {2.0, 4.0} <= loads  # two experts a token of eight: four times the mean is all there is
    decode = [p.numbers for p in found if p.kind.family == "attention_decode"]
    assert {(n[0], n[2] + 1) for n in decode} >= {
        (float(b), float(c)) for b in anchors.BATCHES for c in anchors.CONTEXTS
    }
    assert len(unique(found)) == len(found)


def test_absorbed_and_expanded_mla_are_both_anchored():
    specs = anchors.load(["deepseek-v2-lite"])
    found = anchors.anchors(specs, kinds.kinds(CPU, "standard"), ["bf16"])
    seen = {str(p.kind) for p in found}
    for name in ("attention_decode/bf16-bf16-bf16-latent-core", "attention_prefill/bf16-bf16-bf16-mla-core",
                 "batched_gemm/bf16-bf16-bf16", "router/softmax", "gather/bf16-bf16", "permute/combine-bf16",
                 "stream/cache_write-bf16-bf16", "gemm_variant/weight-bf16-bf16-bf16"):  # fmt: skip
        assert name in seen
    assert design.attention_gradients is not None


def test_narrow_formats_anchor_their_own_products():
    specs = anchors.load(["llama-3.1-8b"])
    wanted = kinds.kinds(CUDA, "standard")
    seen = {str(p.kind) for p in anchors.anchors(specs, wanted, design.anchored_formats(CUDA, "standard"))}
    for name in ("gemm/fp8-fp8-fp8", "gemm_variant/row-fp8-fp8-fp8", "gemm/nvfp4-nvfp4-nvfp4", "gemm/bf16-int4-bf16",
                 "stream/quantise-bf16-fp8", "gemm/fp8_block-fp8_block-fp8_block"):  # fmt: skip
        assert name in seen
    assert "gemm/fp16-fp16-fp16" not in seen


def _point(i: int) -> Point:
    return Point(kind_of("gemm", x="bf16", w="bf16", compute="bf16"), (1.0, float(i), 8.0, 8.0))


def test_half_of_any_prefix_is_anchored_and_kinds_spread_evenly():
    both = alternated([_point(i) for i in range(5)], [_point(i + 100) for i in range(3)])
    assert [p.numbers[1] >= 100 for p in both] == [False, True, False, True, False, True, False, False]
    order = interleaved([[_point(i) for i in range(40)], [_point(i + 1000) for i in range(10)]], random.Random(0))
    assert sorted(p.numbers[1] for p in order) == sorted({p.numbers[1] for p in order})
    few = [i for i, p in enumerate(order) if p.numbers[1] >= 1000]
    assert max(b - a for a, b in itertools.pairwise(few)) < 15
    assert few[0] < 10


def test_what_does_not_fit_or_takes_too_long_is_left_out_and_counted():
    small = Target("cpu", 1, 2e8, 1e8, ("bf16",), {})
    specs = anchors.load(["mixtral-8x7b"])
    wanted = kinds.kinds(small, "standard", ["gemm", "experts"])
    plan = design.design(wanted, specs, small, kinds.mode("standard"), "standard", RATES, 0)
    assert plan.left_out["more than the device's memory allows"] > 10
    assert plan.left_out["a call would take too long for this mode"] >= 4
    assert all(design.footprint(p.op) <= 2e8 for p in plan.points)
    counts = Counter(p.kind.family for p in plan.points)
    assert counts["gemm"] >= 50
    assert counts["experts"] >= 25


def test_the_same_seed_gives_the_same_design():
    wanted = kinds.kinds(CPU, "quick")
    one, two = (design.design(wanted, [], CPU, kinds.mode("quick"), "quick", RATES, 5).points for _ in range(2))
    assert [(p.kind, p.key) for p in one] == [(p.kind, p.key) for p in two]
    assert sum(wanted.values()) - len(one) <= 4  # points of a small kind that fall together count once


@pytest.mark.parametrize("target", [CPU, CUDA])
def test_a_quick_run_that_is_stopped_leaves_whole_kinds_and_those_that_matter(target):
    wanted = kinds.kinds(target, "quick")
    rates = design.Rates({"bf16": 5e14, "fp32": 1e14, "fp8": 5e14, "fp4": 5e14}, 2e12)
    points = design.design(wanted, [], target, kinds.mode("quick"), "quick", rates, 5).points
    assert {str(p.kind) for p in points[:72]} == {
        "gemm/bf16-bf16-bf16", "attention_decode/bf16-bf16-bf16-gqa-core", "attention_prefill/bf16-bf16-bf16-gqa-core",
    }  # fmt: skip
    for stop in range(0, len(points), 7):
        begun = Counter(p.kind for p in points[:stop])
        assert sum(count < held_out.LEAST for count in begun.values()) <= 7  # a stage's
    main = [p.kind for p in points if not {"fp32", "fp16", "fp8", "fp8_block"} & set(p.kind.table.values())]
    assert {p.kind for p in points[:300]} <= set(main)


def test_layers_of_models_take_turns_with_random_ones_and_long_ones_are_left_out_aloud():
    specs = anchors.load(["qwen3-8b", "llama-3.1-70b"])
    found, notes = choice.blocks("standard", 0, specs)
    mine = [spec.name for spec in found if spec.name.startswith(("qwen3", "llama"))]
    assert [spec.name for spec in found[: 2 * len(mine) : 2]] == mine
    assert len(found) - len(mine) == choice.COUNT["standard"]
    assert len({spec.phase for spec in found if spec.name.startswith("qwen3")}) == 5 > sites.LEAST
    assert all(choice.flops(spec) <= choice.MOST_FLOPS for spec in found)
    assert len(notes) == 1
    assert "llama-3.1-70b-0-b1-q512-p0-bf16: 8.8e+11 FLOP" in notes[0]
    assert choice.blocks("quick", 0, specs) == ([], [])


def test_rows_of_a_stream_kernel_are_as_wide_as_they_can_be():
    assert row_width(7168 * 3) == 1024
    assert row_width(4096 * 5) == 4096
    assert row_width(128) == 128


def test_a_window_in_decode_is_the_same_kernel_over_fewer_keys():
    one = kind_of("attention_decode", x="bf16", kv="bf16", compute="bf16", layout="gqa", scope="core")
    numbers = {"batch": 1, "q_len": 1, "past": 8191, "heads": 8, "kv_heads": 2, "d_qk": 128, "d_v": 128, "window": 1024}
    assert realised(one, numbers) == (1.0, 1.0, 1023.0, 8.0, 2.0, 128.0, 128.0, 0.0)


def test_kinds_print_as_their_files():
    assert str(Kind("router", (("scoring", "softmax"),))) == "router/softmax"
