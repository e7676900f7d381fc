"""explain for people: the rows of a step, the longest first or as they run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from simcost.result import Row

_BESIDE = "a row with a time but no share runs in parallel with longer work, which hides it"
_SHORT = 5e-4  # part of a step below which its share prints as nothing


def longest(rows: Sequence[Row], metrics: Mapping[str, Any], everything: bool) -> tuple[list[Row], str]:
    """(rows by the time of all their runs, lines on those that are left out and on shares). `everything`: none is left out."""
    least = _SHORT * float(metrics.get("tpot_s") or metrics.get("ttft_s") or 0.0)
    kept = [row for row in rows if everything or float(row["step_s"]) >= least]
    left = len(rows) - len(kept)
    if left < 2:
        kept, left = list(rows), 0
    hidden = any(float(row["share"]) < _SHORT and float(row["step_s"]) >= least for row in kept)
    share = sum(float(row["share"]) for row in rows if float(row["step_s"]) < least)
    said = [_BESIDE] if hidden else []
    said += [f"{left} more rows, {share:.1%} of the step together: --details"] if left else []
    return [_shown(row) for row in kept], "\n".join(said)


def by_part(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    """(heading, rows) of every kind of layer, in running order."""
    found = []
    for part in dict.fromkeys(row["part"] for row in rows):
        mine = [row for row in rows if row["part"] == part]
        share = sum(float(row["share"]) for row in mine)
        found.append((f"{part}: {share:.1%} of the step", [_without(_shown(row), "part") for row in mine]))
    return found


def _shown(row: Row) -> Row:
    """A row with the time of all its runs in front; that of one run is a column of its own."""
    found = {
        **row,
        "one_run_s": row["time_s"],
        "time_s": row["step_s"],
        "low_s": row["step_low_s"],
        "high_s": row["step_high_s"],
    }
    return _without(found, "step_s", "step_low_s", "step_high_s")


def _without(row: Row, *names: str) -> Row:
    return {name: value for name, value in row.items() if name not in names}
