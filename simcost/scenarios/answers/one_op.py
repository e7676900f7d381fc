"""One kernel of a step in full: what it does, the curves that time it with their parameters, the measured rows nearest to it, and what its interval is made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from simcost.calibration.family import families
from simcost.calibration.family import sizes as sizes_of
from simcost.calibration.nearest import neighbours
from simcost.calibration.store import Found, Voice
from simcost.cost import calibrated
from simcost.cost.calibrated import Calibrated
from simcost.cost.cost import Cost
from simcost.errors import SpecError, nearest
from simcost.estimate.step import Step
from simcost.num import Z90
from simcost.ops.work import Op
from simcost.program import leaves
from simcost.result import Row, number
from simcost.scenarios.answers import terms
from simcost.units import show

_MOST = 5  # kernels that are told in full: the longest
_ROWS = 3  # nearest measured rows of each table
_OWN = ("part", "op", "shape", "formula", "source", "bound", "basis", "times", "share", "step_s", "step_low_s", "step_high_s", "time_s", "low_s", "high_s", "light_s", "flops", "bytes", "intensity")  # fmt: skip


def tables(step: Step, rows: Sequence[Row], asked: str) -> tuple[dict[str, list[Row]], list[str]]:
    """(tables of the kernels that a name means, what is left out). `rows`: those of explain, the longest first; `asked`: an op or the end of its name ("moe / experts", "experts"), or a
    word in it. Raises SpecError for a name that no kernel has."""
    mine = _named(rows, asked)
    shown = mine[:_MOST]
    calls = {(terms.name(path), call.op.family, _shape(call.op)): (call.op, cost) for path, call, cost, _ in (*leaves(step.priced), *leaves(step.hops))}  # fmt: skip
    several = len({(row["op"], row["shape"]) for row in shown}) > 1
    model = calibrated.model(step.workload.device, step.workload.engine)
    left: list[str] = []
    found: dict[str, list[Row]] = {
        "kernels": [],
        "parts": [],
        "curves": [],
        "nearest measured rows": [],
        "interval": [],
    }
    for row in shown:
        found["kernels"].append({name: row[name] for name in _OWN})
        key = (row["op"], row["kernel"], row["shape"])
        if key not in calls:  # time that belongs to no kernel, or the same kernel in other layers
            continue
        op, cost = calls.pop(key)
        what = {"op": row["op"], "shape": row["shape"]} if several else {}
        found["parts"] += [{**what, **each} for each in _parts(op)]
        answers = model.answers(op) if isinstance(model, Calibrated) else []
        if not answers:
            left.append(_unmeasured(row["op"], step.workload.device.name))
        for part, name, curve in answers:
            for voice in curve.voices:
                found["curves"].append({**what, **_curve(name, curve, voice)})
                found["nearest measured rows"] += [{**what, **near} for near in _nearest(part, name, curve, voice)]
        found["interval"] += [{**what, **each} for each in _interval(cost)]
    left += [f"{len(mine) - _MOST} more kernels have '{asked}' in their name: the {_MOST} longest are shown"] if len(mine) > _MOST else []  # fmt: skip
    return {name: each for name, each in found.items() if each}, left


def _unmeasured(op: str, device: str) -> str:
    return f"{op}: no measurements for this kernel: its time follows from the roofline with the efficiencies that the profile assumes (simcost show hardware {device})"


def _named(rows: Sequence[Row], asked: str) -> list[Row]:
    """The rows of that name, else those whose name ends in it, else those with it anywhere."""
    wanted = _plain(asked)
    names = [_plain(str(row["op"])) for row in rows]
    for fits in (lambda name: name == wanted, lambda name: name.endswith(f"/{wanted}"), lambda name: wanted in name):
        found = [row for row, name in zip(rows, names, strict=True) if wanted and fits(name)]
        if found:
            return found
    every = list(dict.fromkeys(str(row["op"]) for row in rows))
    near = nearest(asked, every) or nearest(asked, {name.rpartition(" / ")[2] for name in every})
    raise SpecError(f"--op {asked!r}: no kernel of this step has this name (one of: {', '.join(every)}){near}")


def _plain(name: str) -> str:
    return "/".join(part.strip().lower() for part in name.split("/"))


def _shape(op: Op) -> str:
    return terms.shape(dict(op.coords()))


def _parts(op: Op) -> Iterator[Row]:
    """What a class of kernels that is timed as a whole does one after another."""
    for part in getattr(op, "parts", ()):
        work = part.work()
        yield {
            "kernel": part.family, "shape": _shape(part), "formula": part.formula, "source": part.source, "flops": number(work.flops), "bytes": number(work.bytes),
        }  # fmt: skip


def _curve(name: str, found: Found, voice: Voice) -> Row:
    """The form of a curve: t0 + compute against memory, each at its share of the datasheet rate."""
    form = voice.curve.form
    halves = zip(sizes_of(families()[name]), form.sizes, strict=False)
    return {
        "table": voice.name, "kernel": f"{name} {found.kind}", "engines": " ".join(voice.engines) or "own run", "how": voice.how, "basis": str(found.basis),
        "rows": voice.curve.rows, "t0_s": number(form.t0_s), "compute_efficiency": number(form.compute_efficiency),
        "memory_efficiency": number(form.memory_efficiency), "serial_efficiency": number(form.serial_efficiency), "half_bytes": number(form.half_bytes),
        "sharpness": number(form.sharpness), "half_sizes": ", ".join(f"{size} {half:.3g}" for size, half in halves),
    }  # fmt: skip


def _nearest(op: Op, name: str, found: Found, voice: Voice) -> Iterator[Row]:
    for row in neighbours(op, name, found, voice, _ROWS):
        shape = " ".join(f"{key}={value:,.6g}" for key, value in row.numbers.items())
        yield {"table": row.table, "measured_s": number(row.seconds), "largest_ratio": number(row.factor), "measured_shape": shape}  # fmt: skip


def _interval(cost: Cost) -> Iterator[Row]:
    """What the 90 % interval of one run is made of, the largest first: sources are independent, so their variances add up."""
    sigmas = {source: float(np.asarray(spread / cost.seconds)) for source, spread in cost.spread.items()}
    total = sum(sigma * sigma for sigma in sigmas.values())
    if total > 0.0:
        yield {"error_source": "all together", "half_width": number(np.expm1(Z90 * np.sqrt(total))), "share_of_variance": 1}  # fmt: skip
    for source, sigma in sorted(sigmas.items(), key=lambda each: -each[1]):
        if sigma > 0.0:
            yield {"error_source": source, "half_width": number(np.expm1(Z90 * sigma)), "share_of_variance": number(sigma * sigma / total)}  # fmt: skip


def told(rows: Sequence[Row], asked: str) -> str:
    """ "moe / experts: 22.09 ms of the step, 63.1 %" of the kernels that a name means."""
    mine = _named(rows, asked)
    seconds, share = (sum(float(row[name]) for row in mine) for name in ("step_s", "share"))
    names = list(dict.fromkeys(str(row["op"]) for row in mine))
    which = names[0] if len(names) == 1 else f"{len(names)} kernels named {asked}"
    return f"{which}: {show(seconds, 'seconds')} of the step, {100.0 * share:.1f} %"


def longest(rows: Sequence[Row], top: Any) -> tuple[list[Row], list[str]]:
    """(the `top` longest rows, what the others add up to). Raises SpecError for a count below 1."""
    count = int(top)
    if count < 1:
        raise SpecError(f"--top {top}: must be the number of rows to show, 1 or more")
    ranked = sorted(rows, key=lambda row: -float(row["step_s"]))
    rest = ranked[count:]
    share = sum(float(row["share"]) for row in rest)
    return ranked[:count], [f"{len(rest)} more rows, {share:.1%} of the step together"] if rest else []
