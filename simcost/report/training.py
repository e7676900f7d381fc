"""A training step for people: its headline, the run that it is one of, and pipeline ranks of which equal ones stand in one row."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from simcost.report.cells import cell
from simcost.result import Row

TABLE, LEVERS = "pipeline ranks", "levers"
# What the line above the numbers or a table says.
_SAID = ("gpus", "global_batch", "fits", "memory_allocated_bytes", "tokens_per_step", "training_flops_per_token")
_OF_RUN = ("run_", "goodput", "mtbf_s", "checkpoint_", "restart_s")
_OF_STEPS = (
    "steps",
    "gpu_hours",
    "days",
    "usd",
    "usd_price_low",
    "usd_price_high",
)  # of a run of rl, whose steps have figures of their own
_DIFFERS = ("rank", "bubble_fraction")  # of ranks that hold, take and keep the same


def said(metrics: Row) -> set[str]:
    """Metrics of the step that the page says elsewhere."""
    same = metrics.get("hfu") == metrics.get("mfu")  # nothing runs again
    return {*_SAID, *(("hfu",) if same else ())}


def run(command: str, metrics: Row) -> Row:
    """Metrics of the run of a command; {} for one that has none, and where none was asked for."""
    if command not in ("train", "rl"):
        return {}
    named = _OF_STEPS if command == "rl" else ()
    return {name: value for name, value in metrics.items() if name.startswith(_OF_RUN) or name in named}


def ranks(rows: Sequence[Row]) -> list[Row]:
    """Rows of TABLE: neighbours that differ in nothing but how long they wait as one, "2–13"."""
    found: list[Row] = []
    for _, group in groupby(rows, lambda row: [value for name, value in row.items() if name not in _DIFFERS]):
        mine = list(group)
        found.append({**mine[0], "rank": _range("rank", mine), "bubble_fraction": _range("bubble_fraction", mine)})
    return found


def _range(name: str, rows: Sequence[Row]) -> str:
    """The least and the most of a column."""
    low, high = (cell(name, end([row[name] for row in rows])) for end in (min, max))
    return low if low == high else f"{low.removesuffix(' %')}–{high}"
