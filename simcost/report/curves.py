"""The curves of a device at the terminal: errors in one table a run (an engine's version, or one's own) that 120 columns hold, parameters in
another."""

from __future__ import annotations

import re
from collections.abc import Sequence

from simcost.report.cells import cell
from simcost.report.screen import Part, Table, text
from simcost.result import Row

_ERRORS = {
    "answers": "answers", "rows": "rows", "median_error": "median", "p90_error": "P90", "coverage": "covered", "half_width": "half-\nwidth",
    "unseen_shapes_median_error": "unseen\nmedian", "unseen_shapes_p90_error": "unseen\nP90",
    "unseen_shapes_coverage": "unseen\ncovered", "extrapolated_p90_error": "beyond\nP90",
}  # fmt: skip
_PARAMETERS = {
    "t0_s": "t0", "compute_efficiency": "compute\nshare", "memory_efficiency": "memory\nshare",
    "serial_efficiency": "serial\nshare", "half_bytes": "half\nbytes", "sharpness": "sharp-\nness",
    "half_sizes": "half-saturation sizes",
}  # fmt: skip
_WORDS = ("half_sizes", "answers")
_BETWEEN = 3  # columns
_LEGEND = (
    "answers: engines for which the curve is used, with the name of the device where it is another one; median, P90: |predicted / measured - 1| on held-out rows; covered: share inside the 90 % interval; half-width: log of its upper end over the estimate, 22.3 % stands for the estimate over 1.25 to times 1.25;"
    " unseen: shapes unlike all fitted ones; beyond: the largest sixth of the rows, predicted by a curve through the others. --format csv has every column"
)


def errors(rows: Sequence[Row], width: int = 120) -> list[Part]:
    """A table of held-out errors for each run, and a legend."""
    runs = list(dict.fromkeys(str(row["run"]) for row in rows))
    found: list[Part] = []
    for run in runs:
        found += _table(f"curves of {run}", [row for row in rows if row["run"] == run], _ERRORS, width)
    return [*found, text(_LEGEND, style="dim")]


def parameters(rows: Sequence[Row], width: int = 120) -> list[Part]:
    """A table of fitted parameters for each run; shares are of the profile's rates."""
    runs = list(dict.fromkeys(str(row["run"]) for row in rows))
    found: list[Part] = []
    for run in runs:
        heading = "parameters" + (f" of {run}" if len(runs) > 1 else "")
        found += _table(heading, [row for row in rows if row["run"] == run], _PARAMETERS, width)
    return found


def _table(heading: str, rows: Sequence[Row], columns: dict[str, str], width: int) -> list[Part]:
    """Names whole, over several lines where they must be; columns that do not fit go from the end."""
    least = max(len(piece) for row in rows for piece in _pieces(str(row["curve"])))
    kept, used = _fitting(rows, columns, width, least)
    whole = max(len(str(row["curve"])) for row in rows)
    room = min(whole, least + width - used)
    table = Table(title=heading)
    table.add_column("curve", width=room, no_wrap=True, header_style="cyan", vertical="top")
    for name in kept:
        words = name in _WORDS
        table.add_column(
            columns[name], justify="left" if words else "right", no_wrap=not words, min_width=_need(name, columns, rows),
            overflow="fold", header_style="cyan", vertical="top",
        )  # fmt: skip
    for row in rows:
        table.add_row(_wrapped(str(row["curve"]), room), *(cell(name, row.get(name)) for name in kept))
    dropped = ", ".join(" ".join(columns[name].split()) for name in columns if name not in kept)
    said = [text(f"not shown at this width (--format csv has them): {dropped}", style="dim"), text("")]
    return [table, *(said if dropped else [])]


def _fitting(rows: Sequence[Row], columns: dict[str, str], width: int, used: int) -> tuple[list[str], int]:
    """(columns that the width holds beside `used` of names, what is used then)."""
    kept: list[str] = []
    used += _BETWEEN
    for name in columns:
        need = _need(name, columns, rows) + _BETWEEN
        if used + need > width and kept:
            break
        kept.append(name)
        used += need
    return kept, used


def _need(name: str, columns: dict[str, str], rows: Sequence[Row]) -> int:
    """The least width of a column; words may stand below each other."""
    cells = [cell(name, row.get(name)) for row in rows]
    parts = [part for words in cells for part in words.split()] if name in _WORDS else cells
    return max(map(len, [*parts, *columns[name].splitlines()]))


def _pieces(name: str) -> list[str]:
    """A curve's name cut after spaces and dashes."""
    return [piece for piece in re.split(r"(?<=[- ])", name) if piece]


def _wrapped(name: str, width: int) -> str:
    lines = [""]
    for piece in _pieces(name):
        if len(lines[-1]) + len(piece.rstrip()) > width:
            lines.append("")
        lines[-1] += piece
    return "\n".join(line.rstrip() for line in lines)
