"""Numbers of cells of CSV files of published rows.

Most likely to be wrong: nothing; what is no number is refused with its line and column. Source: `simcost.texts`.
"""

from __future__ import annotations

import math

from simcost.errors import SpecError
from simcost.texts import number_or_nan


def whole(text: str, at: str, column: str) -> int:
    """A whole number above 0. Raises SpecError."""
    if not text.isdecimal() or int(text) < 1:
        raise SpecError(f"{at}: {column} = {text!r} must be a whole number above 0")
    return int(text)


def number(text: str, at: str, column: str, zero: bool = True) -> float:
    """A finite number, 0 or more; `zero`: whether 0 is one. Raises SpecError."""
    value = number_or_nan(text)
    if not math.isfinite(value) or value < 0.0 or not (value or zero):
        raise SpecError(f"{at}: {column} = {text!r} must be a number{', 0 or more' if zero else ' above 0'}")
    return value
