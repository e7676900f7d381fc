"""In which order a quick run takes its kinds: those that make a step's time first, a few at a time, in the main format first.

A curve needs `calibration.store.LEAST` rows and a judgement `calibration.judge.LEAST`: a minute spread over every kind gives
neither. Most likely to be wrong: which kernels matter to a design with attention or experts of another sort.
"""

from __future__ import annotations

from collections.abc import Iterable

from simcost.measure.machine.target import CPU_FORMATS, Target
from simcost.measure.points.kernel_class import said
from simcost.measure.points.point import Kind

_LAST = 99
_WIDE = ("fp16", "tf32", *CPU_FORMATS)


def stages(wanted: Iterable[Kind], target: Target) -> list[list[Kind]]:
    """All kinds, by stage: the main format's, then narrower ones, in which models are served, then other wide ones."""
    found: dict[tuple[int, int], list[Kind]] = {}
    for kind in wanted:
        found.setdefault((_format(kind, target), _stage(kind)), []).append(kind)
    return [found[key] for key in sorted(found)]


def _stage(kind: Kind) -> int:
    """As the kernel class says; what it does not name comes last."""
    found = said(kind.family, "STAGES", {})
    return min((found[label] for label in ("", *kind.table.values()) if label in found), default=_LAST)


def _format(kind: Kind, target: Target) -> int:
    """0 the main format, 1 a narrow one, 2 another wide one; a kind without a format goes with the main one."""
    named = set(kind.table.values()) & {*target.formats, "fp32", "int4"}
    if not named - {target.main}:
        return 0
    return 2 if named <= set(_WIDE) else 1
