"""What measurements moved: the same step by the roofline and by the curves, kernel class by kernel class."""

from __future__ import annotations

from dataclasses import replace

from simcost.calibration import coverage
from simcost.cost.cost import NOISE
from simcost.estimate import step as steps
from simcost.estimate.step import Step
from simcost.num import Num
from simcost.ops.fused import Fused
from simcost.ops.stream import Stream
from simcost.program import Call, leading, shared
from simcost.result import Row


def calibrated(step: Step) -> bool:
    """Whether curves answer for any of this device's kernels."""
    return coverage.known(step.workload.device)


def uncalibrated(step: Step) -> Step:
    """The same workload priced by the datasheet and its assumptions alone."""
    w = step.workload
    return steps.run(replace(w, device=replace(w.device, measurements=(), tables="", sibling=None)))


def rows(design: str, phase: str, step: Step) -> list[Row]:
    """Times without and with curves: a row for the whole step, one for each kernel class, one for the engine's overhead. For
    scalars."""
    plain = uncalibrated(step)
    before, after = by_class(plain), by_class(step)
    found = [
        _row(design, phase, name, before.get(name, 0.0), after.get(name, 0.0))
        for name in dict.fromkeys([*after, *before])
        if before.get(name) or after.get(name)
    ]
    found.sort(key=lambda row: -abs(float(row["moved_s"])))
    whole = _row(design, phase, "the whole step", _plain(plain.cost.seconds), _plain(step.cost.seconds))
    engine = _row(design, phase, "engine overhead", _plain(plain.engine.seconds), _plain(step.engine.seconds))
    return [whole, *found, engine]


def _row(design: str, phase: str, name: str, before: float, after: float) -> Row:
    return {
        "design": design, "phase": phase, "kernels": name, "uncalibrated_s": before, "calibrated_s": after,
        "moved_s": after - before, "ratio": after / before if before else None,
    }  # fmt: skip


def by_class(step: Step) -> dict[str, float]:
    """Seconds of wall time: what something longer hides counts nothing."""
    idle = _plain(step.idle.seconds)
    found = {"waiting for the slowest stage": idle} if idle > NOISE * _plain(step.cost.seconds) else {}
    for (path, call, cost, weight), share in (*shared(step.priced, leading), *shared(step.hops, leading)):
        name = _class(call, path)
        found[name] = found.get(name, 0.0) + _plain(cost.seconds * weight * share)
    return found


def _class(call: Call, path: tuple[str, ...]) -> str:
    """As engines time them: everything between the exchange of a MoE belongs to its experts, the write of the cache to the core,
    casts to their linear layer."""
    if isinstance(call.op, Fused):
        return _KERNELS[call.op.kernel]
    if "experts" in path:
        return "experts"
    if isinstance(call.op, Stream) and call.op.what in ("cache write", "quantise"):
        return "attention core" if call.op.what == "cache write" else "linear layers"
    return _FAMILIES.get(call.op.family, call.op.family)


_KERNELS = {"linear": "linear layers", "attention": "attention core", "experts": "experts"}
_FAMILIES = {
    "gemm": "linear layers", "attention": "attention core", "collective": "collectives", "exchange": "exchange of tokens",
    "stream": "elementwise", "gather": "embedding",
}  # fmt: skip


def _plain(value: Num) -> float:
    return float(value)
