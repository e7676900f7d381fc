"""What a file of `families/` offers, and how its rows become what a curve is fitted to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from simcost.calibration.form import Terms
from simcost.hardware.profile import Device
from simcost.num import Mask, Num
from simcost.ops.work import Op, Work
from simcost.registry import discover

Array = NDArray[np.float64]
Labels = Mapping[str, str]
Numbers = Mapping[str, Num]


class Family(Protocol):
    """A module: NUMBERS and LABELS are the columns of its rows, RUNNING the index of its token feature."""

    NUMBERS: tuple[str, ...]
    LABELS: tuple[str, ...]
    RUNNING: int

    def op(self, numbers: Numbers, labels: Labels) -> Op: ...

    def labels(self, op: Op) -> Labels | None:
        """The labels of an op of this kind, else None."""
        ...

    def covers(self, op: Op) -> Mask:
        """Where in a sweep the op is this family's; two families that share a type never both say yes."""
        ...

    def relatives(self, labels: Labels) -> list[Labels]: ...

    def numbers(self, op: Op) -> Numbers: ...

    def terms(self, op: Op, device: Device) -> Terms:
        """What the form needs: seconds at the device's datasheet rates, bytes, sizes."""
        ...

    def features(self, op: Op) -> tuple[Num, ...]: ...


def families() -> dict[str, Family]:
    """By name, which is also the stem of the row file."""
    return {name: cast(Family, module) for name, module in discover("simcost.calibration.families").items()}


def kind(labels: Labels) -> str:
    """One word for a set of labels: the key of a curve."""
    return "-".join(labels.values())


def kernel_terms(op: Op, device: Device, work: Work, serial_bytes: Num, sizes: tuple[Num, ...]) -> Terms:
    """Terms of a kernel on one device: `work` overlaps, `serial_bytes` belong to passes that nothing hides."""
    rate: Any = device.peaks.get("fp32") if op.peak == "vector" else device.peak(op.peak)
    compute = work.flops / rate if rate is not None else 0.0 * work.flops
    return Terms(compute, work.bytes / device.bandwidth, serial_bytes / device.bandwidth, work.bytes, sizes)


def grid(values: tuple[Num, ...]) -> tuple[Array, tuple[int, ...]]:
    """Feature columns broadcast against each other: ([n, d], their common shape)."""
    arrays = np.broadcast_arrays(*(np.asarray(v, np.float64) for v in values))
    return np.stack([a.ravel() for a in arrays], axis=1), arrays[0].shape
