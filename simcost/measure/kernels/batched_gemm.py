"""One product a head: rows [m, heads, k] seen as [heads, m, k], times [heads, k, n]. MLA's absorption is this."""

from __future__ import annotations

from functools import partial

import torch

from simcost.measure.kernels.kernel import Kernel
from simcost.measure.timing.buffers import Bench, error, some, tolerance
from simcost.ops.gemm import Gemm
from simcost.ops.work import Op


def build(op: Op, bench: Bench, copies: int) -> Kernel:
    """torch.bmm of [heads, m, k] and [heads, k, n]; the rows are a transposed view of [m, heads, k]."""
    assert isinstance(op, Gemm)
    heads, m, n, k = (int(float(v)) for v in (op.batch, op.m, op.n, op.k))
    name = op.compute.name
    pairs = [(bench.take((m, heads, k), name).transpose(0, 1), bench.take((heads, k, n), name)) for _ in range(copies)]

    def wrong() -> float:
        x, w = pairs[0]
        h, r = some(heads, 4, bench.device), some(m, 32, bench.device)
        return error(torch.bmm(x, w)[h][:, r], torch.bmm(x[h][:, r].double(), w[h].double()))

    return Kernel([partial(torch.bmm, x, w) for x, w in pairs], wrong, tolerance(name), "bmm")
