"""Work: what a kernel must do. Closed under + and scaling; 2 FLOP a multiply-add."""

from __future__ import annotations

from typing import ClassVar, Protocol, runtime_checkable

from simcost.dtypes import Dtype
from simcost.frozen import frozen
from simcost.num import Num

Coords = dict[str, Num | str]


@frozen
class Work:
    """flops [FLOP], bytes_read [B], bytes_written [B]; scalars or arrays."""

    flops: Num = 0.0
    bytes_read: Num = 0.0
    bytes_written: Num = 0.0

    def __add__(self, other: Work) -> Work:
        return Work(
            self.flops + other.flops,
            self.bytes_read + other.bytes_read,
            self.bytes_written + other.bytes_written,
        )

    def __mul__(self, factor: Num) -> Work:
        return Work(self.flops * factor, self.bytes_read * factor, self.bytes_written * factor)

    @property
    def bytes(self) -> Num:
        """Bytes read and written together. [B]"""
        return self.bytes_read + self.bytes_written


INPUT, WEIGHT = "input", "weight"  # of what an op is the gradient


@runtime_checkable
class Op(Protocol):
    """What every kernel answers. `family` picks the efficiency, `peak` the device rate ("vector" or a dtype's). `gradient`: INPUT, WEIGHT, or ""
    of a forward kernel: rows of forward kernels say nothing of gradients."""

    family: ClassVar[str]
    formula: ClassVar[str]
    source: ClassVar[str]

    @property
    def gradient(self) -> str:
        """INPUT, WEIGHT, or "" of a forward kernel."""
        ...

    @property
    def peak(self) -> str:
        """Name of the rate of its arithmetic: the `peak` of a dtype, "vector", or "wire" of an op that crosses links."""
        ...

    def work(self) -> Work:
        """FLOPs, and bytes that memory must move: each operand once."""
        ...

    def coords(self) -> Coords:
        """Shape and formats by name, for reports."""
        ...

    def workspace_bytes(self) -> Num:
        """Activations that are alive while the kernel runs: inputs plus outputs, without weights and caches. [B]"""
        ...

    def saved_bytes(self) -> Num:
        """Activations that training keeps for the backward pass. [B]"""
        ...

    def input_grad(self) -> tuple[Op, ...]:
        """Kernels that make the gradient of the input; none where the op is no part of what is learnt (a cache write)."""
        ...

    def weight_grad(self, sums: Dtype | None = None) -> tuple[Op, ...]:
        """Kernels that make the gradient of the weight. `sums`: the format of a sum that it is added to; None: it is written, in the output's
        format."""
        ...


def is_plain(op: Op) -> bool:
    """Whether all numbers of an op are scalars, so that equal ops can be told by a hash."""
    try:
        hash(op)
    except TypeError:
        return False
    return True


def kernels(op: Op) -> float:
    """Kernels that an engine launches for it: one for each part, where the part says no other number."""
    return sum(float(getattr(part, "launches", 1.0)) for part in getattr(op, "parts", (op,)))
