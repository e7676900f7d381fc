"""What a plan may do besides its split: overlaps, and sequence parallelism. The search tries those that --set leaves open.

`simcost/settings` says which overlap needs what; where a plan has none of it the overlap is not tried. Most likely to be wrong: that an engine
has every overlap for every model and split.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from simcost import settings
from simcost.estimate import unused_settings
from simcost.frozen import frozen
from simcost.num import Bools
from simcost.query import Query
from simcost.workload import Workload

_OVERLAP, _SEQUENCE = "overlap", "sequence_parallel"
_ROWS = "tensor_parallel"  # the overlap that needs sequence parallelism (`plan.own_checks`)


@frozen
class Variant:
    """One choice of both. By the plan's keys."""

    overlap: str
    sequence_parallel: str

    def fields(self) -> dict[str, Any]:
        """As fields of a Plan."""
        return {_OVERLAP: self.overlap, _SEQUENCE: self.sequence_parallel}

    def applies(self, w: Workload, plans: int) -> Bools:
        """Plans of a workload with this variant in which it changes anything. [plans]"""
        found = unused_settings.has_needs(w, _OVERLAP, self.overlap)
        if self.sequence_parallel == "on":
            found = found & unused_settings.has_needs(w, _SEQUENCE, "on")
        mask = np.broadcast_to(np.asarray(found, bool), (plans, np.shape(w.phase.batch)[-1]))
        return np.asarray(mask.any(axis=1))


def open_to(query: Query) -> list[Variant]:
    """The variants that are left open, the plainest first: a stated setting is kept."""
    stated = query.overrides.plan
    overlaps, sequences = (
        [str(stated[key])] if key in stated else list(settings.CHOICES[key]) for key in (_OVERLAP, _SEQUENCE)
    )
    found = [Variant(overlap, sequence) for sequence in sequences for overlap in overlaps]
    runs = [one for one in found if one.sequence_parallel == "on" or one.overlap != _ROWS]
    return runs or found  # one that breaks a rule says so row by row
