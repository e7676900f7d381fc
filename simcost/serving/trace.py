"""What a simulated run leaves: a row a request, and a row for every jump over steps that are alike.

Most likely to be wrong: nothing here is a model; see `events.py`.
"""

from __future__ import annotations

from simcost.frozen import frozen
from simcost.num import Array, Ints


@frozen
class Steps:
    """Columns, a row for every run of like steps, in order. [s] `end`: when the last of them ended; `first`: the first
    one's duration, each later one `slope` longer. `count`: how many; `made`: in how many decode went on; `batch`:
    decoding sequences; `running`: with those whose prompts are in work; `waiting`: requests in the queue; `used`: KV
    tokens that are taken before the first, `growth` more in each; `tokens`: of prompts; `started`: sequences that
    decode from then on; `early`: seconds that requests which came during the row waited until its end."""

    end: Array
    count: Array
    made: Array
    batch: Array
    running: Array
    waiting: Array
    used: Array
    growth: Array
    tokens: Array
    first: Array
    slope: Array
    started: Array
    early: Array

    @property
    def seconds(self) -> Array:
        """Duration of each row. [s]"""
        return self.count * (self.first + self.slope * (self.count - 1.0) / 2.0)

    @property
    def used_seconds(self) -> Array:
        """Integral of the taken KV tokens over each row; in its j-th step `used` + j `growth` are taken. [token s]"""
        n, growth = self.count, self.growth
        pairs = n * (n + 1.0) / 2.0  # sum of j
        cubes = (n - 1.0) * n * (n + 1.0) / 3.0  # sum of j (j - 1)
        return self.used * self.seconds + growth * (self.first * pairs + self.slope * cubes)


@frozen
class Trace:
    """A run of one replica. By request [s]: `arrival`: sent; `queued`: in the scheduler's queue; `admitted`;
    `first_token`, `last_token`: made; `printed`: the first one sent; `isl`, `osl`: tokens. `stalls` [s]: gaps between
    two tokens of requests that were preempted in between. `recomputed`: prompt and answer tokens that were computed
    once more. `pool_tokens`: KV tokens that fit."""

    arrival: Array
    queued: Array
    admitted: Array
    first_token: Array
    printed: Array
    last_token: Array
    isl: Ints
    osl: Ints
    steps: Steps
    stalls: Array
    preemptions: int
    recomputed: int
    pool_tokens: float
