"""What must fit on a rank, as an engine shares out memory: weights, activations, what lies outside PyTorch, graphs, and the pool of the cache.

The pool is what the engine's share leaves; the rest of the device is its reserve. Most likely to be wrong: memory outside PyTorch in a
group of ranks. Source: the engine's terms (`workloads/engines`, docs/theory/memory.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from simcost.frozen import frozen
from simcost.hardware.engine_memory import EngineMemory
from simcost.num import Num, floor, maximum, some, where

LIMIT = 2.0**40


@frozen
class Memory:
    """Bytes on the fullest rank. pool: for the caches of all requests; cache: what the asked ones take of it; graphs: CUDA graphs."""

    capacity: Num
    weights: Num
    activations: Num
    non_torch: Num
    graphs: Num
    pool: Num
    cache: Num

    @property
    def reserve(self) -> Num:
        """Bytes that the engine leaves for what it does not count; negative where its terms take more than it leaves. [B]"""
        return self.capacity - self.pool - self.weights - self.activations - self.non_torch - self.graphs

    @property
    def used(self) -> Num:
        """Bytes in use with the asked requests: all but the free part of the pool, so that the reserve counts as used. [B]"""
        return self.capacity - self.pool + self.cache

    @property
    def short(self) -> Num:
        """Bytes that the pool lacks for the asked requests; negative when they fit. [B]"""
        return self.cache - self.pool


def shared_out(
    capacity: Num, weights: Num, activations: Num, exchange: Num, graphs: Num, cache: Num, engine: EngineMemory
) -> Memory:
    """The memory of a rank. exchange: buffers of the All2All. All [B]"""
    non_torch = engine.non_torch + exchange
    if engine.share_of == "all":
        pool = engine.share * capacity - weights - activations - non_torch - (graphs if engine.graphs_inside else 0.0)
    elif engine.share_of == "free before load":
        pool = engine.share * (capacity - engine.context) - weights - engine.non_torch
    else:
        peak = activations if engine.share_of == "free after peak" else 0.0
        free = capacity - engine.context - weights - non_torch - peak
        pool = where(np.asarray(free > 0.0), engine.share * free, free)  # what is missing is missing in full
    return Memory(capacity, weights, activations, non_torch, graphs, pool, cache)


def largest(fits: Callable[[Num], Num], like: Num, most: Num = LIMIT) -> Num:
    """The largest whole number up to `most` for which `fits` (elementwise true/false, monotone) holds; 0 when none, inf when even 2^40
    does."""
    low: Num = 0.0 * like
    high: Num = 0.0 * like + most
    while some(open_ := high - low > 1.0):
        # A point that is settled keeps its bounds while others go on.
        middle = floor((low + high) / 2.0)
        good = (fits(maximum(middle, 1.0)) > 0.0) & (middle > 0.0)
        low, high = where(good & open_, middle, low), where(good | (high - low <= 1.0), high, middle)
    low = where((fits(maximum(high, 1.0)) > 0.0) & (high > 0.0), high, low)
    return where(low >= LIMIT, math.inf, low)
