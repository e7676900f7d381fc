"""Which kinds of kernels a run measures on a device, and how many points each deserves.

The main format of a device gets the full number, the others half: their curves share the physics. Kernels that only stream
memory need few: theirs is a curve of one variable. None gets so few that a lost point leaves it without a curve
(`calibration.store.LEAST`), and in a standard run the main format's can be judged too (`calibration.judge.LEAST`). Most likely
to be wrong: sixty points as the knee, on a device with odd tiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from simcost.calibration.family import families
from simcost.errors import SpecError, nearest
from simcost.frozen import frozen
from simcost.measure.machine.target import Target
from simcost.measure.points.kernel_class import kernel_classes, said
from simcost.measure.points.point import Kind, kind_of
from simcost.units import parse

MODES = ("quick", "standard", "full")
VISIT_CUDA = parse("20 ms", "seconds")


@frozen
class Mode:
    """Points of a main kind, of GEMM, and at least of any kind in the main format and in another; passes over all points;
    seconds of one visit; seconds that one call may take."""

    points: int
    gemm: int
    least: int
    least_other: int
    passes: int
    visit_s: float
    call_s: float


SIZES = {
    "quick": Mode(24, 24, 24, 24, 1, 0.03, 0.02),
    "standard": Mode(60, 80, 24, 16, 3, 0.05, 0.1),
    "full": Mode(150, 150, 40, 24, 3, 0.08, 1.0),
}


def mode(name: str) -> Mode:
    """The mode by name. Raises SpecError naming the nearest."""
    if name not in SIZES:
        raise SpecError(f"--mode must be one of {', '.join(MODES)}, not {name!r}{nearest(name, MODES)}")
    return SIZES[name]


def sized(name: str, cuda: bool) -> Mode:
    """The mode as a device takes it: samples between stamps of a CUDA device need no longer visit than that of fifteen
    samples of a millisecond, and a pass over all points must fit into a run of ten minutes."""
    found = mode(name)
    return replace(found, visit_s=min(found.visit_s, VISIT_CUDA)) if cuda else found


def chosen(names: Sequence[str] | None) -> tuple[str, ...]:
    """Families that a run measures. Raises SpecError for one that it cannot."""
    known_classes = kernel_classes()
    for name in names or ():
        if name not in known_classes:
            known = ", ".join(known_classes)
            why = (
                "runs under torchrun (simcost.measure.session.collectives)"
                if name in ("collective", "p2p")
                else "is unknown"
            )
            raise SpecError(f"--family: {name!r} {why}; one of {known}{nearest(name, known_classes)}")
    return tuple(name for name in families() if name in known_classes and (names is None or name in names))


def kinds(target: Target, mode_name: str, names: Sequence[str] | None = None) -> dict[Kind, int]:
    """Points to measure of each kind, for the formats of a target and the families in `names` (None: all; gradients not in a
    quick run)."""
    size = mode(mode_name)
    wanted = chosen(names)
    training = mode_name != "quick"
    found: dict[Kind, int] = {}
    for format_ in target.formats:
        main = format_ == target.main
        for family in wanted:
            if said(family, "TRAINING", False) and not training and names is None:
                continue
            base = size.gemm if family == "gemm" else size.points
            least = size.least if main else size.least_other
            for labels, share in kernel_classes()[family].kinds(format_, target):
                found[kind_of(family, **labels)] = max(round(base * share * (1.0 if main else 0.5)), least)
    return found
