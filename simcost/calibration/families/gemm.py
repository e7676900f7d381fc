"""Dense and batched products; with `x` wider than `compute` the quantisation of the input is part of the timed kernel.

A row is `batch` products of [m, k] x [k, n].
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from simcost.calibration.columns import COMPUTE, Column, W, X
from simcost.calibration.family import Labels, Numbers, kernel_terms
from simcost.calibration.form import Terms
from simcost.dtypes import dtype
from simcost.hardware.profile import Device
from simcost.num import Array, Mask, Num
from simcost.ops.fused import Fused
from simcost.ops.gemm import Gemm
from simcost.ops.stream import Stream
from simcost.ops.work import Op

COLUMNS = {
    "batch": Column("products of one call, each with its own weights", "count"),
    "m": Column("rows of the input: tokens", "count"),
    "n": Column("columns of the output", "count"),
    "k": Column("length of the inner product", "count"),
}
WORDS = {"x": X, "w": W, "compute": COMPUTE}
NUMBERS = tuple(COLUMNS)
LABELS = tuple(WORDS)
LADDERS = ("m",)  # time does not fall along them
SIZES = ("m", "n", "k")
# batch, m, n, k, m·n, padding, tiling: geometric means over A100, H100, B200, GB200 and B300 (from 1,300 rows a format).
LENGTHS = (2.5, 3.1, 4.0, 2.6, 6.0, 2.8, 3.5)
STAND_IN = 0.38
_TILE = 256.0
EFFICIENCY = "gemm_efficiency"  # of the profile, by which another device's rows are carried over
BESIDE = (1, 4, 5, 6)


def op(numbers: Numbers, labels: Labels) -> Op:
    """The kernel of a row: a GEMM, or quantisation and GEMM. Output in the input's format if that is wide, else bf16."""
    x, w, compute = (dtype(labels[name], name) for name in LABELS)
    batch, m, n, k = (numbers[name] for name in NUMBERS)
    wide = x if x.bits >= 16 else dtype("bf16")
    if compute.bits >= x.bits:
        return Gemm(m, n, k, x, w, wide, compute, batch)
    cast = Stream("quantise", batch * m * k, 1.0, 1.0, 3.0, x, compute)
    return Fused("linear", (cast, Gemm(m, n, k, compute, w, wide, compute, batch)))


def product(op: Op) -> Gemm | None:
    """The product of a plain or a quantising linear layer, forward or a gradient."""
    if isinstance(op, Fused) and op.kernel == "linear":
        return next(part for part in op.parts if isinstance(part, Gemm))
    return op if isinstance(op, Gemm) and not op.unpacked else None


def covers(op: Op) -> Mask:
    """One product, not one a head."""
    found = product(op)
    return found is not None and not found.gradient and found.batch == 1.0


def labels(op: Op) -> Labels | None:
    """Forward only; None for a product whose weights a pass of its own unpacks."""
    found = product(op)
    return None if found is None or found.gradient else formats(op, found)


def formats(op: Op, found: Gemm) -> Labels:
    """Formats of the input as it comes, of the weight, and of the arithmetic."""
    x = op.parts[0].x if isinstance(op, Fused) and isinstance(op.parts[0], Stream) else found.x
    return {"x": x.name, "w": found.w.name, "compute": found.compute.name}


def relatives(labels: Labels) -> list[Labels]:
    """Stand-ins, nearest first: with its quantisation; fp16 for bf16; the arithmetic format's own weights."""
    found: list[Labels] = []
    if labels["x"] == labels["compute"] != "bf16":
        found.append({**labels, "x": "bf16"})
    swap = {"bf16": "fp16", "fp16": "bf16"}
    if labels["compute"] in swap:
        other = swap[labels["compute"]]
        found.append({name: other if value == labels["compute"] else value for name, value in labels.items()})
    if labels["w"] != labels["compute"]:
        found.append({**labels, "w": labels["compute"]})
    if labels["compute"] == "fp8_block":
        found.append({"x": labels["x"], "w": "fp8", "compute": "fp8"})
    return found


def numbers(op: Op) -> Mapping[str, Num]:
    """Of the product, whether its input is quantised in the same kernel or not."""
    found = product(op)
    assert found is not None
    return {"batch": found.batch, "m": found.m, "n": found.n, "k": found.k}


def terms(op: Op, device: Device) -> Terms:
    """Quantisation runs before the product: nothing hides its bytes."""
    found = product(op)
    assert found is not None
    cast = op.parts[0].work().bytes if isinstance(op, Fused) else 0.0
    return kernel_terms(op, device, found.work(), cast, (found.m, found.n, found.k))


def features(op: Op) -> tuple[Num, ...]:
    """Batch, the three sides, the size of the output, and how badly the rows fill buckets and tiles."""
    found = product(op)
    assert found is not None
    m, n = found.m, found.n
    return (np.log(found.batch), np.log(m), np.log(n), np.log(found.k), np.log(m * n), padding(m), tiling(m))


def padded(op: Op) -> Num:
    """Rows of the product, which fill buckets and tiles."""
    found = product(op)
    assert found is not None
    return found.m


def edge(rows: Array) -> tuple[Array, Array]:
    """Where the tile of rows begins, or their bucket. One row has none below it: its share of -1 takes off what two rows would fall."""
    last, share = bucket(rows)
    tiles = np.ceil(rows / _TILE)
    tiled = tiles > 1.0
    share = np.where(tiled, tiles - rows / _TILE, np.where(last < 1.0, -1.0, share))
    return np.where(tiled, (tiles - 1.0) * _TILE, last), share


def beside(features: Array, last: Array) -> tuple[Array, Array]:
    """Rows, and the size of the output, at the edge; above it a bucket or a tile that begins. Below one row: one row, and two."""
    rows, one = np.maximum(last, 1.0), last < 1.0
    before = features.copy()
    before[:, 1] = np.log(rows)
    before[:, 4] = before[:, 1] + features[:, 2]
    before[:, 5], before[:, 6] = padding(rows), 0.0
    after = before.copy()
    after[:, 5] = np.where(before[:, 5] <= 0.0, np.log(2.0), before[:, 5])
    after[:, 6] = np.where(last < _TILE, 0.0, np.cbrt(np.log1p(_TILE / last)))
    if one.any():
        after[one, 1], after[one, 4], after[one, 5] = np.log(2.0), np.log(2.0) + features[one, 2], 0.0
    return before, after


def site(op: Op) -> tuple[Num, ...]:
    """A weight matrix, and the rows that meet it."""
    found = product(op)
    assert found is not None
    return (found.batch, found.n, found.k, np.log(found.m))


def padding(rows: Num) -> Num:
    """log of rows padded to a power of two: kernels and autotuners choose by such buckets."""
    return np.log(2.0 ** np.ceil(np.log2(rows)) / rows)


def bucket(rows: Array) -> tuple[Array, Array]:
    """(the power of two after which the bucket of these rows begins, the share of the bucket from them to its end)."""
    part, power = np.frexp(rows)  # rows = part · 2^power, the part from a half on: a power of two ends a bucket
    last = np.ldexp(0.5, np.where(part > 0.5, power, power - 1))
    return last, 2.0 - rows / last


def beside_bucket(features: Array, last: Array) -> tuple[Array, Array]:
    """`beside` of a family whose first feature is the log of such rows, and its last their padding."""
    before = features.copy()
    before[:, 0], before[:, -1] = np.log(last), 0.0
    after = before.copy()
    after[:, -1] = np.log(2.0)
    return before, after


def tiling(rows: Num) -> Num:
    """Cube root of the log of rows padded to tiles of 256: the first rows of a new tile cost most."""
    return np.cbrt(np.log(np.ceil(rows / _TILE) * _TILE / np.maximum(rows, _TILE)))
