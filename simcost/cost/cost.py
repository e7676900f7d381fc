"""Cost: seconds split by what bounds them and by what they rest on. A monoid; elementwise on arrays."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from simcost.num import Num, where


@dataclass(frozen=True, slots=True)
class Cost:
    """compute_s + memory_s + wire_s + overhead_s = seconds: each kernel's time stands under its bound.
    light_s: speed of light. datasheet_s + assumed_s = seconds: what the time rests on."""

    compute_s: Num = 0.0
    memory_s: Num = 0.0
    wire_s: Num = 0.0
    overhead_s: Num = 0.0
    light_s: Num = 0.0
    datasheet_s: Num = 0.0

    @property
    def seconds(self) -> Num:
        return self.compute_s + self.memory_s + self.wire_s + self.overhead_s

    @property
    def assumed_s(self) -> Num:
        return self.seconds - self.datasheet_s

    def __add__(self, other: Cost) -> Cost:
        return Cost(*(getattr(self, n) + getattr(other, n) for n in _NAMES))

    def __mul__(self, factor: Num) -> Cost:
        return Cost(*(getattr(self, n) * factor for n in _NAMES))

    def _select(self, mine: Num, other: Cost) -> Cost:
        return Cost(*(where(np.asarray(mine, bool), getattr(self, n), getattr(other, n)) for n in _NAMES))

    def longest(self, other: Cost) -> Cost:
        return self._select(1.0 * (self.seconds >= other.seconds), other)

    def cheapest(self, other: Cost) -> tuple[Cost, Num]:
        won = 1.0 * (other.seconds < self.seconds)
        return other._select(won, self), won


_NAMES = tuple(f.name for f in fields(Cost))
BOUNDS = ("compute", "memory", "wire", "overhead")


def bound(cost: Cost) -> str:
    """The largest share of a scalar cost."""
    return max(BOUNDS, key=lambda name: float(getattr(cost, f"{name}_s")))
