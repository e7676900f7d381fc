"""A group limit: what simulated tokens pick, against every order of scores of a small router, and ratios of two simulations."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from simcost.routing.group_limit import GRID, clumped, grouped_visits, ratios, routes, selected
from simcost.routing.router import Router

SMALL = Router(8.0, 2.0, 4, 2, "max")
LARGE = [Router(64.0, 6.0, 8, 3, "max"), Router(256.0, 8.0, 8, 4, "top2"), Router(16.0, 4.0, 2, 1, "top2")]


def orders(router: Router, rule: str) -> list[tuple[int, ...]]:
    """Picks by every order of the scores; the limit leaves the groups whose best expert scores highest."""
    experts, k = int(router.experts), int(router.top_k)
    each = experts // router.groups
    found = []
    for score in itertools.permutations(range(experts)):
        best = [max(score[g * each : (g + 1) * each]) for g in range(router.groups)]
        allowed = sorted(range(router.groups), key=lambda g: -best[g])[: router.limit] if rule else range(router.groups)
        open_ = [e for e in range(experts) if e // each in allowed]
        found.append(tuple(sorted(open_, key=lambda e: -score[e])[:k]))
    return found


EVERY = orders(SMALL, "max")


@pytest.mark.parametrize("router", LARGE)
def test_picks_are_distinct_and_of_as_many_groups_as_the_limit_allows(router: Router) -> None:
    picks = selected(router)
    assert picks.shape == (4096, int(router.top_k))
    assert all(len(set(token)) == router.top_k for token in picks.tolist())
    groups = picks * router.groups // int(router.experts)
    assert max(len(set(token)) for token in groups.tolist()) <= router.limit


@pytest.mark.parametrize("router", LARGE)
def test_every_expert_is_picked_as_often_as_any_other(router: Router) -> None:
    counts = np.bincount(selected(router).ravel(), minlength=int(router.experts))
    expected = 4096 * router.top_k / router.experts
    assert abs(counts / expected - 1.0).max() < 6.0 / math.sqrt(expected)


@pytest.mark.parametrize("ranks", [2, 4, 8])
def test_visits_of_a_small_router_are_those_of_every_order_of_scores(ranks: int) -> None:
    exact = np.mean([len({e * ranks // 8 for e in picks}) for picks in EVERY])
    assert grouped_visits(SMALL, float(ranks)) == pytest.approx(exact, abs=0.03)


@pytest.mark.parametrize("ranks", [2, 4])
def test_clumps_of_a_small_router_are_those_of_every_order_of_scores(ranks: int) -> None:
    here = np.array([sum(e * ranks // 8 == 0 for e in picks) for picks in EVERY], float)
    independent = 2 / ranks * (1 - 1 / ranks)
    assert clumped(SMALL, float(ranks)) == pytest.approx(here.var() / independent, abs=0.04)


def test_one_rank_is_always_visited_and_never_scatters() -> None:
    assert grouped_visits(SMALL, 1.0) == 1.0
    assert clumped(SMALL, 1.0) == 0.0


@pytest.mark.parametrize(("router", "ranks"), [(LARGE[0], 8.0), (LARGE[1], 8.0), (LARGE[1], 64.0)])
def test_a_limit_makes_tokens_visit_fewer_ranks_and_clump(router: Router, ranks: float) -> None:
    experts, k = int(router.experts), int(router.top_k)
    free = ranks * (1 - math.comb(experts - int(experts / ranks), k) / math.comb(experts, k))
    assert grouped_visits(router, ranks) < free
    assert clumped(router, ranks) > (experts - k) / (experts - 1)  # of distinct picks alone
    if ranks == router.groups:
        assert grouped_visits(router, ranks) <= router.limit


@pytest.mark.parametrize("rule", ["max", "top2", "random"])
def test_free_and_limited_picks_share_their_scores(rule: str) -> None:
    router = Router(64.0, 4.0, 8, 2, rule)
    limited, free = routes(router, [np.ones(64)], 8)
    assert limited.shape == free.shape == (8, 512, 4)
    same = [
        len(set(a) & set(b)) for a, b in zip(limited.reshape(-1, 4).tolist(), free.reshape(-1, 4).tolist(), strict=True)
    ]
    by_chance = 4 * 4 / 64
    assert np.mean(same) > 4 * by_chance
    groups = limited * 8 // 64
    assert max(len(set(token)) for token in groups.reshape(-1, 4).tolist()) <= 2
    assert max(len(set(token)) for token in (free * 8 // 64).reshape(-1, 4).tolist()) == 4


def test_free_picks_of_equal_weights_visit_ranks_by_the_hypergeometric_law() -> None:
    router = Router(64.0, 4.0, 8, 4, "max")
    _, free = routes(router, [np.ones(64)], 16)
    visits = np.mean([len(set(token)) for token in (free * 8 // 64).reshape(-1, 4).tolist()])
    assert visits == pytest.approx(8 * (1 - math.comb(56, 4) / math.comb(64, 4)), abs=0.03)


def test_heavy_experts_are_picked_in_proportion_where_one_is_picked() -> None:
    weights = np.array([1.0, 2.0, 3.0, 10.0])
    router = Router(4.0, 1.0, 2, 1, "max")
    _, free = routes(router, [weights], 64)
    # Every placement permutes the weights, so that only the order of the shares is left.
    shares = np.sort([np.bincount(world.ravel(), minlength=4) / 512 for world in free], axis=1).mean(axis=0)
    assert shares == pytest.approx(weights / weights.sum(), abs=0.02)


def test_ratios_compare_rows_tokens_visits_and_touched_experts() -> None:
    """Limited tokens all go to one rank, free ones to both: counted by hand."""
    limited = np.zeros((1, 512, 2), np.int64) + np.array([0, 1])
    free = np.zeros((1, 512, 2), np.int64) + np.array([0, 2])
    rows, tokens, visits, touched = ratios((limited, free), 4, 2)
    assert rows.tolist() == [2.0] * len(GRID)
    assert tokens.tolist() == [1.0] * len(GRID)
    assert visits == 0.5
    assert touched.tolist() == [2.0] * len(GRID)
