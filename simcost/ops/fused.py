"""Several ops that run, and are timed, as one: a linear layer with the quantisation of its input, the experts of a MoE.

For curves and reports. Its work is the sum of its parts; what they cost together is for measurements to say. Most
likely to be wrong: parts that a real kernel keeps on chip still count their traffic here.
"""

from __future__ import annotations

from typing import ClassVar

from simcost.dtypes import Dtype
from simcost.frozen import frozen
from simcost.num import Num, maximum
from simcost.ops.work import Coords, Op, Work


class _Together:
    """What several ops in running order answer as one."""

    __slots__ = ()
    parts: tuple[Op, ...]

    @property
    def main(self) -> Op:
        """The part with the matrix products, which names the format."""
        return next((part for part in self.parts if part.peak != "vector"), self.parts[0])

    @property
    def peak(self) -> str:
        """The same as of the main part."""
        return self.main.peak

    def work(self) -> Work:
        """Sum over the parts; what one part writes and the next reads counts as well."""
        total = Work()
        for part in self.parts:
            total = total + part.work()
        return total

    def coords(self) -> Coords:
        """Number of parts, and the coords of the main part."""
        return {"parts": float(len(self.parts)), **self.main.coords()}

    def workspace_bytes(self) -> Num:
        """The largest of the parts: they run one after the other. [B]"""
        most: Num = 0.0
        for part in self.parts:
            most = maximum(most, part.workspace_bytes())
        return most


@frozen
class Fused(_Together):
    """`kernel` names the class ("linear", "experts"); `parts` in running order, each once."""

    kernel: str
    parts: tuple[Op, ...]
    family: ClassVar[str] = "fused"
    formula: ClassVar[str] = "sum of its parts"
    source: ClassVar[str] = "the parts' own"

    @property
    def gradient(self) -> str:
        """The same as of the main part."""
        return self.main.gradient

    def saved_bytes(self) -> Num:
        """Sum over the parts. [B]"""
        total: Num = 0.0
        for part in self.parts:
            total = total + part.saved_bytes()
        return total

    def input_grad(self) -> tuple[Op, ...]:
        """Gradients of the inputs of all parts, last part first, each a kernel of its own."""
        return tuple(grad for part in reversed(self.parts) for grad in part.input_grad())

    def weight_grad(self, sums: Dtype | None = None) -> tuple[Op, ...]:
        """Gradients of the weights of all parts, each a kernel of its own."""
        return tuple(grad for part in self.parts for grad in part.weight_grad(sums))


@frozen
class FusedGrad(_Together):
    """Gradients of several ops that run as one (the experts of a MoE): `parts` in running order, all of `gradient` INPUT or WEIGHT. `forward`: the class that is timed as a whole, whose time a cost model without rows
    of the gradients takes by the ratio of work."""

    forward: Fused
    parts: tuple[Op, ...]
    gradient: str
    family: ClassVar[str] = "fused"
    formula: ClassVar[str] = "sum of its parts"
    source: ClassVar[str] = "the parts' own"

    def saved_bytes(self) -> Num:
        """Nothing. [B]"""
        return 0.0

    def input_grad(self) -> tuple[Op, ...]:
        """None: it is itself a gradient."""
        return ()

    def weight_grad(self, sums: Dtype | None = None) -> tuple[Op, ...]:
        """None: it is itself a gradient."""
        return ()
