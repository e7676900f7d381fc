"""Plans: group sizes that follow from each other, what must hold of them, and how tokens and layers are dealt out."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simcost.errors import Infeasible
from simcost.num import every
from simcost.plan import Check, Phase, Plan, Tokens, busiest, divides, own_checks, require, stage_layers

SMALL = st.integers(1, 6).map(float)


@given(tp=SMALL, cp=SMALL, dp_attention=SMALL, pp=SMALL, dp=SMALL)
def test_devices_are_the_product_of_the_groups(tp: float, cp: float, dp_attention: float, pp: float, dp: float) -> None:
    plan = Plan(tp=tp, cp=cp, dp_attention=dp_attention, pp=pp, dp=dp)
    assert plan.stage == tp * cp * dp_attention
    assert plan.devices == tp * cp * dp_attention * pp * dp
    assert (plan.replicas, plan.copies) == (dp_attention, dp)


@pytest.mark.parametrize(("tp", "cp", "ep", "replicas", "slices"), [
    (1, 1, 1, 1, 1), (8, 1, 1, 1, 8), (8, 1, 8, 1, 1), (8, 1, 4, 1, 2), (2, 1, 8, 4, 1), (2, 2, 8, 2, 1), (1, 1, 64, 64, 1),
])  # fmt: skip
def test_replicas_and_slices_follow_from_ep_where_nothing_is_stated(
    tp: int, cp: int, ep: int, replicas: int, slices: int
) -> None:
    plan = Plan(tp=float(tp), cp=float(cp), ep=float(ep))
    assert (plan.replicas, plan.expert_slices) == (replicas, slices)
    assert plan.stage == plan.ep * plan.expert_slices


@pytest.mark.parametrize(("gpus", "copies"), [(1.0, 1), (7.0, 1), (8.0, 1), (15.0, 1), (16.0, 2), (100.0, 12)])
def test_whole_copies_fill_a_cluster(gpus: float, copies: int) -> None:
    assert Plan(tp=4.0, pp=2.0, gpus=gpus).copies == copies
    assert Plan(tp=4.0, pp=2.0, gpus=gpus, dp=3.0).copies == 3.0


def test_a_cluster_of_many_sizes_is_filled_point_by_point() -> None:
    sizes = np.array([4.0, 8.0, 17.0])
    assert np.asarray(Plan(tp=4.0, gpus=sizes).copies).tolist() == [1, 2, 4]


@pytest.mark.parametrize(("plan", "travels"), [
    (Plan(), 0.0), (Plan(tp=8.0, ep=8.0), 0.0), (Plan(tp=2.0, ep=8.0), 1.0), (Plan(tp=2.0, cp=2.0), 1.0),
    (Plan(tp=8.0, ep=8.0, sequence_parallel="on"), 1.0), (Plan(sequence_parallel="on"), 0.0),
    (Plan(dp_attention=2.0, ep=1.0), 1.0),
])  # fmt: skip
def test_tokens_travel_where_ranks_of_a_stage_hold_different_ones(plan: Plan, travels: float) -> None:
    assert plan.exchanges == travels


def broken(plan: Plan) -> list[str]:
    return [check.reason for check in own_checks(plan) if not every(check.ok)]


@pytest.mark.parametrize(("plan", "said"), [
    (Plan(tp=-2.0), "tp must be a whole number"), (Plan(tp=1.5), "tp must be a whole number"),
    (Plan(dp=-1.0), "dp must be a whole number"), (Plan(vpp=2.0), "needs pp of at least 2"),
    (Plan(overlap="tensor_parallel"), "needs sequence_parallel=on"),
    (Plan(tp=8.0, gpus=4.0), "the plan takes 8 GPUs, the cluster has 4"),
    (Plan(tp=4.0, ep=6.0), "one of tp·cp = 4 and ep = 6 must divide the other"),
    (Plan(tp=2.0, dp_attention=4.0, ep=3.0), "ep = 3 must divide the tp·cp·dp_attention = 8"),
    (Plan(tp=2.0, dp_attention=4.0, ep=4.0, etp=4.0), "tp·cp·dp_attention = 8 for attention and ep·etp = 16"),
])  # fmt: skip
def test_a_rule_of_a_plan_says_which_sizes_break_it(plan: Plan, said: str) -> None:
    assert any(said in reason for reason in broken(plan))
    with pytest.raises(Infeasible, match=r"^plan: "):
        require(own_checks(plan))


def test_every_pair_of_groups_is_legal_just_where_one_divides_the_other() -> None:
    for tp, ep in itertools.product(range(1, 13), repeat=2):
        assert (not broken(Plan(tp=float(tp), ep=float(ep)))) == (tp % ep == 0 or ep % tp == 0), (tp, ep)


def test_stated_groups_are_legal_just_where_both_views_have_the_same_ranks() -> None:
    for tp, replicas, ep, etp in itertools.product((1, 2, 3, 4), repeat=4):
        plan = Plan(tp=float(tp), dp_attention=float(replicas), ep=float(ep), etp=float(etp))
        assert (not broken(plan)) == (tp * replicas == ep * etp), (tp, replicas, ep, etp)


def test_a_rule_of_many_plans_holds_point_by_point() -> None:
    plan = Plan(tp=np.array([1.0, 2.0, 3.0]), ep=4.0)
    assert np.all([np.broadcast_to(c.ok, (3,)) for c in own_checks(plan)], axis=0).tolist() == [True, True, False]


def test_the_first_broken_rule_is_raised_and_a_kept_one_is_not() -> None:
    require([Check(True, "kept")])
    rules = [Check(True, "kept"), Check(np.array([True, False]), "first"), Check(False, "second")]
    with pytest.raises(Infeasible, match=r"^plan: first$"):
        require(rules)


@pytest.mark.parametrize(("size", "parts", "ok"), [(12.0, 4.0, True), (12.0, 5.0, False), (1.0, 2.0, False)])
def test_a_size_is_cut_evenly_or_the_reason_has_both_numbers(size: float, parts: float, ok: bool) -> None:
    check = divides(size, parts, "heads")
    assert check.ok == ok
    assert check.reason == f"heads = {size:.0f} cannot be cut into {parts:.0f} equal parts"


@given(batch=st.integers(1, 200), parts=st.integers(1, 50))
def test_the_busiest_replica_has_what_dealing_cards_gives_the_first(batch: int, parts: int) -> None:
    dealt = [len(range(i, batch, parts)) for i in range(parts)]
    assert busiest(float(batch), float(parts)) == max(dealt)


@given(layers=st.integers(1, 120), pp=st.integers(1, 16))
def test_stages_hold_all_layers_as_evenly_as_can_be_and_the_last_no_more(layers: int, pp: int) -> None:
    held = [stage_layers(layers, pp, index) for index in range(pp)]
    assert sum(held) == layers
    assert max(held) - min(held) <= 1
    assert held[-1] == layers // pp


def test_what_is_left_over_goes_to_the_stages_before_the_last() -> None:
    assert [stage_layers(62, 8, i) for i in range(8)] == [7, 8, 8, 8, 8, 8, 8, 7]
    assert [stage_layers(10, 4, i) for i in range(4)] == [2, 3, 3, 2]


def test_groups_of_tokens_are_phases_and_only_the_first_decodes() -> None:
    phase = Phase(8.0, 1.0, 99.0, microbatches=2.0, decode=True, beside=(Tokens(2.0, 64.0, 32.0, 0.0),))
    first, second = phase.groups
    assert (first.batch, first.context, first.decode, first.beside) == (8.0, 100.0, True, ())
    assert (second.batch, second.q_len, second.past, second.logits) == (2.0, 64.0, 32.0, 0.0)
    assert (second.context, second.decode, second.microbatches, second.beside) == (96.0, False, 2.0, ())
    alone = Phase(8.0, 1.0, 99.0)
    assert alone.groups == (alone,)
