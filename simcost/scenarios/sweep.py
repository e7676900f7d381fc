"""prefill and decode over the product of axes: a row a point, with its reason where it cannot run."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from simcost.cost.price import with_range
from simcost.errors import SimcostError, SpecError, watched
from simcost.estimate import answer
from simcost.estimate import step as steps
from simcost.frozen import frozen
from simcost.grammar import NAMES
from simcost.model.spec import ModelSpec
from simcost.num import Index
from simcost.query import Point, Query, part, reason, reasons, scattered
from simcost.query import sweep as points_of
from simcost.result import Columns, Result, Row
from simcost.scenarios import memory_notes, notes
from simcost.scenarios.inputs import command, dimensions, inputs
from simcost.workload import Workload

_BLOCK = 32_768  # points at a time
NAMED = 200  # rows whose broken rule is told with its numbers; further ones name the rule
_ADVISED = 20  # kinds of them for which the nearest plans are looked for, at a few milliseconds each
_CHOOSE = ("model", "plan.tp", "plan.weight_dtype")  # axes by which `iso` solves for another width
_TOKENS = ("batch", "isl")  # of which a prefill's tokens are the product
_IDLE_IN_RULES = ("batch", "context", "past", "chunk")  # no rule of a plan reads them


Extra = Callable[[Workload, steps.Step], Mapping[str, Any]]  # further columns of a block of points


def result(query: Query, extra: Extra | None = None) -> Result:
    """Rows of all points; `extra`: columns beside the metrics of a step. Raises SpecError where none can run."""
    vector, points = points_of(query)
    priced = [_priced(query, vector, point, extra) for point in watched(points, "designs of the sweep")]
    runnable = [point.workload for point, _ in priced if point.workload is not None]
    if not runnable:
        first = {path: values[0] for path, values in query.axes.items()}
        raise SpecError(f"no point of the sweep can be run: {reason(query, first, True) or priced[0][0].reason}")
    rows = _table(query, vector, priced)
    said = [line for w in runnable for line in notes.warnings(query, w)]
    for model, longest in _longest(priced):
        said += memory_notes.beyond(model, longest)
    fits = bool(np.any(rows.values["fits"] & np.asarray(rows.feasible)))
    return Result(
        command(query), inputs(query, None), {"points": len(rows), "points_feasible": int(np.sum(rows.feasible))}, {"sweep": rows},
        tuple(dict.fromkeys(said)), tuple(dict.fromkeys(line for w in runnable for line in notes.references(w))), _sweep_verdict(rows), fits, _chosen([point for point, _ in priced]),
    )  # fmt: skip


def _longest(priced: list[tuple[Point, dict[str, Any] | None]]) -> list[tuple[ModelSpec, Any]]:
    """Every model of the sweep by its name, with the longest contexts that its points allow."""
    found: dict[str, tuple[ModelSpec, list[Any]]] = {}
    for point, values in priced:
        if point.workload is not None and values and "max_context" in values:
            model = point.workload.model
            found.setdefault(model.name, (model, []))[1].append(np.ravel(values["max_context"]))
    return [(model, np.concatenate(longest)) for model, longest in found.values()]


def _chosen(points: list[Point]) -> tuple[Row, ...]:
    """What swaps chose, once a design: by what is set of the model, and by tp and formats where widths depend on them."""
    built = [(point, point.workload.model) for point in points if point.workload is not None]
    found: dict[str, ModelSpec] = {}
    several: set[str] = set()
    for point, model in built:
        name = _named(point, ("model",))
        if found.setdefault(name, model).changes != model.changes:
            several.add(name)
    for point, model in built:
        if _named(point, ("model",)) in several:
            found[_named(point, _CHOOSE)] = model
    return tuple(row for name, model in found.items() if name not in several for row in dimensions(model, name))


def _named(point: Point, of: tuple[str, ...]) -> str:
    """A structure of a sweep by what it sets of some roots."""
    return ", ".join(f"{path}={value}" for path, value in point.fixed.items() if path.startswith(of))


def _priced(query: Query, vector: list[str], point: Point, extra: Extra | None) -> tuple[Point, dict[str, Any] | None]:
    """A point with its columns. What shows only when it is priced (counts of tokens for another number of experts) is a reason
    like any other."""
    if point.workload is None:
        return point, None
    try:
        return point, columns(query, vector, point, extra)
    except SimcostError as error:
        return replace(point, workload=None, reason=str(error)), None


def _sweep_verdict(rows: Columns) -> str:
    """How many points can run, and fit."""
    runs = np.asarray(rows.feasible, bool)
    return verdict(int(runs.sum()), int(np.sum(runs & np.asarray(rows.values["fits"], bool))), len(rows))


def verdict(count: int, fit: int, size: int) -> str:
    """What is said of `size` points, of which `count` can run and `fit` fit too."""
    if not count:
        return "no point of the sweep can be run: see the reasons"
    if not fit:
        return "no point of the sweep fits in memory"
    if fit == size:
        return "every point of the sweep fits in memory"
    parts = [f"{fit:,} of {size:,} points fit in memory"]
    parts += [f"{count - fit:,} {'does' if count - fit == 1 else 'do'} not"] if fit < count else []
    parts += [f"{size - count:,} cannot be run"] if count < size else []
    return ", ".join(parts)


def _table(query: Query, vector: list[str], priced: list[tuple[Point, dict[str, Any] | None]]) -> Columns:
    """Columns of all points: the axes in the order asked for, feasibility, metrics."""
    shape = tuple(len(query.axes[path]) for path in vector)
    size = int(np.prod(shape, dtype=int))
    labels = labels_of(query, vector, [point.fixed for point, _ in priced])
    found = [(point, each or {}) for point, each in priced]
    names = list(dict.fromkeys(name for _, each in found for name in each))  # devices without a price lack some
    joined: dict[str, Any] = {}
    for name in names:
        missing = False if name in ("feasible", "fits") else np.nan
        joined[name] = _joined(
            [each.get(name, point.reason if name == "reason" else missing) for point, each in found], size
        )
    feasible = joined.pop("feasible")
    said: Any = joined.pop("reason")
    if not np.all(feasible):
        said = np.array(said, object)
    name_numbers(query, vector, labels, np.flatnonzero(~feasible)[:NAMED], said, lambda i: priced[i][0])
    return Columns(labels, feasible, said, joined)


def _joined(parts: list[Any], size: int) -> Any:
    """Columns of all structures, one after the other."""
    whole = [
        np.broadcast_to(np.asarray(part, dtype=object if isinstance(part, str) else None), (size,)) for part in parts
    ]
    return whole[0] if len(whole) == 1 else np.concatenate(whole)


@frozen
class _Label(Sequence[Any]):
    """Values of an axis, each `inner` times, all of them as often as `size` takes."""

    values: list[Any]
    inner: int
    size: int

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self.size))]
        if not -self.size <= index < self.size:
            raise IndexError(index)
        return self.values[index % self.size // self.inner % len(self.values)]


def labels_of(query: Query, vector: Sequence[str], fixed: Sequence[Mapping[str, Any]]) -> dict[str, Sequence[Any]]:
    """What a point's row says of each axis; `fixed`: values of the structural axes, a mapping a structure."""
    shape = tuple(len(query.axes[path]) for path in vector)
    size = int(np.prod(shape, dtype=int))
    every, found = size * len(fixed), dict[str, Sequence[Any]]()
    for path, values in query.axes.items():
        if path in vector:
            found[path] = _Label(values, int(np.prod(shape[vector.index(path) + 1 :], dtype=int)), every)
        else:
            found[path] = _Label([text(path, each[path]) for each in fixed], size, every)
    return found


def text(path: str, value: Any) -> Any:
    """A name of a model as text: a config that was handed over has one inside."""
    return str(value) if path in NAMES else value


def name_numbers(
    query: Query, vector: Sequence[str], labels: Mapping[str, Sequence[Any]], first: Iterable[int], said: Any, structure: Callable[[int], Point]
) -> None:  # fmt: skip
    """Put numbers into the reasons `said` of the rows `first`, the first ones that cannot run, once for all rows of one plan. `structure`: by its
    number."""
    known: dict[tuple[Any, ...], str] = {}
    shape = tuple(len(query.axes[path]) for path in vector)
    size = int(np.prod(shape, dtype=int))
    for i in first:
        values = {path: column[i] for path, column in labels.items()}
        key = tuple(value for path, value in values.items() if path not in _IDLE_IN_RULES)
        if key not in known:
            index = [int(at) for at in np.unravel_index(i % size, shape)] if shape else ()
            known[key] = reason(query, values, len(known) < _ADVISED, structure(i // size), index)
        said[i] = known[key] or said[i]


def columns(query: Query, vector: list[str], point: Point, extra: Extra | None = None) -> dict[str, Any]:
    """Metrics of every point of the array axes, flat, with `feasible`, `reason` and `fits`; block after block, so that a million points
    take the memory of their answers and little more. What is the same in all points is kept once."""
    shape = tuple(len(query.axes[path]) for path in vector)
    size = int(np.prod(shape, dtype=int))
    if size <= _BLOCK:
        assert point.workload is not None
        return {name: _flat(value, shape) for name, value in block(query, point.workload, shape, extra).items()}
    found: dict[str, Any] = {}
    if not query.decode and {*_TOKENS} <= {*vector}:
        order = _by_tokens(query, vector, shape)
        # Half as many at a time: no number of theirs is of an axis alone.
        for at in watched(np.array_split(order, -(-2 * size // _BLOCK)), "blocks of points"):
            w = scattered(query, point, vector, np.unravel_index(at, shape))
            for name, value in block(query, w, at.shape, extra).items():
                _fill(found, name, value, at.shape, at, size)
        return found
    start = 0
    for cut in watched(list(_blocks(shape)), "blocks of points"):
        inside = tuple(len(range(*each.indices(n))) for each, n in zip(cut, shape, strict=True))
        values = block(query, part(query, point, vector, cut), inside, extra)
        end = start + int(np.prod(inside, dtype=int))
        for name, value in values.items():
            _fill(found, name, value, inside, slice(start, end), size)
        start = end
    return found


def _by_tokens(query: Query, vector: list[str], shape: tuple[int, ...]) -> Index:
    """Points in the order of their tokens: linear layers know no more of a batch of prompts, and answer once for all of a block that have as many."""
    sizes = [
        np.asarray(query.axes[path], np.float64) if path in _TOKENS else np.ones(n)
        for path, n in zip(vector, shape, strict=True)
    ]
    return np.argsort(functools.reduce(np.multiply.outer, sizes).ravel(), kind="stable")


def _blocks(shape: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
    """Blocks of at most `_BLOCK` points, one after the other in the order of the points."""
    first, *rest = shape
    inner = int(np.prod(rest, dtype=int))
    if inner > _BLOCK:
        for i in range(first):
            for others in _blocks(tuple(rest)):
                yield (slice(i, i + 1), *others)
        return
    step = max(_BLOCK // inner, 1)
    for i in range(0, first, step):
        yield (slice(i, min(i + step, first)), *(slice(0, n) for n in rest))


def block(query: Query, w: Workload, shape: tuple[int, ...], extra: Extra | None) -> dict[str, Any]:
    """Metrics of a block of points of a workload, with `feasible`, `reason` and `fits`; each as it broadcasts to `shape`."""
    good, why = reasons(w, shape)
    with np.errstate(all="ignore"):
        step = steps.run(w, kernels=extra is not None)
        found = with_range(answer.metrics(step, query.decode, query.price(w.device)), query.paid(w.device))
        found["fits"] = np.asarray(step.kept.memory.short) <= 0
    return {"feasible": good, "reason": why, **found, **(extra(w, step) if extra else {})}


def _flat(value: Any, shape: tuple[int, ...]) -> Any:
    return np.broadcast_to(np.asarray(value), shape).ravel()


def _once(value: Any) -> Any:
    """A value that is one for a whole block as a single number."""
    flat = np.asarray(value)
    if flat.ndim == 0 or flat.size == 0:
        return flat
    first = flat[(0,) * flat.ndim]
    return np.asarray(first) if (flat == first).all() else flat


def _fill(
    found: dict[str, Any], name: str, value: Any, shape: tuple[int, ...], where: slice | Index, size: int
) -> None:
    """A block's values in their place; one value as long as all blocks agree."""
    flat, known = _once(value), found.get(name)
    if flat.ndim == 0 and (known is None or (known.ndim == 0 and known == flat)):
        found[name] = flat
        return
    if known is None or known.ndim == 0:
        found[name] = np.empty(size, flat.dtype)
        if known is not None:
            found[name][...] = known
    found[name][where] = _flat(flat, shape)
