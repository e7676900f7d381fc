"""Rows that cannot be right whatever table they stand in: faster than light, slower than a larger kernel, throttled.

Thresholds were set on the tables of aiconfigurator-core 0.12 before any served measurement was compared. Most likely to be wrong: the
step of 1.25 between two rungs, which a real change of tiles can reach.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from simcost.calibration.distinct import hashed
from simcost.calibration.soundness.evidence import TINY, Evidence, ladders, more
from simcost.calibration.speed_of_light import on_wire
from simcost.num import Array, Bools, Index

FASTER = 0.9  # of light: clocks boost to 1.08 of the datasheet's rate, and an L2 serves some bytes of a large footprint
SPIKE = 1.25
RUNG = 4.0  # a rung further away than this factor says nothing of the row
THROTTLED = 0.8  # of the rate of brief products: long ones that reach less ran at a lower clock
ROUTINGS, OTHER = 3, 2.0  # of one shape: how many make a middle, and how far from it is another kernel
_BRIEF, _LONG = (100e-6, 200e-6), 500e-6  # s of work at the peak rate: between these, and beyond that
_CUT = 200e-6  # s of work from which rows of a throttled table go


def filtered(table: Evidence) -> Evidence:
    """The table without the rows of every filter; `dropped` says how many went and why."""
    found = table
    for why, bad in FILTERS.items():
        found = found.take(~bad(found), why)
    return found


def too_fast(table: Evidence) -> Bools:
    """Rows that are faster than the datasheet allows: their bytes fit no cache, or arithmetic bounds them. [rows]"""
    if on_wire(table.family):  # of all that a rank sends nothing stays in a cache
        return np.asarray(table.rows.seconds < FASTER * table.light_s)
    bounded = table.beyond_l2 | table.of("compute")
    return np.asarray((table.ratio < FASTER) & bounded & (table.light_s > TINY))


def spikes(table: Evidence) -> Bools:
    """Rows that take longer than the same kernel with more to do, one or two rungs up. [rows]"""
    return np.asarray(excess(table) > SPIKE)


def excess(table: Evidence) -> Array:
    """Time of a row over that of the same kernel with more to do, one or two rungs up, the larger of the two; at least 1. [rows]"""
    found = np.ones(len(table))
    for running in ladders(table.family):
        order, follows = rungs(table, running)
        for step in (1, 2):
            low, high = order[:-step], order[step:]
            same = np.ones(len(low), bool)
            for j in range(step):
                same &= follows[j : len(follows) - (step - 1 - j)]
            numbers, seconds = table.rows.numbers[running], table.rows.seconds
            same &= numbers[high] + 1.0 <= RUNG * (numbers[low] + 1.0)  # a past may be 0
            same &= more(table, low, high)
            low, high = low[same], high[same]
            found[low] = np.maximum(found[low], seconds[low] / seconds[high])
    return found


def rungs(table: Evidence, running: str) -> tuple[Index, Bools]:
    """(rows in the order of their ladders [rows], whether each but the first is on the ladder of the one before it [rows - 1]).
    `running`: the column that a ladder goes along."""
    fixed = table.fixed(running)
    order = np.lexsort((table.rows.numbers[running], fixed))
    return order, np.asarray(fixed[order][1:] == fixed[order][:-1])


def throttled(table: Evidence) -> Bools:
    """Products of a table whose rate falls as they grow: the clock gave way, and a shorter kernel in a step would not see it."""
    if table.family != "gemm":
        return np.zeros(len(table), bool)
    bound, work = table.of("compute"), table.compute_s
    brief, long = bound & (work > _BRIEF[0]) & (work < _BRIEF[1]), bound & (work > _LONG)
    if not (brief.any() and long.any()):
        return np.zeros(len(table), bool)
    reached = work / table.rows.seconds
    if np.median(reached[long]) >= THROTTLED * np.median(reached[brief]):
        return np.zeros(len(table), bool)
    return np.asarray(bound & (work > _CUT))


def another_kernel(table: Evidence) -> Bools:
    """Experts of one shape and token count that take twice the time of other routings of them, and twice as far from light: an autotuner
    chose otherwise for that one (TensorRT-LLM, bf16, H200: 57, 55 and 222 us)."""
    found = np.zeros(len(table), bool)
    if table.family != "experts" or not table.routed:
        return found
    numbers = table.rows.numbers
    same = hashed([numbers[name] for name in ("tokens", "copies", "experts", "hidden", "width")])
    order = np.argsort(same, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(same[order].view(np.int64))) + 1):
        if len(rows) >= ROUTINGS:
            seconds, far = table.rows.seconds[rows], table.ratio[rows]
            found[rows] = (seconds > OTHER * np.median(seconds)) & (far > OTHER * np.median(far))
    return found


TOO_FAST = f"below {FASTER:g} of its light"
FILTERS: Mapping[str, Callable[[Evidence], Bools]] = {
    TOO_FAST: too_fast,
    f"over {SPIKE:g} times the time of a larger kernel": spikes,
    "a clock that fell under load": throttled,
    "another kernel than for other routings": another_kernel,
}  # in this order: what one takes out no later one sees
