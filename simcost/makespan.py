"""One executor for all schedules: when every op starts and ends, what the last one waited for, and what a rank keeps meanwhile.

A rank runs its ops in order, each as soon as what it needs is there: the stage before for a forward, the stage behind for a backward, its own forward and input gradient. An edge between two ranks takes a hop,
which occupies neither. Most likely to be wrong: transfers that share a link with other traffic. Source: docs/theory/schedules.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from simcost.errors import SpecError
from simcost.frozen import frozen
from simcost.schedules._order import BACKWARD, FORWARD, INPUT, WEIGHT, Op, Orders, Placement

PAIR = "F+BW"  # a forward and a whole backward together


@frozen
class Times:
    """Durations by virtual stage. [s] `pair`: of a forward and a whole backward together, or a function of both stages; None: one after the other. `whole`: of both gradients together; None: their sum."""

    forward: Sequence[float]
    backward: Sequence[float]
    weight: Sequence[float]
    pair: float | Callable[[int, int], float] | None = None
    hop: float = 0.0
    whole: Sequence[float] | None = None

    def of(self, op: Op) -> float:
        """How long an op occupies its rank."""
        f, b, w = self.forward, self.backward, self.weight
        if op.beside is not None:
            behind = op.beside[1]
            if callable(self.pair):
                return self.pair(op.stage, behind)
            return f[op.stage] + b[behind] + w[behind] if self.pair is None else self.pair
        if op.kind == BACKWARD:
            return b[op.stage] + w[op.stage] if self.whole is None else self.whole[op.stage]
        return {FORWARD: f, INPUT: b, WEIGHT: w}[op.kind][op.stage]


class Run(NamedTuple):
    """An op as it ran. [s] `after`: the op that it waited for last, by its place among all; None at the start. `hop`: whether that came over a hop."""

    rank: int
    op: Op
    start: float
    end: float
    after: int | None
    hop: bool


@frozen
class Timeline:
    """All ops as they ran, in an order in which each stands behind what it needs. `ranks`, `stages`: how many."""

    runs: tuple[Run, ...]
    ranks: int
    stages: int

    def of_rank(self, rank: int) -> list[Run]:
        """Those of one rank, in order."""
        return [run for run in self.runs if run.rank == rank]

    def by_rank(self) -> list[list[Run]]:
        """Those of every rank, in order."""
        found: list[list[Run]] = [[] for _ in range(self.ranks)]
        for run in self.runs:
            found[run.rank].append(run)
        return found

    @property
    def end_s(self) -> float:
        """When the last op ends. [s]"""
        return max(run.end for run in self.runs)

    def busy_s(self) -> list[float]:
        """Occupied time of each rank. [s]"""
        found = [0.0] * self.ranks
        for run in self.runs:
            found[run.rank] += run.end - run.start
        return found

    def span_s(self) -> list[float]:
        """From the start of a rank's first op to the end of its last. [s]"""
        first, last = [float("inf")] * self.ranks, [0.0] * self.ranks
        for run in self.runs:
            first[run.rank] = min(first[run.rank], run.start)
            last[run.rank] = max(last[run.rank], run.end)
        return [end - start for start, end in zip(first, last, strict=True)]

    def critical_path(self) -> tuple[Counter[tuple[str, int, int]], int]:
        """What the last op waited for, back to the start: (kind, stage, stage of the backward beside it or -1) -> how often, and hops. Their times add up to `end_s`."""
        at: int | None = max(range(len(self.runs)), key=lambda i: self.runs[i].end)
        counts: Counter[tuple[str, int, int]] = Counter()
        hops = 0
        while at is not None:
            run = self.runs[at]
            beside = run.op.beside
            counts[(run.op.kind, run.op.stage, -1) if beside is None else (PAIR, run.op.stage, beside[1])] += 1
            hops += run.hop
            at = run.after
        return counts, hops

    def live(self, to_weight: bool = False) -> list[list[tuple[float, int]]]:
        """(time, chunks that a rank keeps from then on), by rank: micro-batches of one virtual stage, from the start of their forward to the end of their input gradient, or with `to_weight` of their weight
        gradient."""
        ends = (BACKWARD, WEIGHT) if to_weight else (BACKWARD, INPUT)
        events: list[list[tuple[float, int]]] = [[] for _ in range(self.ranks)]
        for run in self.runs:
            if run.op.kind == FORWARD:
                events[run.rank].append((run.start, 1))
            if run.op.kind in ends or run.op.beside is not None:
                events[run.rank].append((run.end, -1))
        found = []
        for rank in events:
            kept, curve = 0, []
            for time, step in sorted(rank):  # what ends makes room for what starts at the same time
                kept += step
                curve.append((time, kept))
            found.append(curve)
        return found

    def peaks(self, to_weight: bool = False) -> list[int]:
        """The most chunks that each rank keeps."""
        return [max((kept for _, kept in curve), default=0) for curve in self.live(to_weight)]


Key = tuple[str, int, int]  # (FORWARD or INPUT, stage, micro-batch): an activation, or the gradient of one


def run(orders: Orders, placement: Placement, times: Times) -> Timeline:
    """The timeline of a schedule. Raises SpecError where ranks wait for each other."""
    executor = _Executor(orders, placement, times)
    awake = list(range(len(orders)))
    while awake:
        awake += executor.advance(awake.pop())
    executor.check()
    return Timeline(tuple(executor.runs), len(orders), placement.stages)


class _Executor:
    def __init__(self, orders: Orders, placement: Placement, times: Times) -> None:
        self.orders, self.stages, self.times = orders, placement.stages, times
        self.runs: list[Run] = []
        self.made: dict[Key, int] = {}  # -> place in runs
        self.at = [0] * len(orders)
        self.last: list[int | None] = [None] * len(orders)
        self.asleep: dict[Key, list[int]] = {}
        self.known: dict[tuple[str, int, int], float] = {}  # durations

    def advance(self, rank: int) -> list[int]:
        """Runs a rank until something is missing; ranks that can go on then."""
        awake: list[int] = []
        order, runs, made, hop = self.orders[rank], self.runs, self.made, self.times.hop
        own = self.last[rank]
        free = 0.0 if own is None else runs[own].end
        for at in range(self.at[rank], len(order)):
            op = order[at]
            start, after, came = free, own, False
            for key in self._needs(op):
                place = made.get(key)
                if place is None:
                    self.asleep.setdefault(key, []).append(rank)
                    self.at[rank], self.last[rank] = at, own
                    return awake
                source = runs[place]
                away = source.rank != rank
                ready = source.end + hop if away else source.end
                if ready > start or after is None:
                    start, after, came = ready, place, away
            own, free = len(runs), start + self._duration(op)
            runs.append(Run(rank, op, start, free, after, came))
            for key in _makes(op):
                made[key] = own
                if key in self.asleep:
                    awake += self.asleep.pop(key)
        self.at[rank] = len(order)
        return awake

    def _duration(self, op: Op) -> float:
        key = op.kind, op.stage, -1 if op.beside is None else op.beside[1]
        found = self.known.get(key)
        if found is None:
            found = self.known[key] = self.times.of(op)
        return found

    def _needs(self, op: Op) -> list[Key]:
        kind, m, stage, beside = op
        if kind == WEIGHT:
            return [(INPUT, stage, m)]
        if kind == FORWARD:
            found: list[Key] = [(FORWARD, stage - 1, m)] if stage else []
            return found if beside is None else found + self._behind(*beside)
        return self._behind(m, stage)

    def _behind(self, m: int, stage: int) -> list[Key]:
        """What a backward needs: its own forward, and the gradient from the stage behind."""
        own = FORWARD, stage, m
        return [own, (INPUT, stage + 1, m)] if stage + 1 < self.stages else [own]

    def check(self) -> None:
        """Raises SpecError for ops that never ran."""
        stuck = [(rank, order[at]) for rank, (order, at) in enumerate(zip(self.orders, self.at, strict=True)) if at < len(order)]  # fmt: skip
        if stuck:
            said = ", ".join(f"rank {rank} at {op.kind} of micro-batch {op.microbatch} in stage {op.stage}" for rank, op in stuck[:4])  # fmt: skip
            raise SpecError(f"the schedule cannot run: ranks wait for each other ({said})")


def _makes(op: Op) -> list[Key]:
    kind, m, stage, beside = op
    found: list[Key] = [] if kind == WEIGHT else [(FORWARD if kind == FORWARD else INPUT, stage, m)]
    return found if beside is None else [*found, (INPUT, beside[1], beside[0])]
