"""Closed forms against explicit loops and against Monte Carlo with a fixed seed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simcost.ops.attention_core import Mask
from simcost.routing.load import distinct_experts, distinct_ranks

SETTINGS = settings(max_examples=150, deadline=None, derandomize=True)
lengths = {"q": st.integers(1, 40), "past": st.integers(0, 60)}


def seen(q: int, past: int, rule) -> tuple[int, int]:  # type: ignore[no-untyped-def]
    """(pairs, distinct keys) by walking every query and key."""
    pairs, keys = 0, set()
    for i in range(past, past + q):
        for j in range(past + q):
            if rule(i, j):
                pairs += 1
                keys.add(j)
    return pairs, len(keys)


def check(mask: Mask, q: int, past: int, rule) -> None:  # type: ignore[no-untyped-def]
    pairs, keys = seen(q, past, rule)
    assert mask.pairs(float(q), float(past)) == pairs
    assert mask.keys(float(q), float(past)) == keys


@SETTINGS
@given(**lengths)
def test_causal_mask_counts_pairs_and_keys_exactly(q: int, past: int) -> None:
    check(Mask(), q, past, lambda i, j: j <= i)


@SETTINGS
@given(**lengths)
def test_full_mask_counts_pairs_and_keys_exactly(q: int, past: int) -> None:
    check(Mask(causal=False), q, past, lambda i, j: True)


@SETTINGS
@given(**lengths, window=st.integers(1, 50))
def test_window_mask_counts_pairs_and_keys_exactly(q: int, past: int, window: int) -> None:
    check(Mask(window=float(window)), q, past, lambda i, j: i - window < j <= i)


@SETTINGS
@given(**lengths, chunk=st.integers(1, 50))
def test_chunk_mask_counts_pairs_and_keys_exactly(q: int, past: int, chunk: int) -> None:
    check(Mask(chunk=float(chunk)), q, past, lambda i, j: j <= i and i // chunk == j // chunk)


@SETTINGS
@given(**lengths, parts=st.integers(1, 6), window=st.one_of(st.none(), st.integers(1, 30)))
def test_pairs_of_a_chunked_prefill_add_up_to_the_whole_prefill(
    q: int, past: int, parts: int, window: int | None
) -> None:
    mask = Mask(window=None if window is None else float(window))
    pieces = sum(mask.pairs(float(q), float(past + i * q)) for i in range(parts))
    assert pieces == mask.pairs(float(parts * q), float(past))


def routed(experts: int, k: int, tokens: int, runs: int, limit: int = 0, groups: int = 1) -> np.ndarray:
    """[runs, tokens, experts] of chosen experts, uniform; with a limit, uniform over `limit` random groups."""
    rng = np.random.default_rng(7)
    score = rng.random((runs, tokens, experts))
    if limit:
        order = rng.random((runs, tokens, groups)).argsort(-1).argsort(-1)
        score = np.where(np.repeat(order < limit, experts // groups, -1), score, -1.0)
    chosen = np.zeros(score.shape, bool)
    np.put_along_axis(chosen, np.argpartition(-score, k - 1, -1)[..., :k], True, -1)
    return chosen


@pytest.mark.parametrize(
    ("experts", "k", "tokens"), [(8, 2, 1), (8, 2, 4), (64, 6, 16), (256, 8, 3), (256, 8, 64), (4, 4, 2)]
)
@pytest.mark.parametrize("limited", [False, True])
def test_distinct_experts_equal_monte_carlo_with_and_without_group_limit(
    experts: int, k: int, tokens: int, limited: bool
) -> None:
    groups = 4 if experts >= 64 else 1
    chosen = routed(experts, k, tokens, 400 if tokens > 16 else 1500, 2 if limited and groups > 1 else 0, groups)
    counts = chosen.any(1).sum(-1)
    noise = 4.0 * counts.std() / np.sqrt(len(counts)) + 1e-9
    assert abs(counts.mean() - distinct_experts(float(experts), float(k), float(tokens))) <= noise
    # The share held by one of 4 ranks.
    if experts % 4 == 0:
        held = chosen.any(1)[:, : experts // 4].sum(-1)
        noise = 4.0 * held.std() / np.sqrt(len(held)) + 1e-9
        assert abs(held.mean() - distinct_experts(float(experts), float(k), float(tokens), experts / 4.0)) <= noise


def visited(chosen: np.ndarray, ranks: int) -> np.ndarray:
    return chosen.reshape(chosen.shape[0], ranks, -1).any(-1).sum(-1)


@pytest.mark.parametrize(("experts", "k"), [(8, 2), (16, 4), (64, 6), (256, 8)])
@pytest.mark.parametrize("ranks", [1, 2, 4, 8])
def test_distinct_ranks_equal_monte_carlo(experts: int, k: int, ranks: int) -> None:
    found = visited(routed(experts, k, 6000, 1)[0], ranks)
    noise = 4.0 * found.std() / np.sqrt(len(found)) + 1e-9
    assert abs(found.mean() - distinct_ranks(float(experts), k, float(ranks))) <= noise


@pytest.mark.parametrize(("groups", "limit"), [(8, 4), (8, 2), (4, 2)])
@pytest.mark.parametrize("split", [1, 2, 4])
def test_distinct_ranks_under_a_group_limit_equal_monte_carlo_when_ranks_split_groups(
    groups: int, limit: int, split: int
) -> None:
    found = visited(routed(128, 8, 6000, 1, limit, groups)[0], groups * split)
    noise = 4.0 * found.std() / np.sqrt(len(found)) + 1e-9
    assert abs(found.mean() - distinct_ranks(128.0, 8, float(groups * split), groups, limit)) <= noise


@pytest.mark.parametrize(("groups", "limit", "ranks"), [(8, 4, 2), (8, 4, 4), (8, 2, 4)])
def test_distinct_ranks_with_fewer_ranks_than_groups_never_undercount(groups: int, limit: int, ranks: int) -> None:
    found = visited(routed(128, 8, 6000, 1, limit, groups)[0], ranks)
    noise = 4.0 * found.std() / np.sqrt(len(found))
    assert distinct_ranks(128.0, 8, float(ranks), groups, limit) >= found.mean() - noise


def test_distinct_experts_are_never_more_than_picks_nor_than_experts() -> None:
    tokens = np.arange(1.0, 200.0)
    found = distinct_experts(64.0, 6.0, tokens)
    assert np.all(found <= np.minimum(64.0, 6.0 * tokens) * (1 + 1e-12))
    assert np.all(np.diff(found) >= 0)
    assert found[0] == pytest.approx(6.0, rel=1e-12)
