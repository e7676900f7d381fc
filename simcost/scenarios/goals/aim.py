"""What a user wants of a metric: its name, short or whole, and a goal such as "tpot<=20ms".

"=" means the good side: at most of what less of is better, at least of what more of is better.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection

from simcost import metrics, units
from simcost.errors import SpecError, nearest
from simcost.frozen import frozen

_GOAL = re.compile(r"\s*([A-Za-z_][\w]*)\s*(<=|>=|=)\s*(.+?)\s*\Z")
_PARSED = {"seconds": "seconds", "memory": "bytes", "bytes": "bytes", "fraction": "fraction"}
_NAMES = {
    "usd": ("USD", "$"),
    "rate": ("tokens/s", "tok/s", "token/s", "1/s", "/s"),
    "joules": ("J",),
    "flops": ("FLOP",),
}
_LONG_S = 10.0  # a bare number above it is rather a slip of the unit


@frozen
class Goal:
    """`metric`: its whole name; `most`: whether at most the target is wanted, else at least; `target` [SI]."""

    metric: str
    most: bool
    target: float

    @property
    def name(self) -> str:
        """The metric as people call it."""
        return short(self.metric)

    def show(self, value: float) -> str:
        """A value of the metric for people."""
        return shown(self.metric, value)

    def __str__(self) -> str:
        return f"{self.name} {'<=' if self.most else '>='} {self.show(self.target)}"


def headline(decode: bool) -> str:
    """The metric that a step is judged by."""
    return "tpot_s" if decode else "ttft_s"


def short(metric: str) -> str:
    """A metric without its unit, where `spelled` knows it so."""
    if metric.startswith("usd_per_million_"):
        return "usd"
    return (
        metric.removesuffix("_bytes_per_gpu")
        if metric.endswith("_bytes_per_gpu")
        else metric.removesuffix("_s")
        if metrics.unit(metric) == "seconds"
        else metric
    )


def shown(metric: str, value: float) -> str:
    """A value of a metric with its unit."""
    unit = metrics.unit(metric)
    if unit == "rate":
        return f"{value:,.4g} /s"
    if unit == "count":
        return f"{value:,.0f}" if math.isfinite(value) else "no end"
    return units.show(value, unit)


def spelled(name: str, known: Collection[str], decode: bool, option: str) -> str:
    """The whole name of a metric of a step. Raises SpecError for one that is none, naming the nearest."""
    step = "decode" if decode else "prefill"
    kind = "output" if decode else "input"
    # Of metrics with one short name, as a price and its range, the first has it.
    first = list(known)[::-1]
    every = {short(metric): metric for metric in first} | {
        metric.replace(f"{kind}_", "", 1): metric for metric in first
    }
    every |= {metric: metric for metric in known}
    found = every.get(name) or every.get(name.lower())
    if found is None and name.startswith("usd"):
        raise SpecError(f"{option} {name}: this device has no price: set one with --price USD_PER_HOUR")
    if found is None:
        near = (
            nearest(name, every)
            or f" (such as {', '.join(short(each) for each in metrics.ranking() if each in known)})"
        )
        raise SpecError(f"{option} {name}: not a metric of {step} with a number here{near}")
    return found


def goal(text: str, known: Collection[str], decode: bool) -> Goal:
    """A goal from "tpot=20ms" or "mfu>=0.4". Raises SpecError for what is none, for a unit that the metric has not, and for "=" where neither
    side of the metric is better."""
    match = _GOAL.match(text)
    if match is None:
        raise SpecError(f"--for {text}: write metric=value, for example tpot=20ms, 'tpot<=20ms' or 'mfu>=0.4'")
    metric = spelled(match[1], known, decode, "--for")
    target = _target(metric, match[3], f"--for {text}")
    better = getattr(metrics.find(metric), "better", "")
    if match[2] == "=" and not better:
        raise SpecError(f"--for {text}: write <= or >= for {metric}, because neither more nor less of it is better")
    return Goal(metric, match[2] == "<=" or (match[2] == "=" and better == "less"), target)


def _target(metric: str, text: str, where: str) -> float:
    unit = metrics.unit(metric)
    bare = _bare(text, unit)
    if unit in _PARSED and bare is None:
        return units.parse(text, _PARSED[unit], where)
    if bare is None:
        raise SpecError(f"{where}: {text!r} is not a valid {metric} ({units.symbol(unit) or 'a number'})")
    if unit == "seconds" and bare > _LONG_S:
        raise SpecError(f"{where}: {text} without a unit would be seconds: write {text}ms, or {text}s")
    if unit in ("memory", "bytes"):
        raise SpecError(f"{where}: {text} has no unit: write {text}GiB or {text}GB")
    if not 0.0 < bare < math.inf:
        raise SpecError(f"{where}: must be finite and greater than 0")
    return bare


def _bare(text: str, unit: str) -> float | None:
    """A number without a unit, or with one that says no more than the metric does."""
    for name in _NAMES.get(unit, ()):
        text = text.removeprefix(name) if name == "$" else text.removesuffix(name)
    try:
        return float(text.strip().replace(",", "").replace("_", ""))
    except ValueError:
        return None
