"""The terms of one step: the kernels of one place in the model together, and what belongs to no kernel, the longest first.

Their shares add up to the step: of calls side by side the longest counts. Kernels of one place err together, so the ends of their
intervals add up; most likely to be wrong where layers of one place have shapes of different families.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from simcost.cost.cost import NOISE, Cost, basis, bound, interval
from simcost.estimate.step import Step
from simcost.num import is_scalar
from simcost.program import leading, shared
from simcost.result import Row, number

OVERHEAD, LAUNCHES, IDLE = "step overhead", "waiting for launches", "waiting for the slowest stage"


_SHORT = {"elements": "n", "payload_bytes": "bytes"}


def shape(coords: dict[str, Any]) -> str:
    """ "m=64 n=7168 k=16384 bf16" of an op's coordinates."""
    words = []
    for key, value in coords.items():
        if key == "op":
            continue
        if key == "b" and value == 1.0:
            continue
        words.append(str(value) if isinstance(value, str) else f"{_SHORT.get(key, key)}={_short(float(value))}")
    return " ".join(words)


def _short(value: float) -> str:
    return f"{value:.0f}" if value == int(value) else f"{value:.2f}"


def name(path: tuple[str, ...]) -> str:
    """ "attention / core" of a path of tags."""
    return " / ".join(path[2:] if len(path) > 3 else path[-1:])


def waits(step: Step) -> list[tuple[str, Cost]]:
    """What of a step belongs to no kernel, and is more than rounding."""
    found = ((OVERHEAD, step.host), (LAUNCHES, step.launches), (IDLE, step.idle))
    return [(what, cost) for what, cost in found if cost.seconds > NOISE * step.cost.seconds]


def of(step: Step) -> tuple[Row, ...]:
    """Rows of one operating point: time of all runs in a step [s] with its 90 % interval, share of the step, bound and basis of the longest of them. None of a
    prefill in chunks, whose program is that of its last chunk."""
    if step.workload.phase.chunk is not None:
        return ()
    found: dict[str, Row] = {}
    longest: dict[str, tuple[float, Cost]] = {}
    for term, cost, times, counts in _parts(step):
        seconds, (low, high) = float(times * cost.seconds), interval(cost)
        row = found.setdefault(term, {"term": term, "step_s": 0.0, "step_low_s": 0.0, "step_high_s": 0.0, "share": 0.0, "bound": "", "basis": ""})  # fmt: skip
        row["step_s"] += seconds
        row["step_low_s"] += float(times * low)
        row["step_high_s"] += float(times * high)
        row["share"] += float(seconds * counts / step.cost.seconds)
        if term not in longest or seconds > longest[term][0]:
            longest[term] = seconds, cost
    for term, (_, cost) in longest.items():
        found[term] |= {"bound": bound(cost), "basis": basis(cost)}
    rows = [{key: value if isinstance(value, str) else number(value) for key, value in row.items()} for row in found.values()]  # fmt: skip
    return tuple(sorted(rows, key=lambda row: -float(row["step_s"])))


def _parts(step: Step) -> Iterator[tuple[str, Cost, float, float]]:
    """(term, cost of one run, runs, share of its time that counts) of all that takes time."""
    for (path, _, cost, weight), counts in (*shared(step.priced, leading), *shared(step.hops, leading)):
        if is_scalar(weight) and weight != 0.0 and cost.seconds != 0.0:
            yield name(path), cost, float(weight), float(counts)
    for what, cost in waits(step):
        yield what, cost, 1.0, 1.0
