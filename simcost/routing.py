"""Which experts a batch touches, and where they live. Balanced: each token picks k distinct experts uniformly.

Numbers only; a Phase's blocks ask. A group limit (DeepSeek) does not change how many distinct experts a batch touches:
by symmetry each token still picks a given expert with probability k/E. It does change how many ranks a token visits.
Most likely to be wrong: real routers are skewed, which raises the busiest rank's load. Derivation: docs/theory/moe.md.
"""

from __future__ import annotations

from simcost.num import Num, exp, log1p, minimum, where


def distinct_experts(experts: Num, top_k: Num, tokens: Num, held: Num | None = None) -> Num:
    """Expected distinct experts among the `held` ones (default all) that `tokens` tokens touch: E(1-(1-k/E)^T)."""
    share = minimum(top_k / experts, 1.0)
    miss = exp(tokens * log1p(-minimum(share, 1.0 - 1e-16)))
    return (experts if held is None else held) * (1.0 - where(share >= 1.0, 0.0 * miss, miss))


def distinct_ranks(experts: Num, top_k: int, ranks: Num, group_limit: Num | None = None, groups: Num = 1.0) -> Num:
    """Expected ranks that hold at least one of a token's k experts: R(1 - C(E-E/R, k)/C(E, k)).

    With a group limit M of G groups drawn at random, experts come from M·E/G of them, which lie on M·R/G ranks when
    ranks split groups, and on M ranks when they coincide. Source: hypergeometric law; docs/theory/moe.md.
    """
    pool = experts if group_limit is None else experts * group_limit / groups
    spread = ranks if group_limit is None else ranks * group_limit / groups
    # Fewer ranks than groups: a rank holds several groups and the limit binds less; the free law is the upper bound.
    spread, pool = where(spread >= 1.0, spread, ranks), where(spread >= 1.0, pool, experts)
    here = pool / spread
    miss: Num = 1.0
    for pick in range(top_k):
        miss = miss * where(pool - here - pick > 0, (pool - here - pick) / (pool - pick), 0.0 * pool)
    return spread * (1.0 - miss)
