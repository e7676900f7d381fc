"""Several ops that run, and are timed, as one: a linear layer with the quantisation of its input, the experts of a MoE.

For curves and reports. Its work is the sum of its parts; what they cost together is for measurements to say. Most
likely to be wrong: parts that a real kernel keeps on chip still count their traffic here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from simcost.dtypes import Dtype
from simcost.num import Num, maximum
from simcost.ops.work import Coords, Op, Work


@dataclass(frozen=True, slots=True)
class Fused:
    """`kernel` names the class ("linear", "experts"); `parts` in running order, each once."""

    kernel: str
    parts: tuple[Op, ...]
    family: ClassVar[str] = "fused"
    formula: ClassVar[str] = "sum of its parts"
    source: ClassVar[str] = "the parts' own"

    @property
    def main(self) -> Op:
        """The part with the matrix products, which names the format."""
        return next((part for part in self.parts if part.peak != "vector"), self.parts[0])

    @property
    def gradient(self) -> str:
        return self.main.gradient

    @property
    def peak(self) -> str:
        return self.main.peak

    def work(self) -> Work:
        total = Work()
        for part in self.parts:
            total = total + part.work()
        return total

    def coords(self) -> Coords:
        return {"parts": float(len(self.parts)), **self.main.coords()}

    def workspace_bytes(self) -> Num:
        most: Num = 0.0
        for part in self.parts:
            most = maximum(most, part.workspace_bytes())
        return most

    def saved_bytes(self) -> Num:
        total: Num = 0.0
        for part in self.parts:
            total = total + part.saved_bytes()
        return total

    def input_grad(self) -> tuple[Op, ...]:
        return tuple(grad for part in reversed(self.parts) for grad in part.input_grad())

    def weight_grad(self, sums: Dtype | None = None) -> tuple[Op, ...]:
        return tuple(grad for part in self.parts for grad in part.weight_grad(sums))
