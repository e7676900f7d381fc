"""Rows of every expert times its own weights."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from simcost.measure.kernels import experts, grouped
from simcost.measure.kernels.kernel import Kernel
from simcost.measure.machine.target import Target
from simcost.measure.points.kernel_class import Numbers, Unit, Wanted, by_blocks, of_a_step
from simcost.measure.points.point import Kind
from simcost.measure.points.rounding import loaded, step_of, whole
from simcost.measure.timing.buffers import Bench, tolerance
from simcost.ops.grouped_gemm import GroupedGemm
from simcost.ops.work import Op

STAGES = {"": 3}


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


def kinds(format_: str, target: Target) -> list[Wanted]:
    """In the formats of a step, and in fp8 with block scales by our own kernel."""
    x = of_a_step(format_, target)
    found: list[Wanted] = [] if x is None else [({"x": x, "w": x, "compute": x}, 1.0)]
    if by_blocks(format_, target):
        found.append(({"x": "fp8_block", "w": "fp8_block", "compute": "fp8_block"}, 1.6))
    return found


def draw(kind: Kind, u: Unit, large: bool) -> Mapping[str, float]:
    """Either product of a layer of experts."""
    x = experts.draw(kind, u, large)
    n, k = (x["width"], x["hidden"]) if u[6] < 0.5 else (x["hidden"], x["width"])
    return {
        "rows": max(x["copies"], 1.0), "touched": x["touched"], "experts": x["experts"], "n": n, "k": k, "load": x["load"]
    }  # fmt: skip


def rounded(kind: Kind, x: Numbers) -> tuple[float, ...]:
    """Whole rows and experts; the load that so many rows give."""
    rows, experts = whole(x["rows"]), whole(x["experts"])
    touched = min(whole(x["touched"]), experts, rows)
    counts = loaded(rows, touched, experts, x["load"], rows)
    step = step_of(kind)
    return rows, touched, experts, whole(x["n"], step), whole(x["k"], step), max(counts) * experts / rows
