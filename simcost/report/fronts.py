"""The front of a map of designs for people: its points from best to worst in the first metric, and why points cannot run."""

from __future__ import annotations

from collections import Counter

import numpy as np

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


def rows(result: Result) -> list[Row]:
    """Axes, both metrics with their intervals, and what the designs are; points that are equal in both metrics once."""
    every = result.tables["sweep"]
    assert isinstance(every, Columns)
    (first, side), (second, _) = (each.split(":") for each in result.inputs["pareto"])
    found = [every[int(i)] for i in np.flatnonzero(every.values["pareto"])]
    found.sort(key=lambda row: row[first] if side == "less" else -row[first])
    stems = [name.removesuffix("_s") for name in (first, second)]
    names = [*every.labels]
    for name, stem in zip((first, second), stems, strict=True):
        names += [
            name,
            *(end for end in (f"{stem}_low_s", f"{stem}_high_s") if name.endswith("_s") and end in every.values),
        ]
    names += [name for name in _BESIDE if name not in names]
    return [{name: row[name] for name in names if name in row} for row in found]


def heading(result: Result) -> str:
    """ "Pareto front: tpot (less) against params total (more)"."""
    both = [f"{title(name)} ({side})" for name, side in (each.split(":") for each in result.inputs["pareto"])]
    return f"Pareto front: {' against '.join(both)}"


def refused(result: Result) -> list[str]:
    """Why points cannot run: the most frequent reasons with how many they are."""
    every = result.tables["sweep"]
    assert isinstance(every, Columns)
    bad = np.flatnonzero(~np.asarray(every.feasible, bool))
    counted = Counter(str(every.reasons[int(i)]) for i in bad[:100_000])
    lines = [f"{count:,} points cannot run: {reason}" for reason, count in counted.most_common(_REASONS)]
    rest = len(counted) - len(lines)
    return [*lines, *([f"{rest:,} more reasons: --format csv has them"] if rest > 0 else [])]
