"""The routings that the tables were timed with, made again to know the work: how many experts are touched and how much
more than the mean the busiest one gets.

"balanced": token t picks experts t + j·ceil(E/k) for j < k, wrapped. "power_law_a": expert weights from a bounded power
law, counts rounded to T·k in all and at most T an expert. Draws are not recorded in the tables; means of several stand here.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

_DRAWS = 8


def table_routing(frame: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(touched experts, load of the busiest over the mean) of every row."""
    keys = zip(frame["num_experts"], frame["topk"], frame["num_tokens"], frame["distribution"], strict=True)
    found = np.array([routing(int(e), int(k), int(t), str(d)) for e, k, t, d in keys], np.float64)
    return found[:, 0], found[:, 1]


@cache
def routing(experts: int, top_k: int, tokens: int, distribution: str) -> tuple[float, float]:
    """(touched, load) of one batch."""
    if distribution == "balanced":
        counts = [_balanced(experts, top_k, tokens)]
    else:
        random = np.random.default_rng([experts, top_k, tokens])
        alpha = float(distribution.rsplit("_", 1)[-1])
        counts = [_power_law(experts, top_k, tokens, alpha, random) for _ in range(_DRAWS)]
    mean = tokens * top_k / experts
    return float(np.mean([(c > 0).sum() for c in counts])), float(np.mean([c.max() for c in counts])) / mean


def _balanced(experts: int, top_k: int, tokens: int) -> NDArray[np.int64]:
    stride = -(-experts // top_k)
    token, pick = np.arange(tokens)[:, None], np.arange(top_k)[None, :]
    first = token if tokens >= stride else np.floor(token * stride / tokens)
    chosen = np.floor(first + pick * stride).astype(np.int64) % experts
    return np.bincount(chosen.ravel(), minlength=experts).astype(np.int64)


def _power_law(experts: int, top_k: int, tokens: int, alpha: float, random: np.random.Generator) -> NDArray[np.int64]:
    low, high = (1.0, 0.8 * tokens) if tokens * top_k > experts else (0.01, 2.0)
    power = 1.0 - alpha
    weight = ((high**power - low**power) * random.random(experts) + low**power) ** (1.0 / power)
    counts: NDArray[np.int64] = np.minimum(np.rint(weight / weight.sum() * tokens * top_k), tokens).astype(np.int64)
    missing = tokens * top_k - int(counts.sum())
    while missing:  # round-robin over the least loaded (or most loaded) expert, one token at a time
        step = 1 if missing > 0 else -1
        able = np.flatnonzero(counts < tokens if step > 0 else counts > 0)
        if not len(able):
            break
        chosen = able[np.argsort(counts[able] * step, kind="stable")[: abs(missing)]]
        counts[chosen] += step
        missing -= step * len(chosen)
    return counts
