"""dYᵀ·X of every expert: [n, rows_e] x [rows_e, k] in one call."""

from __future__ import annotations

from functools import partial

import torch

from simcost.measure.kernels import grouped
from simcost.measure.kernels.grouped_gemm import draw as draw
from simcost.measure.kernels.kernel import Kernel
from simcost.measure.machine.target import Target
from simcost.measure.points.kernel_class import Numbers, Wanted, of_a_step
from simcost.measure.points.point import Kind
from simcost.measure.points.rounding import whole
from simcost.measure.timing.buffers import Bench, error, tolerance
from simcost.ops.grouped_gemm import GroupedWeightGrad
from simcost.ops.work import Op

_STEP = 8  # rows of an expert: kernels want parts that start at multiples of 16 bytes
TRAINING = True


def build(op: Op, bench: Bench, copies: int) -> Kernel:
    """One grouped call for the weight gradients of all touched experts, with rows spread evenly, a multiple of 8 for each."""
    assert isinstance(op, GroupedWeightGrad)
    rows, touched, n, k = (int(float(v)) for v in (op.rows, op.experts, op.n, op.k))
    name = op.compute.name
    counts = grouped.counts_of(rows, touched, touched, 1.0, rows, bench, _STEP)
    ends = grouped.ends_of(counts)
    sets = [(bench.take((rows, n), name).t(), bench.take((rows, k), name)) for _ in range(copies)]

    def call(dy: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return grouped.grouped_mm(dy, x, offs=ends)

    def wrong() -> float:
        dy, x = sets[0]
        out, busiest = call(dy, x), int(counts.argmax())
        start, end = int(ends[busiest] - counts[busiest]), int(ends[busiest])
        return error(out[busiest], dy[:, start:end].double() @ x[start:end].double())

    return Kernel(
        [partial(call, dy, x) for dy, x in sets], wrong, tolerance(name), "grouped_mm (weight gradient)",
        expects=grouped.FAST if grouped.fast(bench.device, name) else "",
        graph=grouped.capturable(bench.device, name),
    )  # fmt: skip


def kinds(format_: str, target: Target) -> list[Wanted]:
    """In the formats of a step."""
    x = of_a_step(format_, target)
    return [] if x is None else [({"x": x, "out": x, "compute": x}, 0.4)]


def rounded(kind: Kind, x: Numbers) -> tuple[int, ...]:
    """Rows of an expert in multiples of eight."""
    rows = whole(x["rows"], 8)
    touched = min(whole(x["touched"]), max(rows // 8, 1))
    return rows, touched, whole(x["n"], 8), whole(x["k"], 8)
