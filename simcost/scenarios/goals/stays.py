"""What stays of a step's time when one number has done all it can: by kernel class and engine, and by what bounds it."""

from __future__ import annotations

from simcost.cost.cost import BOUNDS
from simcost.estimate.step import Step
from simcost.result import Row
from simcost.scenarios.calibration_effect import by_class
from simcost.units import show

_LEAST = 0.03  # of the time
_WORDS = {
    "compute": "arithmetic",
    "memory": "memory",
    "wire": "communication",
    "overhead": "starts of kernels and fixed times",
}


def rows(step: Step) -> list[Row]:
    """Every term that takes time, the longest first; scalars."""
    whole = float(step.cost.seconds)
    terms = {
        **by_class(step),
        "the engine's own work in a step": float(step.host.seconds),
        "waits for launches": float(step.launches.seconds),
    }
    found = [
        {"term": term, "time_s": seconds, "share": seconds / whole} for term, seconds in terms.items() if seconds > 0.0
    ]
    return sorted(found, key=lambda row: -float(row["time_s"]))


def told(step: Step, found: list[Row]) -> str:
    """The largest of them in words."""
    if not found:
        return ""
    named = ", ".join(
        f"{row['term']} {show(float(row['time_s']), 'seconds')}" for row in found if float(row["share"]) >= _LEAST
    )
    whole = float(step.cost.seconds)
    parts = {word: float(getattr(step.cost, f"{name}_s")) / whole for name, word in _WORDS.items() if name in BOUNDS}
    kinds = ", ".join(
        f"{word} {share:.0%}" for word, share in sorted(parts.items(), key=lambda part: -part[1]) if share >= _LEAST
    )
    return f"; what stays: {named}; by what bounds it: {kinds}"
