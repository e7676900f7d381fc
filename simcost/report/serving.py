"""A design under load for people: what a request waits for, what the fleet does, what tokens cost."""

from __future__ import annotations

from collections.abc import Sequence

from simcost.result import Row

LOADS = "loads"
# Columns of the table of loads in the order of their worth; what does not fit stands in files.
COLUMNS = (
    "concurrency", "rate_per_s", "ttft_s", "ttft_low_s", "tpot_s", "tpot_low_s", "output_tokens_per_s", "output_tokens_per_s_per_gpu", "utilisation", "limit",
    "output_tokens_per_s_per_user", "kv_used_fraction", "usd_per_million_output_tokens", "usd_per_million_input_tokens", "queueing_s",
)  # fmt: skip
_SAID = ("concurrency", "rate_per_s", "gpus")  # by the line above the numbers
_GROUPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("a request", ("ttft", "queueing", "kv_transfer", "tpot", "itl", "e2e", "output_tokens_per_s_per_user")),
    ("the fleet", ("",)),  # all that no other group names
    ("price at this load", ("usd_",)),
)
_PERCENTILES = ("_p50_s", "_p90_s", "_p99_s")


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
        {**dict(sorted(row.items(), key=lambda pair: pair[0].endswith(_PERCENTILES))), "limit": _named(row["limit"])}
        for row in rows
    ]


def _named(limit: str) -> str:
    """ "KV cache" of "KV cache (no room for more sequences)"."""
    return limit.partition(" (")[0]


def _elsewhere(name: str, metrics: Row) -> bool:
    if name in _SAID or name.endswith(_PERCENTILES):
        return True
    if name == "itl_s":
        return bool(metrics[name] == metrics.get("tpot_s"))
    if name.startswith("output_tokens_per_s_") and name.endswith(("_low", "_high")):
        return bool(metrics["output_tokens_per_s_low"] == metrics["output_tokens_per_s_high"])
    return False
