"""Which rows coefficients are fitted on and which judge them, by the ids alone.

A row is fitted where sha256 of its id, as a number, leaves 3 or more over 10; the rest judge. Where fewer than `FEW`
rows would judge, each row judges coefficients that were fitted on the others, and a stack may have `MOST_OF_FEW`
coefficients, else `MOST`. Most likely to be wrong: rows of one table differ less from each other than from the next
user's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from simcost.frozen import frozen
from simcost.training.stack import MOST

FEW = 10
MOST_OF_FEW = 2
HASHED, LEFT_OUT = "by hash", "leave one out"


@frozen
class Split:
    """kind: HASHED or LEFT_OUT; fitted, judged: ids, the same under LEFT_OUT; most: coefficients that may be fitted."""

    kind: str
    fitted: tuple[str, ...]
    judged: tuple[str, ...]
    most: int


def is_fitted(id: str) -> bool:
    """Whether the hash of an id puts it among the rows to fit."""
    return int(hashlib.sha256(id.encode()).hexdigest(), 16) % 10 >= 3


def split(ids: Sequence[str]) -> Split:
    """The split of rows that are fitted together."""
    fitted, judged = (tuple(id for id in ids if is_fitted(id) is kind) for kind in (True, False))
    if len(judged) < FEW:
        return Split(LEFT_OUT, tuple(ids), tuple(ids), MOST_OF_FEW)
    return Split(HASHED, fitted, judged, MOST)


def fingerprint(ids: Sequence[str], seconds: Sequence[float]) -> str:
    """A short hash of the rows that made coefficients: ids and measured times, in any order."""
    text = "\n".join(sorted(f"{id}={step!r}" for id, step in zip(ids, seconds, strict=True)))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
