"""Which answers cannot be told from the best one: the 90 % interval of the ratio of two times contains 1, shared errors cancelled.

Most likely to be wrong: errors of one family and basis are taken to be common to all its kernels, so that two designs that lean on it
alike are told apart by less than either's interval; a curve that is wrong at one shape only would tie more.
"""

from __future__ import annotations

import numpy as np

from simcost import metrics
from simcost.cost.cost import Cost, tied
from simcost.estimate import step as steps
from simcost.num import Array, Bools


def behind(step: steps.Step, decode: bool, metric: str) -> Cost:
    """The cost whose error a metric shares: of the step, or of the slowest stage for throughput of prefill."""
    return step.cost if decode or metrics.error(metric) == "step" else step.slowest


def with_first(cost: Cost, metric: str, values: Array) -> Bools:
    """Which points [n] have a metric that is tied with the first one's; equal ones where it is exact. `cost`: behind it, arrays [n]."""
    if not metrics.error(metric):
        return np.asarray(values == values[0])
    with np.errstate(all="ignore"):
        found = tied(cost, cost.each(lambda value: np.asarray(value)[:1]), values / values[0])
    return np.asarray(found, bool)
