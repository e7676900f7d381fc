"""What must fit: weights, cache, activations, reserve; and the largest batch and context that do.

Most likely to be wrong: activation workspace; engines reuse buffers, and prefill in chunks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from simcost.cost.cost import Cost
from simcost.hardware.profile import Device
from simcost.num import Num, floor, maximum, plain, where
from simcost.program import Priced, leaves

_LIMIT = 2.0**40


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes on the busiest rank."""

    capacity: Num
    reserve: Num
    weights: Num
    cache: Num
    workspace: Num

    @property
    def used(self) -> Num:
        return self.reserve + self.weights + self.cache + self.workspace

    @property
    def short(self) -> Num:
        """Bytes missing; negative when it fits."""
        return self.used - self.capacity

    @property
    def room(self) -> Num:
        """Bytes for cache and workspace."""
        return self.capacity - self.reserve - self.weights


def workspace_bytes(priced: Priced[Cost]) -> Num:
    """The largest activation footprint of any kernel that runs. [B]"""
    most: Num = 0.0
    for _, call, _, weight in leaves(priced):
        most = maximum(most, where(np.asarray(weight) > 0, call.op.workspace_bytes(), 0.0))
    return most


def footprint(device: Device, weights: Num, cache: Num, workspace: Num) -> Memory:
    return Memory(device.capacity, device.capacity * device.assumption("memory_reserve"), weights, cache, workspace)


def largest(fits: Callable[[Num], Num], like: Num) -> Num:
    """The largest whole number for which `fits` (elementwise true/false, monotone) holds; 0 when none, inf when all."""
    low: Num = 0.0 * like
    high: Num = 0.0 * like + _LIMIT
    for _ in range(42):
        middle = floor((low + high) / 2.0)
        good = np.asarray(fits(maximum(middle, 1.0)), bool)
        low, high = where(good, middle, low), where(good, high, middle)
    first = np.asarray(fits(0.0 * like + 1.0), bool)
    found = where(first, maximum(low, 1.0), 0.0)
    return plain(np.where(np.asarray(fits(0.0 * like + _LIMIT), bool), np.inf, found))
