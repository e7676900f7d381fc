"""What a number rests on, best first."""

from __future__ import annotations

from enum import StrEnum


class Basis(StrEnum):
    MEASURED = "measured"
    FITTED = "fitted"
    TRANSFERRED = "transferred"
    DATASHEET = "datasheet"
    ASSUMED = "assumed"
