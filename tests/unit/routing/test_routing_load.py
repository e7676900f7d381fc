"""Experts touched, ranks visited, and the busiest of them: by listing all choices of a small router, and by drawing tokens."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simcost.errors import SpecError
from simcost.num import Array
from simcost.routing import load
from simcost.routing.router import Router, Routing

RANDOM, BALANCED = Routing(), Routing("balanced")


def choices(experts: int, k: int, groups: int = 1, limit: int = 1) -> list[tuple[int, ...]]:
    """Every choice of a token with its group limit, each as often as it is drawn."""
    each = experts // groups
    found = []
    for allowed in itertools.combinations(range(groups), limit if groups > 1 else 1):
        pool = [e for e in range(experts) if groups == 1 or e // each in allowed]
        found += list(itertools.combinations(pool, k))
    return found


@pytest.mark.parametrize(("experts", "k", "tokens"), [(4, 2, 1), (4, 2, 3), (5, 1, 4), (6, 3, 2), (4, 4, 2)])
def test_touched_experts_are_those_of_every_list_of_choices(experts: int, k: int, tokens: int) -> None:
    every = choices(experts, k)
    exact = np.mean([len(set().union(*picks)) for picks in itertools.product(every, repeat=tokens)])
    assert load.distinct_experts(float(experts), float(k), float(tokens)) == pytest.approx(exact)
    half = load.touched(RANDOM, Router(float(experts), float(k)), float(tokens), experts / 2)
    assert half == pytest.approx(exact / 2)


@given(experts=st.integers(1, 512), share=st.floats(0.01, 1.0), tokens=st.floats(1.0, 1e6))
def test_no_more_experts_are_touched_than_there_are_or_are_picked(experts: int, share: float, tokens: float) -> None:
    k = max(round(experts * share), 1)
    for routing in (RANDOM, BALANCED):
        found = load.touched(routing, Router(float(experts), float(k)), tokens, float(experts))
        assert -1e-9 <= found <= min(experts, k * tokens) * (1 + 1e-9) + 1e-9


def test_exact_shares_touch_every_expert_as_soon_as_there_are_picks_enough() -> None:
    tokens = np.array([1.0, 16.0, 32.0, 64.0])
    found = np.asarray(load.touched(BALANCED, Router(256.0, 8.0), tokens, 32.0))
    assert found.tolist() == pytest.approx([1.0, 16.0, 32.0, 32.0])


@pytest.mark.parametrize(("groups", "limit"), [(1, 1), (4, 2), (4, 3), (2, 1), (8, 4), (4, 4)])
@pytest.mark.parametrize("ranks", [1, 2, 4, 8])
def test_visited_ranks_are_those_of_every_choice(groups: int, limit: int, ranks: int) -> None:
    experts, k = 8, 2
    exact = np.mean([len({e * ranks // experts for e in picks}) for picks in choices(experts, k, groups, limit)])
    router = Router(float(experts), float(k), groups, limit)
    for routing in (RANDOM, BALANCED):
        assert load.visited(routing, router, float(ranks)) == pytest.approx(exact)


@given(ranks=st.sampled_from([2, 4, 8, 16, 32, 64]), k=st.integers(1, 8))
def test_free_choices_visit_ranks_by_the_hypergeometric_law(ranks: int, k: int) -> None:
    missed = math.comb(64 - 64 // ranks, k) / math.comb(64, k)
    assert load.distinct_ranks(64.0, k, float(ranks)) == pytest.approx(ranks * (1 - missed))


@pytest.mark.parametrize("rule", ["max", "top2"])
def test_many_numbers_of_ranks_are_asked_at_once(rule: str) -> None:
    router, ranks = Router(64.0, 6.0, 8, 3, rule), np.array([[1.0, 8.0], [64.0, 8.0]])
    found = np.asarray(load.visited(RANDOM, router, ranks))
    for where, count in np.ndenumerate(ranks):
        assert found[where] == load.visited(RANDOM, router, float(count))
    assert found[0, 0] == 1.0
    assert 1.0 < found[0, 1] <= 3.0


def drawn(tokens: int, experts: int, k: int, draws: int = 400) -> Array:
    """[draws, experts]: rows of every expert, tokens picking distinct ones alike."""
    random = np.random.default_rng([tokens, experts, k])
    picks = np.argpartition(random.random((draws, tokens, experts), np.float32), k - 1, axis=2)[:, :, :k]
    flat = picks.reshape(draws, -1) + experts * np.arange(draws)[:, None]
    return np.bincount(flat.ravel(), minlength=draws * experts).reshape(draws, experts)


@pytest.mark.parametrize(
    ("tokens", "experts", "k", "ranks"), [(4, 32, 2, 8), (64, 32, 4, 8), (64, 64, 8, 32), (300, 16, 2, 4)]
)
def test_the_busiest_of_random_experts_and_ranks_is_that_of_drawn_tokens(
    tokens: int, experts: int, k: int, ranks: int
) -> None:
    counts, router = drawn(tokens, experts, k), Router(float(experts), float(k))
    expert = counts.max(axis=1).mean() * experts / (tokens * k)
    assert load.busiest_expert(RANDOM, router, float(tokens)) == pytest.approx(expert, rel=0.05)
    by_rank = counts.reshape(len(counts), ranks, -1)
    rank = by_rank.sum(axis=2).max(axis=1).mean() * ranks / (tokens * k)
    assert load.busiest_rank(RANDOM, router, float(tokens), float(ranks)) == pytest.approx(rank, rel=0.06)
    most = (by_rank > 0).sum(axis=2).max(axis=1).mean()
    assert load.most_touched(RANDOM, router, float(tokens), float(ranks)) == pytest.approx(most, rel=0.05)


@pytest.mark.parametrize(
    ("tokens", "expert", "rank"), [(1.0, 64 / 8, 8 / 8), (4.0, 2.0, 1.0), (8.0, 1.0, 1.0), (1e6, 1.0, 1.0)]
)
def test_exact_shares_have_no_busiest_but_where_rows_are_few(tokens: float, expert: float, rank: float) -> None:
    router = Router(64.0, 8.0)
    assert load.busiest_expert(BALANCED, router, tokens) == pytest.approx(expert)
    assert load.busiest_rank(BALANCED, router, tokens, 8.0) == pytest.approx(rank)
    assert load.busiest_rank(BALANCED, router, tokens, 1.0) == 1.0


@pytest.mark.parametrize("routing", [RANDOM, BALANCED, Routing("zipf", 0.8)])
def test_one_rank_has_everything_and_of_many_none_more_than_all(routing: Routing) -> None:
    router = Router(64.0, 8.0)
    for tokens in (1.0, 7.0, 1e4):
        assert load.busiest_rank(routing, router, tokens, 1.0) == pytest.approx(1.0)
        assert load.most_visited(routing, router, tokens, 1.0) == pytest.approx(1.0)
        for ranks in (2.0, 8.0, 64.0):
            most, rows = (act(routing, router, tokens, ranks) for act in (load.most_visited, load.busiest_rank))
            assert load.visited(routing, router, ranks) / ranks <= most * (1 + 1e-9)
            assert most <= 1.0
            assert 1.0 - 1e-9 <= rows <= min(ranks, ranks * 64 / ranks / 8) * (1 + 1e-6)


def test_the_rank_that_touches_most_touches_the_mean_at_least_and_its_own_at_most() -> None:
    router, ranks = Router(64.0, 4.0), 8.0
    for routing in (RANDOM, BALANCED, Routing("zipf", 1.2), Routing("dirichlet", 0.3)):
        for tokens in (1.0, 8.0, 64.0, 4096.0):
            mean, most = load.touched(routing, router, tokens, 8.0), load.most_touched(routing, router, tokens, ranks)
            assert mean * (1 - 1e-9) <= most <= min(8.0, 4.0 * tokens) * (1 + 1e-9)
    assert load.most_touched(RANDOM, router, 1e6, ranks) == pytest.approx(8.0)


def test_skewed_routing_needs_one_number_of_experts() -> None:
    with pytest.raises(SpecError, match="ask for each model in a question of its own"):
        load.touched(Routing("zipf", 1.0), Router(np.array([8.0, 16.0]), 2.0), 4.0, 4.0)


def test_only_what_is_simulated_has_an_error() -> None:
    router = Router(64.0, 4.0)
    assert load.error(RANDOM, router, 8) == load.error(BALANCED, router, 8) == 0.0
    for routing in (Routing("zipf", 1.0), Routing("dirichlet", 1.0)):
        assert 0.0 < load.error(routing, router, 8) < 0.05


@pytest.mark.parametrize(("tokens", "most"), [(1.0, 1.0), (2.0, 0.5), (4.0, 0.426), (1e6, 0.426)])
def test_exact_shares_bring_the_mean_to_every_rank_but_a_token_is_whole(tokens: float, most: float) -> None:
    """Eight ranks and four picks of 64: a token visits 8 (1 - C(56, 4)/C(64, 4)) = 3.4 of them."""
    assert load.most_visited(BALANCED, Router(64.0, 4.0), tokens, 8.0) == pytest.approx(most, abs=5e-3)
