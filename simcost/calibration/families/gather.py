"""Row look-up in a table: the input embedding."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from simcost.calibration.columns import OUT, Column, Word
from simcost.calibration.family import Labels, Numbers, kernel_terms
from simcost.calibration.form import Terms
from simcost.dtypes import dtype
from simcost.hardware.profile import Device
from simcost.num import Mask, Num
from simcost.ops.gather import Gather
from simcost.ops.work import Op

COLUMNS = {
    "rows": Column("rows looked up", "count"),
    "width": Column("width of a row", "elements"),
}
WORDS = {"w": Word("format of the table"), "out": OUT}
NUMBERS = tuple(COLUMNS)
LABELS = tuple(WORDS)
LENGTHS = None


def op(numbers: Numbers, labels: Labels) -> Op:
    """The look-up that a measured row timed."""
    return Gather(numbers["rows"], numbers["width"], dtype(labels["w"], "w"), dtype(labels["out"], "out"))


def labels(op: Op) -> Labels | None:
    """Formats of the table and of the output."""
    return {"w": op.w.name, "out": op.out.name} if isinstance(op, Gather) else None


def covers(op: Op) -> Mask:
    """Every look-up; its gradient is a stream."""
    return True


def relatives(labels: Labels) -> list[Labels]:
    """fp16 for bf16 and back; none for a table in another format."""
    swap = {"bf16": "fp16", "fp16": "bf16"}
    return [{name: swap.get(value, value) for name, value in labels.items()}] if labels["w"] in swap else []


def numbers(op: Op) -> Mapping[str, Num]:
    """Rows looked up and their width; how many rows the table has does not count."""
    assert isinstance(op, Gather)
    return {"rows": op.rows, "width": op.width}


def terms(op: Op, device: Device) -> Terms:
    """Bytes alone: it computes nothing, no pass is serial, and no size counts."""
    return kernel_terms(op, device, op.work(), 0.0, ())


def features(op: Op) -> tuple[Num, ...]:
    """Logs of the elements looked up, and of the width of a row."""
    assert isinstance(op, Gather)
    return (np.log(op.rows * op.width), np.log(op.width))


def site(op: Op) -> tuple[Num, ...]:
    """The width of the table is one site; the rows looked up run along it."""
    assert isinstance(op, Gather)
    return (op.width, np.log(op.rows))
