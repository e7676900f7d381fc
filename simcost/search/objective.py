"""What a user wants of a plan: the metric to rank by, limits on times, and the batches to try.

Most likely to be wrong: the largest batch tried where memory sets no end; it is `EACH` sequences per device.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from simcost import metrics
from simcost.errors import SpecError, nearest
from simcost.estimate import answer
from simcost.frozen import frozen
from simcost.metrics import spelling
from simcost.num import Array
from simcost.scenarios.goals import aim
from simcost.units import parse, respelled, show
from simcost.workload import Workload

EACH = 2**14  # sequences per device
STEP = 1.0 / 64.0  # of a batch: how near to the best one the search comes, or one sequence a replica where that is more
_LONG_S = 10.0  # a number above it is rather of milliseconds


@frozen
class Wish:
    """`metric`: what to rank by; `limits`: the largest value allowed of some metrics ("tpot_s": 0.05); `batches`: the only ones to try,
    None: the best of all as far as memory goes."""

    metric: str
    limits: dict[str, float]
    batches: tuple[float, ...] | None
    cp: bool


def limit(option: str, stated: float | str) -> float:
    """Seconds of a limit: a number of seconds, or text with a unit such as "50ms". Raises SpecError for what is not above 0, and for a number
    above 10 without a unit."""
    try:
        value, bare = float(stated), True
    except ValueError:
        value, bare = parse(respelled(str(stated), "seconds"), "seconds", option), False
    if not 0 < value < math.inf:
        raise SpecError(f"{option} = {value:g} must be seconds, above 0")
    if bare and value > _LONG_S:
        raise SpecError(f"{option} {value:g} has no unit: write {value:g}ms or {value:g}s")
    return value


def worth(metric: str, values: Array) -> Array:
    """More is better."""
    known = metrics.find(metric)
    return np.asarray(-values if known and known.better == "less" else values, np.float64)


def spelled(metric: str, decode: bool) -> str:
    """The whole name of a metric that ranks plans: "usd", "tpot" and the like are those of the step, as --for takes them. What is none stays, for
    `check`."""
    others = {"input", "ttft"} if decode else {"output", "tpot"}
    known = (name for name in metrics.ranking() if not others & set(name.split("_")))
    return next((name for name in known if aim.short(name) == metric.lower()), metric)


def reached(metric: str, value: float, low: float | None, high: float | None) -> str:
    """ "USD per million output tokens $0.34 (90 %: $0.29 to $0.48)"."""
    rate = metrics.unit(metric) == "rate"
    said = [f"{each:,.4g}" if rate else aim.shown(metric, each) for each in (value, low, high) if each is not None]
    sure = f" (90 %: {said[1]} to {said[2]})" if len(said) > 2 else ""
    return f"{spelling.spelled(metric.removesuffix('_s').replace('_', ' '))} {said[0]}{sure}"


def check(metric: str, known: list[str], phase: str) -> None:
    """Raises SpecError for a metric that is none, or that ranks nothing."""
    ranking = metrics.ranking()
    ranks = ", ".join(name for name in ranking if name in known)
    if metric not in known:
        near = nearest(metric, known) or f" (plans can be ranked by {ranks})"
        raise SpecError(f"--metric {metric}: not a metric of {phase}{near}")
    if metric not in ranking:
        raise SpecError(f"--metric {metric}: plans cannot be ranked by it; they can by {ranks}")


def most(whole: Workload, devices: float) -> float:
    """The largest batch that is searched: what all devices' memory could hold were it one, and `EACH` a device.
    `whole`: the design on a single device, whose cache is that of all layers and heads."""
    each = float(np.asarray(answer.state_bytes(whole, whole.phase.context)))
    room = float(np.max(np.asarray(whole.device.capacity))) * devices
    return max(min(EACH * devices, room / each if each > 0.0 else math.inf), 1.0)


def batches(largest: float) -> tuple[float, ...]:
    """Powers of two up to the largest batch."""
    return tuple(2.0**n for n in range(int(math.log2(largest)) + 1))


def within(limits: dict[str, float]) -> str:
    """The limits in words."""
    said = ", ".join(
        f"{spelling.spelled(name.removesuffix('_s'))} {show(most, 'seconds')}" for name, most in limits.items()
    )
    return f" within {said}" if said else ""


def larger(row: dict[str, Any], largest: float) -> str:
    """A note where the best plan's batch is the largest that was tried, or next to it, and more would fit; else ""."""
    most = row.get("max_batch") or 0
    if row.get("batch", 0) < largest * (1.0 - STEP) or most <= row["batch"]:
        return ""
    return f"best batch is the largest that was tried, {row['batch']:,.0f}: memory allows {most:,} (--batch asks for others)"
