"""The curves of a device at the terminal: errors in one table a run that 120 columns hold, parameters in another."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from simcost.report.cells import cell
from simcost.result import Row

_ERRORS = {
    "rows": "rows", "median_error": "median", "p90_error": "P90", "coverage": "covered", "half_width": "±",
    "unseen_shapes_median_error": "unseen\nmedian", "unseen_shapes_p90_error": "unseen\nP90",
    "unseen_shapes_coverage": "unseen\ncovered", "extrapolated_p90_error": "beyond\nP90",
}  # fmt: skip
_PARAMETERS = {
    "t0_s": "t0", "compute_efficiency": "compute\nshare", "memory_efficiency": "memory\nshare",
    "serial_efficiency": "serial\nshare", "half_bytes": "half\nbytes", "sharpness": "sharp-\nness",
    "half_sizes": "half-saturation sizes",
}  # fmt: skip
_LEGEND = (
    "median, P90: |predicted / measured - 1| on held-out rows; covered: share inside the 90 % interval, ± its half-width;"
    " unseen: shapes alike to none; beyond: the largest sixth by a curve through the rest. --format csv has every column"
)


def errors(rows: Sequence[Row]) -> list[RenderableType]:
    """One table a run, in the order in which they answer."""
    runs = list(dict.fromkeys(str(row["run"]) for row in rows))
    found: list[RenderableType] = []
    for number, run in enumerate(runs):
        order = "which answers first" if number == 0 else "which answers where no run above has the kind"
        mine = [row for row in rows if row["run"] == run]
        found.append(_table(f"curves of {run}" + (f", {order}" if len(runs) > 1 else ""), mine, _ERRORS))
    return [*found, Text(_LEGEND, style="dim")]


def parameters(rows: Sequence[Row]) -> list[RenderableType]:
    """What was fitted: shares are of the profile's rates."""
    runs = list(dict.fromkeys(str(row["run"]) for row in rows))
    return [
        _table(
            "parameters" + (f" of {run}" if len(runs) > 1 else ""), [r for r in rows if r["run"] == run], _PARAMETERS
        )
        for run in runs
    ]


def _table(heading: str, rows: Sequence[Row], columns: dict[str, str]) -> Table:
    table = Table(title=heading, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold", pad_edge=False)
    table.add_column("curve", overflow="fold", header_style="cyan", vertical="top")
    for name, head in columns.items():
        words = name == "half_sizes"
        table.add_column(
            head, justify="left" if words else "right", no_wrap=not words, overflow="fold", header_style="cyan",
            vertical="top",
        )  # fmt: skip
    for row in rows:
        table.add_row(str(row["curve"]), *(cell(name, row.get(name)) for name in columns))
    return table
