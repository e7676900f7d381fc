"""What one of each module of a model takes and keeps under every plan of a grid, and what it asks of a rank once a
step: priced once where plans run the same kernels.

Plans that differ in schedule, virtual stages or in layers that run again whole share their kernels, so that a grid has
far fewer points than plans. Most likely to be wrong: see `training/chunks.py`; the
optimizer's passes over a rank's parameters are priced module by module here, which starts them more often. Source:
docs/theory/training-plans.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from simcost import pipeline
from simcost.cost import calibrated
from simcost.estimate.memo import key_of
from simcost.frozen import frozen, remembered
from simcost.lower import EMBEDDING, Module, modules
from simcost.model.spec import ModelSpec
from simcost.num import Array, Bools, Index, Num, maximum
from simcost.pipeline import Stage
from simcost.program import Program, price
from simcost.training import communication, memory, state, zero
from simcost.training.chunks import BOTH, FORWARD, INPUT, WEIGHT, Part, priced_parts
from simcost.training.closed_form.grid import Asked, Grid, distinct
from simcost.training.job import Job
from simcost.training.parameters import units
from simcost.training.split import Seconds, Stacked, stacked
from simcost.training.step import edge

PASSES = (FORWARD, INPUT, WEIGHT, BOTH)
REST, WIRE = "rest: ", "wire: "
AGAIN, WHOLE, KEPT, ENTRY, UNTIL, TEMPORARY, MOVED = (
    "again",
    "whole",
    "kept",
    "entry",
    "until_weight",
    "temporary",
    "moved",
)
SUMS, GATHERS, UPDATE = "sums", "gathers", "update"  # once a step
STATE, GRADIENTS = "state", "gradients"
PARTS = (state.DENSE, state.EXPERTS)  # of which each gathers weights of its own under ZeRO-3, and sums gradients
GATHERED = ("largest", "every", "gradients")  # as `state.Whole` names it
PARTED = ("parted", "summed")  # as `state.partings`
COPY = "copy of "  # the stack whose block other stages use too
TAIL = "tail"  # MTP modules and the head, which stand together on the last stage


@frozen
class Modules:
    """`kernels` [modules, structures, points] by name: seconds of a pass of one module, or bytes; `hop` [points]: an
    edge that carries one residual stream; `structure`, `at` [plans]: where each plan stands. `once`: the same of the
    units `units` once a step, `once_at`.
    A unit with a mark stands with the first and the last stage on one rank, where nothing is copied between ends.
    `placeholders`: by unit the matrices of which a rank has one of each shape, (shape, bytes [points])."""

    keys: tuple[str, ...]
    kernels: Mapping[str, Array]
    hop: Array
    structure: Index
    at: Index
    units: tuple[str, ...]
    once: Mapping[str, Array]
    once_at: Index
    placeholders: Mapping[str, Mapping[Any, Array]]


def priced(asked: Asked, grid: Grid, first: Job) -> Modules:
    """Of all plans of a grid, none of which breaks a rule. `first`: the job of its first row. What a single plan takes is counted
    once, whatever schedule and global batch it is asked with, and its once a step whatever its micro-batches are."""
    model = _model(first, len(grid))
    if len(grid) > 1:
        return Modules(*_kernels(asked, grid, model), *_once(asked, grid, model))
    job, flags = _job(asked, grid, {}), tuple(sorted(first.stack.flags.items()))
    told = (
        model,
        job.plan,
        job.precision,
        flags,
        job.sharding,
        job.recipe.zero_stage,
        job.recipe.reshard,
        job.recipe.trained,
    )
    passes, once = (
        _room(asked.model, *told, job.view.phase, job.how),
        _room(asked.model, *told, job.optimizer, job.average),
    )
    if not passes:
        passes.append(_kernels(asked, grid, model, job))
    if not once:
        once.append(_once(asked, grid, model, job))
    return Modules(*passes[0], *once[0])


@remembered
def _room(model: ModelSpec, *told: Any) -> list[Any]:
    """Room for what was counted of a model for a plan: all of a job that it depends on."""
    return []


def _kernels(
    asked: Asked, grid: Grid, model: Stacked, single: Job | None = None
) -> tuple[tuple[str, ...], dict[str, Array], Array, Index, Index]:
    """Passes of one of every module, at the points in which they differ. `single`: the job of the only plan."""
    first, at = distinct([grid[name] for name in ("tp", "cp", "ep", "pp", "micro_batch")])
    points = grid.taken(first)
    kinds, structure = distinct([grid.modules, 1.0 * (grid["zero_stage"] == 3)])
    keys = tuple(module.key for module in modules(asked.model, True))
    kernels = {name: np.zeros((len(keys), len(kinds), len(first))) for name in _READ}
    hops = np.zeros(len(first))
    for mine in _alike([points["tp"] > 1]):
        known: dict[Any, dict[str, Any]] = {}
        for column, kind in enumerate(kinds):  # of all points, so that structures share their kernels
            row = grid.row(int(kind))
            job = single or _job(asked, points.taken(mine), {name: row[name] for name in ("recompute", "zero_stage")})
            parts = priced_parts(job, model, known.setdefault(job.how.recompute.modules, {}))
            for name, act in _READ.items():
                for at_key, key in enumerate(keys):
                    kernels[name][at_key, column, mine] = act(parts[key])
        hops[mine] = edge(job, model, asked.model.hidden_size).seconds
    return keys, kernels, hops, structure, at


def _alike(columns: list[Any]) -> list[Index]:
    """Points that run programs of one structure."""
    _, at = distinct([np.asarray(column, np.float64) for column in columns])
    return [np.flatnonzero(at == i) for i in range(int(at.max(initial=-1)) + 1)]


def _job(asked: Asked, points: Grid, changed: Mapping[str, Any]) -> Job:
    """The job of the first of some points, `changed`, with the sizes of all. Virtual stages and schedule are those of
    none."""
    job = asked.job({**points.row(0), "vpp": 1, "schedule": "1f1b", **changed})
    # Numbers for a single point: kernels of plain numbers are remembered between questions.
    one = (lambda column: float(column[0])) if len(points) == 1 else (lambda column: column)
    sizes: dict[str, Any] = {name: one(points[name]) for name in ("tp", "cp", "ep", "pp")}
    plan = replace(job.plan, **sizes, dp=one(asked.gpus / (points.stage * points["pp"])), gpus=None, vpp=1.0)
    batch = one(points["micro_batch"]) * plan.replicas * plan.copies
    return replace(job, plan=plan, view=replace(job.view, plan=plan, phase=replace(job.view.phase, batch=batch)))


def _model(job: Job, plans: int) -> Stacked:
    """The cost model of all; of several plans one that remembers kernels of arrays as long as a grid is priced."""
    if plans == 1:
        return stacked(job.device, job.engine, job.factors, job.older)
    return Seconds(job.device, calibrated.model(job.device, job.engine), job.factors, job.older)


_READ: Mapping[str, Callable[[Part], Num]] = {
    **{name: lambda part, name=name: part.costs[name].seconds for name in PASSES},  # type: ignore[misc]
    **{REST + name: lambda part, name=name: part.rest[name].seconds for name in (FORWARD, BOTH)},  # type: ignore[misc]
    **{WIRE + name: lambda part, name=name: part.wire[name].seconds for name in (FORWARD, BOTH)},  # type: ignore[misc]
    AGAIN: lambda part: part.again.seconds,
    **{name: lambda part, name=name: getattr(part, name) for name in (WHOLE, KEPT, ENTRY, UNTIL)},  # type: ignore[misc]
    TEMPORARY: lambda part: memory.temporary(part.programs.forward),
    MOVED: lambda part: memory.exchange_bytes(part.programs.forward),
}


def _once(
    asked: Asked, grid: Grid, model: Stacked, single: Job | None = None
) -> tuple[tuple[str, ...], dict[str, Array], Index, dict[str, dict[Any, Array]]]:
    """Sums, gathers, update and state of one of every unit, at the points in which they differ. `single`: the job of the only plan."""
    first, at = distinct([grid[name] for name in ("tp", "cp", "ep", "pp", "zero_stage")])
    points = grid.taken(first)
    stages = _units(asked, int(points["pp"].max()))
    names = SUMS, GATHERS, UPDATE, STATE, GRADIENTS, *(f"{of} {part}" for of in (*GATHERED, *PARTED) for part in PARTS)
    found = {name: np.zeros((len(stages), len(first))) for name in names}
    shapes: dict[str, dict[Any, Array]] = {name: {} for name in stages}
    for mine in _alike([points["tp"] > 1, points["zero_stage"]]):
        job = single or _job(asked, points.taken(mine), {})
        for row, (stage, ends) in enumerate(stages.values()):
            for name, value in _of_unit(job, model, stage, ends).items():
                found[name][row, mine] = value
        for name, (stage, _) in stages.items():
            for key, size in _shapes(job, stage).items():
                shapes[name].setdefault(key, np.zeros(len(first)))[mine] = size
    return tuple(stages), found, at, shapes


def _units(asked: Asked, ranks: int) -> dict[str, tuple[Stage, bool]]:
    """By name what stands together, and whether both ends do; last the copies of blocks that stages share. `ranks`: the
    most of a pipeline, as far apart as whose ends those of all are taken."""
    every = modules(asked.model, True)
    parted = pipeline.stages(asked.model, max(ranks, 2), True)
    ends = {
        copied: tuple(one for one in parted[place].shared if one.stack is None)
        for copied, place in ((False, 0), (True, -1))
    }
    first = Stage(((EMBEDDING, 1),), ends[False])
    tail = Stage(tuple((module.key, 1) for module in every if not module.layer and module.key != EMBEDDING), ends[True])
    found = {EMBEDDING: (first, False)} | {
        module.key: (Stage(((module.key, 1),)), False) for module in every if module.layer
    }
    found |= {TAIL: (tail, False), f"{EMBEDDING}*": (first, True), f"{TAIL}*": (tail, True)}
    lent = {one.stack: one for stage in parted for one in stage.shared if one.stack is not None and one.copied}
    return found | {f"{COPY}{stack}": (Stage((), (one,)), False) for stack, one in lent.items()}


def _of_unit(job: Job, model: Stacked, stage: Stage, ends: bool) -> dict[str, Num]:
    r = job.recipe
    given: dict[str, Any] = {"sharding": job.sharding, "trained": job.recipe.trained, "shares_ends": ends}
    sent = communication.step_program(job.model, stage, job.plan, job.precision, r.zero_stage, **given)
    steps = communication.optimizer_program(
        job.model, stage, job.plan, job.precision, job.optimizer, r.zero_stage, average=job.average, **given
    )
    held = state.held(
        job.model,
        stage,
        job.plan,
        job.precision,
        job.optimizer,
        r.zero_stage,
        reshard=r.reshard,
        average=job.average,
        **given,
    )
    here = units(job.model, stage, job.plan, job.recipe.trained, ends)
    shares = zero.shares(job.plan, r.zero_stage, job.sharding)
    ours = {name: state.partings(shares, name == state.EXPERTS) if r.zero_stage == 3 else (0.0, 0.0) for name in PARTS}
    there = {name: state.whole(here, name == state.EXPERTS, job.precision) for name in PARTS}

    def seconds(program: Program | None) -> Num:
        return 0.0 if program is None else price(program, model).cost.seconds

    return {
        SUMS: seconds(sent.gradients),
        GATHERS: seconds(sent.weights),
        UPDATE: seconds(steps),
        STATE: held.total - held.gathered,
        GRADIENTS: held.gradients,
        **{f"{of} {name}": getattr(there[name], of) for name in PARTS for of in GATHERED},
        **{f"{of} {name}": part for name in PARTS for of, part in zip(PARTED, ours[name], strict=True)},
    }


def _shapes(job: Job, stage: Stage) -> dict[Any, Num]:
    """As `memory._placeholders`: bytes of a matrix of each shape."""
    if not job.stack.flags["dummy_weight_gradients"]:
        return {}
    blocks: dict[str, Module] = {module.key: module for module in modules(job.model, True)}
    found: dict[Any, Num] = {}
    for key, _ in stage.held:
        for block in blocks[key].blocks:
            for weight in block.weights(job.plan):
                if weight.inner is not None and weight.role not in ("router", "embedding"):
                    sides = tuple(
                        np.broadcast_to(side, np.shape(job.plan.tp)).copy() for side in (weight.out, weight.inner)
                    )
                    found[key_of(sides)] = job.precision.activation.tensor_bytes(weight.out * weight.inner)
    return found


def largest(values: Array, present: Bools) -> Array:
    """The greatest value [columns] of the rows that are `present`; 0 where none is."""
    found: Num = 0.0
    for row in np.flatnonzero(present):
        found = maximum(found, values[row])
    return np.broadcast_to(np.asarray(found, np.float64), values.shape[1:])
