"""A provider's price list: USD for a million tokens of prompts, of answers, and of prompts that its cache holds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from simcost.errors import SpecError
from simcost.frozen import frozen
from simcost.scenarios.think.served import Rates

_MILLION = 1_000_000.0


@frozen
class Prices:
    """USD for a million tokens; `cached` is the price of prompts where the list has no other."""

    prompt: float
    answer: float
    cached: float
    said: str

    def spent(self, isl: float, hit: float, width: int, rows: int) -> Rates:
        """USD of a query: its prompt once, for the other answers to it from the cache."""
        own = isl * ((1.0 - hit) * self.prompt + hit * self.cached)
        fixed = (own + (width - 1) * isl * self.cached) / _MILLION
        return Rates(np.full(rows, fixed), np.full(rows, self.answer / _MILLION))


def read(option: str, said: Any) -> Prices | None:
    """A list "IN:OUT" or "IN:OUT:CACHED". Raises SpecError for another one."""
    if said is None:
        return None
    parts = said if isinstance(said, (list, tuple)) else str(said).split(":")
    try:
        numbers = [float(part) for part in parts]
    except (TypeError, ValueError):
        numbers = []
    if (
        len(numbers) not in (2, 3)
        or not all(math.isfinite(each) and 0.0 <= each < _MILLION for each in numbers)
        or numbers[1] <= 0.0
    ):
        raise SpecError(
            f"{option} {said}: write USD per million tokens of prompts and of answers, as in 0.28:0.42, and of cached prompts, as in 0.28:0.42:0.028"
        )
    return Prices(
        numbers[0],
        numbers[1],
        numbers[2] if len(numbers) == 3 else numbers[0],
        ":".join(f"{each:g}" for each in numbers),
    )
