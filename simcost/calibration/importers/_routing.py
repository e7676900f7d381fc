"""The routings that the tables were timed with, made again to know the work: how many experts are touched and how much
more than the mean the busiest one gets.

"balanced": token t picks experts t + j·ceil(E/k) for j < k, wrapped. "power_law_a": expert weights from a bounded power
law, counts rounded to T·k in all and at most T an expert. Draws are not recorded in the tables; means of several stand here.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from simcost.num import Array, Ints

_DRAWS = 5
GROUPED = {(7168, 256, 8)}  # (hidden, experts, top-k) whose model routes by groups: DeepSeek-V3


def table_routing(frame: Any, by_groups: bool) -> tuple[Array, Array]:
    """(touched experts, load of the busiest over the mean) of every row; `by_groups`: models that route by groups did so."""
    names = ["num_experts", "topk", "num_tokens", "distribution", "hidden_size"]
    place = frame.groupby(names, sort=False).ngroup().to_numpy()
    first = np.unique(place, return_index=True)[1]
    found = np.array(
        [
            routing(int(e), int(k), int(t), str(d), by_groups and (int(h), int(e), int(k)) in GROUPED)
            for e, k, t, d, h in frame[names].iloc[first].itertuples(index=False)
        ],
        np.float64,
    )
    return found[place, 0], found[place, 1]


@cache
def routing(experts: int, top_k: int, tokens: int, distribution: str, grouped: bool = False) -> tuple[float, float]:
    """(touched experts, load of the busiest over the mean) of one batch, as the collector draws it. `distribution`: "balanced",
    or a power law whose exponent ends the word; `grouped`: the collector's top-k obeys DeepSeek-V3's 4 of 8 groups."""
    random = np.random.default_rng([experts, top_k, tokens])
    counts = []
    for _ in range(1 if distribution == "balanced" else _DRAWS):
        if distribution == "balanced":
            chosen = _balanced(experts, top_k, tokens)
        else:
            chosen = _power_law(experts, top_k, tokens, float(distribution.rsplit("_", 1)[-1]), random)
        chosen = _limited(chosen, experts, top_k) if grouped else chosen
        counts.append(np.bincount(chosen.ravel(), minlength=experts))
    mean = tokens * top_k / experts
    return float(np.mean([(c > 0).sum() for c in counts])), float(np.mean([c.max() for c in counts])) / mean


def _balanced(experts: int, top_k: int, tokens: int) -> Ints:
    stride = -(-experts // top_k)
    token, pick = np.arange(tokens)[:, None], np.arange(top_k)[None, :]
    first = token if tokens >= stride else np.floor(token * stride / tokens)
    return np.floor(first + pick * stride).astype(np.int64) % experts


def _power_law(experts: int, top_k: int, tokens: int, alpha: float, random: np.random.Generator) -> Ints:
    low, high = (1.0, 0.8 * tokens) if tokens * top_k > experts else (0.01, 2.0)
    power = 1.0 - alpha
    weight = ((high**power - low**power) * random.random(experts) + low**power) ** (1.0 / power)
    counts = np.minimum(np.rint(weight / weight.sum() * tokens * top_k), tokens).astype(np.int64)
    missing = tokens * top_k - int(counts.sum())
    while missing:  # round-robin over the least loaded (or most loaded) expert, one token at a time
        step = 1 if missing > 0 else -1
        able = np.flatnonzero(counts < tokens if step > 0 else counts > 0)
        taken = able[np.argsort(counts[able] * step, kind="stable")[: abs(missing)]]
        counts[taken] += step
        missing -= step * len(taken)
    order = np.argsort(-counts, kind="stable")
    return np.repeat(order, counts[order]).reshape(top_k, tokens).T


def _limited(chosen: Ints, experts: int, top_k: int) -> Ints:
    """Only the 4 of 8 groups with the best two scores count (ties: the first), the rest is filled with the first experts."""
    tokens, groups, kept = len(chosen), 8, 4
    score = np.zeros((tokens, experts))
    np.put_along_axis(score, chosen, 1.0, axis=1)
    best = np.sort(score.reshape(tokens, groups, -1), axis=2)[:, :, -2:].sum(axis=2)
    allowed = np.zeros((tokens, groups), bool)
    np.put_along_axis(allowed, np.argsort(-best, axis=1, kind="stable")[:, :kept], True, axis=1)
    masked = np.where(np.repeat(allowed, experts // groups, axis=1), score, -1.0)
    return np.argsort(-masked, axis=1, kind="stable")[:, :top_k]
