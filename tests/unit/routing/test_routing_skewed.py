"""Experts of different popularity: chances of being picked against draws, copies and their placement, and what counts may say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simcost.errors import SpecError
from simcost.num import Array
from simcost.routing import load, skewed
from simcost.routing.router import Router, Routing


def successive(weights: Array, k: int, draws: int = 40_000) -> Array:
    """How often each expert is among the k that come first, each at the rate of its weight."""
    wait = np.random.default_rng(9).standard_exponential((draws, len(weights))) / weights
    picks = np.argpartition(wait, k - 1, axis=1)[:, :k]
    return np.bincount(picks.ravel(), minlength=len(weights)) / draws


@pytest.mark.parametrize(("experts", "k", "exponent"), [(64, 4, 0.5), (64, 8, 1.0), (16, 2, 1.0), (256, 8, 0.8)])
def test_popular_experts_are_picked_as_often_as_in_successive_draws(experts: int, k: int, exponent: float) -> None:
    (chance,) = skewed.inclusion(Routing("zipf", exponent), experts, float(k))
    weights = np.arange(1.0, experts + 1.0) ** -exponent
    assert chance.sum() == pytest.approx(k)
    assert np.abs(chance - successive(weights, k)).max() < 0.06
    assert np.all(np.diff(chance) < 0.0)
    assert chance.max() < 1.0


def test_without_skew_all_experts_are_alike() -> None:
    (chance,) = skewed.inclusion(Routing("zipf", 0.0), 64, 4.0)
    assert chance.tolist() == pytest.approx([4 / 64] * 64)


@pytest.mark.parametrize("concentration", [0.1, 1.0, 100.0])
def test_a_drawn_popularity_has_a_layer_for_each_draw_and_each_picks_k(concentration: float) -> None:
    layers = skewed.inclusion(Routing("dirichlet", concentration), 64, 4.0)
    assert len(layers) == skewed.layers(Routing("dirichlet", concentration)) == 32
    assert [layer.sum() for layer in layers] == pytest.approx([4.0] * 32)
    spread = np.mean([layer.std() for layer in layers])
    assert {0.1: spread > 0.1, 1.0: 0.03 < spread < 0.1, 100.0: spread < 0.01}[concentration]


def measured(*shares: list[float]) -> Routing:
    return Routing("measured", 0.0, tuple(tuple(np.array(s) / np.sum(s)) for s in shares))


def test_measured_counts_are_picks_already() -> None:
    first, second = skewed.inclusion(measured([1, 2, 3, 4], [1, 1, 1, 1]), 4, 2.0)
    assert first.tolist() == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert second.tolist() == pytest.approx([0.5] * 4)


def test_a_share_a_little_above_its_most_is_rounding_and_more_is_a_wrong_file() -> None:
    (chance,) = skewed.inclusion(measured([0.502, 0.249, 0.249]), 3, 2.0)
    assert chance[0] == pytest.approx(1.0)
    assert chance.sum() == pytest.approx(2.0)
    assert chance[1] == pytest.approx(0.5)
    with pytest.raises(
        SpecError, match=r"routing, layer 1, expert 1: 60.00% of the picks; .* none has more than 50.00%"
    ):
        skewed.inclusion(measured([0.6, 0.2, 0.2]), 3, 2.0)


@pytest.mark.parametrize(("routing", "experts", "said"), [
    (measured([1, 1, 1]), 4, "3 experts, the model has 4"), (measured([1, 0, 0, 0]), 4, "1 experts have tokens, each token picks 2"),
    (measured([1, 1, 1, 1], [1, 1]), 4, "layer 2: 2 experts"),
])  # fmt: skip
def test_counts_that_do_not_fit_the_model_name_their_layer(routing: Routing, experts: int, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        skewed.inclusion(routing, experts, 2.0)


@settings(deadline=None, max_examples=60)
@given(ranks=st.sampled_from([1, 2, 4, 8]), spare=st.sampled_from([0, 8, 16]), seed=st.integers(0, 99))
def test_copies_serve_all_of_an_experts_tokens_and_ranks_fill_their_slots(ranks: int, spare: int, seed: int) -> None:
    share = np.random.default_rng(seed).dirichlet(np.full(16, 0.4))
    part = skewed._packed(share, ranks, spare)
    assert part.shape == (16, ranks)
    assert part.sum(axis=1).tolist() == pytest.approx([1.0] * 16)
    assert (share @ part).sum() == pytest.approx(1.0)
    room = -(-(16 + spare) // ranks)
    copies = 1.0 / np.where(part > 0.0, part, np.inf).min(axis=1)
    assert np.all((part > 1e-12).sum(axis=0) <= room)
    assert copies.sum() <= 16 + spare + 1e-6


def test_copies_even_out_the_busiest_rank() -> None:
    routing, router = Routing("zipf", 1.0), Router(64.0, 4.0)
    spares = [float(load.busiest_rank(routing, router, 1e5, 8.0, spare)) for spare in (0.0, 8.0, 32.0)]
    assert spares[0] > spares[1] > spares[2] * 0.999
    assert spares[2] == pytest.approx(1.0, abs=0.05)
    assert spares[0] > 1.3


@pytest.mark.parametrize(("experts", "ranks"), [(8, 2), (8, 8), (10, 4), (7, 3), (5, 1)])
def test_ranks_hold_neighbours_and_none_is_left_out(experts: int, ranks: int) -> None:
    firsts = skewed._firsts(experts, ranks).tolist()
    assert firsts == [next(e for e in range(experts) if e * ranks // experts == rank) for rank in range(ranks)]


@pytest.mark.parametrize("exponent", [0.0, 0.7])
def test_the_busiest_rank_of_a_law_is_that_of_drawn_tokens(exponent: float) -> None:
    experts, k, ranks, tokens, draws = 64, 4, 8, 256, 400
    random = np.random.default_rng(21)
    weights = np.arange(1.0, experts + 1.0) ** -exponent
    busiest, distinct, most = [], [], []
    for _ in range(draws):
        placed = random.permutation(weights)
        wait = random.standard_exponential((tokens, experts)) / placed
        homes = np.argpartition(wait, k - 1, axis=1)[:, :k]
        rank = homes * ranks // experts
        busiest.append(np.bincount(rank.ravel(), minlength=ranks).max() * ranks / (tokens * k))
        seen = np.zeros((tokens, ranks), bool)
        seen[np.arange(tokens)[:, None], rank] = True
        distinct.append(seen.sum(axis=1).mean())
        most.append(seen.sum(axis=0).max() / tokens)
    routing, router = Routing("zipf", exponent), Router(float(experts), float(k))
    assert load.busiest_rank(routing, router, float(tokens), float(ranks)) == pytest.approx(np.mean(busiest), rel=0.04)
    assert load.visited(routing, router, float(ranks)) == pytest.approx(np.mean(distinct), rel=0.02)
    assert load.most_visited(routing, router, float(tokens), float(ranks)) == pytest.approx(np.mean(most), rel=0.04)


def test_touched_experts_of_a_law_miss_each_by_its_own_chance() -> None:
    routing, router = Routing("zipf", 1.0), Router(16.0, 2.0)
    (chance,) = skewed.inclusion(routing, 16, 2.0)
    for tokens in (1.0, 10.0, 1000.0):
        want = np.sum(1.0 - (1.0 - chance) ** tokens)
        assert load.touched(routing, router, tokens, 16.0) == pytest.approx(want)
        assert load.touched(routing, router, tokens, 4.0) == pytest.approx(want / 4)


def test_a_group_limit_multiplies_what_a_law_touches_by_the_ratio_of_two_simulations() -> None:
    """Random groups of equal experts: drawn here token by token with the limit and without."""
    experts, k, groups, limit, ranks, tokens = 64, 4, 8, 2, 8, 8
    random, most = np.random.default_rng(17), {True: [], False: []}
    for _ in range(3000):
        score = random.random((tokens, experts))
        allowed = np.argsort(random.random((tokens, groups)), axis=1)[:, :limit]
        closed = np.where((np.arange(experts) // 8)[None, :, None] == allowed[:, None, :], 0.0, 2.0).min(axis=2)
        for limited in most:
            picks = np.argpartition(score + (closed if limited else 0.0), k - 1, axis=1)[:, :k]
            hit = np.zeros(experts, bool)
            hit[picks.ravel()] = True
            most[limited].append(hit.reshape(ranks, -1).sum(axis=1).max())
    routing = Routing("zipf", 0.0)
    free, bound = Router(64.0, 4.0), Router(64.0, 4.0, groups, limit, "random")
    found = [float(load.most_touched(routing, router, float(tokens), float(ranks))) for router in (free, bound)]
    assert found == pytest.approx([np.mean(most[False]), np.mean(most[True])], rel=0.06)
