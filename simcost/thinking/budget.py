"""Answers under a budget: tokens as the model would write them, cut at a cap, and what follows a cut thought.

A cut answer has the cap's tokens and then `after` of them, in which the model answers with what it has. Most likely to
be wrong: that a cap changes nothing but the length; models that are told of their budget think in another way. Source:
docs/theory/thinking.md.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from simcost.frozen import frozen
from simcost.num import Array, Ints
from simcost.serving.lengths import Lengths

if TYPE_CHECKING:
    from numpy.random import Generator

_HALVINGS = 60  # of the shares among which that of a cap is looked for: what is left is rounding


@frozen
class Cut:
    """Lengths cut at `most`, with `after` tokens behind those that were cut, whose share is `share`; a `Lengths`."""

    whole: Lengths
    most: float
    after: float
    share: float

    @property
    def mean(self) -> float:
        """Expected tokens."""
        return self._kept.mean + self.share * self.after

    @property
    def second_moment(self) -> float:
        """Expected square of tokens."""
        if self.share == 0.0:
            return self._kept.second_moment
        return self._kept.second_moment + self.share * self.after * (2.0 * self.most + self.after)

    @property
    def _kept(self) -> Lengths:
        """Without what follows."""
        return self.whole if math.isinf(self.most) else self.whole.cap(self.most)

    @property
    def longest(self) -> float:
        """Most tokens."""
        return self.whole.longest if self.share == 0.0 else self.most + self.after

    def quantile(self, u: Array) -> Array:
        """The tokens that a share u does not exceed."""
        return self.shortened(self.whole.quantile(u))

    def samples(self, rng: Generator, n: int) -> Ints:
        """n lengths in random order."""
        return self.shortened(self.whole.samples(rng, n).astype(np.float64)).astype(np.int64)

    def cap(self, most: float) -> Lengths:
        """The same, cut once more: nothing follows."""
        if self.longest <= most:
            return self
        # Above the budget every cut answer is cut at `most`, whatever its length as the model would write it.
        return cut(self.whole, most, 0.0) if most <= self.most else replace(self, after=most - self.most)

    def shortened(self, tokens: Array) -> Array:
        """Tokens as the model would write them, under the budget."""
        return np.where(tokens > self.most, self.most + self.after, tokens)


def cut(lengths: Lengths, most: float, after: float = 0.0) -> Cut:
    """Lengths under a cap of `most` tokens, infinite for none; `after`: whole tokens that follow a cut one."""
    if math.isinf(most):
        return Cut(lengths, lengths.longest, 0.0, 0.0)
    return Cut(lengths, most, after, float(share_above(lengths, np.asarray([most]))[0]))


def cuts(lengths: Lengths, caps: Array, after: float = 0.0) -> list[Cut]:
    """The same lengths under each of several finite caps."""
    shares = share_above(lengths, caps).tolist()
    return [Cut(lengths, most, after, share) for most, share in zip(caps.tolist(), shares, strict=True)]


def share_above(lengths: Lengths, tokens: Array) -> Array:
    """Part of the answers that are longer than `tokens`, elementwise: by bisection of the quantiles."""
    low, high = np.zeros(np.shape(tokens)), np.ones(np.shape(tokens))
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        within = lengths.quantile(middle) <= tokens
        low, high = np.where(within, middle, low), np.where(within, high, middle)
    # Halves of halves never reach an end: where no length, or each, is above, the last one is it.
    return np.where(high >= 1.0, 0.0, np.where(low <= 0.0, 1.0, 1.0 - (low + high) / 2.0))
