"""In which group a metric is printed, under which heading, and in which words the two partitions of a step's time are told.

The group follows from the unit; `_OF` names those of which the unit says nothing. Two partitions never share a word: a step is *bound by* compute, memory, communication
or overhead, and it *rests on* measurements, curves, stand-ins, the datasheet or assumptions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any

TIME, RATE, MONEY, MEMORY, WORK, BOUND, BASIS, PARAMETERS, SIZES, CHOICES = (
    "time", "throughput", "price and energy", "memory", "compute", "bound by", "rests on", "parameters", "sizes", "choices",
)  # fmt: skip
ORDER = (PARAMETERS, TIME, RATE, MEMORY, MONEY, WORK, BOUND, BASIS, SIZES, CHOICES)
# What bounds a step, and what its time rests on: as a share is named, and in words.
BOUNDS = {"compute": "compute", "memory": "memory", "wire": "communication", "overhead": "overhead"}
BASES = {
    "measured": "measured shapes",
    "fitted": "fitted curves",
    "transferred": "similar kernels or GPUs",
    "datasheet": "the datasheet",
    "assumed": "assumptions",
}
_BY_UNIT = {
    "seconds": TIME, "duration": TIME, "rate": RATE, "usd": MONEY, "gpu_hours": MONEY, "joules": MONEY, "memory": MEMORY, "bytes": MEMORY,
    "flops": WORK, "flops_per_s": WORK, "parameters": PARAMETERS, "tokens": SIZES, "count": SIZES, "text": CHOICES, "flag": CHOICES,
}  # fmt: skip
_OF = (
    *((f"share_{name}", BOUND) for name in BOUNDS),
    *((f"share_{name}", BASIS) for name in BASES),
    ("kv_pool_tokens", MEMORY),
    ("kv_elements_*", MEMORY),
    ("kv_used_fraction", MEMORY),
    ("max_*", MEMORY),
    ("mfu", WORK),
    ("hfu", WORK),
    ("bubble_fraction", TIME),
    ("exposed_communication", TIME),
    ("goodput", TIME),
    ("days", TIME),
    ("tokens_per_gpu_hour", RATE),
    ("gpu_hours_per_step", MONEY),
)


def group(name: str, unit: str) -> str:
    """The group of a metric of that name and unit (a dimension of `units.show`)."""
    stem = name.removesuffix("_low").removesuffix("_high")
    named = next((found for pattern, found in _OF if fnmatchcase(stem, pattern)), None)
    return named or _BY_UNIT.get(unit, SIZES)


def grouped(metrics: Mapping[str, Any], unit: Callable[[str], str]) -> dict[str, dict[str, Any]]:
    """Metrics by group, in the order of `ORDER`; inside a group as they came. `unit`: the dimension of a name."""
    found: dict[str, dict[str, Any]] = {name: {} for name in ORDER}
    for name, value in metrics.items():
        found[group(name, unit(name))][name] = value
    return {name: values for name, values in found.items() if values}
