"""Row look-up in a table: the input embedding. No FLOPs; rows in, rows out."""

from __future__ import annotations

from typing import ClassVar

from simcost.dtypes import Dtype
from simcost.frozen import frozen
from simcost.num import Num
from simcost.ops.stream import Stream
from simcost.ops.work import WEIGHT, Coords, Op, Work


@frozen
class Gather:
    """`rows` rows of `width` from a table in `w`, written as `out`; ids are 8 bytes."""

    rows: Num
    width: Num
    w: Dtype
    out: Dtype
    family: ClassVar[str] = "stream"
    gradient: ClassVar[str] = ""
    formula: ClassVar[str] = "0 FLOP; rows·(width·(w + out) + 8) B"
    source: ClassVar[str] = "table look-up"

    @property
    def peak(self) -> str:
        """The rate of plain arithmetic ("vector"); it has none, and only moves bytes."""
        return "vector"

    def work(self) -> Work:
        """No FLOPs. The rows of the table and their ids are read, the rows are written."""
        size = self.rows * self.width
        return Work(0.0, self.w.tensor_bytes(size) + 8.0 * self.rows, self.out.tensor_bytes(size))

    def coords(self) -> Coords:
        """Rows, width and the format of the table."""
        return {"rows": self.rows, "width": self.width, "dtype": self.w.name}

    def workspace_bytes(self) -> Num:
        """The rows that are written, and the ids; the table is a weight. [B]"""
        return self.out.tensor_bytes(self.rows * self.width) + 8.0 * self.rows

    def saved_bytes(self) -> Num:
        """The ids: they say which rows of the table get a gradient. [B]"""
        return 8.0 * self.rows

    def input_grad(self) -> tuple[Op, ...]:
        """None: ids have no gradient."""
        return ()

    def weight_grad(self, sums: Dtype | None = None) -> tuple[Op, ...]:
        """A scatter-add: gradients and rows of the table's gradient are read, those rows are written, in the format `sums` or `out`."""
        table, size = sums or self.out, self.rows * self.width
        reads = 1.0 + table.bits / self.out.bits
        return (Stream("embedding backward", size, reads, 1.0, 1.0, self.out, table, gradient=WEIGHT),)
