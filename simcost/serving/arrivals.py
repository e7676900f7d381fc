"""When requests are sent: by users who wait for their answers, at a rate, or all at once.

Most likely to be wrong: real traffic is burstier than Poisson and has hours of the day. Source:
docs/theory/serving-events.md.
"""

from __future__ import annotations

import math

import numpy as np

from simcost.errors import SpecError
from simcost.frozen import frozen
from simcost.num import Array

SPREADS = ("poisson", "deterministic")
_STREAM = 0  # of random numbers: lengths have their own, so that a change of one leaves the other


@frozen
class Closed:
    """`users` of one replica start at once; each sends its next request when the answer to the last one ends."""

    users: int

    def __post_init__(self) -> None:
        if not 1 <= self.users < math.inf or self.users % 1:
            raise SpecError(f"concurrency = {self.users:g} must be a whole number, 1 or more")


@frozen
class Open:
    """`rate` requests per second [1/s] of one replica whatever it does. `spread`: "poisson", or "deterministic": equal
    gaps; `burst`: so many at once, with gaps so much longer."""

    rate: float
    spread: str = "poisson"
    burst: int = 1

    def __post_init__(self) -> None:
        if not 0.0 < self.rate < math.inf:
            raise SpecError(f"rate = {self.rate:g} must be above 0 requests per second")
        if self.spread not in SPREADS:
            raise SpecError(f"spread = {self.spread!r} is unknown (one of {', '.join(SPREADS)})")
        if not 1 <= self.burst < math.inf or self.burst % 1:
            raise SpecError(f"burst = {self.burst:g} must be a whole number, 1 or more")


@frozen
class Offline:
    """All requests at once, as in a benchmark of throughput."""


Arrivals = Closed | Open | Offline


def times(arrivals: Arrivals, requests: int, seed: int) -> Array:
    """[s] of the requests that are sent whatever the replica does, ascending: the first of each user in a closed
    loop."""
    if isinstance(arrivals, Closed):
        return np.zeros(min(int(arrivals.users), requests))
    if isinstance(arrivals, Offline):
        return np.zeros(requests)
    bursts = -(-requests // int(arrivals.burst))
    gap = arrivals.burst / arrivals.rate
    if arrivals.spread == "deterministic":
        at = gap * np.arange(bursts, dtype=np.float64)
    else:
        at = np.cumsum(np.random.default_rng([seed, _STREAM]).exponential(gap, bursts))
    return np.repeat(at, int(arrivals.burst))[:requests]
