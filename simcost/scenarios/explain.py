"""explain: every op of every kind of layer, with what it does, what bounds it, and what its time rests on."""

from __future__ import annotations

from typing import Any

import numpy as np

from simcost.cost import calibrated
from simcost.cost.calibrated import Calibrated
from simcost.cost.cost import Cost, basis, bound, interval
from simcost.cost.kernel import Roofline
from simcost.cost.price import with_range
from simcost.errors import SpecError, nearest
from simcost.estimate import answer, memory
from simcost.estimate import step as steps
from simcost.hardware.profile import Device
from simcost.num import Z90, Num, is_scalar
from simcost.ops.work import Op
from simcost.program import leading, shared
from simcost.provenance import Note
from simcost.query import Query, workload
from simcost.result import Result, Row, number
from simcost.scenarios import engine_notes, explain_links, explain_routing, fitting, inputs, notes, tables_used
from simcost.scenarios.answers import one_op, terms

TIME, EXECUTION = "time", "execution"
ORDERS = (TIME, EXECUTION)
_ALIKE = ("op", "shape", "time_s", "low_s", "high_s", "basis", "bound")
_SUMMED = ("times", "step_s", "step_low_s", "step_high_s", "share")


def _memory(step: steps.Step) -> list[Row]:
    """One row a kind of pipeline stage: what its fullest rank holds, the one with most sequences and experts' rows."""
    kept, rows = step.kept, list[Row]()
    for rank in kept.ranks:
        held = memory.shared_out(kept.workload, rank.held, kept.peak)
        sizes = {
            "used": held.used, "room": -held.short, "weight": held.weights, "kv": held.cache,
            "activation": held.activations, "non_torch": held.non_torch, "cuda_graph": held.graphs, "reserve": held.reserve,
        }  # fmt: skip
        rows.append(
            {
                "stage": f"{int(float(rank.held.stage)) + 1} of {rank.pp}", "holds": rank.stage.name,
                **{f"{name}_bytes_per_gpu": number(size) for name, size in sizes.items()},
                "fullest": bool(rank.held.stage == kept.held.stage),
            }
        )  # fmt: skip
    return rows


def _ops(step: steps.Step) -> list[Row]:
    """One row a kernel that takes time, in the order in which a step runs them."""
    device = step.workload.device
    model = calibrated.model(device, step.workload.engine)
    rows: list[Row] = []
    for (path, call, cost, weight), wall in (*shared(step.priced, leading), *shared(step.hops, leading)):
        if not is_scalar(weight) or weight == 0.0 or cost.seconds == 0.0:
            continue
        work = call.op.work()
        wire = call.op.peak == "wire"
        low, high = interval(cost)
        rows.append(
            {
                "part": path[1] if len(path) > 2 else "",
                "op": terms.name(path), "shape": terms.shape(dict(call.op.coords())),
                "bound": bound(cost), "basis": basis(cost), **_of_step(cost, float(weight)), "time_s": number(cost.seconds),
                "half_width": number(high / cost.seconds - 1.0), "scatter": _scatter(model, call.op),
                "share": number(cost.seconds * weight * wall / step.cost.seconds),
                "light_s": number(cost.light_s), "kernel": call.op.family, "low_s": number(low), "high_s": number(high),
                "flops": number(work.flops), "bytes": number(_sent(call.op, device) if wire else work.bytes),
                "intensity": None if wire or not work.bytes else number(work.flops / work.bytes),
                "formula": call.op.formula, "source": call.op.source,
            }
        )  # fmt: skip
    return rows


_WAITS = {
    terms.OVERHEAD: ("engine", "host", "assumed.step_overhead"),
    terms.LAUNCHES: ("engine", "host", "kernels x assumed.eager_launch - what the device hides"),
    terms.IDLE: ("pipeline", "", "pp x slowest stage"),
}  # part, kernel, formula


def _waits(step: steps.Step) -> list[Row]:
    """Time that belongs to no kernel."""
    return [_waiting(step, what, cost, *_WAITS[what]) for what, cost in terms.waits(step)]


def _waiting(step: steps.Step, what: str, cost: Cost, part: str, kernel: str, formula: str) -> Row:
    low, high = interval(cost)
    return {
        "part": part, "op": what, "shape": "", "bound": "overhead", "basis": basis(cost), **_of_step(cost, 1.0),
        "time_s": number(cost.seconds), "half_width": number(high / cost.seconds - 1.0), "scatter": None,
        "share": number(cost.seconds / step.cost.seconds), "light_s": 0, "kernel": kernel, "low_s": number(low),
        "high_s": number(high), "flops": 0, "bytes": 0, "intensity": None, "formula": formula,
        "source": step.workload.device.where,
    }  # fmt: skip


def _of_step(cost: Cost, times: float) -> Row:
    """How often something runs in a step, and what all its runs take: they err together."""
    low, high = interval(cost)
    return {
        "times": number(times), "step_s": number(times * cost.seconds), "step_low_s": number(times * low),
        "step_high_s": number(times * high),
    }  # fmt: skip


def _ordered(rows: list[Row], order: str) -> list[Row]:
    """Rows with their position in the step, by what is asked for: the longest first, or as they run."""
    placed = [{"order": position, **row} for position, row in enumerate(rows, 1)]
    return placed if order == EXECUTION else sorted(_joined(placed), key=lambda row: -float(row["step_s"]))


def _joined(rows: list[Row]) -> list[Row]:
    """One row for a kernel that layers of several stacks of the same blocks run alike; in execution order each stack has its own."""
    found: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        blocks, _, layers = str(row["part"]).rpartition(" x")
        key = (blocks or row["part"], *(row[name] for name in _ALIKE))
        first = found.setdefault(key, {**row})
        if first["order"] == row["order"]:
            continue
        if blocks:
            first["part"] = f"{blocks} x{int(layers) + int(str(first['part']).rpartition(' x')[2])}"
        first.update({name: first[name] + row[name] for name in _SUMMED})
    return list(found.values())


def _sent(op: Op, device: Device) -> Num:
    """Bytes that one rank sends over any link."""
    found = explain_links.moved(op, device)
    return 0.0 if found is None else found.near + found.far


def _scatter(model: Roofline | Calibrated, op: Op) -> float | None:
    """Half-width of the 90 % interval from the scatter of the curves alone; None where none answers."""
    found = None if isinstance(model, Roofline) else model.doubts(op)
    return None if found is None else number(np.expm1(Z90 * found["scatter"]))


def _tables(step: steps.Step) -> list[Row]:
    """Whose rows answer for every kind of kernel, for which engines, and by which rule they were chosen."""
    found: dict[tuple[str, str], Row] = {}
    for family, which, voice in tables_used.voices(step):
        found[f"{family} {which}", voice.name] = {
            "kernel": f"{family} {which}", "table": voice.name, "engines": " ".join(voice.engines), "rows": voice.curve.rows,
            "how": voice.how,
        }  # fmt: skip
    return list(found.values())


def result(query: Query, order: str = TIME, op: str | None = None, top: int | None = None) -> Result:
    """Rows by the time of all their runs in a step, the longest first, or in the order in which they run; their share of the whole step: of
    calls side by side the longer ones have it, and what they hide has none. `op`: one kernel in full instead; `top`: so many of
    the longest rows alone. Raises SpecError for another order, for both together, and for an op that the step does not have."""
    if order not in ORDERS:
        raise SpecError(f"--order must be one of {', '.join(ORDERS)}, not {order!r}{nearest(order, ORDERS)}")
    if op is not None and top is not None:
        raise SpecError("use --op or --top, not both: --op shows one kernel in full, --top lists the longest")
    if query.axes:
        raise SpecError("explain takes one operating point: use --set instead of --vary")
    w = workload(query)
    if w.phase.chunk is not None:
        raise SpecError(
            "explain takes one chunk of a prefill: set its length with --isl and the tokens before it with --past"
        )
    step = steps.checked(w)
    sentence, fits = fitting.judged(query, step.kept)
    rows = [*_ops(step), *_waits(step)]
    if op is not None:
        tables, left = one_op.tables(step, _ordered(rows, TIME), op)
        sentence = f"{one_op.told(_ordered(rows, TIME), op)}; {sentence}"
    elif top is not None:
        longest, left = one_op.longest(_ordered(rows, TIME), top)
        tables = {"ops": longest}
    else:
        tables, left = _whole(step, _ordered(rows, order)), []
    known = with_range(answer.metrics(step, query.decode, query.price(w.device)), query.paid(w.device))
    found = {k: number(v) for k, v in known.items()}
    return Result(
        "explain", {**inputs.inputs(query, w), "phase": inputs.command(query), "order": order, **_asked(op, top)}, {**found, "fits": fits, **answer.forms_named(step)}, tables,
        (*map(Note, left), *notes.warnings(query, w), *engine_notes.imported_first(step)), notes.references(w, step), sentence, fits,
        inputs.dimensions(w.model),
    )  # fmt: skip


def _asked(op: str | None, top: int | None) -> dict[str, Any]:
    """What of a step was asked for, where it was not all."""
    return {name: value for name, value in (("op", op), ("top", top)) if value is not None}


def _whole(step: steps.Step, ops: list[Row]) -> dict[str, list[Row]]:
    """All tables of a step that have rows."""
    tables = {
        "ops": ops,
        "links": explain_links.rows(step),
        "tables": _tables(step),
        "memory": _memory(step),
        "routing": explain_routing.rows(step),
    }
    return {name: table for name, table in tables.items() if table}
