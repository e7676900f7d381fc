"""Experts of different popularity: how often each is picked, and how far the busiest rank is above the mean.

A seeded Monte Carlo, kept while the program runs. Most likely to be wrong: where a deployment puts its experts; here in a random
order, or balanced by copies. Sources: Rosén 1972 (successive sampling); deepseek-ai/EPLB (copies and placement).
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from simcost.errors import SpecError
from simcost.num import Array, Num, plain

if TYPE_CHECKING:
    from simcost.routing import Routing

_DRAWS = 512
_LAYERS = 32  # layers drawn where only the law of their popularity is known
_GRID = 4.0 ** np.arange(0, 12)  # tokens at which loads are drawn


def layers(routing: Routing) -> int:
    return _LAYERS if routing.kind == "dirichlet" else max(len(routing.shares), 1)


@lru_cache(maxsize=32)
def inclusion(routing: Routing, experts: int, top_k: float) -> tuple[Array, ...]:
    """For every layer, the probability that a token picks each expert."""
    if routing.shares:
        if len(routing.shares[0]) != experts:
            raise SpecError(f"routing file: {len(routing.shares[0])} experts a line, the model has {experts}")
        weights = [np.asarray(row) for row in routing.shares]
    elif routing.kind == "zipf":
        weights = [np.arange(1.0, experts + 1.0) ** -routing.parameter]
    else:
        weights = list(np.random.default_rng(0).dirichlet(np.full(experts, routing.parameter), _LAYERS) + 1e-12)
    for layer, weight in enumerate(weights, start=1):
        if (some := int((weight > 0).sum())) < top_k:
            raise SpecError(f"routing file, layer {layer}: {some} experts have tokens, each token picks {top_k:.0f}")
    return tuple(_picked(weight / weight.sum(), top_k) for weight in weights)


def _picked(weight: Array, top_k: float) -> Array:
    """1 - exp(-c w) with c such that the sum is k; measured shares are of tokens, so they are kept where they can be."""
    low, high = 0.0, 1.0
    while (1.0 - np.exp(-high * weight)).sum() < min(top_k, (weight > 0).sum() - 1e-9) and high < 1e30:
        high *= 2.0
    for _ in range(80):
        middle = (low + high) / 2.0
        low, high = (middle, high) if (1.0 - np.exp(-middle * weight)).sum() < top_k else (low, middle)
    return np.asarray(1.0 - np.exp(-high * weight))


@lru_cache(maxsize=64)
def loads(routing: Routing, experts: int, top_k: float, ranks: int, spare: int) -> tuple[Array, float]:
    """(load of the busiest of `ranks` ranks over the mean at every T of the grid, its relative standard error), the mean over
    layers. Placement: random; with spare slots the busiest experts are copied and ranks filled greedily (as EPLB does)."""
    random = np.random.default_rng([experts, ranks, spare])
    every = inclusion(routing, experts, top_k)
    draws = max(_DRAWS // len(every), 8)
    found = np.empty((len(every), len(_GRID), draws))
    for layer, share in enumerate(every):
        counts = random.binomial(_GRID[:, None, None].astype(np.int64), share, (len(_GRID), draws, experts))
        if spare:
            load = counts @ _packed(share, ranks, spare)
        else:
            order = random.permuted(np.tile(np.arange(experts), (draws, 1)), axis=1)
            load = np.take_along_axis(counts, order[None], axis=2).reshape(*found.shape[1:], ranks, -1).sum(axis=3)
        found[layer] = load.max(axis=2) * ranks / (_GRID[:, None] * top_k)
    mean = found.mean(axis=(0, 2))
    # Drawn layers are a sample themselves; those of a file, or of a fixed law, are not.
    error = found.mean(axis=2).std(axis=0) if routing.kind == "dirichlet" else found.mean(axis=0).std(axis=1)
    count = len(every) if routing.kind == "dirichlet" else draws
    return mean, float((error / np.sqrt(count) / mean).max())


def _packed(share: Array, ranks: int, spare: int) -> Array:
    """[experts, ranks]: which part of an expert's tokens a rank gets: slots go to the busiest experts, then the slots, the
    busiest first, to the rank with the least load that has room."""
    copies = np.ones(len(share))
    for _ in range(spare):
        copies[np.argmax(share / copies)] += 1.0
    slots = np.repeat(np.arange(len(share)), copies.astype(np.int64))
    each = (share / copies)[slots]
    room = -(-len(slots) // ranks)
    part, load, held = np.zeros((len(share), ranks)), np.zeros(ranks), np.zeros(ranks)
    for slot in np.argsort(-each, kind="stable"):
        rank = int(np.argmin(np.where(held < room, load, np.inf)))
        part[slots[slot], rank] += 1.0 / copies[slots[slot]]
        load[rank] += each[slot]
        held[rank] += 1.0
    return part


def load(routing: Routing, experts: int, top_k: float, tokens: Num, ranks: Num, spare: Num) -> Num:
    """From the tables, linear in log T; every number of ranks and spare slots has its own."""
    t, r, s = np.broadcast_arrays(
        np.asarray(tokens, np.float64), np.asarray(ranks, np.float64), np.asarray(spare, np.float64)
    )
    found = np.empty(t.shape)
    for rank, extra in {(a, b) for a, b in zip(r.ravel().tolist(), s.ravel().tolist(), strict=True)}:
        here = (r == rank) & (s == extra)
        table, _ = loads(routing, experts, top_k, max(int(rank), 1), int(extra))
        found[here] = np.interp(np.log(np.maximum(t[here], 1.0)), np.log(_GRID), table)
    return plain(found)


def visits(routing: Routing, experts: int, top_k: float, ranks: float) -> float:
    """Ranks that a token's picks fall on when it may pick any expert: parts are hit independently."""
    random = np.random.default_rng([experts, int(ranks)])
    every = inclusion(routing, experts, top_k)
    total = 0.0
    for share in every:
        home = random.permutation(experts) * int(ranks) // experts
        miss = np.bincount(home, np.log1p(-np.minimum(share, 1.0 - 1e-16)), minlength=int(ranks))
        total += float((1.0 - np.exp(miss)).sum())
    return min(total / len(every), top_k)
