"""Work: what a kernel must do. Closed under + and scaling; 2 FLOP a multiply-add."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

from simcost.num import Num

Coords = dict[str, Num | str]


@dataclass(frozen=True, slots=True)
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
        return self.bytes_read + self.bytes_written


@runtime_checkable
class Op(Protocol):
    """What every kernel answers. `family` picks the efficiency, `peak` the device rate ("vector" or a dtype's)."""

    family: ClassVar[str]
    formula: ClassVar[str]
    source: ClassVar[str]

    @property
    def peak(self) -> str: ...

    def work(self) -> Work: ...

    def coords(self) -> Coords: ...

    def workspace_bytes(self) -> Num:
        """Activations that are alive while the kernel runs: inputs plus outputs, without weights and caches. [B]"""
        ...

    def saved_bytes(self) -> Num:
        """Activations that training keeps for the backward pass. [B]"""
        ...

    def input_grad(self) -> tuple[Op, ...]: ...

    def weight_grad(self) -> tuple[Op, ...]: ...
