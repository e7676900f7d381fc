"""Whose rows answer for the kernels of a step: tables and runs, each kernel's own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from simcost.calibration.store import Voice
from simcost.cost import calibrated
from simcost.cost.calibrated import Calibrated
from simcost.estimate.step import Step
from simcost.num import some
from simcost.program import leaves


def voices(step: Step) -> Iterator[tuple[str, str, Voice]]:
    """(family, kind, whose rows) of every kernel that takes time, in running order; none where the roofline answers."""
    model = calibrated.model(step.workload.device, step.workload.engine)
    if not isinstance(model, Calibrated):
        return
    for _, call, cost, weight in (*leaves(step.priced), *leaves(step.hops)):
        if some(weight * cost.seconds > 0.0):
            yield from model.voices(call.op)


def tables(steps: Iterable[Step]) -> set[str]:
    """Tables with a say in some steps: "h200/vllm/0.24.0"."""
    names = {voice.name for step in steps for _, _, voice in voices(step)}
    return {table for name in names for table in name.split(" + ")}
