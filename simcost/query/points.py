"""A sweep over the product of axes: numeric ones become broadcasting arrays, one dimension each; those that change the structure (formats, layer counts,
names, swaps, and tp beside a swap, whose widths it cuts) are looped over. A point that cannot be run is a row with its reason.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np

from simcost import grammar, settings
from simcost.errors import SimcostError, SpecError
from simcost.estimate import feasible, step
from simcost.frozen import frozen
from simcost.hardware import load as hardware
from simcost.model.spec import ModelSpec
from simcost.num import Array, Bools, Index, every, over_arrays
from simcost.query.question import (
    Query,
    engine_of,
    facts_of,
    least_of,
    model_of,
    phase_of,
    settings_of,
    swapped,
)
from simcost.workload import Workload, build

MOST = 2_000_000  # points of a sweep, and chunks of prompts of all points: their answers take half a gigabyte and a quarter of a minute
STRUCTURES = 1_000  # that are built one by one
_CUT = "plan.tp"  # a swap chooses widths that every rank can hold: by this axis one design a value


@frozen
class Point:
    """One structure of a sweep: its fixed values, the workload (arrays inside) or why there is none."""

    fixed: dict[str, Any]
    workload: Workload | None
    reason: str = ""


def sweep(query: Query, most: int = MOST) -> tuple[list[str], list[Point]]:
    """(array axes in dimension order, one Point per combination of the structural axes). Raises SpecError for more than `most` points."""
    size = math.prod(len(values) for values in query.axes.values())
    if size > most:
        more = "" if most > MOST else " (simcost sweep -o FILE.csv or FILE.parquet takes more)"
        raise SpecError(f"the axes have {size:,} points together; at most {most:,}{more}")
    one_by_one = swapped([*query.overrides.model, *(path.removeprefix("model.") for path in query.axes)])
    base = None if one_by_one else model_of(query)
    vector = [
        path for path, values in query.axes.items()
        if not (one_by_one and path.startswith(("model.", _CUT))) and _is_vector(path, values, base)
    ]  # fmt: skip
    fixed = _fixed(query, vector)
    try:
        points = _points(query, fixed, vector, base)
    except SpecError:
        # Some value of a model axis is invalid: one structure a value, so that only its own row says so.
        vector = [path for path in vector if not path.startswith("model.")]
        points = _points(query, _fixed(query, vector), vector, base, tolerate=True)
    _check_chunks(points, size, most)
    return vector, points


def structures(query: Query, vector: Sequence[str]) -> list[dict[str, Any]]:
    """The values of the structural axes at each structure, in the order of the points of `sweep`."""
    fixed = [path for path in query.axes if path not in vector]
    return [dict(zip(fixed, each, strict=True)) for each in itertools.product(*(query.axes[path] for path in fixed))]


def structure(query: Query, vector: list[str], values: Mapping[str, Any]) -> Point:
    """One of them by itself. Raises SimcostError where it has no workload."""
    return Point(dict(values), _arrays(query, values, vector))


def _fixed(query: Query, vector: list[str]) -> list[str]:
    """The structural axes. Raises SpecError for more structures than are built one by one."""
    found = [path for path in query.axes if path not in vector]
    size = math.prod(len(query.axes[path]) for path in found)
    if size > STRUCTURES:
        raise SpecError(
            f"{' and '.join(found)}: {size:,} designs, each of which is built on its own; at most {STRUCTURES:,}"
        )
    return found


def _check_chunks(points: list[Point], size: int, most: int) -> None:
    """Raises SpecError where the prompts of all points, `size` of them, pass in more than `most` chunks."""
    chunks = sum(step.chunks(point.workload.phase) for point in points if point.workload is not None)
    together = chunks * size // len(points)
    if together > most:
        raise SpecError(
            f"the axes have {size:,} points, whose prompts are processed in {together:,} chunks; at most {most:,}"
        )


def _is_vector(path: str, values: list[Any], model: ModelSpec | None) -> bool:
    """Whether an axis may stand in arrays; `model`: whose keys are varied, None where no key of one is."""
    root, key = grammar.split(path)
    if path in grammar.NAMES:
        return False
    numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values)
    if root == "hw":
        return key not in hardware.CHOICES
    if root == "model":
        return (
            model is not None
            and numbers
            and key not in model.scalar_keys
            and all(v > 0 and v == int(v) for v in values)
        )
    return numbers and (
        (root == "phase" and key not in ("routing", "images", "video_frames")) or key in settings.COUNTS
    )


def _points(
    query: Query, fixed: list[str], vector: list[str], base: ModelSpec | None, tolerate: bool = False
) -> list[Point]:
    points = []
    for combination in itertools.product(*(query.axes[path] for path in fixed)):
        values = dict(zip(fixed, combination, strict=True))
        try:
            points.append(Point(values, _arrays(query, values, vector, base)))
        except SimcostError as error:
            if not tolerate and any(path.startswith("model.") for path in vector):
                raise
            points.append(Point(values, None, str(error)))
    return points


def part(query: Query, point: Point, vector: list[str], cut: Sequence[slice]) -> Workload:
    """The workload of a block of a structure's points: `cut` of the values of every array axis of `vector`."""
    axes = {**query.axes, **{path: query.axes[path][each] for path, each in zip(vector, cut, strict=True)}}
    return _arrays(replace(query, axes=axes), point.fixed, vector, _read(query, point))


def scattered(query: Query, point: Point, vector: list[str], index: Sequence[Index]) -> Workload:
    """The workload of some points of a structure, one after the other: `index` [n] of the values of every array axis of `vector`."""
    return _arrays(query, point.fixed, vector, _read(query, point), index)


def _read(query: Query, point: Point) -> ModelSpec | None:
    """The model of a structure, where no axis changes it."""
    assert point.workload is not None
    return None if any(path.startswith("model.") for path in query.axes) else point.workload.model


def _arrays(
    query: Query,
    values: Mapping[str, Any],
    vector: list[str],
    base: ModelSpec | None = None,
    index: Sequence[Index] = (),
) -> Workload:
    """`base`: the model of the query, where it is read already; `index`: which points of the grid, all where it is empty."""
    at = query.at(values)
    o = at.overrides
    tables: dict[str, dict[str, Any]] = {root: {} for root in ("model", "hw", "plan", "phase")}
    for position, path in enumerate(vector):
        root, key = grammar.split(path)
        each = _axis(at, root, key, query.axes[path])
        shape = [1] * len(vector)
        shape[position] = len(each)
        tables[root][key] = each[index[position]] if index else each.reshape(shape)
    same = at.model == query.model and o.model == query.overrides.model and not swapped(o.model)
    return with_arrays(at, tables, base if same else None)


def with_arrays(query: Query, tables: Mapping[str, Mapping[str, Any]], base: ModelSpec | None = None) -> Workload:
    """The workload of a question with numbers over its own that may be arrays in SI: by root ("model", "hw", "plan", "phase") and key. `base`:
    the model of the question, where it is read already. Raises SpecError where a model cannot be built at any point."""
    o = query.overrides
    device = hardware.load(query.hw, {**o.hw, **tables.get("hw", {})})
    model = model_of(query, tables.get("model")) if tables.get("model") or base is None else base
    plan = grammar.plan_of({**o.plan, **tables.get("plan", {})})
    phase = phase_of(query, plan, {**o.phase, **tables.get("phase", {})})
    return build(model, device, plan, phase, engine_of(o), settings_of(o))


def _axis(query: Query, root: str, key: str, values: list[Any]) -> Array:
    if root == "hw":
        loaded = [_hw_value(query, key, value) for value in values]
    elif root == "model":
        loaded = [float(v) for v in values]
    else:
        loaded = [settings.count(key, value, least_of(root, key)) for value in values]
    return np.asarray(loaded, np.float64)


def _hw_value(query: Query, key: str, value: Any) -> float:
    return float(hardware.override(key, value, facts_of(query), hardware.read(query.hw)[0]))


def reason(
    query: Query, values: Mapping[str, Any], advise: bool, known: Point | None = None, index: Sequence[int] = ()
) -> str:
    """The first rule that one point of a sweep breaks, with its numbers, which arrays do not show; "" where none. `advise`: with
    the nearest plans that hold; `known`: its structure, whose model is not built again, with its place `index` on the array axes."""
    try:
        base = None if known is None or known.workload is None else model_at(known.workload.model, index)
        w = with_arrays(query.at(values), {}, base)
    except SimcostError as error:
        return str(error)
    return feasible.broken(w, advise)


def model_at(model: ModelSpec, index: Sequence[int]) -> ModelSpec:
    """The model at one point of the array axes, of which `index` is one number each: what building it for this point alone gives, but for its notes."""

    def at(value: Array) -> float:
        return float(value[tuple(i if n > 1 else 0 for i, n in zip(index, value.shape, strict=True))])

    return cast(ModelSpec, over_arrays(model, at))


def reasons(w: Workload, shape: tuple[int, ...]) -> tuple[Bools, Any]:
    """(whether it can run, the first broken rule or "") of every point of the array axes. [shape]"""
    good = np.ones(shape, bool)
    why = np.zeros(shape, np.intp)  # index into `said`
    said = [""]
    for check in feasible.of(w):
        if every(check.ok):
            continue
        bad = good & ~np.broadcast_to(np.asarray(check.ok, bool), shape)
        if bad.any():
            said.append(check.reason)
            why[bad] = len(said) - 1
            good &= ~bad
    return good, np.asarray(np.asarray(said, dtype=object)[why], dtype=object)
