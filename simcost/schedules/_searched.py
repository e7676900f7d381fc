"""The zero-bubble schedules that are searched: the order of a step follows from its durations and from the memory that a rank may fill.

Rounds of one forward and one input gradient on every rank. A weight gradient runs where the rank would wait anyway, or where memory is full. Three choices are open (`Choice`); all eight orders are made, and the one whose longest rank is
shortest is taken. The repository of the paper improves that one by integer programming for a while; this search does not. Source: arXiv 2401.10241 §3.1.
"""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

from simcost.schedules._order import FORWARD, INPUT, WEIGHT, Lengths, Op, Orders

SETTLED = 4
_LITTLE = 1e-9  # of a forward: what sums of durations may be off


class Choice(NamedTuple):
    """`ahead`: one more forward before the first input gradient, though that one then waits. `gradients_first`: a forward that would delay the next rank's gradient is left for the next round. `fill`: a weight gradient also fills a gap that is
    shorter than it, even where another rank waits longer already."""

    ahead: bool
    gradients_first: bool
    fill: bool


CHOICES = tuple(Choice(*each) for each in product((False, True), repeat=3))


def orders(ranks: int, microbatches: int, lengths: Lengths, most: int) -> Orders:
    """The best order under which no rank keeps more than `most` micro-batches. One virtual stage per rank. Of equal ones it is the first of `CHOICES`; a long step is made by the choice that is best for `SETTLED` micro-batches per rank."""
    few = min(microbatches, SETTLED * ranks)
    made = [_Step(ranks, few, lengths, float(most), choice).made() for choice in CHOICES]
    best = min(made, key=lambda one: round(one.longest / made[0].longest, 6))
    return (
        best if few == microbatches else _Step(ranks, microbatches, lengths, float(most), best.choice).made()
    ).orders


class _Step:
    """An order as it is made. By rank: `done` passes by kind, `free`: when it can run the next pass, `held`: micro-batches that it keeps, `idle`: how long it has waited since its first pass."""

    def __init__(self, ranks: int, microbatches: int, lengths: Lengths, most: float, choice: Choice) -> None:
        self.ranks, self.microbatches, self.lengths, self.most, self.choice = ranks, microbatches, lengths, most, choice
        self.time = {FORWARD: lengths.forward, INPUT: lengths.backward, WEIGHT: lengths.weight}
        self.done = {kind: [0] * ranks for kind in (FORWARD, INPUT, WEIGHT)}
        self.ends: dict[str, list[list[float]]] = {kind: [[] for _ in range(ranks)] for kind in (FORWARD, INPUT)}
        self.free, self.held, self.idle = [0.0] * ranks, [0.0] * ranks, [0.0] * ranks
        self.first = [0.0] * ranks
        self.orders: Orders = [[] for _ in range(ranks)]
        self.slack = _LITTLE * max(max(lengths.forward), max(lengths.backward), max(lengths.weight))

    @property
    def longest(self) -> float:
        """The longest time of a rank from its first pass to its last."""
        return max(free - first for free, first in zip(self.free, self.first, strict=True))

    def made(self) -> _Step:
        """The whole step."""
        self._start()
        for m in range(1, self.microbatches):
            for rank in self._forwards():
                self._forward(rank)
            for rank in reversed(range(self.ranks)):
                self._gradient(rank, m)
        for rank in range(self.ranks):
            while self.done[WEIGHT][rank] < self.microbatches:
                self._run(rank, WEIGHT)
        return self

    def _arrives(self, rank: int, kind: str, m: int) -> float:
        """When what a pass needs of its neighbour is there."""
        at = rank - 1 if kind == FORWARD else rank + 1
        return self.ends[kind][at][m] + self.lengths.hop if 0 <= at < self.ranks else 0.0

    def _run(self, rank: int, kind: str) -> None:
        m = self.done[kind][rank]
        start = self.free[rank]
        if kind != WEIGHT:
            start = max(start, self._arrives(rank, kind, m))
            self.ends[kind][rank].append(start + self.time[kind][rank])
        if self.orders[rank]:
            self.idle[rank] += start - self.free[rank]
        else:
            self.first[rank] = start
        self.free[rank] = start + self.time[kind][rank]
        self.held[rank] += self._held(rank, kind)
        self.done[kind][rank] = m + 1
        self.orders[rank].append(Op(kind, m, rank))

    def _held(self, rank: int, kind: str) -> float:
        """By how much a pass changes what its rank keeps, in micro-batches."""
        waits = self.lengths.waits[rank]
        return {FORWARD: 1.0, INPUT: waits - 1.0, WEIGHT: -waits}[kind]

    def _start(self) -> None:
        """The first forwards, and the first gradient of every rank."""
        for rank in range(self.ranks):
            self._run(rank, FORWARD)
        more = [0] * self.ranks
        gradient = self.free[-1] + self.lengths.backward[-1]
        for rank in reversed(range(self.ranks - 1)):
            arrives, at = gradient + self.lengths.hop, self.free[rank]
            forward = self.lengths.forward[rank]
            while 1 + more[rank] < self.microbatches and self.held[rank] + more[rank] + 1.0 <= self.most + _LITTLE:
                late = at >= arrives - self.slack if self.choice.ahead else at + forward > arrives + self.slack
                if late:
                    break
                at, more[rank] = at + forward, more[rank] + 1
            gradient = max(at, arrives) + self.lengths.backward[rank]
        for rank in range(1, self.ranks):  # one that runs as many as the rank before would wait for the last of them
            before = more[rank - 1]
            more[rank] = min(more[rank], before if 1 + before == self.microbatches else max(before - 1, 0))
        for rank in range(self.ranks):
            for _ in range(more[rank]):
                self._run(rank, FORWARD)
        for rank in reversed(range(self.ranks)):
            self._run(rank, INPUT)

    def _forwards(self) -> list[int]:
        """Ranks that run a forward in this round: none before a rank that runs none."""
        found: list[int] = []
        blocked = False
        for rank in reversed(range(self.ranks)):
            left = self.done[FORWARD][rank] < self.microbatches
            if left and not blocked and not self._leaves_it(rank):
                found.append(rank)
            else:
                blocked = True
        return found[::-1]

    def _leaves_it(self, rank: int) -> bool:
        """Whether the next gradient goes first: the next rank has forwards in store, and this forward would make its gradient wait on a rank that cannot afford it."""
        done = self.done
        if (
            not self.choice.gradients_first
            or rank + 1 >= self.ranks
            or done[FORWARD][rank] < done[FORWARD][rank + 1] + 2
        ):
            return False
        gradient = self.free[rank + 1] + self.time[FORWARD][rank + 1] + self.time[INPUT][rank + 1] + self.lengths.hop
        if self.free[rank] >= gradient:
            return True
        waiting = done[INPUT][rank] - done[WEIGHT][rank]
        first, room = 0, self.most - self.held[rank]
        while room + _LITTLE < 1.0 and first < waiting:
            first, room = first + 1, room + self.lengths.waits[rank]
        until = self.free[rank] + self.time[FORWARD][rank] + first * self.time[WEIGHT][rank]
        return until > gradient and gradient - self.free[rank] <= self._spare(rank)

    def _spare(self, rank: int) -> float:
        """How long a rank may wait before it is the one that has waited longest."""
        return max(self.idle) - self.idle[rank]

    def _forward(self, rank: int) -> None:
        while self.held[rank] + 1.0 > self.most + _LITTLE:
            self._run(rank, WEIGHT)
        self._fill(rank, self._arrives(rank, FORWARD, self.done[FORWARD][rank]))
        self._run(rank, FORWARD)

    def _gradient(self, rank: int, m: int) -> None:
        self._fill(rank, self._arrives(rank, INPUT, m))
        if rank == 0 and self.done[FORWARD][0] == self.microbatches:  # no rank waits for its gradients
            while self.done[WEIGHT][0] < self.done[INPUT][0]:
                self._run(0, WEIGHT)
        self._run(rank, INPUT)

    def _fill(self, rank: int, until: float) -> None:
        """Weight gradients in a gap that ends then."""
        weight, done = self.time[WEIGHT][rank], self.done
        while done[WEIGHT][rank] < done[INPUT][rank] and self.free[rank] + weight <= until + self.slack:
            self._run(rank, WEIGHT)
        gap = until - self.free[rank]
        if (
            done[WEIGHT][rank] < done[INPUT][rank]
            and gap > self.slack
            and (self.choice.fill or gap > self._spare(rank))
        ):
            self._run(rank, WEIGHT)
