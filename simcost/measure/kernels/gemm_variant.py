"""The products of a backward pass, each by itself, and fp8 scaled by rows: another kernel than the forward product."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch

from simcost.measure.kernels import gemm
from simcost.measure.kernels.kernel import Kernel
from simcost.measure.kernels.products import context
from simcost.measure.machine.target import Target
from simcost.measure.points.kernel_class import Numbers, Unit, Wanted, of_a_step
from simcost.measure.points.point import Kind
from simcost.measure.points.rounding import step_of, whole
from simcost.measure.timing.buffers import Bench, error, some, tolerance
from simcost.ops.gemm import Gemm
from simcost.ops.work import Op

TRAINING = True


def build(op: Op, bench: Bench, copies: int) -> Kernel:
    """One product: the input's gradient dY·W, the weight's dYᵀ·X, or, forward, in fp8 scaled by rows. Sizes are those of the product itself,
    [m, k] x [k, n]."""
    assert isinstance(op, Gemm)
    m, n, k, what = int(float(op.m)), int(float(op.n)), int(float(op.k)), op.gradient
    if not what:
        return gemm.products("fp8_row", bench, m, n, k, copies)
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


def kinds(format_: str, target: Target) -> list[Wanted]:
    """Both gradients in the formats of a step; fp8 scaled by rows."""
    if format_ == "fp8_row":
        return [({"what": "row", "x": "fp8", "w": "fp8", "compute": "fp8"}, 1.0)]
    if of_a_step(format_, target) is None:
        return []
    return [({"what": what, "x": format_, "w": format_, "compute": format_}, 0.4) for what in ("input", "weight")]


def draw(kind: Kind, u: Unit, large: bool) -> Mapping[str, float]:
    """As of a product; a weight gradient sums over its tokens."""
    x = gemm.draw(kind, u, large)
    if kind.table["what"] == "weight":
        return {"batch": 1.0, "m": x["k"], "n": x["n"], "k": max(x["m"], 16.0)}
    return x


def rounded(kind: Kind, x: Numbers) -> tuple[int, ...]:
    """As of a product; the rows of a weight gradient are a width."""
    rows = step_of(kind) if kind.table["what"] == "weight" else 1
    return gemm.rounded(kind, {**x, "m": whole(x["m"], rows)})
