"""What a group limit does to the picks of a token: followed token by token, because no formula is known for groups with the
best scores. Uniform scores say how picks clump and how many ranks a token visits; scores by popularity say how much more
the busiest rank gets than without the limit, as a ratio of two simulations with the same random numbers.

Most likely to be wrong: scores of an expert are drawn anew for every token (Gumbel's trick: the best k are successive
sampling), while real ones come in kinds of text. Sources: arXiv 2405.04434 ("max"), 2412.19437 ("top2").
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from simcost.num import Array, Bools, Ints
from simcost.routing.router import Router

_TOKENS = 4096
_RANKS = 16384  # numbers of ranks that are remembered: the nearest valid plan is looked for among thousands
WORLDS, _EACH = 64, 512  # placements, and tokens of each
_BLOCKS = 256  # batches of one size and placement: more add no accuracy
GRID = 8.0 ** np.arange(0, 4)  # batches for which the ratio is simulated; a larger one has the last


@lru_cache(maxsize=16)
def selected(router: Router) -> Ints:
    """[tokens, k]: picks of simulated tokens with independent uniform scores under a group rule."""
    experts, k = int(router.experts), int(router.top_k)
    random = np.random.default_rng([experts, k, router.groups, router.limit])
    score = random.random((_TOKENS, experts), np.float32)
    each = score.reshape(_TOKENS, router.groups, -1)
    best = each.max(axis=2)
    if router.rule == "top2" and each.shape[2] > 1:
        best = np.partition(each, -2, axis=2)[:, :, -2:].sum(axis=2)
    masked = np.where(_open(best, router), score, np.float32(-1.0))
    return np.argpartition(-masked, k - 1, axis=1)[:, :k].astype(np.int64)


def _open(best: Array, router: Router) -> Bools:
    """[tokens, experts]: the experts of the `limit` groups with the best scores."""
    allowed = np.zeros(best.shape, bool)
    np.put_along_axis(allowed, np.argpartition(-best, router.limit - 1, axis=1)[:, : router.limit], True, axis=1)
    return np.repeat(allowed, int(router.experts) // router.groups, axis=1)


@lru_cache(maxsize=_RANKS)
def grouped_visits(router: Router, ranks: float) -> float:
    """Expected distinct ranks of a token's picks under a group limit, simulated with uniform scores."""
    if ranks <= 1.0:
        return 1.0
    homes = np.sort(np.floor(selected(router) * ranks / float(router.experts)), axis=1)
    return float(1.0 + (np.diff(homes, axis=1) != 0).sum(axis=1).mean())


@lru_cache(maxsize=_RANKS)
def clumped(router: Router, ranks: float) -> float:
    """Variance of a token's picks on one rank over that of k independent draws; 0 for one rank."""
    if ranks <= 1.0:
        return 0.0
    homes = np.floor(selected(router) * ranks / float(router.experts))
    square = (homes[:, :, None] == homes[:, None, :]).sum(axis=(1, 2)).mean() / ranks
    k = router.top_k
    return float((square - (k / ranks) ** 2) / (k / ranks * (1.0 - 1.0 / ranks)))


def routes(router: Router, weights: Sequence[Array], worlds: int) -> tuple[Ints, Ints]:
    """(picks with the group limit, picks without it), both [placements, tokens, k], by the same scores. `weights`: of every
    layer's experts, layers in turn over `worlds` placements, each in another random order."""
    experts, k = int(router.experts), int(router.top_k)
    random = np.random.default_rng([experts, k, router.groups, router.limit])
    both = np.empty((2, worlds, _EACH, k), np.int64)
    for world in range(worlds):
        weight = random.permutation(weights[world * len(weights) // worlds]).astype(np.float32)
        # Who comes first at the rate of its weight: -log is the Gumbel score, and the least are the best.
        wait = random.standard_exponential((_EACH, experts), np.float32) / np.maximum(weight, np.float32(1e-30))
        each = wait.reshape(_EACH, router.groups, -1)
        if router.rule == "random":
            best = random.random((_EACH, router.groups))
        elif router.rule == "top2" and each.shape[2] > 1:
            best = -np.log(np.partition(each, 1, axis=2)[:, :, :2].astype(np.float64)).sum(axis=2)
        else:
            best = -each.min(axis=2).astype(np.float64)
        closed = np.where(_open(best, router), wait, np.float32(np.inf))
        for i, score in enumerate((closed, wait)):
            both[i, world] = np.argsort(score, axis=1)[:, :k]
    return both[0], both[1]


def ratios(found: tuple[Ints, Ints], experts: int, ranks: int) -> tuple[Array, Array, float, Array]:
    """Numbers with the limit over those without it: (rows of the busiest rank [GRID], distinct tokens of the most visited rank
    [GRID], ranks that a token visits, distinct experts of the rank that runs most [GRID])."""
    limited, free = (_busiest(picks * ranks // experts, ranks) for picks in found)
    most = [_most_touched(picks, experts, ranks) for picks in found]
    return limited[0] / free[0], limited[1] / free[1], limited[2] / free[2], most[0] / most[1]


def _most_touched(picks: Ints, experts: int, ranks: int) -> Array:
    homes, most = np.arange(experts) * ranks // experts, np.empty(len(GRID))
    first = np.searchsorted(homes, np.arange(ranks))
    for i, batch in enumerate(GRID.astype(np.int64).tolist()):
        blocks = min(picks.shape[1] // batch, _BLOCKS)
        count = len(picks) * blocks
        hit = np.zeros((count, experts), bool)
        hit[np.arange(count)[:, None], picks[:, : blocks * batch].reshape(count, -1)] = True
        most[i] = np.add.reduceat(hit.astype(np.int64), first, axis=1).max(axis=1).mean()
    return most


def _busiest(homes: Ints, ranks: int) -> tuple[Array, Array, float]:
    homes = np.sort(homes, axis=2)
    first = np.concatenate([np.ones((*homes.shape[:2], 1), bool), np.diff(homes, axis=2) != 0], axis=2)
    rows, tokens = np.empty(len(GRID)), np.empty(len(GRID))
    for i, batch in enumerate(GRID.astype(np.int64).tolist()):
        blocks = min(homes.shape[1] // batch, _BLOCKS)
        here, new = homes[:, : blocks * batch], first[:, : blocks * batch]
        at = here + np.arange(len(homes) * blocks).reshape(len(homes), blocks, 1).repeat(batch, axis=1) * ranks
        count = len(homes) * blocks * ranks
        rows[i] = np.bincount(at.ravel(), minlength=count).reshape(-1, ranks).max(axis=1).mean()
        tokens[i] = np.bincount(at[new], minlength=count).reshape(-1, ranks).max(axis=1).mean()
    return rows, tokens, float(first.sum(axis=2).mean())
