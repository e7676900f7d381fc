"""Grouped GEMM of a MoE layer: each touched expert multiplies its own rows.

Weights are read once for every *distinct* expert that the batch touches, not for every (token, expert) pair.
Most likely to be wrong: rows are padded to tiles in real kernels. Source: grouped GEMM count as in GEMM, per expert.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from simcost.dtypes import Dtype
from simcost.num import Num
from simcost.ops.work import Coords, Op, Work


@dataclass(frozen=True, slots=True)
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
    family: ClassVar[str] = "grouped_gemm"
    formula: ClassVar[str] = "2·rows·n·k FLOP; rows·(k·x + n·out) + experts·n·k·w B"
    source: ClassVar[str] = "standard GEMM count; distinct experts from routing"

    @property
    def peak(self) -> str:
        return self.compute.peak

    def work(self) -> Work:
        weights = self.experts * self.w.matrix_bytes(self.n, self.k)
        copy = self.experts * self.compute.matrix_bytes(self.n, self.k) if self.unpacked else 0.0
        return Work(
            2.0 * self.rows * self.n * self.k,
            self.x.tensor_bytes(self.rows * self.k) + weights + copy,
            self.out.tensor_bytes(self.rows * self.n) + copy,
        )

    def coords(self) -> Coords:
        kind = self.compute.name if self.w.name == self.compute.name else f"{self.compute.name} (w {self.w.name})"
        return {"rows": self.rows, "experts": self.experts, "n": self.n, "k": self.k, "dtype": kind}

    def workspace_bytes(self) -> Num:
        return self.x.tensor_bytes(self.rows * self.k) + self.out.tensor_bytes(self.rows * self.n)

    def saved_bytes(self) -> Num:
        return self.x.tensor_bytes(self.rows * self.k)

    def input_grad(self) -> tuple[Op, ...]:
        return (
            GroupedGemm(
                self.rows,
                self.experts,
                self.k,
                self.n,
                self.out,
                self.w,
                self.x,
                self.compute,
                self.unpacked,
                self.held,
                self.load,
            ),
        )

    def weight_grad(self) -> tuple[Op, ...]:
        return (GroupedWeightGrad(self.rows, self.experts, self.n, self.k, self.x, self.out, self.compute),)


@dataclass(frozen=True, slots=True)
class GroupedWeightGrad:
    """dW of every touched expert: [n, rows_e] x [rows_e, k], one gradient matrix an expert."""

    rows: Num
    experts: Num
    n: Num
    k: Num
    x: Dtype
    out: Dtype
    compute: Dtype
    family: ClassVar[str] = "grouped_gemm"
    formula: ClassVar[str] = "2·rows·n·k FLOP; rows·(k·x + n·out) + experts·n·k·out B"
    source: ClassVar[str] = "adjoint of the grouped GEMM"

    @property
    def peak(self) -> str:
        return self.compute.peak

    def work(self) -> Work:
        return Work(
            2.0 * self.rows * self.n * self.k,
            self.x.tensor_bytes(self.rows * self.k) + self.out.tensor_bytes(self.rows * self.n),
            self.experts * self.out.matrix_bytes(self.n, self.k),
        )

    def coords(self) -> Coords:
        return {"rows": self.rows, "experts": self.experts, "n": self.n, "k": self.k, "dtype": self.compute.name}

    def workspace_bytes(self) -> Num:
        return self.x.tensor_bytes(self.rows * self.k) + self.out.tensor_bytes(self.rows * self.n)

    def saved_bytes(self) -> Num:
        return 0.0

    def input_grad(self) -> tuple[Op, ...]:
        return ()

    def weight_grad(self) -> tuple[Op, ...]:
        return ()
