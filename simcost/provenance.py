"""What a number rests on, best first; and the version of simcost that says it."""

from __future__ import annotations

from enum import StrEnum

VERSION = "0.1.0"


class Basis(StrEnum):
    """A row of this very kernel, a curve through rows of its kind, a curve of another kind or device, the datasheet, an
    assumption."""

    MEASURED = "measured"
    FITTED = "fitted"
    TRANSFERRED = "transferred"
    DATASHEET = "datasheet"
    ASSUMED = "assumed"
