"""What more thinking buys against a larger model, and against a longer pre-training.

Rows stand in order of their tokens. From one to the next, a dollar of thinking buys so much more accuracy; a dollar of
moving to the larger model, at whichever of its rows gives most, so much. Most likely to be wrong: accuracies, whose
own error (a benchmark of 30 questions has 9 points) is larger than many differences. Source: docs/theory/thinking.md.
"""

from __future__ import annotations

import numpy as np

from simcost.frozen import frozen
from simcost.num import Array

_NONE = float("nan")


@frozen
class Steps:
    """From each row but the last to the next: accuracy and USD that a thousand tokens more bring, accuracy per dollar
    (infinite where it is dearer to stay), of the larger model's best row too, and which row that is (-1: none is
    more accurate)."""

    gain: Array
    usd: Array
    per_usd: Array
    larger_per_usd: Array
    larger: Array

    @property
    def beyond(self) -> int | None:
        """The first row after which the larger model buys more than a thousand tokens; None where there is none."""
        better = np.flatnonzero(self.larger_per_usd >= self.per_usd)
        return int(better[0]) if len(better) else None


def steps(tokens: Array, usd: Array, accuracy: Array, larger_usd: Array, larger_accuracy: Array) -> Steps:
    """Rows in order of `tokens`, each with the USD and the accuracy of a query, and rows of a larger model. Where a row
    has no accuracy, its steps are NaN. Two rows of equal tokens have no step between them."""
    more = np.diff(tokens) / 1000.0
    more = np.where(more > 0.0, more, _NONE)
    gain, cost = np.diff(accuracy) / more, np.diff(usd) / more
    own = _per_usd(gain, cost)
    moves = larger_accuracy[None, :] - accuracy[:-1, None]
    each = _per_usd(moves, larger_usd[None, :] - usd[:-1, None])
    each = np.where(np.isnan(each), -np.inf, each)
    best = np.argmax(each, axis=1) if each.shape[1] else np.zeros(len(own), np.int64)
    top = each[np.arange(len(own)), best] if each.shape[1] else np.full(len(own), -np.inf)
    some = top > 0.0
    return Steps(gain, cost, own, np.where(some, top, _NONE), np.where(some, best, -1))


def _per_usd(gain: Array, usd: Array) -> Array:
    """Accuracy a dollar: infinite where more costs nothing more, 0 where nothing is gained."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(usd > 0.0, gain / usd, np.inf)
    return np.where(np.isnan(gain) | np.isnan(usd), _NONE, np.where(gain <= 0.0, 0.0, ratio))


@frozen
class BreakEven:
    """For each row: the least USD per query at which the model trained longer solves as many, what that saves, and the
    number of queries that pay the training; NaN where it does not get there, or saves nothing."""

    usd: Array
    saved: Array
    queries: Array


def break_even(
    training_usd: float, usd: Array, accuracy: Array, trained_usd: Array, trained_accuracy: Array
) -> BreakEven:
    """Rows of a model, and of the same one trained longer for `training_usd`."""
    order = np.argsort(trained_usd, kind="stable")
    dear, solves = trained_usd[order], trained_accuracy[order]
    least = np.full(len(usd), _NONE)
    for i, wanted in enumerate(accuracy.tolist()):
        least[i] = _least(dear, solves, wanted)
    saved = usd - least
    pays = saved > 0.0
    return BreakEven(least, saved, np.where(pays, training_usd / np.where(pays, saved, 1.0), _NONE))


def _least(usd: Array, accuracy: Array, wanted: float) -> float:
    """USD at which an accuracy is reached, on straight lines between rows of ascending USD; NaN where none reaches it."""
    enough = np.flatnonzero(accuracy >= wanted)
    if not len(enough):
        return _NONE
    at = int(enough[0])
    if at == 0 or np.isnan(accuracy[at - 1]):
        return float(usd[at])
    part = (wanted - accuracy[at - 1]) / (accuracy[at] - accuracy[at - 1])
    return float(usd[at - 1] + part * (usd[at] - usd[at - 1]))
