"""Which experts a batch touches, and where they live. Balanced: each token picks k distinct experts uniformly.

Numbers only; a Phase's blocks ask. A group limit (DeepSeek) does not change how many distinct experts a batch touches:
by symmetry each token still picks a given expert with probability k/E. It does change how many ranks a token visits.
Most likely to be wrong: real routers are skewed, which raises the busiest rank's load. Derivation: docs/theory/moe.md.
"""

from __future__ import annotations

from simcost.num import Num, exp, log1p, maximum, minimum, sqrt, where


def distinct_experts(experts: Num, top_k: Num, tokens: Num, held: Num | None = None) -> Num:
    """Expected distinct experts among the `held` ones (default all) that `tokens` tokens touch: E(1-(1-k/E)^T)."""
    share = minimum(top_k / experts, 1.0)
    miss = exp(tokens * log1p(-minimum(share, 1.0 - 1e-16)))
    return (experts if held is None else held) * (1.0 - where(share >= 1.0, 0.0 * miss, miss))


def busiest_expert(experts: Num, top_k: Num, tokens: Num) -> Num:
    """Expected rows of the busiest expert over the mean: mu + sqrt(2 v ln E) with v the binomial variance, at least one
    row and at most every token. Source: balls into bins, Raab and Steger 1998; within a few per cent of simulation."""
    share = minimum(top_k / experts, 1.0)
    mean = tokens * share
    spread = sqrt(2.0 * mean * (1.0 - share) * log1p(experts - 1.0))
    return minimum(maximum(mean + spread, 1.0), tokens) / mean


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
