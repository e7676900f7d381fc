"""A rectangle of points with what each costs, and why a point has no cost.

Most likely to be wrong: nothing; it only holds. Source: `simcost.scenarios.sweep`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from simcost.frozen import frozen
from simcost.num import Bools
from simcost.result import SHORT
from simcost.units import show


@frozen
class Slab:
    """The points of a rectangle. `values`: metrics as they broadcast to `shape`; `feasible`, `fits`, `reasons` [points]."""

    start: int
    shape: tuple[int, ...]
    labels: Mapping[str, Sequence[Any]]
    values: dict[str, Any]
    feasible: Bools
    fits: Bools
    reasons: Any

    def why_not(self) -> Iterator[tuple[int, str]]:
        """The points that cannot run or do not fit, in their order, with why."""
        out = np.flatnonzero(~self.fits)
        missing = np.broadcast_to(np.asarray(self.values.get(SHORT, np.nan)), self.shape).ravel()[out]
        for i, runs, short in zip(out.tolist(), self.feasible[out].tolist(), missing.tolist(), strict=True):
            yield i, f"short by {show(short, 'memory')} per GPU" if runs else str(self.reasons[i])
