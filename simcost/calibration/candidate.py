"""Rows of one kind as somebody's table gives them, read and not yet judged: what every importer yields."""

from __future__ import annotations

from collections.abc import Mapping

from simcost.calibration.rows import Rows
from simcost.frozen import frozen
from simcost.num import Array


@frozen
class Candidate:
    """Rows of one kind from one table. `table`: where they stood; `kernels`: what ran; `dropped`: rows left out, by reason;
    `excluded`: those of them whose work is known, so that a report can say what they would have done. `engine`, `version`: whose
    kernels they are; `variant` [rows]: a number for what the family's columns do not hold (how tokens were routed)."""

    family: str
    labels: Mapping[str, str]
    numbers: Mapping[str, Array]
    seconds: Array
    table: str
    kernels: tuple[str, ...]
    dropped: Mapping[str, int]
    excluded: Rows | None = None
    engine: str = ""
    version: str = ""
    variant: Array | None = None

    @property
    def rows(self) -> Rows:
        """Its rows, without those left out."""
        return Rows(self.numbers, self.seconds)
