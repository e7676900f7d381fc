"""Elementwise kernels that stream memory: norm, rope, activation, residual, cast/quantise, cache write.

Counts are per element of the main tensor. Most likely to be wrong: engines fuse some of them into their neighbours.
Source: reads and writes of the unfused PyTorch operator, fused only where the name says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from simcost.dtypes import Dtype
from simcost.num import Num
from simcost.ops.work import INPUT, Coords, Op, Work

_NOT_LEARNT = ("cache write", "quantise", "sample")  # a cast's gradient is the gradient itself


@dataclass(frozen=True, slots=True)
class Stream:
    """`elements` of the main tensor; `reads`/`writes` tensors of that size, `flops` operations an element."""

    what: str
    elements: Num
    reads: float
    writes: float
    flops: Num
    x: Dtype
    out: Dtype
    gradient: str = ""
    family: ClassVar[str] = "stream"
    formula: ClassVar[str] = "elements·flops FLOP; elements·(reads·x + writes·out) B"
    source: ClassVar[str] = "operands of the elementwise operator"

    @property
    def peak(self) -> str:
        return "vector"

    def work(self) -> Work:
        return Work(
            self.elements * self.flops,
            self.x.tensor_bytes(self.elements * self.reads),
            self.out.tensor_bytes(self.elements * self.writes),
        )

    def coords(self) -> Coords:
        kind = self.x.name if self.x.name == self.out.name else f"{self.x.name}->{self.out.name}"
        return {"op": self.what, "elements": self.elements, "dtype": kind}

    def workspace_bytes(self) -> Num:
        return self.x.tensor_bytes(self.elements * self.reads) + self.out.tensor_bytes(self.elements * self.writes)

    def saved_bytes(self) -> Num:
        return self.x.tensor_bytes(self.elements * min(self.reads, 2.0))

    def input_grad(self) -> tuple[Op, ...]:
        # The gradient of the output and the saved input come in, the gradient of the input goes out.
        if self.what in _NOT_LEARNT:
            return ()
        moved = self.reads + self.writes
        what, flops = f"{self.what} backward", 2.0 * self.flops
        return (Stream(what, self.elements, moved, self.reads, flops, self.x, self.x, gradient=INPUT),)

    def weight_grad(self, sums: Dtype | None = None) -> tuple[Op, ...]:
        return ()
