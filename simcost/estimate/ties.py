"""How sure the order of answers is: the probability that the first one is better, and which cannot be told from it.

Most likely to be wrong: errors of one family and basis are taken to be common to all its kernels, so that two designs that lean on it
alike are told apart by less than either's interval; a curve that is wrong at one shape only would tie more.
"""

from __future__ import annotations

import numpy as np

from simcost import metrics
from simcost.cost.cost import Cost, interval, probability_less, tied
from simcost.estimate import step as steps
from simcost.num import Array, Bools, Index, Num, maximum


def behind(step: steps.Step, decode: bool, metric: str) -> Cost:
    """The cost whose error a metric shares: of the step, or of the slowest stage for throughput of prefill."""
    return step.cost if decode or metrics.error(metric) == "step" else step.slowest


def with_first(cost: Cost, metric: str, values: Array) -> Bools:
    """Which points [n] have a metric that is tied with the first one's; equal ones where it is exact. `cost`: behind it, arrays [n]."""
    if not metrics.error(metric):
        return np.asarray(values == values[0])
    with np.errstate(all="ignore"):
        return np.asarray(tied(cost, at(cost, slice(1)), values / values[0]), bool)


def probability(cost: Cost, metric: str, values: Array) -> Array:
    """Probability [n] that a point is as far behind the first one, or ahead of it, as its metric says: that the difference has this
    sign. 1 for every difference of an exact metric, 0.5 for none. `cost`: behind it, arrays [n]."""
    if not metrics.error(metric):
        return np.where(values == values[0], 0.5, 1.0)
    with np.errstate(all="ignore"):
        below = np.asarray(probability_less(cost, at(cost, slice(1)), values / values[0]), np.float64)
    return np.asarray(maximum(below, 1.0 - below), np.float64)


def at(cost: Cost, index: Index | slice) -> Cost:
    """The cost of some points of many; what is one number for all stays one."""
    return cost.each(lambda value: np.asarray(value)[index] if np.ndim(value) else value)


def bounds(cost: Cost, metric: str, value: Num) -> tuple[Num, Num] | None:
    """The 90 % interval of a metric that is as a time, or as a rate; None where it is exact. `cost`: behind it."""
    if not metrics.error(metric):
        return None
    low, high = (end / cost.seconds for end in interval(cost))
    known = metrics.find(metric)
    falls = known is not None and known.better == "more"  # the longer it takes, the fewer a second
    return (value / high, value / low) if falls else (value * low, value * high)
