"""Rewards that CPUs compute: rules, tests in a sandbox, one answer after the other on each of several workers, while
the rollout goes on.

Most likely to be wrong: verdicts whose time depends on the answer. Source: queue of the first worker that is free.
"""

from __future__ import annotations

import heapq

import numpy as np

from simcost.errors import SpecError
from simcost.frozen import frozen
from simcost.num import Array


@frozen
class Judges:
    """`seconds` [s] of one answer on one of `workers`."""

    seconds: float
    workers: int


def ends(judges: Judges, answered: Array) -> Array:
    """When each verdict is there, answers in order of their ends [s]."""
    free = [0.0] * min(judges.workers, len(answered))
    found = np.empty(len(answered))
    for i, at in enumerate(np.sort(answered).tolist()):
        found[i] = max(free[0], at) + judges.seconds
        heapq.heapreplace(free, found[i])
    return found


def exposed(judges: Judges, answered: Array, overlaps: bool = True) -> float:
    """Seconds from the last answer to the last verdict. `overlaps`: verdicts begin while answers still run. [s]"""
    if not len(answered):
        raise SpecError("no answers to judge")
    last = float(np.max(answered))
    start = answered if overlaps else np.full(len(answered), last)
    return float(np.max(ends(judges, start))) - last
