"""What serving is given: how long one step of one attention replica takes."""

from __future__ import annotations

from typing import Protocol

from simcost.num import Num


class StepTimes(Protocol):
    """A callable that times steps of one attention replica: what one scheduler batches. Replicas of an instance run in lock-step and do alike."""

    def __call__(self, batch: Num, context: Num, tokens: Num, past: Num) -> Num:
        """Seconds of a step in which `batch` sequences make a token each after `context` cached tokens on average, and beside them `tokens` new
        prompt tokens follow `past` cached ones. 0 tokens: decode alone; 0 sequences: a prompt alone. Without the engine's own time for a step. Elementwise.
        """
        ...
