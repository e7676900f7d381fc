"""Experts of different popularity: how often each is picked, how far the busiest rank is above the mean, who is visited most.

Counts of experts and visits of ranks are drawn from a seeded Monte Carlo over placements, kept while the program runs; what
a group limit adds comes from `groups`. Most likely to be wrong: where a deployment puts its experts; here in a random order,
or balanced by copies. Sources: Rosén 1972 (successive sampling); deepseek-ai/EPLB (copies and placement).
"""

from __future__ import annotations

from collections.abc import Sized
from functools import lru_cache

import numpy as np

from simcost.errors import SpecError
from simcost.num import Array, Ints, Num, plain
from simcost.routing import group_limit
from simcost.routing.router import Router, Routing

_DRAWS = 512
_LAYERS = 32  # layers drawn where only the law of their popularity is known
_GRID = 4.0 ** np.arange(0, 12)  # tokens at which loads are drawn
_FINE = 2.0 ** np.arange(0, 23)  # and at which touched experts are
_FEW = 12  # placements that settle how many ranks a token visits
_ROUNDED = 1.01  # a share may exceed 1/k by so much: counts are rounded, and some files hold samples


def layers(routing: Routing) -> int:
    """Number of layers behind the tables: 32 drawn ones of dirichlet, the lines of measured counts, else 1."""
    return _LAYERS if routing.kind == "dirichlet" else max(len(routing.shares), 1)


@lru_cache(maxsize=32)
def inclusion(routing: Routing, experts: int, top_k: float) -> tuple[Array, ...]:
    """For every layer, the probability that a token picks each expert; they sum to k. Measured counts are picks already, so k
    times the share; popularity by a law is a weight of successive sampling."""
    if routing.shares:
        return tuple(
            _measured(np.asarray(share), place, experts, top_k)
            for share, place in zip(routing.shares, _places(routing), strict=True)
        )
    if routing.kind == "zipf":
        weights = [np.arange(1.0, experts + 1.0) ** -routing.parameter]
    else:
        weights = list(np.random.default_rng(0).dirichlet(np.full(experts, routing.parameter), _LAYERS) + 1e-12)
    return tuple(_picked(weight / weight.sum(), top_k) for weight in weights)


def _places(routing: Routing) -> tuple[str, ...]:
    """Where each line of measured counts stands; a routing made in code has none."""
    if len(routing.places) == len(routing.shares):
        return routing.places
    return tuple(f"routing, layer {i}" for i in range(1, len(routing.shares) + 1))


def _measured(share: Array, place: str, experts: int, top_k: float) -> Array:
    if len(share) != experts:
        raise SpecError(f"{place}: {len(share)} experts, the model has {experts}")
    if (some := int((share > 0).sum())) < top_k:
        raise SpecError(f"{place}: {some} experts have tokens, each token picks {top_k:.0f}")
    worst = int(np.argmax(share))
    if share[worst] * top_k > _ROUNDED:
        raise SpecError(
            f"{place}, expert {worst + 1}: {share[worst]:.2%} of the picks; with {top_k:.0f} different experts per token "
            f"none has more than {1.0 / top_k:.2%}"
        )
    low, high = top_k, 2.0 * top_k  # what the cap takes from one, the others get
    for _ in range(60):
        middle = (low + high) / 2.0
        low, high = (middle, high) if np.minimum(middle * share, 1.0).sum() < top_k else (low, middle)
    return np.minimum(low * share, 1.0)


def _picked(weight: Array, top_k: float) -> Array:
    """1 - exp(-c w) with c such that the sum is k."""
    low, high = 0.0, 1.0
    while (1.0 - np.exp(-high * weight)).sum() < min(top_k, (weight > 0).sum() - 1e-9) and high < 1e30:
        high *= 2.0
    for _ in range(80):
        middle = (low + high) / 2.0
        low, high = (middle, high) if (1.0 - np.exp(-middle * weight)).sum() < top_k else (low, middle)
    return np.asarray(1.0 - np.exp(-high * weight))


@lru_cache(maxsize=64)
def loads(routing: Routing, experts: int, top_k: float, ranks: int, spare: int) -> tuple[Array, float]:
    """(part of all rows that the busiest of `ranks` ranks gets, at every T of the grid; its relative standard error), the mean
    over layers, without a group limit. Placement: random; with spare slots the busiest experts are copied and ranks filled
    greedily (as EPLB does)."""
    random = np.random.default_rng([experts, ranks, spare])
    every = inclusion(routing, experts, top_k)
    draws = _draws(every)
    found = np.empty((len(every), len(_GRID), draws))
    for layer, share in enumerate(every):
        counts = random.binomial(_GRID[:, None, None].astype(np.int64), share, (len(_GRID), draws, experts))
        if spare:
            load = counts @ _packed(share, ranks, spare)
        else:
            order = _placements(random, experts, draws)
            load = np.add.reduceat(np.take_along_axis(counts, order[None], axis=2), _firsts(experts, ranks), axis=2)
        found[layer] = load.max(axis=2) / (_GRID[:, None] * top_k)
    mean = found.mean(axis=(0, 2))
    # Drawn layers are a sample themselves; those of a file, or of a fixed law, are not.
    error = found.mean(axis=2).std(axis=0) if routing.kind == "dirichlet" else found.mean(axis=0).std(axis=1)
    count = len(every) if routing.kind == "dirichlet" else draws
    return mean, float((error / np.sqrt(count) / mean).max())


@lru_cache(maxsize=64)
def seen(routing: Routing, experts: int, top_k: float, ranks: int, spare: int) -> Array:
    """[layers, placements, ranks]: chance that a token comes to a rank, a copy serving its part of the expert's tokens."""
    random = np.random.default_rng([experts, ranks, spare])
    every = inclusion(routing, experts, top_k)
    draws, power = 1 if spare else _draws(every), _distinct(experts, top_k, ranks)
    found = np.empty((len(every), draws, ranks))
    for layer, share in enumerate(every):
        if spare:
            miss = _misses(share[:, None] * _packed(share, ranks, spare)).sum(axis=0)
        else:
            order = _placements(random, experts, draws)
            miss = np.add.reduceat(_misses(share)[order], _firsts(experts, ranks), axis=1)
        found[layer] = 1.0 - np.exp(power * miss)
    return found


@lru_cache(maxsize=64)
def comers(routing: Routing, experts: int, top_k: float, ranks: int, spare: int) -> Array:
    """Part of all tokens that come to the most visited of `ranks` ranks, at every T of the grid."""
    random = np.random.default_rng([experts, ranks, spare, 1])
    chance = seen(routing, experts, top_k, ranks, spare)
    shape = (len(_GRID), chance.shape[0], _draws(chance), ranks)
    drawn = random.binomial(_GRID[:, None, None, None].astype(np.int64), chance, shape)
    return np.asarray(drawn.max(axis=3).mean(axis=(1, 2)) / _GRID)


@lru_cache(maxsize=64)
def ran(routing: Routing, experts: int, top_k: float, ranks: int, spare: int) -> Array:
    """Distinct experts of the rank that runs most of them, at every T of the finer grid: over the placements of `loads`."""
    random = np.random.default_rng([experts, ranks, spare, 2])
    every = inclusion(routing, experts, top_k)
    draws = max(_draws(every) // 4, 8)
    found = np.empty((len(every), len(_FINE)))
    for layer, share in enumerate(every):
        part = _packed(share, ranks, spare).T if spare else None
        order = _placements(random, experts, draws)
        for i, tokens in enumerate(_FINE):
            if part is not None:
                hit = random.random((draws, *part.shape)) < 1.0 - np.exp(tokens * _misses(share * part))
                count = hit.sum(axis=2)
            else:
                hit = random.random((draws, experts)) < (1.0 - np.exp(tokens * _misses(share)))[order]
                count = np.add.reduceat(hit.astype(np.int64), _firsts(experts, ranks), axis=1)
            found[layer, i] = count.max(axis=1).mean()
    return np.asarray(found.mean(axis=0))


def _draws(every: Sized) -> int:
    return max(_DRAWS // len(every), 8)


def _placements(random: np.random.Generator, experts: int, draws: int) -> Ints:
    return random.permuted(np.tile(np.arange(experts), (draws, 1)), axis=1)


def _firsts(experts: int, ranks: int) -> Ints:
    """The first expert of every rank."""
    return -(-np.arange(ranks) * experts // ranks)


def _misses(share: Array) -> Array:
    return np.log1p(-np.minimum(share, 1.0 - 1e-16))


def _distinct(experts: int, top_k: float, ranks: int) -> float:
    """Picks of a token are distinct, so that they miss a rank less often than independent ones: by what power, where all experts
    are alike and the law is hypergeometric."""
    held = experts / ranks
    missed = np.log(np.maximum((experts - np.arange(top_k) - held) / (experts - np.arange(top_k)), 1e-16)).sum()
    return float(missed / (held * np.log1p(-min(top_k / experts, 1.0 - 1e-16))))


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


@lru_cache(maxsize=4)
def _routes(routing: Routing, router: Router) -> tuple[Ints, Ints]:
    """Weights are those whose free picks have the inclusion probabilities. Of one measured layer only visits are asked."""
    every = inclusion(routing, int(router.experts), router.top_k)
    worlds = max(len(every), _FEW) if routing.shares else group_limit.WORLDS
    return group_limit.routes(router, [-_misses(share) for share in every], min(worlds, group_limit.WORLDS))


@lru_cache(maxsize=64)
def _ratios(routing: Routing, router: Router, ranks: int) -> tuple[Array, Array, float, Array]:
    return group_limit.ratios(_routes(routing, router), int(router.experts), ranks)


def _parts(router: Router, ranks: float) -> int:
    """Ranks that can have an expert."""
    return int(min(max(ranks, 1.0), float(router.experts)))


def sizes(router: Router, ranks: float, spare: float) -> tuple[int, float, int, int]:
    """(experts, top_k, ranks that can have an expert, spare slots): the arguments of the tables."""
    return int(router.experts), router.top_k, _parts(router, ranks), int(spare)


def busiest(routing: Routing, router: Router, tokens: Num, ranks: Num, spare: Num, distinct: bool) -> Num:
    """Part of all rows (of all tokens, each counted once a rank, where `distinct`) that the busiest rank gets: from the tables,
    linear in log T. A group limit multiplies it, except where it is in the counts already (measured rows) or copies are packed by
    what comes."""
    t, r, s = np.broadcast_arrays(
        np.asarray(tokens, np.float64), np.asarray(ranks, np.float64), np.asarray(spare, np.float64)
    )
    found = np.empty(t.shape)
    for rank, extra in {(a, b) for a, b in zip(r.ravel().tolist(), s.ravel().tolist(), strict=True)}:
        here, asked = (r == rank) & (s == extra), sizes(router, rank, extra)
        base = comers(routing, *asked) if distinct else loads(routing, *asked)[0]
        at = np.log(np.maximum(t[here], 1.0))
        part = np.interp(at, np.log(_GRID), base)
        if router.limited and (distinct or not (routing.shares or extra)):
            more = _ratios(routing, router, asked[2])
            part = part * np.interp(at, np.log(group_limit.GRID), more[1] if distinct else more[0])
        held = -(-(asked[0] + asked[3]) // asked[2])
        found[here] = np.minimum(part, 1.0 if distinct else min(held / router.top_k, 1.0))
    return plain(found)


def most_touched(routing: Routing, router: Router, tokens: Num, ranks: Num, spare: Num) -> Num:
    """Distinct experts of the rank that runs most, linear in log T; a group limit multiplies as it does for rows."""
    t, r, s = np.broadcast_arrays(
        np.asarray(tokens, np.float64), np.asarray(ranks, np.float64), np.asarray(spare, np.float64)
    )
    found = np.empty(t.shape)
    for rank, extra in {(a, b) for a, b in zip(r.ravel().tolist(), s.ravel().tolist(), strict=True)}:
        here, asked = (r == rank) & (s == extra), sizes(router, rank, extra)
        at = np.log(np.maximum(t[here], 1.0))
        found[here] = np.interp(at, np.log(_FINE), ran(routing, *asked))
        if router.limited and not (routing.shares or extra):
            found[here] *= np.interp(at, np.log(group_limit.GRID), _ratios(routing, router, asked[2])[3])
    return plain(found)


def visits(routing: Routing, router: Router, ranks: Num, spare: Num) -> Num:
    """Expected ranks that a token's picks fall on."""
    r, s = np.broadcast_arrays(np.asarray(ranks, np.float64), np.asarray(spare, np.float64))
    found = np.empty(r.shape)
    for rank, extra in {(a, b) for a, b in zip(r.ravel().tolist(), s.ravel().tolist(), strict=True)}:
        asked = sizes(router, rank, extra)
        mean = float(seen(routing, *asked).sum(axis=2).mean())
        more = _ratios(routing, router, asked[2])[2] if router.limited else 1.0
        found[(r == rank) & (s == extra)] = min(mean * more, router.top_k)
    return plain(found)
