"""How well the curves of a device fit rows that they have not seen: a facet a curve, predicted over measured by measured time, rows outside the 90 % interval marked.

Rows are judged again from the profile; after `calibrate report` in the same process its judgements are used.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from simcost.report.figures.scales import scale
from simcost.report.figures.style import BLUE, INK, RED, Style, canvas, headed, settings, ticks, tip, wrapped
from simcost.result import Result, Row

NAME = "calibration"
COMMANDS = ("calibrate report",)
NEEDS = "calibrate report"
_FACETS = {"slide": (12, 4), "column": (8, 2)}  # at most, columns
_MOST = 300  # rows of a facet
_NEAR = (0.5, 2.0)  # ends of the axis


class Facet(NamedTuple):
    """A curve with its held-out rows. `error`: the 90 % quantile of |predicted / measured - 1| of all of them."""

    name: str
    error: float
    rows: Sequence[Row]


def applies(result: Result) -> bool:
    """Whether a result judges curves."""
    return bool(result.tables.get("curves")) and "hw" in result.inputs


def facets(result: Result, most: int) -> list[Facet]:
    """What is drawn: the curves with the largest errors. Every n-th row of many."""
    from simcost.scenarios.calibrate.report import points

    found: dict[str, list[Row]] = {}
    for row in points(result.inputs["hw"], result.inputs.get("family")):
        found.setdefault(str(row["curve"]), []).append(row)
    errors = {f"{row['curve']} ({row['run']})": float(row["p90_error"] or 0.0) for row in result.tables["curves"]}
    chosen = sorted((name for name in found if name in errors), key=lambda name: -errors[name])[:most]
    return [Facet(name, errors[name], found[name][:: max(-(-len(found[name]) // _MOST), 1)]) for name in chosen]


def draw(result: Result, look: Style) -> Any:
    """A figure of matplotlib. Drawn values are those of `facets`."""
    most, columns = _FACETS[look.name]
    found = facets(result, most)
    columns = min(columns, len(found))
    rows = -(-len(found) // columns)
    with settings(look):
        figure, grid, _ = canvas(look, [1.75 if look.slide else 1.35] * rows, columns, sharey=True)
        unit = scale("time_s", [row["measured_s"] for facet in found for row in facet.rows])
        for axis in list(grid.flat)[len(found) :]:
            axis.axis("off")
        for at, (facet, axis) in enumerate(zip(found, grid.flat, strict=False)):
            _facet(figure, axis, facet, unit.factor, look, columns)
            if at % columns == 0:
                axis.set_ylabel("predicted / measured" if look.slide else "pred./meas.")
            if at >= len(found) - columns:
                axis.set_xlabel(f"measured [{unit.unit}]")
        every = len(result.tables["curves"])
        shown = f"the {len(found)} of {every} curves with the largest P90 error" if every > len(found) else "all curves"
        headed(figure, look, "How well do curves fit rows that they have not seen?", result, f"{shown}; crosses: outside the 90 % interval; triangles: beyond the axis")  # fmt: skip
    return figure


def _facet(figure: Any, axis: Any, facet: Facet, factor: float, look: Style, columns: int) -> None:
    low, high = _NEAR
    groups: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for row in facet.rows:
        ratio = row["predicted_s"] / row["measured_s"]
        covered = row["low_s"] <= row["measured_s"] <= row["high_s"]
        mark = "^" if ratio > high else "v" if ratio < low else "." if covered else "x"
        groups.setdefault((mark, BLUE if covered else RED), []).append((float(row["measured_s"]) / factor, min(max(float(ratio), low), high)))  # fmt: skip
    for (mark, colour), points in groups.items():
        x, y = zip(*points, strict=True)
        axis.plot(x, y, mark, color=colour, markersize=3.0 if mark == "." else 3.5, markeredgewidth=0.7, alpha=0.7, rasterized=len(facet.rows) > 100)  # fmt: skip
    line = axis.axhline(1.0, color=INK, linewidth=0.8, zorder=1)
    tip(figure, line, f"{facet.name}: P90 error {facet.error:.1%}")
    times = [row["measured_s"] / factor for row in facet.rows]
    ticks(axis, "x", min(times), max(times), look, few=True)
    axis.set_yscale("log")
    axis.set_yticks([0.5, 0.7, 1.0, 1.4, 2.0], ["0.5", "0.7", "1", "1.4", "2"])
    axis.minorticks_off()
    axis.set_ylim(low / 1.06, high * 1.06)
    small = max(look.font - 3.5, 7.0)
    axis.set_title(
        wrapped(f"P90 {facet.error:.1%}: {facet.name}", look, small, 3, 0.9 / columns), loc="left", fontsize=small
    )
    axis.grid(True, which="major")
