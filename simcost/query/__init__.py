"""Questions: names and overrides that are resolved to workloads, one or a product of axes."""

from simcost.query.points import Point, part, reason, reasons, scattered, structure, structures, sweep, with_arrays
from simcost.query.question import (
    Query,
    config_of,
    engine_of,
    facts_of,
    make,
    model_of,
    of_inference,
    phase_of,
    settings_of,
    settled,
    workload,
)

__all__ = [
    "Point",
    "Query",
    "config_of",
    "engine_of",
    "facts_of",
    "make",
    "model_of",
    "of_inference",
    "part",
    "phase_of",
    "reason",
    "reasons",
    "scattered",
    "settings_of",
    "settled",
    "structure",
    "structures",
    "sweep",
    "with_arrays",
    "workload",
]
