"""explain: every op of every kind of layer, with what it does, what bounds it, and what its time rests on."""

from __future__ import annotations

from typing import Any

from simcost.cost.cost import basis, bound
from simcost.errors import SpecError
from simcost.num import is_scalar
from simcost.program import leaves
from simcost.result import Result, Row, number
from simcost.scenarios import phases
from simcost.scenarios import step as steps
from simcost.scenarios.query import Query, workload

_SHORT = {"elements": "n", "payload_bytes": "bytes"}


def shape(coords: dict[str, Any]) -> str:
    """ "m=64 n=7168 k=16384 bf16" of an op's coordinates."""
    words = []
    for key, value in coords.items():
        if key == "op":
            continue
        if key == "b" and value == 1.0:
            continue
        words.append(str(value) if isinstance(value, str) else f"{_SHORT.get(key, key)}={_short(float(value))}")
    return " ".join(words)


def _short(value: float) -> str:
    return f"{value:.0f}" if value == int(value) else f"{value:.2f}"


def _name(path: tuple[str, ...]) -> str:
    """ "attention / core" of a path of tags; the step and the stack stand in `part`."""
    return " / ".join(path[2:] if len(path) > 3 else path[-1:])


def result(query: Query) -> Result:
    """Rows in the order in which the step runs; times of one call, and their share of the whole step."""
    if query.axes:
        raise SpecError("explain takes one operating point: use --set instead of --vary")
    w = workload(query)
    step = steps.run(w)
    total = step.cost.seconds
    rows: list[Row] = []
    for path, call, cost, weight in leaves(step.priced):
        if not is_scalar(weight) or weight == 0.0 or cost.seconds == 0.0:
            continue
        work = call.op.work()
        wire = call.op.family == "collective"
        rows.append(
            {
                "part": path[1] if len(path) > 2 else "",
                "op": _name(path),
                "kernel": call.op.family, "shape": shape(dict(call.op.coords())),
                "flops": number(work.flops), "bytes": number(call.op.coords()["payload_bytes"] if wire else work.bytes),
                "intensity": None if wire or not work.bytes else number(work.flops / work.bytes),
                "bound": bound(cost), "time_s": number(cost.seconds), "light_s": number(cost.light_s),
                "times": number(weight), "share": number(cost.seconds * weight / total),
                "basis": basis(cost),
                "formula": call.op.formula, "source": call.op.source,
            }
        )  # fmt: skip
    overhead = w.device.assumption("step_overhead")
    rows.append(
        {
            "part": "engine", "op": "step overhead", "kernel": "host", "shape": "", "flops": 0, "bytes": 0,
            "intensity": None, "bound": "overhead", "time_s": number(overhead), "light_s": 0, "times": 1,
            "share": number(overhead / total), "basis": "assumed", "formula": "assumed.step_overhead",
            "source": w.device.where,
        }
    )  # fmt: skip
    sentence, fits = phases.verdict(step)
    found = {k: number(v) for k, v in steps.metrics(step, query.decode, query.price(w.device)).items()}
    return Result(
        "explain", phases.inputs(query, w), {**found, "fits": fits, **steps.forms_named(step)}, {"ops": rows},
        phases.warnings(query, w), phases.references(w), sentence, fits,
    )  # fmt: skip
