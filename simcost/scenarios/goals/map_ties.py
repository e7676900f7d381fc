"""Which points of a map of designs cannot be told from its front, and how surely each is behind the best one.

A point off the front is tied with it if no point of the front beats it for sure: each that is ahead of it is tied with it in a metric in which it
is ahead. Most likely to be wrong: a point that only another point off the front would beat for sure counts as tied. Source: `simcost.estimate.ties`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from simcost import metrics
from simcost.cost.cost import NOISE, Cost
from simcost.cost.price import is_money, unsure
from simcost.estimate import step as steps
from simcost.estimate import ties
from simcost.frozen import frozen
from simcost.num import Array, Bools, Index
from simcost.query import Query
from simcost.result import Columns
from simcost.scenarios.sweep import Extra
from simcost.workload import Workload

MOST = 20_000  # points of a map whose errors are kept for this: some thirty numbers a point
# Begin the names of columns that hold an error, as no metric's does: of the time of a step or of its slowest stage, and of the price of a device.
_STEP, _SLOWEST, _PRICE = "error of step: ", "error of slowest: ", "error of price: "
_ONE = Cost(compute_s=1.0)


@frozen
class Aim:
    """A metric of a front: its name, 1 where less is better, else -1, its values [points], and a cost of one second with its errors [points]."""

    name: str
    sign: float
    values: Array
    cost: Cost


def with_errors(query: Query, extra: Extra) -> Extra:
    """Columns of `extra`, and one for each source of error: one standard deviation of its log."""

    def both(w: Workload, step: steps.Step) -> Mapping[str, Any]:
        device = w.device.name
        found = dict(extra(w, step))
        for kind, cost in ((_STEP, step.cost), *(() if query.decode else ((_SLOWEST, step.slowest),))):
            found |= {kind + source: value / cost.seconds for source, value in cost.on(device).spread.items()}
        return found | {_PRICE + of: each for of, each in unsure(_ONE, device, query.paid(w.device)).spread.items()}

    return both


def without_errors(rows: Columns) -> Columns:
    """The rows without the columns of `with_errors`."""
    values = {name: value for name, value in rows.values.items() if not name.startswith((_STEP, _SLOWEST, _PRICE))}
    return Columns(rows.labels, rows.feasible, rows.reasons, values)


def aim(name: str, sign: float, values: Array, rows: Columns, decode: bool) -> Aim:
    """A metric with the errors that `rows` hold of it."""
    kinds = [_STEP if decode or metrics.error(name) == "step" else _SLOWEST]
    kinds += [_PRICE] if is_money(name) else []
    spread = {
        column.removeprefix(kind): np.nan_to_num(np.broadcast_to(np.asarray(each, np.float64), values.shape))
        for kind in kinds
        for column, each in rows.values.items()
        if column.startswith(kind)
    }
    return Aim(name, sign, values, Cost(compute_s=np.ones(len(values)), spread=spread))


def columns(aims: Sequence[Aim], on_front: Bools, usable: Bools) -> dict[str, Any]:
    """What rows say of ties: of the first metric how surely a point is behind the best one, as rows of `plans` do; of both metrics whether it is on
    the front or tied with it. [points]"""
    behind, alike = _places(aims[0], usable)
    on_or_tied = on_front | tied(aims, on_front, usable)
    return {"probability_behind": behind, "best_or_tied": alike, "pareto_or_tied": on_or_tied}


def tied(aims: Sequence[Aim], on_front: Bools, usable: Bools) -> Bools:
    """Which usable points off the front are tied with it. [points]"""
    x, y = (aim.sign * aim.values for aim in aims)
    left = usable & ~on_front & np.isfinite(x) & np.isfinite(y)
    ahead = np.flatnonzero(on_front)
    for i in ahead[np.unique(np.stack([x, y])[:, ahead], axis=1, return_index=True)[1]]:
        behind = np.flatnonzero(left & (x[i] <= x) & (y[i] <= y))
        if len(behind):
            left[behind] = np.any([_perhaps(aim, np.concatenate(([i], behind))) for aim in aims], axis=0)
    return left


def _perhaps(aim: Aim, index: Index) -> Bools:
    """Whether the first of these points is ahead of each other one in a metric, but not for sure."""
    values = aim.values[index]
    equal = np.abs(values - values[0]) <= NOISE * np.abs(values[0])
    alike: Bools = ties.with_first(ties.at(aim.cost, index), aim.name, values) & ~equal
    return alike[1:]


def _places(aim: Aim, usable: Bools) -> tuple[Array, Bools]:
    """(the probability that each usable point is behind the best one in a metric, NaN for the best and for others; whether it is the best one or
    tied with it). [points]"""
    behind, alike = np.full(len(usable), np.nan), np.zeros(len(usable), bool)
    index = np.flatnonzero(usable & np.isfinite(aim.values))
    if len(index):
        best = index[np.argmin(aim.sign * aim.values[index])]
        order = np.concatenate(([best], index[index != best]))
        cost, values = ties.at(aim.cost, order), aim.values[order]
        behind[order[1:]] = ties.probability(cost, aim.name, values)[1:]
        alike[order] = ties.with_first(cost, aim.name, values)
    return behind, alike
