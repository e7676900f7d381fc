"""Speculative decoding: how many tokens a sequence makes in a step that verifies drafts.

Most likely to be wrong: one chance of acceptance for every position of a draft; real ones fall with the position and differ by task. Source: Leviathan, Kalman and
Matias 2023, arXiv 2211.17192, equation 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from simcost.frozen import frozen
from simcost.num import Array, Ints, Num
from simcost.serving.lengths import Lengths

if TYPE_CHECKING:
    from numpy.random import Generator


def emitted(drafts: int, acceptance: Num) -> Num:
    """Tokens of a step on average: the drafts up to the first that is refused, and one of the model's own. `acceptance`: chance of each draft once those
    before it are taken, in [0, 1]."""
    total: Num = 1.0
    chance: Num = 1.0
    for _ in range(drafts):
        chance = chance * acceptance
        total = total + chance
    return total


@frozen
class InSteps:
    """Answers counted in steps, each of which makes `emitted` tokens; the first token is the prompt's. As `lengths.Lengths`, in steps."""

    tokens: Lengths
    emitted: float

    def _steps(self, tokens: float) -> float:
        return 1.0 + (tokens - 1.0) / self.emitted

    @property
    def mean(self) -> float:
        """Expected steps."""
        return self._steps(self.tokens.mean)

    @property
    def second_moment(self) -> float:
        """Expected square of steps."""
        return self.mean**2 + (self.tokens.second_moment - self.tokens.mean**2) / self.emitted**2

    @property
    def longest(self) -> float:
        """Most steps."""
        return self._steps(self.tokens.longest)

    def quantile(self, u: Array) -> Array:
        """The steps that a share u of answers does not exceed."""
        return np.asarray(1.0 + (self.tokens.quantile(u) - 1.0) / self.emitted)

    def samples(self, rng: Generator, n: int) -> Ints:
        """n whole numbers of steps in random order."""
        drawn = 1.0 + (self.tokens.samples(rng, n) - 1.0) / self.emitted
        return np.asarray(np.maximum(np.rint(drawn), 1.0), np.int64)

    def cap(self, most: float) -> InSteps:
        """The same with every answer above `most` steps cut to it."""
        return InSteps(self.tokens.cap(1.0 + (most - 1.0) * self.emitted), self.emitted)
