"""Every pipeline schedule: each pass once, no deadlock, closed forms, chunks in flight, published orders, and a second executor."""

from __future__ import annotations

import random

import numpy as np
import pytest
from schedulekit import NAMES, Case, ends, sized

from simcost.makespan import PAIR, Times, run
from simcost.scenarios import schedule as scenario
from simcost.scenarios.schedule import known
from simcost.schedules._order import BACKWARD, FORWARD, INPUT, WEIGHT, Durations, Op, straight

SHAPES = [(1, 1), (1, 5), (2, 2), (3, 7), (4, 4), (4, 13), (7, 9), (8, 40)]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("pp", "microbatches"), SHAPES)
def test_every_pass_runs_once_on_the_rank_of_its_stage(name: str, pp: int, microbatches: int) -> None:
    case = sized(name, pp, microbatches, 3)
    place, found = case.placement, list[tuple[str, int, int]]()
    for rank, order in enumerate(case.orders):
        for op in order:
            each = [(op.kind, op.microbatch, op.stage)] + ([(BACKWARD, *op.beside)] if op.beside else [])
            assert all(place.rank(stage, m) == rank for _, m, stage in each)
            found += [(one, m, stage) for kind, m, stage in each for one in ((INPUT, WEIGHT) if kind == BACKWARD else (kind,))]  # fmt: skip
    expected = [(kind, m, stage) for kind in (FORWARD, INPUT, WEIGHT) for m in range(case.microbatches) for stage in range(place.stages)]  # fmt: skip
    assert sorted(found) == sorted(expected)
    assert len(case.run().runs) == sum(map(len, case.orders))


@pytest.mark.parametrize("name", NAMES)
def test_two_executors_agree_and_the_critical_path_adds_up(name: str) -> None:
    draw = random.Random(3)
    for _ in range(12):
        case = sized(name, draw.randint(1, 6), draw.randint(1, 14), draw.randint(2, 3))
        n = case.placement.stages
        lists = [[draw.uniform(0.2, 2.0) for _ in range(n)] for _ in range(3)]
        times = Times(*lists, None, draw.choice([0.0, draw.uniform(0.0, 0.5)]))
        timeline = case.run(times)
        done = ends(case, times)
        for each in timeline.runs:
            assert done[each.op.kind if each.op.kind != BACKWARD else INPUT, each.op.stage, each.op.microbatch] == pytest.approx(each.end)  # fmt: skip
        counts, hops = timeline.critical_path()
        total = sum(times_ * times.of(Op(FORWARD, 0, stage, (0, behind)) if kind == PAIR else Op(kind, 0, stage)) for (kind, stage, behind), times_ in counts.items())  # fmt: skip
        assert total + hops * times.hop == pytest.approx(timeline.end_s)


# How far the closed form may be off, as EXACT says: without hops at equal durations, at gradients of 0.7 to 1.3 forwards, at 0.5 to 2 s each; and with hops up to a tenth, at the former.
ERRORS = {
    "gpipe": (0, 0, 0, 0), "1f1b": (0, 0, 0, 0), "interleaved": (0, 0, 0, 0.013), "zb-h1": (0, 0, 0, 0.013), "zb-h2": (0, 0, 0, 0.013),
    "zb-1p": (0, 0.035, 0.035, 0.035), "zb-2p": (0, 0.015, 0.015, 0.015),
    "zb-v": (0, 0.02, 0.06, 0.02), "v-half": (0, 0.05, 0.2, 0.05), "dualpipe": (0, 0.05, 0.1, 0.05), "dualpipev": (0, 0.05, 0.1, 0.05),
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_closed_forms_are_exact_where_they_say_so_and_near_elsewhere(name: str) -> None:
    draw = random.Random(11)
    drawn = (
        lambda: (1.0, 1.0, 1.0), lambda: (1.0, draw.uniform(0.7, 1.3), draw.uniform(0.7, 1.3)),
        lambda: tuple(draw.uniform(0.5, 2.0) for _ in range(3)), lambda: (1.0, draw.uniform(0.7, 1.3), draw.uniform(0.7, 1.3)),
    )  # fmt: skip
    for kind, (durations, error) in enumerate(zip(drawn, ERRORS[name], strict=True)):
        for _ in range(25):
            pp = draw.randint(1, 9)
            case = sized(name, pp, pp * draw.randint(3, 6), draw.randint(2, 3))
            f, b, w = durations()
            pair = draw.uniform(max(f, b + w), f + b + w) if known()[name].PAIRS else f + b + w
            hop = draw.uniform(0.0, 0.1) if kind == 3 else 0.0
            closed = known()[name].closed_form(float(case.pp), float(case.microbatches), float(case.vpp), Durations(f, b, w, pair, hop))  # fmt: skip
            assert closed == pytest.approx(case.run(case.times(f, b, w, pair, hop)).end_s, rel=error or 1e-9), (case, f, b, w, pair, hop)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_closed_forms_take_arrays(name: str) -> None:
    ranks, m = np.array([2.0, 4.0, 8.0]), np.array([48.0, 48.0, 48.0])
    each = [float(known()[name].closed_form(float(p), 48.0, 2.0, Durations(1.0, 1.2, 0.8, 3.0, 0.05))) for p in ranks]
    assert known()[name].closed_form(ranks, m, 2.0, Durations(1.0, 1.2, 0.8, 3.0, 0.05)) == pytest.approx(np.array(each))  # fmt: skip


# Published: of pp = 8 and enough micro-batches, the most chunks on any rank until the end of B and of W (arXiv 2104.04473, 2401.10241, 2405.15362, 2412.19437; DualPipe's README).
@pytest.mark.parametrize(("name", "to_b", "to_w"), [
    ("gpipe", 40, 40), ("1f1b", 8, 8), ("interleaved", 2 * 7 + 8 + 1, 2 * 7 + 8 + 1), ("zb-h1", 8, 8), ("zb-h2", 15, 15), ("zb-1p", 8, 8), ("zb-2p", 15, 16), ("zb-v", 16, 16), ("v-half", 10, 10),
    ("dualpipe", 9, 9), ("dualpipev", 17, 17),
])  # fmt: skip
def test_chunks_in_flight(name: str, to_b: int, to_w: int) -> None:
    timeline = sized(name, 8, 40).run()
    assert (max(timeline.peaks()), max(timeline.peaks(True))) == (to_b, to_w)


def test_1f1b_keeps_fewer_on_later_ranks_and_zero_bubble_until_the_weight_gradient() -> None:
    assert Case("1f1b", 4, 9).run().peaks() == [4, 3, 2, 1]
    assert Case("zb-h1", 4, 9).run().peaks() == [4, 3, 2, 1]
    assert Case("zb-h1", 4, 9).run().peaks(True) == [4, 4, 4, 4]


def _word(case: Case, rank: int) -> str:
    return " ".join(f"{op.kind}{op.microbatch}" if op.beside is None else f"F{op.microbatch}+B{op.beside[0]}" for op in case.orders[rank])  # fmt: skip


def test_published_orders() -> None:
    """1F1B and interleaved as Megatron-LM prints them, DualPipe's picture of 8 ranks and 20 micro-batches (rank 0, and rank 3 in the middle)."""
    assert _word(Case("1f1b", 4, 4), 2) == "F0 F1 BW0 F2 BW1 F3 BW2 BW3"
    forwards = [op.stage * 10 + op.microbatch for op in Case("interleaved", 2, 4).orders[0] if op.kind == FORWARD]
    assert forwards == [0, 1, 20, 21, 2, 3, 22, 23]
    assert _word(Case("dualpipe", 8, 20), 0).startswith("F0 F1 F2 F3 F4 F5 F6 F10 B10 W10 F11 B11 W11 F12 B12 W12 F13 F7+B13 F14+B0 F8+B14")  # fmt: skip
    middle = _word(Case("dualpipe", 8, 20), 3)
    assert middle.startswith("F0 F10 F1 F11 F2 F12 F3 F13 F4 BW10 F14+B0 F5+B11")
    assert middle.endswith(("W8 W18 W9 W19", "W18 W8 W19 W9"))


def test_bubbles_of_zero_bubble_schedules_at_equal_durations() -> None:
    """Without a barrier ZB-H2 and ZB-V have none; with one at least the first forwards of the last rank are waited for."""
    for name in ("zb-h2", "zb-v"):
        timeline = Case(name, 8, 32).run()
        assert max(timeline.span_s()) == pytest.approx(max(timeline.busy_s()))
        assert timeline.end_s == pytest.approx(max(timeline.busy_s()) + 7.0)


def test_the_bubble_of_zb_v_against_1f1b_as_published() -> None:
    """PyTorch's order at pp = 8: 13 % and 33 % of 1F1B's bubble for 1/1.2/0.8 and 1/1.5/0.5."""
    for (b, w), share in (((1.2, 0.8), 0.13), ((1.5, 0.5), 0.33)):
        case = Case("zb-v", 8, 32)
        timeline = case.run(case.times(1.0, b, w))
        assert (max(timeline.span_s()) - max(timeline.busy_s())) / (7 * 2 * 3.0) == pytest.approx(share, abs=0.005)


@pytest.mark.parametrize("name", NAMES)
def test_brute_force_finds_no_end_before_the_lower_bound(name: str) -> None:
    draw = random.Random(5)
    for _ in range(30):
        case = sized(name, draw.randint(1, 7), draw.randint(1, 20), 2)
        q = scenario.question(case.pp, case.microbatches, draw.uniform(0.1, 2.0), draw.uniform(0.1, 2.0), draw.uniform(0.1, 2.0), draw.uniform(0.0, 0.3), 2)  # fmt: skip
        for barrier in (True, False):
            d = scenario.run(name, q._replace(barrier=barrier))
            assert scenario.lower_bound(d) <= d.makespan_s * (1.0 + 1e-12)
            assert max(d.timeline.busy_s()) <= d.makespan_s * (1.0 + 1e-12)
            assert 0.0 <= d.bubble < 1.0 + 1e-12


def test_the_bubble_vanishes_with_micro_batches() -> None:
    for name in NAMES:
        found = [scenario.run(name, scenario.question(4, m)).bubble for m in (8, 32, 128, 512)]
        assert found == sorted(found, reverse=True)
        assert found[-1] < 0.012


def test_ranks_that_wait_for_each_other_are_named() -> None:
    orders = [[Op(BACKWARD, 0, 0), Op(FORWARD, 0, 0)], [Op(FORWARD, 0, 1), Op(BACKWARD, 0, 1)]]
    with pytest.raises(Exception, match=r"wait for each other \(rank 0 at BW of micro-batch 0 in stage 0, rank 1 at F"):
        run(orders, straight(2), Times((1.0,) * 2, (1.0,) * 2, (1.0,) * 2))
