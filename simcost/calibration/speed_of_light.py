"""The light of a row: the seconds that the datasheet's rates allow a kernel, by the terms of its family.

Arithmetic or bytes, whichever takes longer, then bytes that nothing hides. Most likely to be wrong: bytes that a cache holds, which
`simcost.cost.speed_of_light` leaves out and this does not.
"""

from __future__ import annotations

from simcost.calibration.family import families
from simcost.calibration.form import Terms
from simcost.num import Num, maximum


def on_wire(family: str) -> bool:
    """Whether rows of a family are of links: their serial term counts hops, which are no light."""
    return bool(getattr(families()[family], "WIRE", False))


def row_light(family: str, terms: Terms) -> Num:
    """Time that the datasheet's rates allow: the longer of arithmetic and bytes, then serial bytes (links: without hops). [s]"""
    serial = 0.0 if on_wire(family) else terms.serial_s
    return maximum(terms.compute_s, terms.memory_s) + serial
