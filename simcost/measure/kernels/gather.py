"""Rows of an embedding table by random ids."""

from __future__ import annotations

from functools import partial

from torch.nn import functional as F

from simcost.measure.kernels.kernel import Kernel
from simcost.measure.timing.buffers import Bench, error, some, tolerance
from simcost.ops.gather import Gather
from simcost.ops.work import Op

_ROWS = 32768  # of the table: a small vocabulary, beyond any cache at usual widths


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
