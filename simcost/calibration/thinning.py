"""Few rows that say what many say: half farthest-first over the features, half drawn by hash, so that a held-out fifth
looks like any shape and the hull stays covered."""

from __future__ import annotations

import numpy as np

from simcost.calibration.curves.residual import farthest
from simcost.files import blake2b
from simcost.num import Array, Index

_POOL = 12_000  # farthest-first looks at no more: a larger table is first thinned by hash


def thinned(features: Array, count: int) -> Index:
    """Indices of at most `count` rows of features [n, d], ascending; the same rows for the same features."""
    n = len(features)
    if n <= count:
        return np.arange(n)
    order = np.argsort([_hash(row) for row in np.round(features, 9)], kind="stable")
    spread = features.std(axis=0)
    unit = np.where(spread > 1e-9, (features - features.mean(axis=0)) / np.maximum(spread, 1e-9), 0.0)
    pool = order[:_POOL]
    corners = pool[farthest(unit[pool], count // 2)]
    rest = order[~np.isin(order, corners)]
    return np.sort(np.concatenate([corners, rest[: count - len(corners)]]))


def _hash(row: Array) -> int:
    return int.from_bytes(blake2b(row.tobytes(), digest_size=8).digest(), "big")
