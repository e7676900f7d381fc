"""Grouped GEMM of a MoE layer: each touched expert multiplies its own rows.

Weights are read once for every *distinct* expert that the batch touches, not for every (token, expert) pair.
Most likely to be wrong: rows are padded to tiles in real kernels. Source: grouped GEMM count as in GEMM, per expert.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from simcost.dtypes import Dtype
from simcost.frozen import frozen
from simcost.num import Num
from simcost.ops.work import INPUT, WEIGHT, Coords, Op, Work


@frozen
class GroupedGemm:
    """`rows` token copies in all over `experts` touched experts, each [rows_e, k] x [k, n]."""

    rows: Num
    experts: Num
    n: Num
    k: Num
    x: Dtype
    w: Dtype
    out: Dtype
    compute: Dtype
    unpacked: bool = False
    held: Num = 0.0  # experts on this rank, touched or not; 0 when nobody asked
    load: Num = 1.0  # rows of the busiest expert over the mean of all held; neither is work, both shift what it costs
    gradient: str = ""
    family: ClassVar[str] = "grouped_gemm"
    formula: ClassVar[str] = "2·rows·n·k FLOP; rows·(k·x + n·out) + experts·n·k·w B"
    source: ClassVar[str] = "standard GEMM count; distinct experts from routing"

    @property
    def peak(self) -> str:
        """The rate of the format `compute`."""
        return self.compute.peak

    def work(self) -> Work:
        """Input and output rows once, the weights of each touched expert once. With `unpacked` the copy of these weights is written and read as well."""
        weights = self.experts * self.w.matrix_bytes(self.n, self.k)
        copy = self.experts * self.compute.matrix_bytes(self.n, self.k) if self.unpacked else 0.0
        return Work(
            2.0 * self.rows * self.n * self.k,
            self.x.tensor_bytes(self.rows * self.k) + weights + copy,
            self.out.tensor_bytes(self.rows * self.n) + copy,
        )

    def coords(self) -> Coords:
        """Rows, touched experts, two sides, and the format `compute`, with that of the weights where it is another."""
        kind = self.compute.name if self.w.name == self.compute.name else f"{self.compute.name} (w {self.w.name})"
        return {"rows": self.rows, "experts": self.experts, "n": self.n, "k": self.k, "dtype": kind}

    def workspace_bytes(self) -> Num:
        """Input and output rows. [B]"""
        return self.x.tensor_bytes(self.rows * self.k) + self.out.tensor_bytes(self.rows * self.n)

    def saved_bytes(self) -> Num:
        """The input rows: the weight gradient needs them. [B]"""
        return self.x.tensor_bytes(self.rows * self.k)

    @property
    def _gradients(self) -> tuple[Dtype, Dtype]:
        """(format of the output's gradient as it enters a product, of the input's as it leaves): quantised as the input was."""
        return (self.x, self.out) if self.x.bits < self.out.bits else (self.out, self.x)

    def input_grad(self) -> tuple[Op, ...]:
        """dX = dY·Wᵀ of each touched expert: the same FLOPs, with n and k swapped. dY has the narrower of the formats `x` and `out`, dX the wider."""
        dy, dx = self._gradients
        return (replace(self, n=self.k, k=self.n, x=dy, out=dx, gradient=INPUT),)

    def weight_grad(self, sums: Dtype | None = None) -> tuple[Op, ...]:
        """One GroupedWeightGrad of the same FLOPs, in the output's format, or added to sums in the format `sums`."""
        dy, _ = self._gradients
        return (
            GroupedWeightGrad(
                self.rows, self.experts, self.n, self.k, self.x, dy, sums or self.out, self.compute, sums is not None
            ),
        )


@frozen
class GroupedWeightGrad:
    """dW of every touched expert: [n, rows_e] x [rows_e, k], one gradient matrix an expert, in `out`. `dy`: format of the output's
    gradient; `adds`: to what stands there, which is read too."""

    rows: Num
    experts: Num
    n: Num
    k: Num
    x: Dtype
    dy: Dtype
    out: Dtype
    compute: Dtype
    adds: bool = False
    family: ClassVar[str] = "grouped_gemm"
    gradient: ClassVar[str] = WEIGHT
    formula: ClassVar[str] = "2·rows·n·k FLOP; rows·(k·x + n·dy) + experts·n·k·out B"
    source: ClassVar[str] = "adjoint of the grouped GEMM"

    @property
    def peak(self) -> str:
        """The rate of the format `compute`."""
        return self.compute.peak

    def work(self) -> Work:
        """The rows of X and dY are read, one matrix an expert is written; with `adds` it is read as well."""
        out = self.experts * self.out.matrix_bytes(self.n, self.k)
        return Work(2.0 * self.rows * self.n * self.k, self.workspace_bytes() + (out if self.adds else 0.0), out)

    def coords(self) -> Coords:
        """Rows, touched experts, two sides and the format `compute`."""
        return {"rows": self.rows, "experts": self.experts, "n": self.n, "k": self.k, "dtype": self.compute.name}

    def workspace_bytes(self) -> Num:
        """The rows of X and dY; gradients of weights are no activations. [B]"""
        return self.x.tensor_bytes(self.rows * self.k) + self.dy.tensor_bytes(self.rows * self.n)

    def saved_bytes(self) -> Num:
        """Nothing. [B]"""
        return 0.0

    def input_grad(self) -> tuple[Op, ...]:
        """None: it is itself a gradient."""
        return ()

    def weight_grad(self, sums: Dtype | None = None) -> tuple[Op, ...]:
        """None: it is itself a gradient."""
        return ()
