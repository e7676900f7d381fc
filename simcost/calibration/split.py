"""Which rows a fit may see: a fifth is held out by a hash of its shape, so that a new run keeps the same split."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from simcost.files import blake2b
from simcost.num import Array, Bools, Index

SHARE = 5


def folds(numbers: Mapping[str, Array]) -> Index:
    """[rows]: a fold 0..SHARE-1. Every row of one shape falls into the same."""
    columns = np.stack([numbers[name] for name in sorted(numbers)], axis=1)
    return np.array([_hash(row) % SHARE for row in columns], np.intp)


def largest(size: Array) -> Bools:
    """[rows]: the largest sixth by size; of rows that tie all the largest, and none where all are alike."""
    edge = np.quantile(size, 5.0 / 6.0)
    above = size > edge if (size > edge).any() else size >= edge
    found: Bools = above & (size > size.min())
    return found


def _hash(row: Array) -> int:
    text = ",".join(f"{value:.6g}" for value in row)
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")
