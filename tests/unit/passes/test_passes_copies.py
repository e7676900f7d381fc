"""Sums and gathers over copies: bytes on the wire by hand, and the same for every way to cut the ranks into groups."""

from __future__ import annotations

import pytest

from simcost.cost.collective import sent
from simcost.hardware import load as hardware
from simcost.ops.collective import Collective
from simcost.passes.copies import gathered, summed
from simcost.plan import Plan
from simcost.program import Program, calls

PLAN = Plan(tp=2.0, cp=2.0, pp=2.0, dp=4.0)  # eight ranks hold each dense weight, four each expert
H100 = hardware.load("h100")


def wire(program: Program) -> float:
    """What a rank sends on all tiers, by rings."""
    total = 0.0
    for call in calls(program):
        assert isinstance(call.op, Collective)
        moved = sent(call.op, H100)
        total += float(moved.near + moved.far)
    return total


def test_a_sum_that_all_keep_sends_twice_a_sum_in_parts() -> None:
    """ZeRO (arXiv 1910.02054 §7.1): an all-reduce is a reduce-scatter and an all-gather."""
    scattered, whole, back = summed(4.0, 80.0, PLAN), summed(4.0, 80.0, PLAN, 1.0), gathered(4.0, 80.0, PLAN)
    assert wire(scattered) == pytest.approx(80.0 * 7 / 8 + 4.0 * 3 / 4)
    assert wire(back) == pytest.approx(wire(scattered))
    assert wire(whole) == pytest.approx(2.0 * wire(scattered))
    assert wire(gathered(4.0, 80.0, PLAN, 1.0)) == 0.0


def test_gathers_go_the_way_of_sums_backwards() -> None:
    ahead, behind = (
        [call.op for call in calls(summed(4.0, 80.0, PLAN))],
        [call.op for call in calls(gathered(4.0, 80.0, PLAN))],
    )
    assert ahead == [op.input_grad()[0] for op in (behind[1], behind[0], behind[2])]


@pytest.mark.parametrize("group", [1.0, 2.0, 4.0, 8.0])
def test_groups_that_copy_across_sum_over_all_ranks(group: float) -> None:
    """HSDP: a reduce-scatter inside the group, then an all-reduce of each part over the other groups, which sends 2(g -
    1)/g of it."""
    others = 8.0 / group
    inside, across = 80.0 * (group - 1.0) / group, 2.0 * 80.0 / group * (others - 1.0) / others
    assert wire(summed(0.0, 80.0, PLAN, group)) == pytest.approx(inside + across)


def test_experts_have_fewer_groups_than_all_else() -> None:
    """Of four copies: groups of two ranks, all inside a stage, have no part of an expert each; groups of four have
    halves."""
    for group, inside, across in ((2.0, 0.0, 2 * 4.0 * 3 / 4), (4.0, 4.0 / 2, 2 * 2.0 / 2), (8.0, 4.0 * 3 / 4, 0.0)):
        assert wire(summed(4.0, 0.0, PLAN, group)) == pytest.approx(inside + across)


def test_a_larger_group_sends_less_of_gradients_and_more_of_weights() -> None:
    """(s - 1)/s + 2(n/s - 1)/n of a tensor: from 2(n - 1)/n where nothing is shared to (n - 1)/n where all is."""
    groups = (1.0, 2.0, 8.0)
    sums = [wire(summed(0.0, 80.0, PLAN, group)) for group in groups]
    gathers = [wire(gathered(0.0, 80.0, PLAN, group)) for group in groups]
    assert sums == sorted(sums, reverse=True)
    assert gathers == sorted(gathers)
    assert (sums[0], sums[-1], gathers[0]) == (pytest.approx(2 * 80 * 7 / 8), pytest.approx(80 * 7 / 8), 0.0)


def test_groups_stand_side_by_side_and_their_neighbours_apart_by_a_whole_group() -> None:
    """Ranks of tp = 2 are neighbours, then eight replicas, then two stages, then three copies. Groups of four replicas: the next one starts
    eight ranks on, the next copy a whole model on, for experts, whose ranks are the copies alone, too."""
    plan = Plan(tp=2.0, dp_attention=8.0, pp=2.0, dp=3.0)
    strides = {
        call.tag: call.op.stride for call in calls(summed(4.0, 80.0, plan, 4.0)) if isinstance(call.op, Collective)
    }
    assert {tag: stride for tag, stride in strides.items() if "between groups" in tag} == {
        "gradients between groups inside a stage": 8.0,
        "gradients between groups of copies": 32.0,
        "gradients between groups inside a stage, gathered": 8.0,
        "gradients between groups of experts": 32.0,
    }
    wide = [call.op for call in calls(summed(4.0, 80.0, Plan(tp=2.0, dp_attention=8.0, pp=2.0, dp=4.0), 16.0))]
    assert [op.stride for op in wide if isinstance(op, Collective)][-1] == 64.0  # two copies are a group of experts
