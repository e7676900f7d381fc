"""explain for people: what the whole step takes, what bounds it and what that rests on; then its rows, the longest first or as they run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from simcost.provenance import Basis
from simcost.report.cells import cell, span
from simcost.result import Row

_BOUNDS = ("compute", "memory", "wire", "overhead")
_BESIDE = "a row with time and without share runs beside longer work, which hides it"
_SHORT = 5e-4  # part of a step below which its share prints as nothing


def total(metrics: Mapping[str, Any]) -> Row:
    """Lines of the step's total."""
    name = next((name for name in ("tpot", "ttft") if metrics.get(f"{name}_s") is not None), None)
    if name is None:
        return {}
    found: Row = {
        f"{name}_s": metrics[f"{name}_s"],
        f"{name}_low_s": span(metrics[f"{name}_low_s"], metrics[f"{name}_high_s"]),
    }
    return found | {
        "speed_of_light_s": metrics["speed_of_light_s"], "bound by": _shares(metrics, _BOUNDS), "basis": _shares(metrics, Basis),
    }  # fmt: skip


def _shares(metrics: Mapping[str, Any], names: Sequence[str] | type[Basis]) -> str:
    """ "memory 75.6 %, overhead 20.6 %", the largest first; what prints as nothing is left out."""
    shares = {str(name): metrics.get(f"share_{name}") or 0.0 for name in names}
    ranked = sorted(shares.items(), key=lambda each: -each[1])
    return ", ".join(f"{name} {cell('share', share)}" for name, share in ranked if share >= _SHORT)


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
