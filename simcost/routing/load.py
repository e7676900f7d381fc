"""Which experts a batch touches, where they live, and how much more than its share the busiest one gets.

Numbers only; blocks ask. `random`: each token picks k distinct experts uniformly (balls into bins: sampling noise alone).
`balanced`: exact shares. `zipf:s`, `dirichlet:a`, measured counts: experts differ in popularity; an expert is picked by a
token with probability 1 - exp(-c w), c such that they sum to k (successive sampling, Rosén 1972), or k times its share of measured
picks. A group limit does not change how many experts a batch touches, but how many ranks a token visits. Where no
formula exists a seeded Monte Carlo answers, within about two per cent. Most likely to be wrong: real routers, whose skew differs by layer and text.
Derivation: docs/theory/routing.md.
"""

from __future__ import annotations

import numpy as np

from simcost.errors import SpecError
from simcost.num import Num, ceil, every, exp, is_scalar, log1p, maximum, minimum, occurring, plain, sqrt, where, within
from simcost.routing import skewed
from simcost.routing.group_limit import clumped, grouped_visits
from simcost.routing.order_statistics import largest_binomial, largest_load, largest_normal
from simcost.routing.router import Router, Routing

# --- how many experts --------------------------------------------------------------------------------------------------


def distinct_experts(experts: Num, top_k: Num, tokens: Num, held: Num | None = None) -> Num:
    """Expected distinct experts among the `held` ones (default all) that `tokens` tokens touch: E(1-(1-k/E)^T)."""
    share = minimum(top_k / experts, 1.0)
    miss = exp(tokens * log1p(-minimum(share, 1.0 - 1e-16)))
    return (experts if held is None else held) * (1.0 - where(share >= 1.0, 0.0 * miss, miss))


def touched(routing: Routing, router: Router, tokens: Num, held: Num) -> Num:
    """Expected distinct experts that a rank with `held` of them runs; of several ranks, the mean (`most_touched`: the most)."""
    if routing.kind == "random":
        return distinct_experts(router.experts, router.top_k, tokens, held)
    if routing.kind == "balanced":
        return held * minimum(tokens * router.top_k / router.experts, 1.0)
    total: Num = 0.0
    for share in skewed.inclusion(routing, int(_one(router).experts), router.top_k):
        miss = np.exp(np.multiply.outer(np.asarray(tokens, np.float64), np.log1p(-np.minimum(share, 1.0 - 1e-16))))
        total = total + plain((1.0 - miss).mean(axis=-1))
    return held * total / float(skewed.layers(routing))


def most_touched(routing: Routing, router: Router, tokens: Num, ranks: Num, spare: Num = 0.0) -> Num:
    """Expected distinct experts of the rank that runs most of `ranks`: it reads most weights, and the others wait for it. It need
    not be the rank with most rows: whoever takes both maxima has an upper bound."""
    held = (router.experts + spare) / ranks
    mean = touched(routing, router, tokens, held)
    if every(ranks <= 1.0):  # nobody to wait for, and no tokens to simulate
        return mean
    if routing.kind == "balanced":
        return maximum(mean, minimum(1.0, held))
    if routing.kind == "random":
        found = _most_of(router, tokens, ranks, held)
    else:
        found = skewed.most_touched(routing, _one(router), tokens, ranks, spare)
    # However they fall, the picks of one token take as many on one rank.
    least = maximum(mean, ceil(router.top_k / ranks))
    return where(ranks > 1.0, minimum(maximum(found, least), minimum(held, tokens * router.top_k)), mean)


def busiest_expert(routing: Routing, router: Router, tokens: Num, spare: Num = 0.0) -> Num:
    """Expected rows of the busiest expert over the mean of all, for `tokens` tokens in all. `spare`: slots for copies of popular
    experts."""
    if routing.kind == "balanced":
        return maximum(router.experts / (router.top_k * tokens), 1.0)
    if routing.kind == "random":
        return largest_load(tokens, router.top_k / router.experts, router.experts, tokens)
    return router.experts * skewed.busiest(routing, _one(router), tokens, router.experts, spare, False)


def busiest_rank(routing: Routing, router: Router, tokens: Num, ranks: Num, spare: Num = 0.0) -> Num:
    """Expected rows of the busiest of `ranks` ranks over their mean, experts spread evenly in a random order."""
    experts, k = router.experts, router.top_k
    if routing.kind == "balanced":
        return where(ranks > 1.0, maximum(ranks / (k * tokens), 1.0), 1.0)
    if routing.kind == "random":
        most = tokens * minimum(k, experts / ranks)
        return where(ranks > 1.0, largest_load(tokens * k, 1.0 / ranks, ranks, most, _scatter(router, ranks)), 1.0)
    return where(ranks > 1.0, ranks * skewed.busiest(routing, _one(router), tokens, ranks, spare, False), 1.0)


def most_visited(routing: Routing, router: Router, tokens: Num, ranks: Num, spare: Num = 0.0) -> Num:
    """Expected part of all tokens that come to the most visited of `ranks` ranks, each counted once whatever its picks there:
    at most 1. Tokens visit independently, so that the number is a binomial's."""
    mean = visited(routing, router, ranks, spare) / ranks
    if routing.kind == "balanced":
        return maximum(mean, minimum(1.0 / tokens, 1.0))
    if routing.kind == "random":
        return where(ranks > 1.0, minimum(largest_load(tokens, mean, ranks, tokens) * mean, 1.0), 1.0)
    return where(ranks > 1.0, skewed.busiest(routing, _one(router), tokens, ranks, spare, True), 1.0)


def _scatter(router: Router, ranks: Num) -> Num:
    """Variance of a token's picks on one rank over that of k independent draws. Distinct picks (hypergeometric) scatter less;
    a group limit draws the groups first, so that picks come in clumps and scatter more."""
    experts, k = router.experts, router.top_k
    if not router.limited:
        return (experts - k) / maximum(experts - 1.0, 1.0)
    if router.rule != "random" and is_scalar(experts):
        flat = np.asarray(ranks, np.float64)
        found = np.empty(flat.shape)
        for count in occurring(flat):
            found[flat == count] = clumped(router, count)
        return plain(found)
    groups, limit = float(router.groups), float(router.limit)
    pool = experts * limit / groups
    distinct = (pool - k) / maximum(pool - 1.0, 1.0)
    # Groups of a rank that are drawn: J of h, hypergeometric; a rank that holds part of one group is J of 1, times its part.
    held, part = maximum(groups / ranks, 1.0), minimum(groups / ranks, 1.0)
    mean = held * limit / groups
    square = mean * (1.0 - held / groups) * (groups - limit) / maximum(groups - 1.0, 1.0) + mean * mean
    chance, both = part * mean / limit, part * part * square / (limit * limit)
    variance = k * distinct * (chance - both) + k * k * (both - chance * chance)
    return variance / maximum(k / ranks * (1.0 - 1.0 / ranks), 1e-30)


_FEW_EXPERTS = 12.0  # on the rarer side, touched or not: below, counts are summed; above, the normal form is as good


def _most_of(router: Router, tokens: Num, ranks: Num, held: Num) -> Num:
    """E[most touched experts of a rank]: binomials of `held` experts, widened to how much ranks really differ."""
    k, several = router.top_k, maximum(ranks, 2.0)
    miss = exp(tokens * log1p(-minimum(k / router.experts, 1.0 - 1e-16)))
    sigma = sqrt(_difference(router, tokens, several, held, miss))
    z = largest_normal(several)
    smooth = held * (1.0 - miss) + z * sigma + (z * z - 1.0) / 6.0 * (2.0 * miss - 1.0)
    # Summed over the rarer of touched and untouched, which has few counts.
    rare = minimum(miss, 1.0 - miss)
    return within(held * rare < _FEW_EXPERTS, _most_summed, (held, miss, several, sigma), smooth)


def _most_summed(held: Num, miss: Num, ranks: Num, sigma: Num) -> Num:
    few = minimum(held * minimum(miss, 1.0 - miss), _FEW_EXPERTS)
    least = miss < 0.5  # the busiest leaves fewest untouched
    return held * (1.0 - miss) + largest_binomial(held, few / held, ranks, least) * (
        sigma / maximum(sqrt(held * miss * (1.0 - miss)), 1e-15)
    )


def _difference(router: Router, tokens: Num, ranks: Num, held: Num, miss: Num) -> Num:
    """Variance of touched experts on a rank less the covariance of two ranks: only what ranks differ by makes a maximum. From the
    chances that a token picks two given experts of one rank, and of two."""
    k = router.top_k
    picks = k / ranks
    square = _scatter(router, ranks) * picks * (1.0 - 1.0 / ranks) + picks * picks
    here = router.experts / ranks
    same = (square - picks) / maximum(here * (here - 1.0), 1e-30)
    apart = (k * k - ranks * square) / (ranks * (ranks - 1.0)) / (here * here)
    once = 1.0 - 2.0 * k / router.experts
    both, cross = (plain(np.power(np.maximum(once + chance, 0.0), tokens)) for chance in (same, apart))
    wide = held * miss * (1.0 - miss) + held * (held - 1.0) * (both - miss * miss)
    return maximum(wide - held * held * (cross - miss * miss), 0.0)


# --- how many ranks ----------------------------------------------------------------------------------------------------


def distinct_ranks(experts: Num, top_k: int, ranks: Num, groups: int = 1, limit: int = 1) -> Num:
    """Expected ranks that hold at least one of a token's k experts: R(1 - C(E-E/R, k)/C(E, k)) when routing is free.

    With a limit of M of G groups drawn at random, the k experts come from M·E/G of them. A rank that holds part of one
    group is reached as if only M·R/G ranks existed; a rank that holds G/R whole groups has j of them drawn with
    hypergeometric probability. Source: hypergeometric law; docs/theory/moe.md, checked against simulation.
    """
    if groups <= 1 or limit >= groups:
        return ranks * (1.0 - _miss(experts, experts / ranks, top_k))
    pool = experts * limit / groups
    fine = ranks * limit / groups
    split = fine * (1.0 - _miss(pool, pool / fine, top_k))
    held = maximum(groups / ranks, 1.0)
    missed: Num = 0.0
    for drawn in range(limit + 1):
        chance = _choose(held, drawn) * _choose(groups - held, limit - drawn) / _choose(float(groups), limit)
        missed = missed + chance * _miss(pool, drawn * experts / groups, top_k)
    return where(ranks >= groups, split, ranks * (1.0 - missed))


def _one(router: Router) -> Router:
    if not is_scalar(router.experts):
        raise SpecError(
            "routing with popular experts needs one number of experts: ask for each model in a question of its own"
        )
    return router


def error(routing: Routing, router: Router, ranks: int, spare: int = 0) -> float:
    """Relative standard error of the Monte Carlo behind `busiest_rank`; 0 where a formula answers."""
    if routing.uniform:
        return 0.0
    return skewed.loads(routing, *skewed.sizes(_one(router), float(ranks), float(spare)))[1]


def visited(routing: Routing, router: Router, ranks: Num, spare: Num = 0.0) -> Num:
    """Expected number of the `ranks` equal parts of the experts that one token's picks fall on."""
    if not routing.uniform:
        return where(ranks > 1.0, skewed.visits(routing, _one(router), ranks, spare), 1.0)
    if not router.limited or router.rule == "random":
        return distinct_ranks(router.experts, int(router.top_k), ranks, router.groups, router.limit)
    found = np.empty(np.shape(ranks))
    flat = np.asarray(ranks, np.float64)
    for count in occurring(flat):
        found[flat == count] = grouped_visits(_one(router), count)
    return plain(found)


def _miss(pool: Num, here: Num, picks: int) -> Num:
    """Probability that none of `picks` distinct draws from `pool` lies among `here` of them."""
    miss: Num = 1.0
    for pick in range(picks):
        left = pool - pick
        miss = miss * maximum((left - here) / maximum(left, 1.0), 0.0)
    return miss


def _choose(n: Num, k: int) -> Num:
    """n over k for whole n, 0 when k > n."""
    value: Num = 1.0
    for i in range(k):
        value = value * maximum(n - i, 0.0) / (i + 1.0)
    return value
