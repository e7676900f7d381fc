"""What serving is given: how long one step of one attention replica takes."""

from __future__ import annotations

from typing import Protocol

from simcost.frozen import frozen
from simcost.num import Num, maximum


class StepTimes(Protocol):
    """A callable that times steps of one attention replica: what one scheduler batches. Replicas of an instance run in lock-step and do alike."""

    def __call__(self, batch: Num, context: Num, tokens: Num, past: Num) -> Num:
        """Seconds of a step in which `batch` sequences make a token each after `context` cached tokens on average, and beside them `tokens` new
        prompt tokens follow `past` cached ones. 0 tokens: decode alone; 0 sequences: a prompt alone. Without the engine's own time for a step. Elementwise.
        """
        ...


@frozen
class Stretched:
    """Step times for a run that counts answers in steps: each step beyond the first `start` tokens brings `tokens` tokens to the context."""

    times: StepTimes
    start: float
    tokens: float

    def __call__(self, batch: Num, context: Num, tokens: Num, past: Num) -> Num:
        """As `StepTimes`. [s]"""
        return self.times(batch, context + maximum(context - self.start, 0.0) * (self.tokens - 1.0), tokens, past)
