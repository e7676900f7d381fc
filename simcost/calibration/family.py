"""What a file of `families/` offers, and how its rows become what a curve is fitted to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Protocol, cast

import numpy as np

from simcost.calibration.columns import Column, Word
from simcost.calibration.distinct import Distinct, distinct
from simcost.calibration.form import Terms
from simcost.errors import SpecError, nearest
from simcost.frozen import frozen
from simcost.hardware.profile import Device
from simcost.num import Array, Index, Mask, Num
from simcost.ops.work import Op, Work
from simcost.registry import discover

Labels = Mapping[str, str]
Numbers = Mapping[str, Num]
_SEVERAL = 48  # points from which looking for equal edges pays: a sweep has ten and hundreds of batches


class Family(Protocol):
    """A module: COLUMNS and WORDS say what its rows are; NUMBERS and LABELS are their names. Optional: SIZES, names of the sizes in its terms;
    LADDERS, numbers along which time does not fall; EXACT; OTHERWISE; EFFICIENCY, the profile's assumption by which another device's rows are
    carried over; STAND_IN, sigma of the log that a related kind adds; WIRE, True where rows are of links; where features jump, `padded`, op -> rows,
    `edge`, rows [n] -> (those at which they jumped last, the share of the way from the next edge, 0, back to it), and `beside`, (features [n, d], rows at the edge [n]) -> (features
    there, just above it), which differ in the features BESIDE; ACROSS, the number of its `site` between whose values rows of two layers say what lies in between."""

    COLUMNS: Mapping[str, Column]
    WORDS: Mapping[str, Word]
    NUMBERS: tuple[str, ...]
    LABELS: tuple[str, ...]
    LENGTHS: tuple[float, ...] | None

    def op(self, numbers: Numbers, labels: Labels) -> Op:
        """The op that a row with these numbers and labels timed."""
        ...

    def labels(self, op: Op) -> Labels | None:
        """The labels of an op of this kind, else None."""
        ...

    def covers(self, op: Op) -> Mask:
        """Where in a sweep the op is this family's; where two families that share a type say yes, either kernel may run, and the faster one does."""
        ...

    def relatives(self, labels: Labels) -> list[Labels]:
        """Labels of kinds whose rows may stand in for one of these labels, the nearest first."""
        ...

    def numbers(self, op: Op) -> Numbers:
        """The numbers of an op, by the names in NUMBERS; inverse of `op`."""
        ...

    def terms(self, op: Op, device: Device) -> Terms:
        """What the form needs: seconds at the device's datasheet rates, bytes, sizes."""
        ...

    def features(self, op: Op) -> tuple[Num, ...]:
        """Logs of what the time depends on smoothly."""
        ...

    def site(self, op: Op) -> tuple[Num, ...]:
        """What makes two rows the same layer, and last the log of what runs along it (tokens, keys, bytes)."""
        ...


@cache
def families() -> Mapping[str, Family]:
    """All families by name, which is also the folder of their row files."""
    return {name: cast(Family, module) for name, module in discover("simcost.calibration.families").items()}


def family_named(name: str) -> Family:
    """The family called `name`. Raises SpecError naming the nearest."""
    known = families()
    if name not in known:
        raise SpecError(f"unknown family '{name}' (one of {', '.join(known)}){nearest(name, known)}")
    return known[name]


def sizes(family: Family) -> tuple[str, ...]:
    """Names of the sizes in a family's terms; () for a family that states none."""
    return tuple(getattr(family, "SIZES", ()))


def kind(labels: Labels) -> str:
    """The labels joined by "-": the key of a curve, and the stem of a row file."""
    return "-".join(labels.values())


def kernel_terms(op: Op, device: Device, work: Work, serial_bytes: Num, sizes: tuple[Num, ...]) -> Terms:
    """Terms of a kernel on one device: `work` overlaps, `serial_bytes` belong to passes that nothing hides."""
    rate: Any = device.peaks.get("fp32") if op.peak == "vector" else device.peak(op.peak)
    compute = work.flops / rate if rate is not None else 0.0 * work.flops
    return Terms(compute, work.bytes / device.bandwidth, serial_bytes / device.bandwidth, work.bytes, sizes)


@frozen
class Edges:
    """Where features jump below points: features there [e, d], and just above [e, d]; which [n] of them is a point's, None where each has its own;
    share [n] of the way from the next edge back to it."""

    before: Array
    after: Array
    which: Index | None
    share: Array


@frozen
class At:
    """Points of a grid: features [n, d], sites [n, s] (the running one last), without n those of one point; `lengths`: over which distance in each feature
    the family's residual changes, where other devices have shown it; `exact`: a site and its running number make the kernel; `edges`: those
    below the points; `across`: its ACROSS."""

    features: Array
    sites: Array
    lengths: tuple[float, ...] | None = None
    exact: bool = True
    edges: Edges | None = None
    across: int | None = None


def at(family: Family, op: Op, terms: Terms) -> tuple[At, tuple[int, ...]]:
    """(points, their common shape) of an op, with all its numbers broadcast against each other and against its terms, which may
    vary with the device where the op does not."""
    features, site = family.features(op), family.site(op)
    grid = Distinct(np.broadcast_shapes(*(np.shape(value) for value in (*features, *site, *terms.numbers))))
    return _points(family, op, features, site, grid), grid.shape


def asked(family: Family, op: Op, *others: Num) -> tuple[At, Distinct]:
    """(points, grid) of an op, each kind of points once. `others`: what else tells points apart, such as terms."""
    features, site = family.features(op), family.site(op)
    grid = distinct((*features, *site, *others))
    return _points(family, op, features, site, grid), grid


def _points(family: Family, op: Op, features: tuple[Num, ...], site: tuple[Num, ...], grid: Distinct) -> At:
    stacked = _rows(features, grid)
    return At(
        stacked, _rows(site, grid), family.LENGTHS, getattr(family, "EXACT", True),
        _edges(family, op, np.atleast_2d(stacked), grid), getattr(family, "ACROSS", None),
    )  # fmt: skip


def _rows(columns: Sequence[Num], grid: Distinct) -> Array:
    """Columns as one row [n, columns] for each kind of points; [columns] of one point."""
    return np.stack([grid.each(value) for value in columns], axis=1) if grid.shape else np.array(columns, np.float64)


def _edges(family: Any, op: Op, features: Array, grid: Distinct) -> Edges | None:
    """The edges below points, each once where there are many points; None where every point ends a bucket."""
    if not hasattr(family, "edge"):
        return None
    last, share = family.edge(np.atleast_1d(grid.each(family.padded(op))))
    if not share.any():
        return None
    which = None
    if len(last) >= _SEVERAL:
        others = (column for i, column in enumerate(features.T) if i not in family.BESIDE)
        kinds = distinct([last, *(column for column in others if (column != column[0]).any())], _SEVERAL)
        which = kinds.which
        if kinds.one is not None:
            features, last = features[kinds.one], last[kinds.one]
    before, after = family.beside(features, last)
    return Edges(before, after, which, share)
