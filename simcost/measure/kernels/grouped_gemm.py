"""Rows of every expert times its own weights."""

from __future__ import annotations

from functools import partial
from typing import Any

from simcost.measure.kernels import grouped
from simcost.measure.kernels.kernel import Kernel
from simcost.measure.timing.buffers import Bench, tolerance
from simcost.ops.grouped_gemm import GroupedGemm
from simcost.ops.work import Op


def build(op: Op, bench: Bench, copies: int) -> Kernel:
    """Rows in expert order times weights [held, n, k]; rows in fp8_block come with one scale a group of 128."""
    assert isinstance(op, GroupedGemm)
    rows, touched, held, n, k = (int(float(v)) for v in (op.rows, op.experts, op.held, op.n, op.k))
    name = op.compute.name
    counts = grouped.counts_of(rows, touched, held, float(op.load), rows, bench)
    ends = grouped.ends_of(counts)
    sets: list[tuple[Any, grouped.Weights]] = []
    for _ in range(copies):
        x = bench.take((rows, k), name)
        if name == "fp8_block":
            sets.append(((x, bench.uniform((rows, k // grouped.BLOCK))), grouped.weights(name, bench, held, n, k)))
        else:
            sets.append((x, grouped.weights(name, bench, held, n, k)))

    def wrong() -> float:
        x, w = sets[0]
        wide = x[0].double() * x[1].repeat_interleave(grouped.BLOCK, 1).double() if isinstance(x, tuple) else x
        return grouped.wrong(w.apply(x, ends), wide, w, counts)

    return Kernel(
        [partial(w.apply, x, ends) for x, w in sets], wrong, tolerance(name), sets[0][1].backend,
        expects=grouped.FAST if grouped.fast(bench.device, name) else "", graph=grouped.capturable(bench.device, name),
    )  # fmt: skip
