"""Rows of a sweep, of loads or of plans as figures read them: the axis that is a number, the others as series, values with their intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from simcost import metrics
from simcost.report.cells import cell, title
from simcost.result import Columns, Result, Row

_TIMES = ("tpot", "ttft", "step")
_READ = (
    "fits", "pareto", "tpot_s", "ttft_s", "step_s", "output_tokens_per_s_per_gpu", "output_tokens_per_s_per_user", "input_tokens_per_s_per_gpu", "tokens_per_s_per_gpu",
    "usd_per_million_output_tokens", "usd_per_million_input_tokens",
)  # fmt: skip
_LOADS = {"concurrency": "concurrency", "rate": "rate_per_s"}  # in what was asked -> in rows
_NAMED = ("tp", "cp", "dp_attention", "pp", "dp", "ep")


class Value(NamedTuple):
    """A metric of a row, SI, and the ends of its interval where it has one; `fits`: in memory, or as a load that can be served."""

    x: Any
    y: float
    low: float | None
    high: float | None
    fits: bool
    row: Row


def ends(row: Mapping[str, Any], metric: str) -> tuple[float | None, float | None]:
    """Both ends of the interval of a metric of a row."""
    stem, unit = (metric[:-2], "_s") if metric.endswith("_s") and f"{metric[:-2]}_low_s" in row else (metric, "")
    low, high = row.get(f"{stem}_low{unit}"), row.get(f"{stem}_high{unit}")
    return (None, None) if low is None or high is None else (float(low), float(high))


def value(row: Row, metric: str, x: Any = None) -> Value:
    """A metric of a row."""
    taken = not ("queued" in row and row["queued"] is None)  # of a service: a load that it can take
    return Value(x, float(row[metric]), *ends(row, metric), bool(row.get("fits", True)) and taken, row)


def rows(result: Result) -> list[Row]:
    """The points of a sweep or the loads of a service that can run; of a sweep's columns those that figures read."""
    table = result.tables.get("sweep") or result.tables.get("loads") or ()
    if isinstance(table, Columns):
        return _light(table, [each.partition(":")[0] for each in result.inputs.get("pareto") or ()])
    return [row for row in table if row.get("feasible", True)]


def _light(table: Columns, more: Sequence[str]) -> list[Row]:
    """A hundred thousand rows of the columns that are read take no more than a moment."""
    read = [
        name
        for name in table.values
        if name in (*_READ, *more) or name.partition("_low")[0].partition("_high")[0] in _TIMES
    ]
    columns = {**dict(table.labels), **{name: _column(table.values[name], len(table)) for name in read}}
    names = list(columns)
    every = zip(table.feasible, *columns.values(), strict=True)
    return [dict(zip(names, row, strict=True)) for feasible, *row in every if feasible]


def _column(values: Any, size: int) -> list[Any]:
    """Values of a column, None for what is no number."""
    found = np.broadcast_to(np.asarray(values), (size,)).tolist()
    return [None if isinstance(value, float) and not math.isfinite(value) else value for value in found]


def axes(result: Result) -> list[str]:
    """Paths that a result varies, those with several values."""
    if result.command == "serve":
        return [column for name, column in _LOADS.items() if isinstance(result.inputs.get(name), list)]
    return [path for path, values in result.inputs.get("vary", {}).items() if len(values) > 1]


def numeric(result: Result) -> str | None:
    """Of the axes whose values are all numbers the one with the most of them."""
    known = [path for path in axes(result) if all(_number(value) for value in _values(result, path))]
    return max(known, key=lambda path: len(_values(result, path)), default=None)


def _values(result: Result, path: str) -> Sequence[Any]:
    if result.command == "serve":
        return [row[path] for row in rows(result) if path in row]
    found: Sequence[Any] = result.inputs.get("vary", {}).get(path, ())
    return found


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def timed(result: Result) -> str:
    """The metric whose interval a figure shows: the time of what was asked."""
    first = next(iter(rows(result)), {})
    return next((name for name in ("tpot_s", "ttft_s", "step_s") if first.get(name) is not None), "")


def series(result: Result, metric: str, x: str) -> dict[str, list[Value]]:
    """Name of a series, of all axes but x -> its values along x."""
    others = [path for path in axes(result) if path != x]
    found: dict[str, list[Value]] = {}
    for row in rows(result):
        if row.get(metric) is not None and _number(row[x]):
            found.setdefault(named(row, others), []).append(value(row, metric, row[x]))
    return {name: sorted(values, key=lambda one: float(one.x)) for name, values in found.items()}


def named(row: Mapping[str, Any], paths: Sequence[str]) -> str:
    """ "context 4,096, hw h200" of a row."""
    return ", ".join(f"{title(path)} {cell(path, row[path])}" if _number(row[path]) else cell(path, row[path]) for path in paths)  # fmt: skip


def labels(result: Result, table: Sequence[Row]) -> tuple[str, list[str]]:
    """What the points of a sweep are told apart by, and the words of each: "context / batch", "4,096 / 64"."""
    paths = axes(result)
    return " / ".join(title(path) for path in paths), [" / ".join(cell(path, row[path]) for path in paths) for row in table]  # fmt: skip


def plan(row: Mapping[str, Any], devices: bool) -> str:
    """ "tp=4 pp=2, batch 665" of a row of `plans`; of a fleet, and of the best per device, the plan's own words."""
    if "mode" in row:
        return " ".join([*([f"{row['gpus']:,} x {row['hw']}:"] if devices else []), str(row["plan"])])
    sizes = [f"{name}={row[name]}" for name in _NAMED if row.get(name) not in (None, 0, 1)] or [
        str(row.get("plan", "1 GPU"))
    ]
    more = [f"{word} {row[name]:,}" for name, word in (("batch", "batch"), ("micro_batch", "micro-batch")) if isinstance(row.get(name), int)]  # fmt: skip
    return ", ".join([*([f"{row['gpus']:,} x {row['hw']}"] if devices else []), " ".join(sizes), *more])


def better(metric: str) -> str:
    """ "less", "more" or ""."""
    known = metrics.find(metric)
    return "" if known is None else known.better
