"""Every token followed by hand: who is busiest, how many copies cross which link, against the formulas."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from simcost.cost.exchange import resolved
from simcost.hardware import load as hardware
from simcost.ops.exchange import Exchange
from simcost.routing.load import busiest_expert, busiest_rank, most_touched, touched, visited
from simcost.routing.router import Router, Routing

RANDOM = Routing()


def picks(experts: int, k: int, tokens: int, rng: np.random.Generator, weight: np.ndarray | None = None) -> np.ndarray:
    """[tokens, k]: uniform without replacement, or one after the other by weight (Gumbel's trick)."""
    score = rng.random((tokens, experts)) if weight is None else np.log(weight) + rng.gumbel(size=(tokens, experts))
    return np.argpartition(-score, k - 1, axis=1)[:, :k]


def loads(experts: int, k: int, tokens: int, ranks: int, runs: int) -> tuple[float, float, float]:
    """Means of (busiest expert, busiest rank) over their means, and of touched experts on a rank."""
    rng = np.random.default_rng(5)
    expert, rank, held = [], [], []
    for _ in range(runs):
        count = np.bincount(picks(experts, k, tokens, rng).ravel(), minlength=experts)
        expert.append(count.max() * experts / (tokens * k))
        rank.append(count.reshape(ranks, -1).sum(1).max() * ranks / (tokens * k))
        held.append((count > 0).reshape(ranks, -1).sum(1).mean())
    return float(np.mean(expert)), float(np.mean(rank)), float(np.mean(held))


@pytest.mark.parametrize(("experts", "k"), [(8, 2), (64, 6), (256, 8)])
@pytest.mark.parametrize("tokens", [4, 32, 256, 2048])
@pytest.mark.parametrize("ranks", [2, 8])
def test_the_busiest_expert_and_rank_equal_simulation(experts: int, k: int, tokens: int, ranks: int) -> None:
    expert, rank, held = loads(experts, k, tokens, ranks, 60 if tokens > 1000 else 300)
    router = Router(float(experts), float(k))
    few = 0.07 if tokens < 8 else 0.04
    assert busiest_expert(RANDOM, router, float(tokens)) == pytest.approx(expert, rel=few)
    assert busiest_rank(RANDOM, router, float(tokens), float(ranks)) == pytest.approx(rank, rel=few)
    assert touched(RANDOM, router, float(tokens), experts / ranks) == pytest.approx(held, rel=0.03)


def most(router: Router, tokens: int, ranks: int, runs: int, weight: np.ndarray | None = None) -> float:
    """Mean of the touched experts of the rank with most; experts of different weight stand in a random order."""
    experts, k, rng, found = int(router.experts), int(router.top_k), np.random.default_rng(6), []
    for _ in range(runs):
        if weight is None:
            score = rng.random((tokens, experts))
        else:
            score = np.log(rng.permutation(weight)) + rng.gumbel(size=(tokens, experts))
        chosen = np.argpartition(-(limited(score, router) if router.limited else score), k - 1, axis=1)[:, :k]
        hit = np.bincount(chosen.ravel(), minlength=experts) > 0
        found.append(hit.reshape(ranks, -1).sum(1).max())
    return float(np.mean(found))


@pytest.mark.parametrize(("experts", "k"), [(8, 2), (16, 1), (64, 6), (128, 8), (256, 8), (512, 1), (512, 8)])
@pytest.mark.parametrize("tokens", [1, 8, 32, 128, 1024])
@pytest.mark.parametrize("ranks", [2, 8, 16, 64])
def test_the_most_experts_that_a_rank_runs_equal_simulation(experts: int, k: int, tokens: int, ranks: int) -> None:
    if ranks > experts:
        pytest.skip("more ranks than experts")
    router = Router(float(experts), float(k))
    found = most(router, tokens, ranks, 800 if tokens < 32 else 200 if tokens < 1000 else 25)
    assert most_touched(RANDOM, router, float(tokens), float(ranks)) == pytest.approx(
        found, rel=0.07 if tokens < 8 else 0.05
    )


@pytest.mark.parametrize("s", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("groups", [1, 8])
@pytest.mark.parametrize("tokens", [4, 16, 128])
@pytest.mark.parametrize("ranks", [4, 16, 64])
def test_the_most_popular_experts_of_a_rank_equal_simulation(s: float, groups: int, tokens: int, ranks: int) -> None:
    router = Router(256.0, 8.0) if groups == 1 else V3
    weight = np.arange(1.0, 257.0) ** -s if s else None
    routing = Routing("zipf", s) if s else RANDOM
    found = most(router, tokens, ranks, 300 if tokens < 100 else 100, weight)
    assert most_touched(routing, router, float(tokens), float(ranks)) == pytest.approx(found, rel=0.05)


@pytest.mark.parametrize("s", [0.3, 1.0])
def test_popular_experts_equal_simulation(s: float) -> None:
    experts, k, tokens, rng = 64, 4, 512, np.random.default_rng(11)
    weight = np.arange(1.0, experts + 1.0) ** -s
    expert, rank, hit, seen = [], [], [], []
    for _ in range(120):
        chosen = rng.permutation(experts)[picks(experts, k, tokens, rng, weight)]  # experts stand in a random order
        count = np.bincount(chosen.ravel(), minlength=experts)
        expert.append(count.max() * experts / (tokens * k))
        rank.append(count.reshape(8, -1).sum(1).max() * 8 / (tokens * k))
        homes = np.sort(chosen // 8, axis=1)
        hit.append(1 + (np.diff(homes, axis=1) != 0).sum(1).mean())
        seen.append((np.bincount(chosen[:16].ravel(), minlength=experts) > 0).sum())
    router, routing = Router(float(experts), float(k)), Routing("zipf", s)
    assert busiest_expert(routing, router, float(tokens)) == pytest.approx(np.mean(expert), rel=0.05)
    assert busiest_rank(routing, router, float(tokens), 8.0) == pytest.approx(np.mean(rank), rel=0.05)
    assert visited(routing, router, 8.0) == pytest.approx(np.mean(hit), rel=0.05)
    assert touched(routing, router, 16.0, float(experts)) == pytest.approx(np.mean(seen), rel=0.05)


def test_copies_of_busy_experts_even_the_ranks_out() -> None:
    router, skewed = Router(256.0, 8.0), Routing("zipf", 1.0)
    plain, balanced = (busiest_rank(skewed, router, 1e6, 64.0, spare) for spare in (0.0, 64.0))
    assert plain > 5.0
    assert 1.0 <= balanced < 1.1


@pytest.mark.parametrize(
    ("mode", "nodes"), [("normal", 1), ("normal", 2), ("normal", 4), ("low_latency", 1), ("low_latency", 4)]
)
def test_copies_on_each_link_equal_every_token_followed(mode: str, nodes: int) -> None:
    """Means. Eight ranks a node, experts in order; normal: one copy a token and node to the rank of the same index, forwarded there."""
    device, rng = hardware.load("h800"), np.random.default_rng(3)
    experts, k, tokens, ranks = 64, 6, 4000, 8 * nodes
    near, far, received = 0, 0, np.zeros(ranks)
    for sender in range(ranks):
        homes = picks(experts, k, tokens // ranks, rng) * ranks // experts
        for row in homes:
            to = set(row.tolist()) if mode == "normal" else row.tolist()
            for rank in to:
                received[rank] += 1
                if mode == "normal":  # from the rank of the sender's index in that node
                    near += rank % 8 != sender % 8
                else:
                    near, far = near + (rank // 8 == sender // 8 and rank != sender), far + (rank // 8 != sender // 8)
            if mode == "normal":
                far += len({rank // 8 for rank in to} - {sender // 8})
    router, even = Router(float(experts), float(k)), Routing("balanced")
    op = Exchange(tokens / ranks, float(tokens), 1.0, float(ranks), 1.0, router, even, mode, "dispatch")
    found = resolved(op, device)
    assert ranks * found.near_bytes == pytest.approx(near, rel=0.03)
    assert ranks * found.far_bytes == pytest.approx(far, rel=0.03, abs=1e-9)
    copies = visited(RANDOM, op.router, float(ranks)) if mode == "normal" else float(k)
    assert received.sum() == pytest.approx(tokens * copies, rel=0.01)  # what is sent, or stays, is received


V3 = Router(256.0, 8.0, 8, 4, "top2")


@pytest.mark.parametrize(
    ("rule", "nodes", "dispatch", "combine"), [("random", 3.629, 96.1e6, 186.5e6), ("top2", 3.954, 104.8e6, 203.2e6)]
)
def test_deepseek_v3_over_eight_nodes(rule: str, nodes: float, dispatch: float, combine: float) -> None:
    """EP64, 4,096 tokens a rank: bytes over the network by group selection (hypergeometric law; Monte Carlo for top-2 sums)."""
    router = replace(V3, rule=rule)
    assert visited(RANDOM, router, 8.0) == pytest.approx(nodes, rel=3e-3)
    for width, expected in ((7168 + 7168 / 32, dispatch), (2.0 * 7168, combine)):
        op = Exchange(4096.0, 64 * 4096.0, width, 64.0, 1.0, router, Routing("balanced"), "normal", "dispatch")
        assert resolved(op, hardware.load("h800")).far_bytes == pytest.approx(expected, rel=3e-3)


def limited(score: np.ndarray, router: Router) -> np.ndarray:
    """Scores with those outside the groups with the best two sums struck out."""
    each = score.reshape(len(score), router.groups, -1)
    best = np.partition(each, -2, axis=2)[:, :, -2:].sum(axis=2)
    chosen = np.argsort(-best, axis=1)[:, : router.limit]
    allowed = np.zeros(best.shape, bool)
    np.put_along_axis(allowed, chosen, True, axis=1)
    return np.where(np.repeat(allowed, each.shape[2], axis=1), score, -np.inf)


def systematic(chance: np.ndarray, tokens: int, rng: np.random.Generator) -> np.ndarray:
    """[tokens, k]: expert i with chance[i] exactly: marks one apart on a line on which experts lie in an order of each token's own."""
    order = rng.permuted(np.tile(np.arange(len(chance)), (tokens, 1)), axis=1)
    end = np.floor(chance[order].cumsum(axis=1) + rng.random((tokens, 1)) + 1e-12)
    hit = np.diff(end, axis=1, prepend=0.0) > 0
    return order[hit].reshape(tokens, -1)


def followed(chosen: np.ndarray, experts: int, ranks: int, mode: str) -> tuple[np.ndarray, np.ndarray]:
    """Copies [ranks, ranks] from whom to whom inside nodes, and over the network. Tokens are dealt to the ranks in turn; eight
    ranks a node."""
    count, nodes = len(chosen), ranks // 8
    sender, home = np.arange(count) % ranks, chosen * ranks // experts
    wanted = np.zeros((count, ranks), np.int64)
    np.add.at(wanted, (np.arange(count)[:, None], home), 1)
    near, far = np.zeros((2, ranks, ranks), np.int64)
    for source in range(ranks):
        mine = wanted[sender == source]
        if mode != "normal":
            inside = np.arange(ranks) // 8 == source // 8
            near[source], far[source] = mine.sum(axis=0) * inside, mine.sum(axis=0) * ~inside
            near[source, source] = 0
            continue
        for node in range(nodes):
            here, by = (mine[:, node * 8 : node * 8 + 8] > 0), node * 8 + source % 8
            far[source, by] += here.any(axis=1).sum() * (node != source // 8)
            forwarded = here.sum(axis=0)
            forwarded[source % 8] = 0  # the rank that forwards has it already
            near[by, node * 8 : node * 8 + 8] += forwarded
    return near, far


PLACES, BATCH = 60, 1024


@pytest.mark.parametrize("law", ["random", "zipf:0.5", "zipf:1", "measured"])
@pytest.mark.parametrize("nodes", [1, 2, 8])
@pytest.mark.parametrize("router", [Router(256.0, 8.0), V3], ids=["free", "groups"])
def test_every_copy_that_is_sent_is_received_and_the_busiest_rank_is_the_simulated(
    router: Router, nodes: int, law: str
) -> None:
    experts, k, ranks, rng = 256, 8, 8 * nodes, np.random.default_rng(8)
    weight = np.arange(1.0, experts + 1.0) ** -(float(law[5:]) if law.startswith("zipf") else 0.8)
    if law == "measured":
        if router.limited:
            pytest.skip("counts say nothing of groups")
        share = weight / weight.sum()
        for _ in range(50):
            share = np.minimum(share, 0.9 / k) / np.minimum(share, 0.9 / k).sum()
        routing = Routing("measured", 0.0, (tuple(share),))
    else:
        routing = Routing() if law == "random" else Routing("zipf", float(law[5:]))
    modes = ("normal", "low_latency")
    busiest: dict[str, list[Any]] = {mode: [] for mode in modes}
    total = {mode: np.zeros(2) for mode in modes}
    for _ in range(PLACES):
        if law == "random":
            score = rng.random((BATCH, experts), np.float32)
        else:
            at = rng.permutation(experts)
            # A Gumbel score is -log of a waiting time; four bytes a number are as random.
            wait = np.maximum(rng.standard_exponential((BATCH, experts), np.float32), np.float32(1e-30))
            score = np.log(weight[at].astype(np.float32) / wait)
        if law == "measured":
            chosen = systematic(k * share[at], BATCH, rng)
        else:
            chosen = np.argpartition(-(limited(score, router) if router.limited else score), k - 1, axis=1)[:, :k]
        for mode in modes:
            ways = followed(chosen, experts, ranks, mode)
            for copies in ways:
                assert copies.sum(axis=1).sum() == copies.sum(axis=0).sum()
            total[mode] += [way.sum() for way in ways]
            # Senders are dealt evenly: what comes to a node is its ranks' in equal parts, rows come from all ranks alike.
            near, far = (way.sum(axis=0) for way in ways)
            if mode == "normal":
                busiest[mode].append((near.max(), far.reshape(nodes, 8).mean(axis=1).max()))
            else:
                busiest[mode].append(np.array([7.0, ranks - 8.0]) / (ranks - 1.0) * (near + far).max())
    for mode in modes:
        op = Exchange(BATCH / ranks, float(BATCH), 1.0, float(ranks), 1.0, router, routing, mode, "dispatch")
        found = resolved(op, hardware.load("h800"))
        near, far = np.mean(busiest[mode], axis=0)
        assert found.near_bytes == pytest.approx(near, rel=0.05)
        assert found.far_bytes == pytest.approx(far, rel=0.05, abs=1e-9)
        inside, over = total[mode] / PLACES  # what all send: means of a token times tokens
        if mode == "normal":
            copies = (
                BATCH * float(op.copies(float(ranks))) * 7 / 8,
                BATCH * float(op.copies(float(nodes))) * (1 - 1 / nodes),
            )
        else:
            copies = BATCH * k * 7 / ranks, BATCH * k * (1 - 8 / ranks)
        assert copies == (pytest.approx(inside, rel=0.03), pytest.approx(over, rel=0.03, abs=1e-9))
