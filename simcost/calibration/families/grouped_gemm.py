"""The grouped GEMM of a MoE layer by itself: token copies over the experts that the rank holds.

For devices whose whole expert layer ("experts") was not measured. Most likely to be wrong: tile switches along the rows an
expert, which no smooth curve follows.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from simcost.calibration.columns import COMPUTE, Column, W, X
from simcost.calibration.families.gemm import beside_bucket, bucket, padding
from simcost.calibration.family import Labels, Numbers, kernel_terms
from simcost.calibration.form import Terms
from simcost.dtypes import dtype
from simcost.hardware.profile import Device
from simcost.num import Mask, Num
from simcost.ops.grouped_gemm import GroupedGemm
from simcost.ops.work import Op

COLUMNS = {
    "rows": Column("token copies", "count"),
    "touched": Column("experts that get a token", "count", whole=False),
    "experts": Column("experts that the rank holds", "count"),
    "n": Column("columns of an expert's output", "count"),
    "k": Column("length of the inner product", "count"),
    "load": Column("tokens of the busiest expert over the mean", "ratio", whole=False),
}
WORDS = {"x": X, "w": W, "compute": COMPUTE}
NUMBERS = tuple(COLUMNS)
LABELS = tuple(WORDS)
SIZES = ("rows_per_expert", "n", "k")
LENGTHS = None
EFFICIENCY = "gemm_efficiency"  # of the profile, by which another device's rows are carried over
EXACT = False  # rows of one layer and token count differ in their routing

edge, beside = bucket, beside_bucket
BESIDE = (0, 5)


def op(numbers: Numbers, labels: Labels) -> Op:
    """The kernel of a row; its output in the input's format if that is wide, else bf16."""
    x, w, compute = (dtype(labels[name], name) for name in LABELS)
    rows, touched, experts, n, k, load = (numbers[name] for name in NUMBERS)
    out = x if x.bits >= 16 else dtype("bf16")
    return GroupedGemm(rows, touched, n, k, x, w, out, compute, held=experts, load=load)


def labels(op: Op) -> Labels | None:
    """Forward only, and not where a pass of its own unpacks the weights."""
    if not isinstance(op, GroupedGemm) or op.unpacked or op.gradient:
        return None
    return {"x": op.x.name, "w": op.w.name, "compute": op.compute.name}


def covers(op: Op) -> Mask:
    """Every grouped product by itself."""
    return True


def relatives(labels: Labels) -> list[Labels]:
    """fp16 for bf16 and back; the arithmetic format's own weights; fp8 for its block form."""
    found: list[Labels] = []
    swap = {"bf16": "fp16", "fp16": "bf16", "fp8": "fp8_block", "fp8_block": "fp8"}
    if labels["compute"] in swap:
        other = swap[labels["compute"]]
        found.append({name: other if value == labels["compute"] else value for name, value in labels.items()})
    if labels["w"] != labels["compute"]:
        found.append({**labels, "w": labels["compute"]})
    return found


def numbers(op: Op) -> Mapping[str, Num]:
    """`experts` is the touched ones where the op does not say how many the rank holds."""
    assert isinstance(op, GroupedGemm)
    held = np.maximum(op.held, op.experts)  # 0 when nobody asked
    return {"rows": op.rows, "touched": op.experts, "experts": held, "n": op.n, "k": op.k, "load": op.load}


def terms(op: Op, device: Device) -> Terms:
    """One kernel, no pass is serial. Sizes: rows a touched expert, n, k."""
    assert isinstance(op, GroupedGemm)
    return kernel_terms(op, device, op.work(), 0.0, (op.rows / op.experts, op.n, op.k))


def features(op: Op) -> tuple[Num, ...]:
    """Rows an expert, experts, the two widths, skew, padding of the rows per expert."""
    assert isinstance(op, GroupedGemm)
    rows = op.rows / op.experts
    return (np.log(rows), np.log(op.experts), np.log(op.n), np.log(op.k), np.log(op.load), padding(rows))


def padded(op: Op) -> Num:
    """Rows an expert, which fill buckets."""
    assert isinstance(op, GroupedGemm)
    return op.rows / op.experts


def site(op: Op) -> tuple[Num, ...]:
    """A layer's experts, and the rows that meet them."""
    assert isinstance(op, GroupedGemm)
    return (np.maximum(op.held, op.experts), op.n, op.k, np.log(op.rows))
