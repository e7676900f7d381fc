"""One block of a sweep, as any process works it out: rectangles of points in, a part of the output as bytes out.

The same question in the same version gives the same bytes wherever it runs; a process that prices the first point of a structure otherwise
than the one that asks is refused. Most likely to be wrong: a library that computes one point otherwise beside others than alone.
Source: `simcost.scenarios.sweep`.
"""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from simcost.bulk import arrow, cells, parts, plan
from simcost.bulk.parts import Part
from simcost.bulk.plan import Plan
from simcost.bulk.slab import Slab
from simcost.errors import SimcostError, SpecError
from simcost.query import part as workload_of
from simcost.scenarios import design_map, sweep

CSV, PARQUET = "csv", "parquet"
_LEVEL = 1  # of zlib: numbers as text become a fifth; a higher level takes longer than the pricing
_NOTHING = np.asarray("", object)


class Failed(SimcostError):
    """A structure that has no answer, which showed only at a later point than its first."""


def task(packed: str, rectangles: Sequence[plan.Rectangle], style: str) -> str:
    """What `priced` takes, as text."""
    return json.dumps([packed, rectangles, style])


def priced(asked: str) -> bytes:
    """The part of a task. Raises Failed, with the structure and the reason as JSON, and SpecError where this process computes other numbers."""
    packed, rectangles, style = json.loads(asked)
    whole = plan.read(packed)
    for i, _, _ in rectangles:  # what the first block of a structure costs a process says nothing of the next ones
        if i not in whole.failed:
            _check(packed, i)
    begin = time.monotonic()
    slabs = [slab for i, start, stop in rectangles for slab in _slabs(whole, packed, i, start, stop)]
    joined = _joined(whole, slabs, rectangles)
    rows = _rows(whole, slabs, joined.reasons, style)
    return parts.packed(replace(joined, seconds=time.monotonic() - begin, rows=rows))


def _slabs(whole: Plan, packed: str, i: int, start: int, stop: int) -> Iterator[Slab]:
    labels = dict(whole.query.axes)
    at = i * whole.inner + start
    for cut, count in plan.cuts(whole.shape, start, stop, stop - start):
        shape = tuple(len(range(*each.indices(n))) for each, n in zip(cut, whole.shape, strict=True))
        inside = {path: labels[path][each] for path, each in zip(whole.vector, cut, strict=True)}
        inside = {path: inside.get(path) or [sweep.text(path, whole.fixed[i][path])] for path in labels}
        yield _slab(whole, packed, i, at, cut, shape, inside)
        at += count


def _slab(
    whole: Plan, packed: str, i: int, at: int, cut: tuple[slice, ...], shape: tuple[int, ...], labels: Mapping[str, Sequence[Any]]
) -> Slab:  # fmt: skip
    count = int(np.prod(shape, dtype=int))
    if i in whole.failed:
        none = np.zeros(count, bool)
        return Slab(at, shape, labels, {}, none, none, np.full(count, whole.failed[i], object))
    try:
        point = plan.point_of(packed, i)
        values = sweep.block(whole.query, workload_of(whole.query, point, whole.vector, cut), shape, design_map.counts)
    except SimcostError as error:
        raise Failed(json.dumps([i, at, str(error)])) from None
    flat = {
        name: np.broadcast_to(np.asarray(values.pop(name)), shape).ravel() for name in ("feasible", "reason", "fits")
    }
    return Slab(at, shape, labels, values, flat["feasible"], flat["fits"] & flat["feasible"], flat["reason"])


@lru_cache(maxsize=64)
def _check(packed: str, i: int) -> None:
    """Raises SpecError where the first point of a structure costs here other than where the question was asked."""
    whole = plan.read(packed)
    values = plan.probe(whole.query, whole.vector, plan.point_of(packed, i))
    if plan.digest_of(values) != whole.probes.get(i):
        raise SpecError(
            "a worker computes different numbers for the same point: its curves were fitted with other libraries, or it reads other files; "
            "give all processes the same SIMCOST_CACHE (docs/howto/run-on-many-machines.md)"
        )


def _joined(whole: Plan, slabs: Sequence[Slab], rectangles: Sequence[plan.Rectangle]) -> Part:
    """What is known of all points together, without their rows."""
    starts = [i * whole.inner + start for i, start, _ in rectangles]
    count = sum(len(slab.feasible) for slab in slabs)
    first: dict[int, str] = {}
    longest: dict[int, float] = {}
    numbers, metrics = [], []
    for slab in slabs:
        for i in np.flatnonzero(~slab.feasible)[: sweep.NAMED - len(first)]:
            first[slab.start + int(i)] = str(slab.reasons[i])
        one, two = plan.oriented(whole, slab.values, slab.shape)
        here = np.flatnonzero(design_map.front(one, two, slab.fits))
        numbers.append(slab.start + here)
        metrics.append(np.stack([one[here], two[here]]))
        if "max_context" in slab.values:
            reached = np.asarray(slab.values["max_context"], np.float64)
            reached = reached[np.isfinite(reached)]
            if reached.size:
                i = slab.start // whole.inner
                longest[i] = max(longest.get(i, 0.0), float(reached.max()))
    x, y = np.concatenate(metrics, axis=1)
    keep = np.flatnonzero(design_map.front(x, y, np.ones(len(x), bool)))
    front = np.concatenate(numbers)[keep].tolist(), x[keep].tolist(), y[keep].tolist()
    fit = sum(int(slab.fits.sum()) for slab in slabs)
    runs = sum(int(slab.feasible.sum()) for slab in slabs)
    return Part(starts[0], starts[0] + count, runs, fit, fit < count, first, front, longest, 0.0)


def _rows(whole: Plan, slabs: Sequence[Slab], reasons: bool, style: str) -> bytes:
    if style == PARQUET:
        return arrow.rows(whole, slabs)
    return zlib.compress(b"".join(cells.lines(_columns(whole, slab, reasons)) for slab in slabs), _LEVEL)


def text_of(rows: bytes) -> bytes:
    """The lines of a part of CSV."""
    return zlib.decompress(rows)


def columns(whole: Plan, reasons: bool) -> list[str]:
    """Names of the columns of CSV in their order, which follows from the first row as `as_csv` makes it; `reasons`: whether a row has one."""
    head, tail = [*whole.query.axes, "feasible"], [*whole.names, "pareto"]
    if whole.first == plan.CANNOT:
        return [*head, "reason", "fits", *tail]
    if whole.first == plan.SHORT:
        return [*head, "fits", "reason", *tail]
    return [*head, "fits", *tail, *(["reason"] if reasons else [])]


def _columns(whole: Plan, slab: Slab, reasons: bool) -> list[Any]:
    cannot, every = ~slab.feasible, bool(slab.feasible.all())
    said = _labels(whole, slab)
    said |= {"feasible": cells.numbers(slab.feasible), "fits": cells.numbers(slab.fits), "reason": _reasons(slab)}
    said["pareto"] = np.asarray("False", object)
    found = []
    for name in columns(whole, reasons):
        column = said[name] if name in said else cells.numbers(slab.values[name]) if name in slab.values else _NOTHING
        flat = column if column.shape == slab.feasible.shape else np.broadcast_to(column, slab.shape).ravel()
        blank = not every and name not in slab.labels and name not in ("feasible", "reason")
        found.append(np.where(cannot, "", flat) if blank else flat)
    return found


def _labels(whole: Plan, slab: Slab) -> dict[str, Any]:
    """Cells of the axes, as they broadcast to the shape of a slab."""
    found = {}
    for path, values in slab.labels.items():
        shape = [1] * len(slab.shape)
        if path in whole.vector:
            shape[whole.vector.index(path)] = -1
        found[path] = cells.labels(values).reshape(shape)
    return found


def _reasons(slab: Slab) -> Any:
    """Why a point cannot run, or does not fit. [points]"""
    found = np.full(len(slab.feasible), "", object)
    written: dict[str, str] = {}
    for i, reason in slab.why_not():
        if reason not in written:
            written[reason] = cells.text_of(reason)
        found[i] = written[reason]
    return found
