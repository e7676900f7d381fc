"""Elementwise kernels that stream memory: norm, rope, activation, residual, cast/quantise, cache write.

Counts are per element of the main tensor. Most likely to be wrong: engines fuse some of them into their neighbours.
Source: reads and writes of the unfused PyTorch operator, fused only where the name says so.
"""

from __future__ import annotations

from typing import ClassVar

from simcost.dtypes import Dtype
from simcost.frozen import frozen
from simcost.num import Num
from simcost.ops.work import INPUT, Coords, Op, Work

# A cast's gradient, and each of a sum's, is the gradient itself.
_NOT_LEARNT = ("cache write", "quantise", "sample", "adapter sum")
_KEEPS_NOTHING = (*_NOT_LEARNT, "residual", "rope")  # their gradients need no input: a sum, a rotation by known angles


@frozen
class Stream:
    """`elements` of the main tensor; `reads`/`writes` tensors of that size, `flops` operations an element. `kept`: elements of the whole tensor of which the main one is a part, where a
    backward pass keeps all of it."""

    what: str
    elements: Num
    reads: float
    writes: float
    flops: Num
    x: Dtype
    out: Dtype
    gradient: str = ""
    kept: Num | None = None
    family: ClassVar[str] = "stream"
    formula: ClassVar[str] = "elements·flops FLOP; elements·(reads·x + writes·out) B"
    source: ClassVar[str] = "operands of the elementwise operator"

    @property
    def peak(self) -> str:
        """The rate of plain arithmetic ("vector"): it has no matrix products."""
        return "vector"

    def work(self) -> Work:
        """`reads` tensors in the format `x`, `writes` tensors in the format `out`."""
        return Work(
            self.elements * self.flops,
            self.x.tensor_bytes(self.elements * self.reads),
            self.out.tensor_bytes(self.elements * self.writes),
        )

    def coords(self) -> Coords:
        """Name of the operator, elements and formats."""
        kind = self.x.name if self.x.name == self.out.name else f"{self.x.name}->{self.out.name}"
        return {"op": self.what, "elements": self.elements, "dtype": kind}

    def workspace_bytes(self) -> Num:
        """All tensors that it reads and writes. [B]"""
        return self.x.tensor_bytes(self.elements * self.reads) + self.out.tensor_bytes(self.elements * self.writes)

    @property
    def saved_tensors(self) -> float:
        """How many of the tensors that it reads stay for the backward pass: none of a sum, a rotation or a cast; of a norm those that do not pass through to what it writes beside its
        result (a residual stream that it adds to); of an activation its two factors; elsewhere all."""
        if self.what in _KEEPS_NOTHING:
            return 0.0
        if self.what == "norm":
            return max(self.reads - max(self.writes - 1.0, 0.0), 1.0)
        return min(self.reads, 2.0) if self.what == "activation" else self.reads

    def saved_bytes(self) -> Num:
        """The tensors that its gradient needs. [B]"""
        return self.x.tensor_bytes(self.elements * self.saved_tensors) + (
            0.0 if self.kept is None else self.x.tensor_bytes(self.kept - self.elements)
        )

    def input_grad(self) -> tuple[Op, ...]:
        """One stream with twice the operations. The saved inputs and the gradients of the outputs are read, the gradients of the inputs are written, all
        in the format `x`. None for a cache write, a quantisation and sampling."""
        # The gradient of the output and the saved input come in, the gradient of the input goes out.
        if self.what in _NOT_LEARNT:
            return ()
        moved = self.reads + self.writes
        what, flops = f"{self.what} backward", 2.0 * self.flops
        return (Stream(what, self.elements, moved, self.reads, flops, self.x, self.x, gradient=INPUT),)

    def weight_grad(self, sums: Dtype | None = None) -> tuple[Op, ...]:
        """None: gradients of norm weights are not counted."""
        return ()


@frozen
class Operator(Stream):
    """An operator of a framework that runs each by itself. Of an element it keeps `stays` bytes of what it reads, and
    `makes` bytes of what other operators of the same module wrote, which running the module again makes anew. `back`:
    the kernels of its gradient, in running order."""

    stays: float = 0.0
    makes: float = 0.0
    back: tuple[Stream, ...] = ()
    source: ClassVar[str] = "pytorch/pytorch, tools/autograd/derivatives.yaml"

    def saved_bytes(self) -> Num:
        """What autograd keeps. [B]"""
        return self.elements * (self.stays + self.makes)

    def input_grad(self) -> tuple[Op, ...]:
        """`back`."""
        return self.back
