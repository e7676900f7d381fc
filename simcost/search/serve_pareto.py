"""The front of output tokens per second and GPU against output tokens per second and user: of every device and mode, over
all plans and loads that keep the limit on the time to
the first token.

Most likely to be wrong: pools of the front have at most 16 instances, so that other ratios lie between its points.
"""

from __future__ import annotations

import numpy as np

from simcost.num import Array, Index
from simcost.result import Row, number
from simcost.search.serve_fleets import AGGREGATED, DISAGGREGATED, Line, Wanted, words
from simcost.search.serve_load import Limits
from simcost.search.serve_pools import BEST, INSTANCES, Sides, Tried, sizes_of, words_of
from simcost.serving.point import OperatingPoint

_USED = np.concatenate([np.geomspace(0.002, 0.3, 24), np.linspace(0.31, 0.99, 35), [0.995]])  # parts of capacity
_APART = 0.03  # users' speeds of two points that are shown differ by so much at least
X, Y = "output_tokens_per_s_per_user", "output_tokens_per_s_per_gpu"


def aggregated(of: Line, limits: Limits) -> list[Row]:
    """The front of instances that do both."""
    space, found, osl = of.space, of.found, of.space.asked.osl.mean
    # First the plans that stand on it, then these at many loads.
    coarse = _front(limits, found.points, found.rate * osl / space.devices[:, None])
    plans = np.unique(coarse // found.rate.shape[1])
    rate = of.capacity[plans, None] * _USED
    with np.errstate(all="ignore"):
        points = of.of(plans)(rate)
    gpu = rate * osl / space.devices[plans, None]

    def full(value: object) -> Array:
        return np.broadcast_to(np.asarray(value, np.float64), rate.shape)

    user = 1.0 / full(points.tpot_s)
    rows = []
    for at in _front(limits, points, gpu).tolist():
        row, load = divmod(at, rate.shape[1])
        plan = int(plans[row])
        sizes = space.sizes(int(space.good[plan]))
        running = float(full(points.running)[row, load] * space.alike[plan])
        rows.append(
            _row(
                of,
                AGGREGATED,
                words(sizes),
                user.flat[at],
                gpu.flat[at],
                full(points.ttft_s)[row, load],
                running,
            )
        )
    return rows


def _front(limits: Limits, points: OperatingPoint, gpu: Array) -> Index:
    """Points of the front, of those that keep the limit on TTFT. [plans, loads] as one row"""
    kept = Limits(limits.ttft_s).keep(points)
    user = np.broadcast_to(1.0 / np.asarray(points.tpot_s, np.float64), gpu.shape)
    return front(user.ravel(), np.where(kept, gpu, 0.0).ravel())


def disaggregated(of: Line, wanted: Wanted, both: Sides) -> list[Row]:
    """The front of fleets of two pools."""
    each, space = of.space.devices, of.space
    prefill = np.argsort(-both.prefills / each, kind="stable")[:BEST]
    prefill = prefill[both.prefills[prefill] > 0.0]
    if not len(prefill):
        return []
    a, b = (grid.ravel() for grid in np.meshgrid(np.arange(1.0, INSTANCES), np.arange(1.0, INSTANCES)))
    few = a + b <= INSTANCES
    a, b = a[few], b[few]
    # [prefill plans, decode plans, ratios]: GPUs; and a decode plan's levels one after the other.
    gpus = a * each[prefill, None, None] + b * each[:, None]
    fits = np.where(gpus <= (np.inf if wanted.gpus is None else wanted.gpus), 1.0, 0.0)
    fed = a * both.prefills[prefill, None, None]
    best, ratio = [], []
    for done in both.levels.T:
        each_ratio = np.minimum(fed, b * done[:, None]) / gpus * fits
        ratio.append(each_ratio.argmax(axis=2))
        best.append(each_ratio.max(axis=2))
    worth, taken = np.stack(best, axis=2), np.stack(ratio, axis=2)
    user = np.broadcast_to(1.0 / both.tpot_s, worth.shape)
    found = front(user.ravel(), worth.ravel())
    if not len(found):
        return []
    first, second, level = np.unravel_index(found, worth.shape)
    which = taken[first, second, level]
    rate = worth[first, second, level] * gpus[first, second, which]
    tried = Tried(prefill[first], second, a[which], b[which], rate)
    with np.errstate(all="ignore"):
        points = tried.at(of, both)(rate[:, None])
        kept = Limits(wanted.limits.ttft_s).keep(points)[:, 0]
    rows = []
    for i in np.flatnonzero(kept):
        tpot, ttft, running = (float(np.ravel(value)[i]) for value in (points.tpot_s, points.ttft_s, points.running))
        total = float(gpus[first[i], second[i], which[i]])
        per_gpu = float(rate[i]) * space.asked.osl.mean / total
        rows.append(_row(of, DISAGGREGATED, words_of(sizes_of(of, tried, int(i))), 1.0 / tpot, per_gpu, ttft, running))
    return rows


def _row(of: Line, mode: str, plan: str, user: float, gpu: float, ttft: float, running: float) -> Row:
    return {
        "hw": of.space.label,
        "mode": mode,
        "plan": plan,
        X: number(user),
        Y: number(gpu),
        "ttft_s": number(ttft),
        "tpot_s": number(1.0 / user),
        "running": number(running),
    }


def front(x: Array, y: Array) -> Index:
    """Points that no other beats in both, more being better, the fastest first, and so far apart that a picture shows
    them."""
    order = np.lexsort((-y, -x))
    order = order[y[order] > 0.0]
    kept: list[int] = []
    high, last = 0.0, np.inf
    best = np.maximum.accumulate(y[order]) if len(order) else y
    for place, at in enumerate(order.tolist()):
        if y[at] <= high or y[at] < best[place]:
            continue
        high = float(y[at])
        if kept and x[at] > last * (1.0 - _APART):
            kept[-1] = at  # nearly as fast, and more of it
            continue
        kept.append(at)
        last = float(x[at])
    return np.asarray(kept, np.intp)
