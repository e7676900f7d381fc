"""prefill and decode: one operating point, or a sweep over the product of the axes."""

from __future__ import annotations

from typing import Any

import numpy as np

from simcost.errors import SpecError
from simcost.num import is_scalar
from simcost.result import Result, Row
from simcost.scenarios import step as steps
from simcost.scenarios.query import Query, reasons, sweep, workload
from simcost.units import show
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
    if w is not None:
        found["plan"] = {
            **{k: steps.number(getattr(w.plan, k)) if is_scalar(getattr(w.plan, k)) else None for k in ("tp", "ep")},
            **w.formats(),
            "mla_form": w.plan.mla_form,
            "dequantise": w.plan.dequantise,
        }
    found["set"] = {**_rooted("model", o.model), **_rooted("hw", o.hw), **_rooted("plan", o.plan)}
    if query.axes:
        found["vary"] = dict(query.axes)
    if query.usd_per_hour is not None:
        found["usd_per_hour"] = query.usd_per_hour
    return found


def _rooted(root: str, table: dict[str, Any]) -> dict[str, Any]:
    return {f"{root}.{key}": value for key, value in table.items()}


def warnings(query: Query, w: Workload) -> tuple[str, ...]:
    """What a reader must know: defaults, unused keys, limits passed, prices missing."""
    m = w.model
    found = [f"{m.name}: {note}" for note in m.notes] + list(w.notes)
    longest = float(np.max(np.asarray(w.phase.context)))
    if m.max_positions is not None and longest > m.max_positions:
        found.append(f"{m.name}: {longest:,.0f} tokens exceed max_position_embeddings = {m.max_positions:,.0f}")
    if query.price(w.device) is None:
        found.append(f"{w.device.name}: no price with a source; give one with --price USD_PER_HOUR")
    if m.mtp:
        found.append(f"{m.name}: num_nextn_predict_layers = {len(m.mtp)}: MTP is not run and not held in memory here")
    if m.unused:
        found.append(f"{m.name}: no effect on cost: {', '.join(m.unused)}")
    return tuple(dict.fromkeys(found))


def references(w: Workload) -> tuple[str, ...]:
    """What the answer rests on: the blocks' papers and the profile."""
    papers = [f"{type(b).__name__}: {b.source}" for _, b in w.model.blocks()]
    return (*dict.fromkeys(papers), f"hardware: {w.device.title}, {w.device.where} (sources inside)")


def verdict(step: steps.Step) -> tuple[str, bool]:
    """One plain sentence about memory."""
    held = step.memory
    short = float(np.asarray(held.short))
    if short <= 0:
        return f"fits: {show(float(held.used), 'bytes')} of {show(float(held.capacity), 'bytes')} a GPU", True
    what = "weights alone" if held.weights + held.reserve > held.capacity else "weights, cache and activations"
    return (
        f"DOES NOT FIT: short of {show(short, 'bytes')} a GPU ({what} need {show(float(held.used), 'bytes')} "
        f"of {show(float(held.capacity), 'bytes')}); times are as if memory allowed"
    ), False


def _single(query: Query) -> Result:
    w = workload(query)
    step = steps.run(w)
    sentence, fits = verdict(step)
    found = {k: steps.number(v) for k, v in steps.metrics(step, query.decode, query.price(w.device)).items()}
    return Result(
        _name(query), inputs(query, w), {**found, "fits": fits, **steps.forms_named(step)},
        warnings=warnings(query, w), references=references(w), verdict=sentence, fits=fits,
    )  # fmt: skip


def _sweep(query: Query) -> Result:
    vector, points = sweep(query)
    rows: list[Row] = []
    said: list[str] = []
    first: Workload | None = None
    for point in points:
        if point.workload is None:
            rows += [
                {**labels, "feasible": False, "reason": point.reason} for labels in _labels(query, vector, point.fixed)
            ]
            continue
        first = first or point.workload
        said += warnings(query, point.workload)
        rows += _rows(query, vector, point.fixed, point.workload)
    if first is None:
        raise SpecError(f"no point of the sweep can be run: {points[0].reason}")
    order = list(query.axes)
    rows = [{**{k: row[k] for k in order}, **{k: v for k, v in row.items() if k not in order}} for row in rows]
    usable = sum(1 for row in rows if row["feasible"])
    return Result(
        _name(query), inputs(query, None), {"points": len(rows), "points_feasible": usable}, {"sweep": rows},
        tuple(dict.fromkeys(said)), references(first), "", any(row.get("fits") for row in rows),
    )  # fmt: skip


def _labels(query: Query, vector: list[str], fixed: dict[str, Any]) -> list[Row]:
    shape = [len(query.axes[path]) for path in vector]
    return [
        {**fixed, **{path: query.axes[path][i] for path, i in zip(vector, at, strict=True)}}
        for at in np.ndindex(*shape)
    ]


def columns(query: Query, vector: list[str], w: Workload) -> dict[str, Any]:
    """Metrics of every point of the array axes, flat, with `feasible`, `reason` and `fits`."""
    shape = tuple(len(query.axes[path]) for path in vector)
    good, why = reasons(w, shape)
    with np.errstate(all="ignore"):
        step = steps.run(w)
        found: dict[str, Any] = dict(steps.metrics(step, query.decode, query.price(w.device)))
        found["fits"] = np.asarray(step.memory.short) <= 0
    flat = {name: np.broadcast_to(np.asarray(value), shape).ravel() for name, value in found.items()}
    return {"feasible": good.ravel(), "reason": why.ravel(), **flat}


def _rows(query: Query, vector: list[str], fixed: dict[str, Any], w: Workload) -> list[Row]:
    table = columns(query, vector, w)
    good, why = table.pop("feasible").tolist(), table.pop("reason").tolist()
    fits = table.pop("fits").tolist()
    values = {name: column.tolist() for name, column in table.items()}
    rows = []
    for i, labels in enumerate(_labels(query, vector, fixed)):
        if not good[i]:
            rows.append({**labels, "feasible": False, "reason": why[i]})
            continue
        rows.append({**labels, "feasible": True, "fits": fits[i], **{k: steps.number(v[i]) for k, v in values.items()}})
    return rows
