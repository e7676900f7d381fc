"""Elementwise kernels that stream memory: norm, rope, activation, residual, quantise, cache write, sampling, copy, AdamW.

Most likely to be wrong: the width of a row is no part of the op, so a norm of few wide rows and one of many narrow rows
share a curve.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from simcost.calibration.columns import OUT, Column, Word, X
from simcost.calibration.family import Labels, Numbers, kernel_terms
from simcost.calibration.form import Terms
from simcost.dtypes import dtype
from simcost.hardware.profile import Device
from simcost.num import Mask, Num
from simcost.ops.stream import Stream
from simcost.ops.work import Op

COLUMNS = {
    "elements": Column("elements of the main tensor", "count"),
    "reads": Column("tensors of that size that are read", "count", zero=True, whole=False),
    "writes": Column("tensors of that size that are written", "count", zero=True, whole=False),
    "flops": Column("operations an element", "FLOP", zero=True, whole=False),
}
WORDS = {
    "what": Word(
        "norm, rope, activation, residual, quantise, cache_write, sample, copy, norm_backward, adamw_fused", ()
    ),
    "x": X,
    "out": OUT,
}
NUMBERS = tuple(COLUMNS)
LABELS = tuple(WORDS)
LENGTHS = None


def op(numbers: Numbers, labels: Labels) -> Op:
    """The kernel of a row; `reads` and `writes` of a column of rows are arrays."""
    elements, reads, writes, flops = (numbers[name] for name in NUMBERS)
    x, out = dtype(labels["x"], "x"), dtype(labels["out"], "out")
    return Stream(labels["what"].replace("_", " "), elements, reads, writes, flops, x, out)  # type: ignore[arg-type]


def labels(op: Op) -> Labels | None:
    """The name with "_" for spaces, and the formats. Backward kernels have names of their own ("norm_backward")."""
    if not isinstance(op, Stream):
        return None
    return {"what": op.what.replace(" ", "_"), "x": op.x.name, "out": op.out.name}


def covers(op: Op) -> Mask:
    """Every elementwise kernel, forward or backward."""
    return True


def relatives(labels: Labels) -> list[Labels]:
    """fp16 for bf16 and back; one quantisation for another."""
    found: list[Labels] = []
    swap = {"bf16": "fp16", "fp16": "bf16"}
    if labels["x"] in swap:
        other = swap[labels["x"]]
        found.append({**labels, "x": other, "out": other if labels["out"] == labels["x"] else labels["out"]})
    if labels["out"] in ("fp8", "fp8_block"):
        found.append({**labels, "out": "fp8" if labels["out"] == "fp8_block" else "fp8_block"})
    return found


def numbers(op: Op) -> Mapping[str, Num]:
    """Tensors read and written in multiples of the main one; operations of one element."""
    assert isinstance(op, Stream)
    return {"elements": op.elements, "reads": op.reads, "writes": op.writes, "flops": op.flops}


def terms(op: Op, device: Device) -> Terms:
    """Arithmetic at the fp32 rate; no pass is serial, and no size counts."""
    return kernel_terms(op, device, op.work(), 0.0, ())


def features(op: Op) -> tuple[Num, ...]:
    """Size, and how many tensors of it move."""
    assert isinstance(op, Stream)
    return (np.log(op.elements), np.log1p(op.reads), np.log1p(op.writes))


def site(op: Op) -> tuple[Num, ...]:
    """One kernel, and its size."""
    assert isinstance(op, Stream)
    return (op.reads, op.writes, np.log(op.elements))
