"""Which ranks hold equal weights: counts by hand, and the product of parts and sets is all of them."""

from __future__ import annotations

import numpy as np
import pytest

from simcost.errors import Infeasible
from simcost.plan import Plan, require
from simcost.sharding import copies
from simcost.sharding.copies import Level

# DeepSeek-V3: EP64 over 16 stages, two copies; and a dense model of tp 8, cp 2, dp 16.
MOE, DENSE = Plan(ep=64.0, pp=16.0, dp=2.0), Plan(tp=8.0, cp=2.0, pp=4.0, dp=16.0)


def test_all_ranks_that_hold_a_weight_share_it_out() -> None:
    assert copies.dense(MOE) == (Level(64.0, 1.0, 1.0), Level(2.0, 1.0, 1024.0))
    assert copies.experts(MOE) == (Level(2.0, 1.0, 1024.0),)
    assert copies.dense(DENSE) == (Level(2.0, 1.0, 8.0), Level(16.0, 1.0, 64.0))
    assert (copies.parts(copies.dense(MOE)), copies.parts(copies.experts(MOE))) == (128.0, 2.0)


@pytest.mark.parametrize(("group", "near", "far"), [
    (1.0, Level(1.0, 2.0, 8.0), Level(1.0, 16.0, 64.0)), (2.0, Level(2.0, 1.0, 8.0), Level(1.0, 16.0, 64.0)),
    (8.0, Level(2.0, 1.0, 8.0), Level(4.0, 4.0, 64.0)), (32.0, Level(2.0, 1.0, 8.0), Level(16.0, 1.0, 64.0)),
])  # fmt: skip
def test_a_group_fills_a_stage_before_it_takes_further_copies(group: float, near: Level, far: Level) -> None:
    assert copies.dense(DENSE, group) == (near, far)
    assert copies.experts(DENSE, group) == (far,)
    assert copies.parts((near, far)) == group


@pytest.mark.parametrize("plan", [MOE, DENSE, Plan(), Plan(dp=7.0)])
def test_parts_times_sets_are_all_copies(plan: Plan) -> None:
    ranks = float(plan.replicas * plan.cp * plan.copies)
    for group in (None, 1.0, ranks):
        total = 1.0
        for level in copies.dense(plan, group):
            total *= float(level.parts * level.sets)
        assert total == ranks


@pytest.mark.parametrize("group", [0.0, 3.0, 5.0, 64.0, 1.5])
def test_groups_that_are_not_equal_and_whole_are_refused(group: float) -> None:
    with pytest.raises(Infeasible, match="a sharding group must divide"):
        require(copies.checks(DENSE, group))


def test_groups_that_are_equal_and_whole_are_not_refused() -> None:
    for group in (None, 1.0, 2.0, 4.0, 32.0):
        require(copies.checks(DENSE, group))


def test_plans_in_an_array_are_plans_one_by_one() -> None:
    many = copies.dense(Plan(tp=8.0, cp=2.0, pp=4.0, dp=np.array([4.0, 16.0])), np.array([2.0, 8.0]))
    for i, (dp, group) in enumerate(((4.0, 2.0), (16.0, 8.0))):
        one = copies.dense(Plan(tp=8.0, cp=2.0, pp=4.0, dp=dp), group)
        for level, alone in zip(many, one, strict=True):
            for name in ("parts", "sets", "stride"):
                assert np.broadcast_to(getattr(level, name), 2)[i] == getattr(alone, name)
