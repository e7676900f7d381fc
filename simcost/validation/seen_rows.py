"""Published rows that somebody looked at before a decision: no fit saw them, and yet they are no independent check.

`workloads/validation/looked_at.csv`: what a row must be (an empty cell: anything; `numbers`: one pair of them), and what it was
looked at for. Most likely to be wrong: a row that was looked at and is not in the file.
"""

from __future__ import annotations

from functools import cache

from simcost.files import folder
from simcost.frozen import frozen
from simcost.texts import csv_table

COLUMNS = ("source", "hw", "op", "kernel", "numbers", "reason")


@frozen
class Look:
    """One line of the file."""

    source: str
    hw: str
    op: str
    kernel: str
    numbers: str
    reason: str

    def covers(self, source: str, hw: str, op: str, kernel: str, numbers: str) -> bool:
        """Whether the line covers a row: every cell of it is empty or the row's, `numbers` one of the row's pairs."""
        pairs = zip((self.source, self.hw, self.op, self.kernel), (source, hw, op, kernel), strict=True)
        return all(mine in ("", theirs) for mine, theirs in pairs) and self.numbers in ("", *numbers.split(";"))


@cache
def looks() -> tuple[Look, ...]:
    """All lines of the file. Raises SpecError for a file with other columns."""
    path = folder("workloads") / "validation" / "looked_at.csv"
    return tuple(Look(**row) for row in csv_table(path, COLUMNS))


def reason(source: str, hw: str, op: str, kernel: str, numbers: str) -> str:
    """What a row was looked at for; "" for one that was not."""
    return next((look.reason for look in looks() if look.covers(source, hw, op, kernel, numbers)), "")
