"""Dense matrix products, plain and batched (MLA's per-head absorption).

For everyone who multiplies activations by weights. Most likely to be wrong: activations are read and written once
(true while a tile row fits the cache). Source: standard GEMM count, 2MNK.
"""

from __future__ import annotations

from typing import ClassVar

from simcost.dtypes import Dtype
from simcost.frozen import frozen
from simcost.num import Num
from simcost.ops.work import INPUT, WEIGHT, Coords, Op, Work


@frozen
class Gemm:
    """`batch` independent products [m, k] x [k, n]. `w` may be packed below `compute`: it is then dequantised in the
    kernel, or, with `unpacked`, by a pass of its own that writes a copy in `compute` and reads it back. `adds`: the product is added to what stands in
    the output, which is read too."""

    m: Num
    n: Num
    k: Num
    x: Dtype
    w: Dtype
    out: Dtype
    compute: Dtype
    batch: Num = 1.0
    unpacked: bool = False
    gradient: str = ""
    adds: bool = False
    family: ClassVar[str] = "gemm"
    formula: ClassVar[str] = "2·b·m·n·k FLOP; b·(m·k·x + n·k·w + m·n·out) B"
    source: ClassVar[str] = "standard GEMM count"

    @property
    def peak(self) -> str:
        """The rate of the format `compute`."""
        return self.compute.peak

    def work(self) -> Work:
        """Each operand once. With `unpacked` the copy of the weights is written and read as well; with `adds` the output is read as well."""
        weights = self.batch * self.w.matrix_bytes(self.n, self.k)
        copy = self.batch * self.compute.matrix_bytes(self.n, self.k) if self.unpacked else 0.0
        out = self.out.tensor_bytes(self.batch * self.m * self.n)
        return Work(
            2.0 * self.batch * self.m * self.n * self.k,
            self.x.tensor_bytes(self.batch * self.m * self.k) + weights + copy + (out if self.adds else 0.0),
            out + copy,
        )

    def coords(self) -> Coords:
        """Batch, the three sides, and the format `compute`, with that of the weights where it is another."""
        kind = self.compute.name if self.w.name == self.compute.name else f"{self.compute.name} (w {self.w.name})"
        return {"b": self.batch, "m": self.m, "n": self.n, "k": self.k, "dtype": kind}

    def workspace_bytes(self) -> Num:
        """The left operand and the output; of a weight gradient both operands, since its output is a weight's. [B]"""
        left = self.x.tensor_bytes(self.batch * self.m * self.k)
        if self.gradient == WEIGHT:
            return left + self.w.tensor_bytes(self.batch * self.k * self.n)
        return left + self.out.tensor_bytes(self.batch * self.m * self.n)

    def saved_bytes(self) -> Num:
        """The input: the weight gradient needs it. [B]"""
        return self.x.tensor_bytes(self.batch * self.m * self.k)

    @property
    def _gradients(self) -> tuple[Dtype, Dtype]:
        """(format of the output's gradient as it enters a product, of the input's as it leaves): quantised as the input was."""
        return (self.x, self.out) if self.x.bits < self.out.bits else (self.out, self.x)

    def input_grad(self) -> tuple[Op, ...]:
        """dX = dY·Wᵀ: a product of the same FLOPs, with n and k swapped. dY has the narrower of the formats `x` and `out`, dX the wider."""
        dy, dx = self._gradients
        return (Gemm(self.m, self.k, self.n, dy, self.w, dx, self.compute, self.batch, self.unpacked, gradient=INPUT),)

    def weight_grad(self, sums: Dtype | None = None) -> tuple[Op, ...]:
        """dW = dYᵀ·X: a product [n, m] x [m, k] of the same FLOPs, in the output's format, or added to a sum in the format `sums`."""
        dy, _ = self._gradients
        out, adds = sums or self.out, sums is not None
        return (Gemm(self.n, self.k, self.m, dy, self.x, out, self.compute, self.batch, gradient=WEIGHT, adds=adds),)
