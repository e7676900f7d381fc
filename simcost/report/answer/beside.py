"""Designs beside each other, a number a line: which numbers, and the cells of each."""

from __future__ import annotations

from collections.abc import Sequence

from simcost import metrics
from simcost.report.cells import cell
from simcost.result import SHORT, Row


def designs(name: str, rows: Sequence[Row], details: bool) -> tuple[list[str], dict[str, list[str]]] | None:
    """A table on its side for files and pages: (heads of its columns, number -> its cells). None for one that reads better as it is."""
    if name != "designs":
        return None
    names = list(dict.fromkeys(key for row in rows for key in row))
    asked = [n for n in names[1:] if any(row.get(n) is not None for row in rows)]
    shown = asked if details else [n for n in asked if decides(name, n, rows)]
    return [head(name, names[0], row) for row in rows], {n: [cell(n, row.get(n)) for row in rows] for n in shown}


def decides(name: str, n: str, rows: Sequence[Row]) -> bool:
    """Whether a number of designs or of a sweep stands on the page without --details: what was varied, whether it fits, the headlines and
    their intervals; of designs all but what their times rest on, and memory that none is short of."""
    if name == "designs":
        return not (n.startswith("share_") or (n == SHORT and not any(row.get(n) for row in rows)))
    if name != "sweep":
        return True
    names = list(rows[0])
    axes = names[: names.index("feasible")] if "feasible" in names else []
    return n in (*axes, "feasible", "fits", *HEADLINES)


def _beside(name: str) -> tuple[str, ...]:
    """A headline and, of a time, its interval."""
    return (name, f"{name.removesuffix('_s')}_low_s") if name in ("tpot_s", "ttft_s") else (name,)


_LAST = "speed_of_light_s"  # a bound, not an answer
HEADLINES = (*(n for name in metrics.headlines() if name != _LAST for n in _beside(name)), _LAST)


def head(name: str, first: str, row: Row) -> str:
    """What stands over the column of a row: its first cell, of a sweep with what was varied."""
    shown = cell(first, row.get(first))
    return f"{first}={shown}" if name == "sweep" else shown
