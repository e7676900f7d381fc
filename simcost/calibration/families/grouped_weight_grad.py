"""Weight gradients of a grouped GEMM: one [n, rows of the expert] x [rows of the expert, k] product an expert."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from simcost.calibration.columns import COMPUTE, OUT, Column, X
from simcost.calibration.families.gemm import beside_bucket, bucket, padding
from simcost.calibration.family import Labels, Numbers, kernel_terms
from simcost.calibration.form import Terms
from simcost.dtypes import dtype
from simcost.hardware.profile import Device
from simcost.num import Mask, Num
from simcost.ops.grouped_gemm import GroupedWeightGrad
from simcost.ops.work import Op

COLUMNS = {
    "rows": Column("token copies", "count"),
    "touched": Column("experts that get a token", "count", whole=False),
    "n": Column("columns of an expert's output", "count"),
    "k": Column("columns of its input", "count"),
}
WORDS = {"x": X, "out": OUT, "compute": COMPUTE}
NUMBERS = tuple(COLUMNS)
LABELS = tuple(WORDS)
SIZES = ("rows_per_expert", "n", "k")
LENGTHS = None
EFFICIENCY = "gemm_efficiency"  # of the profile, by which another device's rows are carried over

edge, beside = bucket, beside_bucket
BESIDE = (0, 4)


def op(numbers: Numbers, labels: Labels) -> Op:
    """The weight gradients of a row, written and not added; dY has the output's format."""
    x, out, compute = (dtype(labels[name], name) for name in LABELS)
    rows, touched, n, k = (numbers[name] for name in NUMBERS)
    return GroupedWeightGrad(rows, touched, n, k, x, out, out, compute)


def labels(op: Op) -> Labels | None:
    """Formats of the forward input, of the gradients that are written, and of the arithmetic; not of dY."""
    if not isinstance(op, GroupedWeightGrad):
        return None
    return {"x": op.x.name, "out": op.out.name, "compute": op.compute.name}


def covers(op: Op) -> Mask:
    """Every weight gradient of a grouped product."""
    return True


def relatives(labels: Labels) -> list[Labels]:
    """Training in fp8 keeps this product in bf16."""
    return [] if labels["compute"] == "bf16" else [dict.fromkeys(labels, "bf16")]


def numbers(op: Op) -> Mapping[str, Num]:
    """Touched experts only: the op does not know how many the rank holds."""
    assert isinstance(op, GroupedWeightGrad)
    return {"rows": op.rows, "touched": op.experts, "n": op.n, "k": op.k}


def terms(op: Op, device: Device) -> Terms:
    """One kernel, no pass is serial. Sizes: rows a touched expert, n, k."""
    assert isinstance(op, GroupedWeightGrad)
    return kernel_terms(op, device, op.work(), 0.0, (op.rows / op.experts, op.n, op.k))


def features(op: Op) -> tuple[Num, ...]:
    """Logs of rows per expert, experts, n and k; padding of the rows per expert."""
    assert isinstance(op, GroupedWeightGrad)
    rows = op.rows / op.experts
    return (np.log(rows), np.log(op.experts), np.log(op.n), np.log(op.k), padding(rows))


def padded(op: Op) -> Num:
    """Rows an expert, which fill buckets."""
    assert isinstance(op, GroupedWeightGrad)
    return op.rows / op.experts


def site(op: Op) -> tuple[Num, ...]:
    """Touched experts and the two sides of a gradient are one site; the rows run along it."""
    assert isinstance(op, GroupedWeightGrad)
    return (op.experts, op.n, op.k, np.log(op.rows))
