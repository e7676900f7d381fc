"""Fleets of `plans --phase serve` for people: what decides between them first, plans in words, and the fronts of all devices beside each other."""

from __future__ import annotations

from collections.abc import Sequence

from simcost.report.cells import cell
from simcost.result import Row

FRONT = "pareto"
# In the order of their worth to a reader; what is not named here stands in files.
_COLUMNS = (
    "hw", "gpus", "plan", "{ranked}", "probability_behind", "ttft_s", "tpot_s", "limit", "utilisation", "batch_per_replica", "ttft_low_s", "ttft_high_s", "tpot_low_s", "tpot_high_s",
    "fleet_usd_per_hour", "output_tokens_per_s_per_gpu", "usd_per_million_output_tokens", "within_limits_requests_per_s", "versus_best",
)  # fmt: skip
_RANKED = ("fleet_usd_per_hour", "gpus", "output_tokens_per_s_per_gpu", "usd_per_thousand_requests")
_X, _Y = "output_tokens_per_s_per_user", "output_tokens_per_s_per_gpu"
_SPEEDS = (5, 10, 15, 20, 30, 40, 50, 75, 100, 150, 200, 300, 400, 600, 800, 1200)  # tokens a second of a user


def are(rows: Sequence[Row]) -> bool:
    """Whether rows of plans are fleets."""
    return any("mode" in row for row in rows)


def running(rows: Sequence[Row]) -> Sequence[Row]:
    """Fleets that can run, where any can: why the others cannot stands below a table."""
    able = [row for row in rows if row.get("feasible")]
    return able if are(rows) and able else rows


def ordered(row: Row) -> list[str]:
    """Columns of a fleet that people see."""
    names = list(row)
    ranked = names[names.index("feasible") + 1] if row.get("feasible") else "gpus"
    found = [ranked if name == "{ranked}" else name for name in _COLUMNS]
    return [name for name in dict.fromkeys(found) if name in row]


def named(row: Row) -> Row:
    """What tells a plan that cannot run from the others."""
    return {name: row[name] for name in ("hw", "plan") if name in row}


def front(rows: Sequence[Row]) -> list[Row]:
    """What a GPU does at a user's speed, a column a device, and one of its pools; "-" where none is so fast."""
    curves = list(dict.fromkeys((row["hw"], row["mode"]) for row in rows))
    found = []
    for speed in _SPEEDS:
        line: Row = {"tokens_per_s_per_user": f"{speed:,}"}
        for hw, mode in curves:
            reached = [row[_Y] for row in rows if (row["hw"], row["mode"]) == (hw, mode) and row[_X] >= speed]
            line[hw if mode == "aggregated" else f"{hw} pools"] = cell(_Y, max(reached)) if reached else "-"
        if any(value != "-" for name, value in line.items() if name != "tokens_per_s_per_user"):
            found.append(line)
    return found
