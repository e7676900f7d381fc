"""A number as people read it, by the unit of its metric."""

from __future__ import annotations

from typing import Any

from simcost import metrics
from simcost.result import Row
from simcost.units import show

_PLAIN = (metrics.NUMBER, metrics.TEXT, metrics.FLAG, "count")


def cell(name: str, value: Any) -> str:
    """Text of one value for people, by the unit in its name."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    dimension = metrics.unit(name)
    if dimension == "rate":
        return f"{value:,.0f}" if value >= 100 else f"{value:,.3g}"
    if dimension not in _PLAIN:
        return show(float(value), dimension)
    if name == "value":
        return f"{value:.4g}"
    if value == int(value):
        return f"{value:,.0f}"
    return f"{value:,.4g}"


def with_bounds(row: Row) -> Row:
    """A row for people: a half-width beyond 100 %, which would put the lower end below zero, as both sides ("+401/-80 %")."""
    half = row.get("half_width")
    if not isinstance(half, (int, float)) or half <= 1.0 or row.get("low_s") is None or not row.get("time_s"):
        return row
    below = 1.0 - row["low_s"] / row["time_s"]
    return {**row, "half_width": f"+{100.0 * half:.0f}/-{100.0 * below:.0f} %"}


_TITLES = {  # of an exchange the busiest rank's share counts, which is what it receives
    "sent_bytes": "busiest rank's bytes",
    "sent_step_bytes": "busiest rank's bytes a step",
}


def title(name: str) -> str:
    """A column or metric name as words: units that the cell shows are dropped."""
    if name.endswith("_interval"):
        return "90 % interval"
    if name in _TITLES:
        return _TITLES[name]
    words = name
    for suffix in ("_bytes_per_s", "_flops_per_s", "_s", "_bytes", "_w"):
        if metrics.unit(name) != "rate" and words.endswith(suffix) and words != suffix:
            words = words[: -len(suffix)]
            break
    words = words.replace("_bytes_per_gpu", "_per_gpu").replace("_", " ")
    if words == "half width":
        return "±90 %"
    return f"{words} (90 %)" if words.endswith((" low", " high")) else words
