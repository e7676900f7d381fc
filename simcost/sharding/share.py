"""A part of a module's layers in formats of its own, where a checkpoint mixes them within a role.

Source: `workload.py`, which shares a stack out by the elements of each format (`model/quantisation/roles.py`).
"""

from __future__ import annotations

from collections.abc import Mapping

from simcost.dtypes import Dtype
from simcost.frozen import frozen


@frozen
class Share:
    """A part of a module's layers, from 0 to 1, whose weights are stored and computed in formats of their own, by role."""

    part: float
    storage: Mapping[str, Dtype]
    compute: Mapping[str, Dtype]
