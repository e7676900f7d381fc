"""A rectangle of points with what each costs, and why a point has no cost.

Most likely to be wrong: nothing; it only holds. Source: `simcost.scenarios.sweep`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

    def reason(self, i: int) -> str:
        """Why point `i` cannot run, or does not fit."""
        if not self.feasible[i]:
            return str(self.reasons[i])
        missing = np.broadcast_to(np.asarray(self.values[SHORT]), self.shape).flat[i]
        return f"short by {show(float(missing), 'memory')} per GPU"
