"""What a family says of the columns of its rows and of the words of its kinds, and whether values keep to it.

One table per family: readers of measured rows, importers and docs/measurements.md all follow it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from simcost.dtypes import names as formats
from simcost.errors import nearest
from simcost.frozen import frozen
from simcost.num import Array, Bools


@frozen
class Column:
    """A number of a row. `zero`: it may be 0; `whole`: it counts things that are not split."""

    what: str
    unit: str
    zero: bool = False
    whole: bool = True

    @property
    def allowed(self) -> str:
        """The range of values in words, for an error."""
        if self.whole:
            return "a whole number, 0 or above" if self.zero else "a whole number above 0"
        return "finite, 0 or above" if self.zero else "finite and above 0"

    def bad(self, values: Array) -> Bools:
        """Where values [rows] are out of range, not finite, or a fraction where they must be whole."""
        low = values < 0.0 if self.zero else values <= 0.0
        found: Bools = low | ~np.isfinite(values)
        return found | (values != np.floor(values)) if self.whole else found


@frozen
class Word:
    """A label of a kind. `values`: what it may be; None: a number format; (): any word of letters, digits and _."""

    what: str
    values: tuple[str, ...] | None = None

    def fault(self, value: str) -> str:
        """Why the label cannot have this value, "" when it can."""
        known = formats() if self.values is None else list(self.values)
        if not known:
            return "" if re.fullmatch(r"[a-z0-9_]+", value) else "must have only lower-case letters, digits and _"
        return "" if value in known else f"must be one of {', '.join(known)}{nearest(value, known)}"


SECONDS = Column("median time of one call", "s", whole=False)
X, W = Word("format of the input"), Word("format of the weights")
OUT, COMPUTE = Word("format of the output"), Word("format of the arithmetic")


def first_bad(columns: Mapping[str, Column], table: Mapping[str, Array]) -> tuple[int, str] | None:
    """(row, column) of the first row with a value out of range; None when all are good."""
    found = [(int(np.argmax(bad)), name) for name, column in columns.items() if (bad := column.bad(table[name])).any()]
    return min(found, key=lambda one: one[0]) if found else None


def label_fault(words: Mapping[str, Word], labels: Mapping[str, str]) -> str:
    """What is wrong with the first bad label, in words; "" when all are good."""
    for name, word in words.items():
        why = word.fault(labels[name])
        if why:
            return f"{name} = {labels[name]!r} {why}"
    return ""
