"""What runs more than once in a question is priced once: equal kernels of a step, and equal steps of a list of plans.

Layers of several stacks share their attention; and however the copies of a stage are joined to pipelines, in decode its ranks run the
same kernels on the same tokens. Most likely to be wrong: a block that read a number of the plan which `_told` leaves out; a law
compares every plan of a list with its own query.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np

from simcost import lower
from simcost.calibration.distinct import Distinct, distinct
from simcost.cost.calibrated import MOST
from simcost.cost.cost import Cost
from simcost.frozen import frozen
from simcost.num import Array, Index, Num, over_arrays
from simcost.ops.work import Op
from simcost.ops.work import kernels as launched
from simcost.program import Priced, after, leaves, price
from simcost.settings import COUNTS
from simcost.workload import Workload


@frozen
class Folded:
    """A priced step; of a list of plans, and of points without `kernels`, down to its modules only. each: one of every module of the model, by its key; launches: kernels,
    as engines launch them."""

    priced: Priced[Cost]
    each: Mapping[str, Cost]
    launches: Num


class Once:
    """A cost model that remembers what it answered: kernels of plain numbers as long as the model lives, others for one question."""

    def __init__(self, model: Any) -> None:
        self._model: Callable[[Op], Cost] = model
        self._kept: dict[Op, Cost] = getattr(model, "known", {})
        self._known: dict[Any, Cost] = {}
        self._grids: list[Distinct] = []  # of the points of arrays, by kind: kernels share them
        self._apart = bool(_arrays(getattr(model, "device", None)))  # a device's arrays stand beside those of an op
        self.multiprocessors = model.multiprocessors
        if hasattr(model, "knows"):
            self.knows = model.knows

    def __call__(self, op: Op) -> Cost:
        key = key_of(op)
        known = self._kept if key is op else self._known
        found = known.get(key)
        if found is None:
            if len(known) >= MOST:
                known.clear()
            found = known[key] = self._model(op) if key is op or self._apart else self._of_kinds(op)
        return found

    def _of_kinds(self, op: Op) -> Cost:
        """The cost of a kernel at many points, each kind of points asked once."""
        columns = [column for column in _arrays(op) if column.size > 1]
        grid = next((known for known in self._grids if known.holds(columns)), None)
        if grid is None:
            grid = distinct(columns)
            if grid.one is not None:
                self._grids.append(grid)
        if grid.one is None:
            return self._model(op)
        found = self._model(over_arrays(op, grid.each)).each(_alike)
        return found.each(lambda value: grid.back(np.asarray(value, np.float64)) if np.ndim(value) else value)


def _alike(value: Num) -> Num:
    """Of several kinds of points one number where all have the same: most kernels rest on one basis, and many points are bound by one thing."""
    if np.size(value) < 2:
        return value
    first = value.flat[0]  # type: ignore[union-attr]
    return float(first) if np.all(value == first) else value


def _arrays(value: Any) -> list[Array]:
    """The arrays with dimensions that stand in a value."""
    found: list[Array] = []

    def seen(array: Array) -> Array:
        found.append(array)
        return array

    over_arrays(value, seen)
    return found


def key_of(value: Any) -> Any:
    """Something hashable that two equal values share, and no two others: but for the chance that 64 bits of a hash are the same."""
    if isinstance(value, np.ndarray):
        return value.shape, hash(value.tobytes())
    if isinstance(value, tuple):
        return tuple(key_of(each) for each in value)
    if is_dataclass(value):
        try:
            hash(value)
        except TypeError:
            return type(value), tuple(key_of(getattr(value, field.name)) for field in fields(value))
    return value


def folded(w: Workload, model: Any, kernels: bool = True) -> Folded:
    """The step of a workload by a cost model. `kernels`: whether what is inside its modules is kept, which of many points takes most of the memory."""
    once = model if isinstance(model, Once) else Once(model)
    which = _which(w)
    if which is None:
        return _folded(w, once, kernels)
    first, at = which
    plan = replace(w.plan, **{name: _taken(getattr(w.plan, name), first) for name in COUNTS})
    batch = w.phase.batch if len(np.asarray(w.phase.batch)) == 1 else _taken(w.phase.batch, first)
    phase = replace(w.phase, batch=batch, microbatches=_taken(w.phase.microbatches, first))
    found = _folded(replace(w, view=replace(w.view, plan=plan, phase=phase)), once, kernels=False)

    def dealt(value: Num) -> Num:
        return _spread(value, len(first), at)

    parts = tuple(replace(part, cost=part.cost.each(dealt)) for part in found.priced.parts)
    priced = Priced(found.priced.cost.each(dealt), found.priced.node, parts)
    each = {key: cost.each(dealt) for key, cost in found.each.items()}
    return Folded(priced, each, dealt(found.launches))


def _folded(w: Workload, model: Any, kernels: bool) -> Folded:
    parts: list[Priced[Cost]] = []
    each: dict[str, Cost] = {}
    total: Num = 0.0
    for module in lower.modules(w.model, images=w.phase.sees):
        part = price(module.forward(w.view), model)
        for _, call, cost, weight in leaves(part):
            total = total + weight * (1.0 * (cost.seconds > 0.0)) * launched(call.op)
        each[module.key] = part.cost * (1.0 / module.count)
        parts.append(part if kernels else Priced(part.cost, part.node))
    return Folded(after(parts, "step"), each, total)


def _which(w: Workload) -> tuple[Index, Index] | None:
    """(the first plan of every kind, which kind each is) for plans [plans, 1] at batches [1, batches] or [plans, batches]; None elsewhere,
    where plans have lengths of their own, and where all differ."""
    count, batch = np.shape(w.plan.tp), np.asarray(w.phase.batch)
    if w.phase.beside or len(count) != 2 or count[1] != 1 or batch.ndim != 2 or len(batch) not in (1, count[0]):
        return None
    if any(np.ndim(value) == 2 and len(np.asarray(value)) > 1 for value in (w.phase.q_len, w.phase.past)):
        return None  # lengths of their own
    told = [np.broadcast_to(np.asarray(value, np.float64), count) for value in _told(w)]
    told += [batch] if len(batch) > 1 else []
    kinds = np.column_stack(told)
    _, first, at = np.unique(kinds, axis=0, return_index=True, return_inverse=True)
    return (first, at.ravel()) if len(first) < len(kinds) else None


def _told(w: Workload) -> tuple[Num, ...]:
    """What the kernels of a rank know of a plan."""
    p = w.plan
    return (p.tp, p.cp, p.replicas, p.ep, p.expert_slices, p.redundant_experts, p.copies * w.phase.microbatches)


def _taken(value: Any, index: Index) -> Any:
    return value[index] if np.ndim(value) == 2 else value


def _spread(value: Num, kinds: int, at: Index) -> Num:
    """[kinds, batches] -> [plans, batches]; what is one for all stays so."""
    if isinstance(value, np.ndarray) and value.ndim == 2 and len(value) == kinds:
        return np.asarray(value[at])
    return value
