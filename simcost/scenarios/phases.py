"""prefill and decode: one operating point, or a sweep over the product of the axes."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from simcost import grammar, lower
from simcost.calibration import coverage
from simcost.calibration import tables as engines_tables
from simcost.errors import SimcostError, SpecError
from simcost.estimate import answer, unused_settings
from simcost.estimate import step as steps
from simcost.hardware.profile import Device
from simcost.num import Bools, is_scalar
from simcost.plan import CHOICES, Plan
from simcost.query import Point, Query, engine_of, reason, reasons, settings_of, sweep, workload
from simcost.result import Columns, Result, number
from simcost.routing.router import Routing
from simcost.scenarios import engine_notes, fitting, memory_notes, voiced
from simcost.workload import Workload


def result(query: Query) -> Result:
    """A Result with metrics (one point) or rows (a sweep)."""
    return _sweep(query) if query.axes else _single(query)


def _name(query: Query) -> str:
    return "decode" if query.decode else "prefill"


def inputs(query: Query, w: Workload | None) -> dict[str, Any]:
    o = query.overrides
    found: dict[str, Any] = {
        "model": query.model,
        "hw": query.hw,
        **{k: v for k, v in o.phase.items() if v is not None},
    }
    if "engine" not in query.axes:
        found["engine"] = engine_of(o)
    if w is not None:
        found["engine_settings"] = settings(w)
    if w is not None:
        found["plan"] = {
            **sizes(w.plan),
            **w.formats(),
            **{key: getattr(w.plan, key) for key in CHOICES},
        }
    found["set"] = {
        **_rooted("model", o.model), **_rooted("hw", o.hw), **_rooted("plan", o.plan), **_rooted("engine", settings_of(o)),
    }  # fmt: skip
    if query.axes:
        found["vary"] = dict(query.axes)
    if query.usd_per_hour is not None:
        found["usd_per_hour"] = query.usd_per_hour
    return found


def settings(w: Workload) -> dict[str, float | int | str | None]:
    """The engine's settings by its own names, defaults included; None where a sweep varies one."""
    values = {
        "share": w.memory.share,
        "tokens": w.memory.tokens,
        "sequences": w.memory.sequences,
        "block": w.memory.block,
    }
    found = {w.memory.names[key]: number(value) if is_scalar(value) else None for key, value in values.items()}
    return {"version": w.memory.version, **found}


def sizes(plan: Plan) -> dict[str, float | int | None]:
    """Every group's size, what follows from the others included; None where a sweep varies it."""
    found = {
        "tp": plan.tp, "cp": plan.cp, "dp_attention": plan.replicas, "pp": plan.pp, "dp": plan.copies, "ep": plan.ep,
        "etp": plan.expert_slices, "redundant_experts": plan.redundant_experts,
    }  # fmt: skip
    return {key: number(value) if is_scalar(value) else None for key, value in found.items()}


def _rooted(root: str, table: dict[str, Any]) -> dict[str, Any]:
    return {f"{root}.{key}": value for key, value in table.items()}


def warnings(query: Query, w: Workload) -> tuple[str, ...]:
    """What a reader must know: defaults, unused keys, limits passed, prices missing."""
    m = w.model
    found = [f"{m.name}: {note}" for note in m.notes] + list(w.notes) + memory_notes.exceeds(w)
    if w.phase.routing != Routing() and not lower.has_experts(m):
        found.append(f"{m.name}: routing has no effect: no layer has experts")
    stated = {grammar.split(path)[1] for path in query.axes if path.startswith("plan.")}
    found += unused_settings.notes(w, stated | set(query.overrides.plan))
    if w.plan.gpus is not None:
        unused = float(np.max(np.asarray(w.plan.gpus - w.plan.devices)))
        if unused > 0.0:
            found.append(
                f"{unused:.0f} GPUs of the cluster idle: no whole copy of the plan fits on them; figures a GPU leave them out"
            )
    found += _stand_in(w.device) + engine_notes.no_tables(w) + _off_rows(query, w.device) + memory_notes.admitted(w)
    found.append(_price(query, w))
    if w.device.tdp is not None:
        found.append(f"{w.device.name}: energy is assumed: every GPU draws its TDP all the time")
    found += memory_notes.mtp(m)
    if m.unused:
        found.append(f"{m.name}: no effect on cost: {', '.join(m.unused)}")
    return tuple(dict.fromkeys(found))


def _stand_in(device: Device) -> list[str]:
    """Whose rows answer, and how far off they are expected."""
    other = device.sibling
    if other is None:
        return []
    foreign = ", from another vendor," if device.title.split()[:1] != other.title.split()[:1] else ""
    some = "kernels without rows of its own" if device.measurements or device.tables else "no rows of its own"
    return [
        f"{device.name}: {some}: the curves of {other.name}{foreign} stand in; 90 % of times are expected within {coverage.expected(device):.0%}"
    ]


def _off_rows(query: Query, device: Device) -> list[str]:
    """Overrides that measured rows do not follow."""
    if not coverage.known(device):
        return []
    found = []
    for path in query.overrides.hw:
        root = path.partition(".")[0]
        if path in _SUPERSEDED:
            found.append(
                f"{device.name}: {path} acts only on kernels without measured rows (hw.measurements=none asks the roofline)"
            )
        elif root in ("peak", "links") or path == "memory.bandwidth":
            found.append(
                f"{device.name}: {path} is not the measured device's: kernels that need it count as transferred, and wider"
            )
    return found


_SUPERSEDED = (
    "assumed.gemm_efficiency", "assumed.attention_efficiency", "assumed.memory_efficiency", "assumed.link_efficiency",
    "assumed.collective_latency", "assumed.hop_latency", "assumed.kernel_overhead", "assumed.scaleout_efficiency",
    "assumed.scaleout_hop_latency",
)  # fmt: skip


def _price(query: Query, w: Workload) -> str:
    usd = query.price(w.device)
    if usd is None:
        return f"{w.device.name}: no price with a source; give one with --price USD_PER_HOUR"
    if query.usd_per_hour is not None:
        return f"{w.device.name}: price {usd:,.4g} USD a GPU hour (--price)"
    if not is_scalar(usd):
        return f"{w.device.name}: price a GPU hour as varied"
    return f"{w.device.name}: price {usd:,.4g} USD a GPU hour (profile; --price sets another)"


def references(w: Workload, *priced: steps.Step) -> tuple[str, ...]:
    """What the answer rests on: the blocks' papers, the profile, and the rows. `priced`: the steps that it shows; of engines' tables those
    that their kernels use, all that may answer where no step is given (a sweep has too many)."""
    papers = [f"{type(b).__name__}: {b.source}" for _, b in w.model.blocks()]
    return (
        *dict.fromkeys(papers),
        f"hardware: {w.device.title}, {w.device.where} (sources inside)",
        *_measured(w.device, w.engine, voiced.tables(priced) if priced else None),
    )


def _measured(device: Device, engine: str, used: Container[str] | None) -> list[str]:
    """Which rows the curves of an engine go through. `used`: the tables to name, None for all."""
    other = device.sibling
    found = _rows_of(device, engine, used, "measurements: ", "tables: ")
    if other is not None:
        found += _rows_of(other, engine, used, "measurements of its sibling: ", "tables of its sibling: ")
    return found


def _rows_of(device: Device, engine: str, used: Container[str] | None, of_runs: str, of_tables: str) -> list[str]:
    found = [f"{of_runs}{device.name}/{Path(home).name}" for home in device.measurements]
    named = engines_tables.named(device.tables, engine)
    if used is not None:
        named = [table for table in named if _qualified(table, device) in used]
    return [*found, *([f"{of_tables}{device.name} {', '.join(named)}"] if named else [])]


def _qualified(table: str, device: Device) -> str:
    """ "h200/vllm/0.24.0" of a table as picks name it: "vllm/0.24.0", or "h200:vllm/0.24.0" of another device."""
    return table.replace(":", "/") if ":" in table else f"{device.name}/{table}"


def _single(query: Query) -> Result:
    w = workload(query)
    step = steps.checked(w)
    sentence, fits = fitting.verdict(step.kept)
    if not fits:
        sentence += f"; {fitting.advice(query, step.kept)}"
    found = {k: number(v) for k, v in answer.metrics(step, query.decode, query.price(w.device)).items()}
    return Result(
        _name(query), inputs(query, w), {**found, "fits": fits, **answer.forms_named(step)},
        warnings=(*warnings(query, w), *memory_notes.tight(step.kept), *engine_notes.imported_first(step), *memory_notes.beyond(w.model, found.get("max_context"))), references=references(w, step),
        verdict=sentence, fits=fits,
    )  # fmt: skip


def _sweep(query: Query) -> Result:
    vector, points = sweep(query)
    priced = [_priced(query, vector, point) for point in points]
    runnable = [point.workload for point, _ in priced if point.workload is not None]
    if not runnable:
        first = {path: values[0] for path, values in query.axes.items()}
        raise SpecError(f"no point of the sweep can be run: {reason(query, first, True) or priced[0][0].reason}")
    rows = _table(query, vector, priced)
    said = [line for w in runnable for line in warnings(query, w)]
    said += memory_notes.beyond(runnable[0].model, rows.values.get("max_context"))
    fits = bool(np.any(rows.values["fits"] & np.asarray(rows.feasible)))
    return Result(
        _name(query), inputs(query, None), {"points": len(rows), "points_feasible": int(np.sum(rows.feasible))}, {"sweep": rows},
        tuple(dict.fromkeys(said)), references(runnable[0]), _sweep_verdict(rows, fits), fits,
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


_NAMED = 200  # rows whose broken rule is told with its numbers; further ones name the rule
_ADVISED = 20  # kinds of them for which the nearest plans are looked for, at a few milliseconds each
_IDLE_IN_RULES = ("batch", "context", "past", "chunk")  # no rule of a plan reads them


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
