"""What a number rests on, best first."""

from __future__ import annotations

from enum import StrEnum


class Basis(StrEnum):
    """A row of this very kernel, a curve through rows of its kind, a curve of another kind or device, the datasheet, an
    assumption."""

    MEASURED = "measured"
    FITTED = "fitted"
    TRANSFERRED = "transferred"
    DATASHEET = "datasheet"
    ASSUMED = "assumed"
