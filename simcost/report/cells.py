"""A number as people read it, by the unit of its metric."""

from __future__ import annotations

import json
from itertools import groupby
from typing import Any

from simcost import metrics
from simcost.errors import plain
from simcost.metrics import groups, spelling
from simcost.result import Row
from simcost.units import in_millions, show
from simcost.units import parse as quantity

_PLAIN = (metrics.NUMBER, metrics.TEXT, metrics.FLAG, "count")


def cell(name: str, value: Any) -> str:
    """Text of one value for people, by the unit in its name; nothing in it drives a terminal or ends a line."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return plain(groups.BOUNDS.get(value, value) if name == "bound" else value)
    if isinstance(value, (list, tuple)):
        return plain(", ".join(map(str, value)))
    if isinstance(value, dict):
        return plain(json.dumps(value, ensure_ascii=False))
    dimension = metrics.unit(name)
    if dimension == "rate":
        return f"{value:,.0f}" if value >= 100 else f"{value:,.3g}"
    if dimension not in _PLAIN:
        return show(float(value), dimension)
    if name.endswith("value") or "_value_" in name:
        return f"{value:.4g}"
    if name.startswith("elasticity"):
        return f"{value:+.3f}"
    if value == int(value) or abs(value) >= 10_000.0:
        return f"{value:,.0f}"
    return f"{value:,.4g}"


def with_intervals(row: Row) -> Row:
    """A row for people: both ends of an interval in one cell, in the place of the lower one. A half-width beside them, which is on the
    scale of logs, would be read as a percentage on both sides: it goes."""
    found: Row = {}
    for name, value in row.items():
        other = _OTHER_END.get(name.removesuffix("_s").rpartition("_")[2], "")
        partner = f"{name.removesuffix('_s').rpartition('_')[0]}_{other}{'_s' if name.endswith('_s') else ''}".lstrip(
            "_"
        )
        if not other or partner not in row:
            if not _replaced(name, row):
                found[name] = value
        elif other == "high":
            found[name] = span(value, row[partner]) if name.endswith("_s") else _both(name, value, row[partner])
    return found


_OTHER_END = {"low": "high", "high": "low"}


def _both(name: str, low: Any, high: Any) -> str:
    """Both ends of an interval of anything but a time."""
    if low is None or high is None:
        return "-"
    return in_millions(low, high, metrics.unit(name)) or f"{cell(name, low)}–{cell(name, high)}"


def _replaced(name: str, row: Row) -> bool:
    return name == "half_width" and {"low_s", "high_s"} <= row.keys()


def span(low: float | None, high: float | None) -> str:
    """Two times in the unit of the later one: "28.3–43.3 ms", "0.577–1.55 ms". [s]"""
    if low is None or high is None:
        return "-"
    digits = 3 if high < 1000.0 else 4
    value, _, unit = show(high, "seconds", digits).partition(" ")
    return f"{low / quantity(f'1 {unit}', 'seconds'):.{digits}g}–{value} {unit}"


_TITLES = {
    "points_feasible": "points that can run",
    "plans_feasible": "plans that can run and fit",
    "peak_inflight_to_w": "peak inflight to W",
    # of an exchange the busiest rank's share counts, which is what it receives
    "sent_bytes": "busiest rank's bytes",
    "sent_step_bytes": "busiest rank's bytes per step",
    "parameter_bytes": "weights",
    "gradient_bytes": "gradients",
    "activation_bytes": "activations",
    "change": "lever",
    "change_of_step": "change",
    "non_torch_bytes_per_gpu": "outside PyTorch per GPU",
    "t0_s": "start-up",
    "half_bytes": "half-speed bytes",
    "half_sizes": "half-speed sizes",
    "bound": groups.BOUND,
    "basis": groups.BASIS,
    **{f"share_{name}": f"{groups.BOUND} {word}" for name, word in groups.BOUNDS.items()},
    **{f"share_{name}": f"{groups.BASIS} {word}" for name, word in groups.BASES.items()},
}


def title(name: str) -> str:
    """A column or metric name as words: units that the cell shows are dropped."""
    if name in _TITLES:
        return _TITLES[name]
    words = name
    for suffix in ("_bytes_per_s", "_flops_per_s", "_s", "_bytes", "_w"):
        if metrics.unit(name) != "rate" and words.endswith(suffix) and words != suffix:
            words = words[: -len(suffix)]
            break
    words = plain(words).replace("_bytes_per_gpu", "_per_gpu").replace("_", " ")
    if words.endswith(" price low"):
        return spelling.spelled(f"{words.removesuffix(' price low')} by price")
    before, space, last = words.rpartition(" ")
    return _spelled(name, f"{before}{space}low–high (90 %)" if last == "low" else words)


def _spelled(name: str, words: str) -> str:
    """Words of a known name as the field writes them: "output tokens/s per GPU". Names of designs and axes stay as they are."""
    known = metrics.find(name)
    if known is not None and known.name.startswith("*"):  # "ttft_p99_s" is of a known name, "mla_s" of a design
        known = metrics.find(f"{name.removesuffix(known.name.removeprefix('*'))}_s")
    if known is None or known.name.startswith("*"):
        return words
    return spelling.spelled(words)


_LONG = 48  # characters of a value of a config


def changed(row: Row) -> Row:
    """A row of `Result.dimensions` for people: a list by the pattern that it repeats, "-" for a key that is absent."""
    return {**row, **{name: _value(row[name]) for name in ("before", "after")}}


def _repeated(values: list[Any]) -> str:
    """A list by its shortest pattern: "60 x a", "15 x (3 x a, b)"."""
    size = len(values)
    period = next(n for n in range(1, size + 1) if size % n == 0 and values == values[:n] * (size // n))
    runs = [(each, len(list(same))) for each, same in groupby(values[:period])]
    pattern = ", ".join(f"{count} x {each}" if count > 1 else str(each) for each, count in runs)
    if period == size:
        return pattern
    return f"{size // period} x {pattern if period == 1 else f'({pattern})'}"


def _value(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, list) and len(value) > 1:
        value = _repeated(value)
    text = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    return text if len(text) <= _LONG else f"{text[: _LONG - 3]}..."
