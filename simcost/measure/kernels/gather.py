"""Rows of an embedding table by random ids."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from torch.nn import functional as F

from simcost.measure.kernels.kernel import Kernel
from simcost.measure.machine.target import Target
from simcost.measure.points.kernel_class import Numbers, Unit, Wanted, of_a_step
from simcost.measure.points.point import Kind
from simcost.measure.points.rounding import whole
from simcost.measure.points.sobol import log_between
from simcost.measure.timing.buffers import Bench, error, some, tolerance
from simcost.ops.gather import Gather
from simcost.ops.work import Op

_ROWS = 32768  # of the table: a small vocabulary, beyond any cache at usual widths
LIGHT = True
STAGES = {"": 2}


def build(op: Op, bench: Bench, copies: int) -> Kernel:
    """F.embedding of random ids into one table that all copies share: at most 32768 rows, on a CPU no more than the rotation
    holds."""
    assert isinstance(op, Gather)
    rows, width = int(float(op.rows)), int(float(op.width))
    name = op.w.name
    most = int(bench.target.rotate / (width * op.w.bits / 8)) if not bench.cuda else _ROWS
    table = bench.take((max(min(_ROWS, most), 1), width), name)
    ids = [bench.integers(len(table), (rows,)) for _ in range(copies)]

    def wrong() -> float:
        r = some(rows, 64, bench.device)
        return error(F.embedding(ids[0], table)[r], table[ids[0][r]])

    return Kernel([partial(F.embedding, i, table) for i in ids], wrong, tolerance(name), "embedding")


def kinds(format_: str, target: Target) -> list[Wanted]:
    """In the formats of a step."""
    x = of_a_step(format_, target)
    return [] if x is None else [({"w": x, "out": x}, 0.25)]


def draw(kind: Kind, u: Unit, large: bool) -> Mapping[str, float]:
    """Rows and their width."""
    return {"rows": log_between(u[0], 1.0, 32768.0 if large else 8192.0), "width": log_between(u[1], 512.0, 16384.0)}


def rounded(kind: Kind, x: Numbers) -> tuple[int, ...]:
    """Whole rows; widths in multiples of eight."""
    return whole(x["rows"]), whole(x["width"], 8)
