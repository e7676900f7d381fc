"""Phases of a step in time: one after the other, or two pools beside each other; who waits, and that no time is lost."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simcost.cost.cost import Cost
from simcost.learning.phases import ALL, CPU, ROLLOUT, TRAINER, Phase, beside, serial, total


def phase(pool: str, seconds: float, name: str = "x") -> Phase:
    return Phase(name, pool, Cost(compute_s=seconds))


def test_one_after_the_other_each_pool_waits_while_another_works() -> None:
    """Rollout 30 s, rewards on CPUs 4, an update 20, and 6 in which all take part."""
    phases = [phase(ROLLOUT, 30.0), phase(CPU, 4.0), phase(TRAINER, 20.0), phase(ALL, 6.0)]
    found = serial(phases, (ROLLOUT, TRAINER))
    assert [(one.start, one.end) for one in found.placed] == [(0.0, 30.0), (30.0, 34.0), (34.0, 54.0), (54.0, 60.0)]
    assert found.seconds == 60.0
    assert found.waits == {ROLLOUT: 24.0, TRAINER: 34.0}
    assert serial(phases, (ALL,)).waits == {ALL: 54.0}  # where all GPUs do everything, what others do is waited for


def test_two_pools_at_once_wait_for_the_slower_and_then_go_on_together() -> None:
    found = beside([phase(ROLLOUT, 30.0), phase(CPU, 4.0)], [phase(TRAINER, 20.0)], [phase(ALL, 6.0), phase(ALL, 1.0)])
    assert [(one.start, one.end) for one in found.placed] == [
        (0.0, 30.0),
        (30.0, 34.0),
        (0.0, 20.0),
        (34.0, 40.0),
        (40.0, 41.0),
    ]
    assert found.seconds == 41.0
    assert found.waits == {ROLLOUT: 0.0, TRAINER: 14.0}


SIDE = st.lists(st.floats(0.0, 100.0), max_size=4)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(SIDE, SIDE, SIDE)
def test_at_once_is_never_slower_than_in_turn_and_never_quicker_than_either_side(
    mine: list[float], other: list[float], then: list[float]
) -> None:
    rollout, trainer, both = (
        [phase(pool, seconds) for seconds in each] for pool, each in ((ROLLOUT, mine), (TRAINER, other), (ALL, then))
    )
    found, turns = beside(rollout, trainer, both), serial([*rollout, *trainer, *both], (ROLLOUT, TRAINER))
    assert found.seconds == pytest.approx(max(sum(mine), sum(other)) + sum(then), abs=1e-9)
    assert turns.seconds == pytest.approx(sum(mine) + sum(other) + sum(then), abs=1e-9)
    assert found.seconds <= turns.seconds + 1e-9
    for pool, busy in ((ROLLOUT, sum(mine)), (TRAINER, sum(other))):
        assert found.waits[pool] + busy + sum(then) == pytest.approx(found.seconds, abs=1e-9)
        assert turns.waits[pool] + busy + sum(then) == pytest.approx(turns.seconds, abs=1e-9)
    assert min(found.waits.values()) == pytest.approx(0.0, abs=1e-9)


def test_seconds_of_a_name_add_up() -> None:
    found = serial([phase(ALL, 1.0, "a"), phase(ALL, 2.0, "b"), phase(ALL, 4.0, "a")], (ALL,))
    assert (found.of("a"), found.of("b"), found.of("c")) == (5.0, 2.0, 0.0)
    assert total([]).seconds == 0.0


def test_a_phase_of_no_time_has_no_interval() -> None:
    assert phase(ALL, 0.0).interval == (0.0, 0.0)
    sure = phase(ALL, 3.0).interval
    assert sure == (3.0, 3.0)
    unsure = Phase("x", ALL, Cost(compute_s=3.0, spread={"kernels": 0.3})).interval
    assert unsure[0] < 3.0 < unsure[1]
    assert unsure[0] * unsure[1] == pytest.approx(9.0)  # as far below as above in ratio
