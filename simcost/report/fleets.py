"""Serving for people. Of `serve`: what a request waits for, what the fleet does, what tokens cost. Of `plans --phase serve`: what decides between fleets first, plans in
words, and the fronts of all devices beside each other."""

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
_X, _Y = "output_tokens_per_s_per_user", "output_tokens_per_s_per_gpu"
_SPEEDS = (5, 10, 15, 20, 30, 40, 50, 75, 100, 150, 200, 300, 400, 600, 800, 1200)  # tokens a second of a user
LOADS = "loads"
# Columns of the table of loads in the order of their worth; what does not fit stands in files.
OF_LOADS = (
    "concurrency", "rate_per_s", "ttft_s", "ttft_low_s", "tpot_s", "tpot_low_s", "output_tokens_per_s", "output_tokens_per_s_per_gpu", "utilisation", "limit",
    "output_tokens_per_s_per_user", "kv_used_fraction", "usd_per_million_output_tokens", "usd_per_million_input_tokens", "queueing_s",
)  # fmt: skip
# Of a run request by request percentiles are what was asked for.
OF_EVENTS = (
    "concurrency", "rate_per_s", "ttft_s", "ttft_p90_s", "ttft_p99_s", "tpot_s", "tpot_p90_s", "tpot_p99_s", "output_tokens_per_s", "run_output_tokens_per_s", "utilisation", "limit", "itl_p99_s", "output_tokens_per_s_per_gpu",
)  # fmt: skip
BUDGETS = ("answers", "larger model")  # of think
OF_BUDGETS = (
    "budget", "level", "tokens_per_query", "latency_s", "usd_per_query", "accuracy", "usd_per_solved_query", "cut_fraction", "latency_p95_s", "tokens_per_query_p95", "usd_per_query_p95",
    "utilisation", "latency_low_s", "tokens_per_query_p50", "latency_p50_s", "usd_per_query_p50", "joules_per_query_assumed",
)  # fmt: skip
_ABOVE = ("concurrency", "rate_per_s", "gpus")  # by the line above the numbers
_GROUPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("a request", ("ttft", "queueing", "kv_transfer", "tpot", "itl", "e2e", "output_tokens_per_s_per_user")),
    ("the fleet", ("",)),  # all that no other group names
    ("price at this load", ("usd_",)),
)
_PERCENTILES = ("_p50_s", "_p90_s", "_p99_s")


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


def groups(metrics: Row, details: bool) -> list[tuple[str, Row]]:
    """(heading, its numbers), in the order of `_GROUPS`. Without `details` not what the page says elsewhere: the load, percentiles that have a table, an ITL
    that is the TPOT, an interval of no width."""
    left = {name: value for name, value in metrics.items() if details or not _elsewhere(name, metrics)}
    found: list[tuple[str, Row]] = []
    for heading, starts in _GROUPS:
        others = tuple(start for other, each in _GROUPS if other != heading for start in each if start)
        mine = [
            name
            for start in starts
            for name in left
            if (name.startswith(start) if start else not name.startswith(others))
        ]
        found.append((heading, {name: left[name] for name in dict.fromkeys(mine)}))
    return [(heading, rows) for heading, rows in found if rows]


def loads(rows: Sequence[Row]) -> list[Row]:
    """Rows of the table of loads, of a limit its name alone, percentiles last."""
    return [
        {**dict(sorted(row.items(), key=lambda pair: pair[0].endswith(_PERCENTILES))), "limit": _limit(row["limit"])}
        for row in rows
    ]


def of_loads(rows: Sequence[Row]) -> tuple[str, ...]:
    """Columns of the table of loads that come first."""
    return OF_EVENTS if any("ttft_p90_s" in row for row in rows) else OF_LOADS


def _limit(limit: str) -> str:
    """ "KV cache" of "KV cache (no room for more sequences)"."""
    return limit.partition(" (")[0]


def _elsewhere(name: str, metrics: Row) -> bool:
    if name in _ABOVE or name.endswith(_PERCENTILES):
        return True
    if name == "itl_s":
        return bool(metrics[name] == metrics.get("tpot_s"))
    if name.startswith("output_tokens_per_s_") and name.endswith(("_low", "_high")):
        return bool(metrics["output_tokens_per_s_low"] == metrics["output_tokens_per_s_high"])
    return False
