"""The front of a map of designs for people: its points from best to worst in the first metric with those that are tied with it, and why points cannot run."""

from __future__ import annotations

from collections import Counter

import numpy as np

from simcost.report import plans
from simcost.report.cells import title
from simcost.result import Columns, Result, Row

_BESIDE = (
    "params_active_all",
    "kv_bytes_per_token",
    "weight_bytes",
    "memory_used_bytes_per_gpu",
    "max_batch",
)  # what a design is
_REASONS = 3
_MOST = 40  # rows of the front and of what is tied with it


def rows(result: Result) -> list[Row]:
    """Axes, both metrics, how surely a point is behind the best, whether it is on the front or tied with it, where some are, intervals, and what the
    designs are. Of many rows those on the front alone."""
    every = result.tables["sweep"]
    assert isinstance(every, Columns)
    (first, side), (second, _) = (each.split(":") for each in result.inputs["pareto"])
    index = np.flatnonzero(every.values.get("pareto_or_tied", every.values["pareto"]))
    if len(index) > _MOST:
        index = np.flatnonzero(every.values["pareto"])
    found = [every[int(i)] for i in index]
    found.sort(key=lambda row: row[first] if side == "less" else -row[first])
    ends = [f"{name.removesuffix('_s')}_{end}_s" for name in (first, second) for end in ("low", "high")]
    marks = () if all(row["pareto"] for row in found) else ("on_front",)
    names = (*every.labels, first, second, "probability_behind", *marks, *ends, *_BESIDE)
    said = [plans.marked(row) | {"on_front": "yes" if row["pareto"] else "tied"} for row in found]
    return [{name: row[name] for name in dict.fromkeys(names) if name in row} for row in said]


def heading(result: Result) -> str:
    """ "Pareto front: tpot (less) against params total (more)"."""
    both = [f"{title(name)} ({side})" for name, side in (each.split(":") for each in result.inputs["pareto"])]
    return f"Pareto front: {' against '.join(both)}"


def left_out(result: Result) -> list[str]:
    """A line on the tied points that `rows` leaves out."""
    tied, on_front = (result.metrics.get(f"points_{of}", 0) for of in ("tied_with_front", "on_front"))
    return (
        [f"{tied:,} more points are tied with the front (pareto_or_tied)"] if tied and tied + on_front > _MOST else []
    )


def refused(result: Result) -> list[str]:
    """Why points cannot run: the most frequent reasons with how many they are."""
    every = result.tables["sweep"]
    assert isinstance(every, Columns)
    bad = np.flatnonzero(~np.asarray(every.feasible, bool))
    counted = Counter(str(every.reasons[int(i)]) for i in bad[:100_000])
    lines = [f"{count:,} points cannot run: {reason}" for reason, count in counted.most_common(_REASONS)]
    rest = len(counted) - len(lines)
    return [*lines, *([f"{rest:,} more reasons: --format csv has them"] if rest > 0 else [])]
