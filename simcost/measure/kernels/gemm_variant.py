"""The products of a backward pass, each by itself, and fp8 scaled by rows: another kernel than the forward product."""

from __future__ import annotations

from functools import partial

import torch

from simcost.measure.kernels.gemm import products
from simcost.measure.kernels.kernel import Kernel
from simcost.measure.kernels.products import context
from simcost.measure.timing.buffers import Bench, error, some, tolerance
from simcost.ops.gemm import Gemm
from simcost.ops.work import Op


def build(op: Op, bench: Bench, copies: int, what: str = "input") -> Kernel:
    """One product of the kind `what`: "input" is dY·W, "weight" is dYᵀ·X, "row" is the forward product in fp8 scaled by rows.
    Sizes are those of the product itself, [m, k] x [k, n]."""
    assert isinstance(op, Gemm)
    m, n, k = (int(float(v)) for v in (op.m, op.n, op.k))
    if what == "row":
        return products("fp8_row", bench, m, n, k, copies)
    name = op.compute.name
    pairs = []
    for _ in range(copies):
        left = bench.take((m, k), name) if what == "input" else bench.take((k, m), name).t()
        pairs.append((left, bench.take((k, n), name)))

    def wrong() -> float:
        a, b = pairs[0]
        r, c = some(m, 48, bench.device), some(n, 96, bench.device)
        return error((a @ b)[r][:, c], a[r].double() @ b[:, c].double())

    calls = [partial(torch.mm, a, b) for a, b in pairs]
    return Kernel(calls, wrong, tolerance(name), f"mm ({what} gradient)", context(name))
