"""Phases of a step in time: one after the other on the same GPUs, or on two pools beside each other; who waits, and for
how long.

Most likely to be wrong: phases that a framework overlaps in part, such as log-probs of the first answers while the last
still run. Source: docs/theory/rl-step.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from simcost.cost.cost import Cost, interval
from simcost.frozen import frozen

ALL, ROLLOUT, TRAINER, CPU = "all GPUs", "rollout", "trainer", "CPUs"
(
    GENERATE,
    REWARD,
    OFFLOAD,
    OLD,
    REFERENCE,
    CRITIC,
    ADVANTAGE,
    UPDATE,
    SYNC,
    HOST,
    REPLAY,
) = (
    "rollout",
    "reward",
    "offload",
    "old log-probs",
    "reference",
    "critic",
    "advantage",
    "update",
    "weight sync",
    "host",
    "routing replay",
)
NOTHING = Cost()


@frozen
class Phase:
    """A part of a step. `pool`: who runs it; `rests`: what its time rests on, in words."""

    name: str
    pool: str
    cost: Cost
    rests: str = ""

    @property
    def seconds(self) -> float:
        """[s]"""
        return float(self.cost.seconds)

    @property
    def interval(self) -> tuple[float, float]:
        """Its 90 % interval. [s]"""
        if self.seconds <= 0.0:
            return 0.0, 0.0
        low, high = interval(self.cost)
        return float(low), float(high)


@frozen
class Placed:
    """A phase and when it starts. [s]"""

    phase: Phase
    start: float

    @property
    def end(self) -> float:
        """[s]"""
        return self.start + self.phase.seconds


@frozen
class Timeline:
    """Phases as they run. `cost`: of the whole; `waits`: seconds that each pool stands idle, by name. [s]"""

    placed: tuple[Placed, ...]
    cost: Cost
    waits: dict[str, float]

    @property
    def seconds(self) -> float:
        """[s]"""
        return float(self.cost.seconds)

    def of(self, name: str) -> float:
        """Seconds of all phases of a name. [s]"""
        return sum(one.phase.seconds for one in self.placed if one.phase.name == name)


def total(phases: Sequence[Phase]) -> Cost:
    """One after the other."""
    return reduce(lambda sum_, one: sum_ + one.cost, phases, NOTHING)


def serial(phases: Sequence[Phase], pools: Sequence[str]) -> Timeline:
    """Each phase when the one before has ended; a pool waits while another works."""
    placed, at = [], 0.0
    for one in phases:
        placed.append(Placed(one, at))
        at += one.seconds
    busy = {pool: sum(one.seconds for one in phases if one.pool in (pool, ALL)) for pool in pools}
    return Timeline(tuple(placed), total(phases), {pool: at - busy[pool] for pool in pools})


def beside(rollout: Sequence[Phase], trainer: Sequence[Phase], then: Sequence[Phase]) -> Timeline:
    """Both pools at once, the one on answers of an earlier step; what both take part in follows when the slower has
    ended."""
    sides = {ROLLOUT: total(rollout), TRAINER: total(trainer)}
    ends = {pool: float(cost.seconds) for pool, cost in sides.items()}
    end = max(ends.values())
    placed = []
    for side, start in ((rollout, 0.0), (trainer, 0.0), (then, end)):
        at = start
        for one in side:
            placed.append(Placed(one, at))
            at += one.seconds
    cost = sides[ROLLOUT].beside(sides[TRAINER]) + total(then)
    return Timeline(tuple(placed), cost, {pool: end - each for pool, each in ends.items()})
