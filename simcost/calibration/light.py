"""The light of a row: the seconds that the datasheet's rates allow a kernel, by the terms of its family.

Arithmetic or bytes, whichever takes longer, then bytes that nothing hides. Most likely to be wrong: bytes that a cache holds, which
`simcost.cost.light` leaves out and this does not.
"""

from __future__ import annotations

from simcost.calibration.form import Terms
from simcost.num import Num, maximum

LINKS = ("collective", "exchange")  # families whose serial term counts hops, which are no light


def row_light(family: str, terms: Terms) -> Num:
    """Time that the datasheet's rates allow: the longer of arithmetic and bytes, then serial bytes (links: without hops). [s]"""
    serial = 0.0 if family in LINKS else terms.serial_s
    return maximum(terms.compute_s, terms.memory_s) + serial
