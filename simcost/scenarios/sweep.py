"""prefill and decode over the product of axes: a row a point, with its reason where it cannot run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from simcost.errors import SimcostError, SpecError
from simcost.estimate import answer
from simcost.estimate import step as steps
from simcost.num import Bools
from simcost.query import Point, Query, reason, reasons
from simcost.query import sweep as points_of
from simcost.result import Columns, Result
from simcost.scenarios import memory_notes, notes
from simcost.scenarios.inputs import command, inputs
from simcost.workload import Workload

_NAMED = 200  # rows whose broken rule is told with its numbers; further ones name the rule
_ADVISED = 20  # kinds of them for which the nearest plans are looked for, at a few milliseconds each
_IDLE_IN_RULES = ("batch", "context", "past", "chunk")  # no rule of a plan reads them


def result(query: Query) -> Result:
    """Rows of all points. Raises SpecError where none can run."""
    vector, points = points_of(query)
    priced = [_priced(query, vector, point) for point in points]
    runnable = [point.workload for point, _ in priced if point.workload is not None]
    if not runnable:
        first = {path: values[0] for path, values in query.axes.items()}
        raise SpecError(f"no point of the sweep can be run: {reason(query, first, True) or priced[0][0].reason}")
    rows = _table(query, vector, priced)
    said = [line for w in runnable for line in notes.warnings(query, w)]
    said += memory_notes.beyond(runnable[0].model, rows.values.get("max_context"))
    fits = bool(np.any(rows.values["fits"] & np.asarray(rows.feasible)))
    return Result(
        command(query), inputs(query, None), {"points": len(rows), "points_feasible": int(np.sum(rows.feasible))}, {"sweep": rows},
        tuple(dict.fromkeys(said)), notes.references(runnable[0]), _sweep_verdict(rows, fits), fits,
    )  # fmt: skip


def _priced(query: Query, vector: list[str], point: Point) -> tuple[Point, dict[str, Any] | None]:
    """A point with its columns. What shows only when it is priced (counts of tokens for another number of experts) is a reason
    like any other."""
    if point.workload is None:
        return point, None
    try:
        return point, columns(query, vector, point.workload)
    except SimcostError as error:
        return replace(point, workload=None, reason=str(error)), None


def _sweep_verdict(rows: Columns, fits: bool) -> str:
    if fits:
        return ""
    return (
        "no point of the sweep fits in memory"
        if any(rows.feasible)
        else "no point of the sweep can be run: see the reasons"
    )


def _table(query: Query, vector: list[str], priced: list[tuple[Point, dict[str, Any] | None]]) -> Columns:
    """Columns of all points: the axes in the order asked for, feasibility, metrics."""
    shape = tuple(len(query.axes[path]) for path in vector)
    size = int(np.prod(shape, dtype=int))
    grid = np.indices(shape).reshape(len(shape), size) if shape else np.zeros((0, size), int)
    labels: dict[str, list[Any]] = {path: [] for path in query.axes}
    for point, _ in priced:
        for path in query.axes:
            values = query.axes[path]
            labels[path] += (
                [values[i] for i in grid[vector.index(path)].tolist()] if path in vector else [point.fixed[path]] * size
            )
    parts = [part for _, part in priced]
    names = next(list(part) for part in parts if part is not None)
    empty = {name: np.full(size, np.nan) for name in names}
    joined: dict[str, Any] = {}
    for name in names:
        if name in ("feasible", "fits"):
            joined[name] = np.concatenate([np.zeros(size, bool) if part is None else part[name] for part in parts])
        elif name != "reason":
            joined[name] = np.concatenate([empty[name] if part is None else part[name] for part in parts])
    why = [[point.reason] * size if part is None else list(part["reason"]) for point, part in priced]
    feasible, said = joined.pop("feasible"), [words for part in why for words in part]
    _name_numbers(query, labels, feasible, said)
    return Columns(labels, feasible, said, joined)


def _name_numbers(query: Query, labels: dict[str, list[Any]], feasible: Bools, said: list[str]) -> None:
    """Put numbers into the reasons of the first rows that have one, once for all rows of one plan."""
    known: dict[tuple[Any, ...], str] = {}
    for i in np.flatnonzero(~feasible)[:_NAMED]:
        values = {path: column[i] for path, column in labels.items()}
        key = tuple(value for path, value in values.items() if path not in _IDLE_IN_RULES)
        if key not in known:
            known[key] = reason(query, values, len(known) < _ADVISED)
        said[i] = known[key] or said[i]


def columns(query: Query, vector: list[str], w: Workload) -> dict[str, Any]:
    """Metrics of every point of the array axes, flat, with `feasible`, `reason` and `fits`."""
    shape = tuple(len(query.axes[path]) for path in vector)
    good, why = reasons(w, shape)
    with np.errstate(all="ignore"):
        step = steps.run(w)
        found: dict[str, Any] = dict(answer.metrics(step, query.decode, query.price(w.device)))
        found["fits"] = np.asarray(step.kept.memory.short) <= 0
    flat = {name: np.broadcast_to(np.asarray(value), shape).ravel() for name, value in found.items()}
    return {"feasible": good.ravel(), "reason": why.ravel(), **flat}
