"""dYᵀ·X of every expert: [n, rows_e] x [rows_e, k] in one call."""

from __future__ import annotations

from functools import partial

import torch

from simcost.measure.kernels import grouped
from simcost.measure.kernels.kernel import Kernel
from simcost.measure.timing.buffers import Bench, error, tolerance
from simcost.ops.grouped_gemm import GroupedWeightGrad
from simcost.ops.work import Op

_STEP = 8  # rows of an expert: kernels want parts that start at multiples of 16 bytes


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
