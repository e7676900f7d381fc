"""The largest load that every plan takes within its limits, by trial at many loads of all plans at once.

Most likely to be wrong: a time that falls as load rises, where prompts share a chunk; the search stops at the first
load that breaks a limit.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from simcost.frozen import frozen
from simcost.num import Array, Bools
from simcost.serving.point import OperatingPoint
from simcost.units import show

LEAST = 1e-6  # of capacity: as good as no load
# Parts of capacity that are tried first. Beyond the last one a queue is longer than anyone's patience.
USED = np.concatenate([np.geomspace(0.003, 0.45, 14), 1.0 - np.geomspace(0.45, 0.005, 8)])
_CUTS, _ROUNDS = 9, 3  # parts of the gap between the last load that keeps the limits and the next one, and how often


@frozen
class Limits:
    """Longest mean times. [s]"""

    ttft_s: float = np.inf
    tpot_s: float = np.inf

    def keep(self, point: OperatingPoint) -> Bools:
        """Which points are within them, and serve all that comes."""
        within = np.isfinite(point.ttft_s) & (point.ttft_s <= self.ttft_s) & (point.tpot_s <= self.tpot_s)
        return np.asarray(within, bool)

    @property
    def words(self) -> str:
        """ "TTFT 2 s, TPOT 50 ms"; "" for none."""
        both = (("TTFT", self.ttft_s), ("TPOT", self.tpot_s))
        return ", ".join(f"{name} {show(most, 'seconds')}" for name, most in both if np.isfinite(most))


At = Callable[[Array], OperatingPoint]  # points of plans at requests a second of each. [plans, loads]


@frozen
class Found:
    """`most` [plans]: requests a second that each takes within the limits, 0 where none is; `rate`, `points` [plans,
    loads]: what was tried first; `least`: points
    without load; `beyond`: points just above `most`. [plans, 1]"""

    most: Array
    rate: Array
    points: OperatingPoint
    least: OperatingPoint
    beyond: OperatingPoint


def largest(at: At, capacity: Array, limits: Limits) -> Found:
    """The largest loads. `capacity`: requests a second that each plan does at most. [plans]"""
    rate = capacity[:, None] * USED
    points, least = at(rate), at(capacity[:, None] * LEAST)
    start = np.where(limits.keep(least).ravel(), capacity * LEAST, 0.0)
    low, high = _narrowed(np.column_stack([start, rate]), np.column_stack([start > 0.0, limits.keep(points)]))
    high = np.where(np.isinf(high), rate[:, -1], high)
    for _ in range(_ROUNDS):
        cuts = low[:, None] + (high - low)[:, None] * np.arange(1, _CUTS) / _CUTS
        ends = np.column_stack([low, cuts])
        inner, outer = _narrowed(ends, np.column_stack([low > 0.0, limits.keep(at(cuts))]))
        low, high = inner, np.minimum(outer, high)
    return Found(low, rate, points, least, at(np.maximum(high, capacity * LEAST)[:, None]))


def _narrowed(loads: Array, kept: Bools) -> tuple[Array, Array]:
    """(the last load before the first that breaks a limit, 0 for none; that one, infinite for none). [plans]"""
    first = np.where(kept.all(axis=1), kept.shape[1], kept.argmin(axis=1))
    rows, wide = np.arange(len(loads)), np.column_stack([np.zeros(len(loads)), loads, np.full(len(loads), np.inf)])
    return wide[rows, first], wide[rows, first + 1]


def per_second(rate: float) -> str:
    """ "1,000,000" or "13.99" requests per second."""
    return f"{rate:,.0f}" if rate >= 10_000 else f"{rate:,.4g}"
