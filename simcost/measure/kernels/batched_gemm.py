"""One product a head: rows [m, heads, k] seen as [heads, m, k], times [heads, k, n]. MLA's absorption is this."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch

from simcost.measure.kernels.gemm import rounded as rounded
from simcost.measure.kernels.kernel import Kernel
from simcost.measure.machine.target import Target
from simcost.measure.points.kernel_class import Unit, Wanted, of_a_step
from simcost.measure.points.point import Kind
from simcost.measure.points.sobol import log_between
from simcost.measure.timing.buffers import Bench, error, some, tolerance
from simcost.ops.gemm import Gemm
from simcost.ops.work import Op

STAGES = {"": 4}


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


def kinds(format_: str, target: Target) -> list[Wanted]:
    """In the formats of a step."""
    x = of_a_step(format_, target)
    return [] if x is None else [({"x": x, "w": x, "compute": x}, 0.4)]


def draw(kind: Kind, u: Unit, large: bool) -> Mapping[str, float]:
    """Heads, tokens, and the widths of MLA."""
    return {
        "batch": log_between(u[0], 8.0, 128.0), "m": log_between(u[1], 1.0, 4096.0 if large else 512.0),
        "n": log_between(u[2], 64.0, 512.0), "k": log_between(u[3], 64.0, 512.0),
    }  # fmt: skip
