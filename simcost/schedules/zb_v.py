"""ZB-V: two virtual stages per rank, down the ranks and up again, so that the first rank also holds the last stage: the memory of 1F1B, and no bubble at equal durations. Sources: arXiv 2401.10241,
PyTorch `distributed/pipelining/schedules.py` (ScheduleZBVZeroBubble)."""

from __future__ import annotations

from simcost.num import Num, maximum
from simcost.schedules._order import FORWARD, INPUT, WEIGHT, Durations, Op, Orders, folded, no_rules

NAME, SOURCE = "zb-v", "arXiv 2401.10241"
SPLITS, PAIRS, PER_RANK = True, False, 2
EXACT = "exact without hops at equal durations from 3·pp micro-batches on; within 2 % where gradients take 0.7 to 1.3 of a forward, within 6 % where passes differ by a factor of four"
rules, placement = no_rules, folded


def orders(ranks: int, microbatches: int, vpp: int) -> Orders:
    """That of at least 2·pp - 1 micro-batches, without those that there are not."""
    many = max(microbatches, 2 * ranks - 1)
    return [[op for op in _rank(rank, ranks, many) if op.microbatch < microbatches] for rank in range(ranks)]


def _rank(rank: int, ranks: int, microbatches: int) -> list[Op]:
    run = _Counter((rank, 2 * ranks - 1 - rank))
    for _ in range(2 * (ranks - rank) - 1):
        run.add(FORWARD, 0)
    for _ in range(rank):
        run.add(FORWARD, 1).add(FORWARD, 0)
    for _ in range(ranks - rank):
        run.add(FORWARD, 1).add(INPUT, 1).add(WEIGHT, 1)
    while run.done[FORWARD, 1] < run.done[FORWARD, 0] or run.done[FORWARD, 0] < microbatches:
        if run.done[FORWARD, 0] < microbatches:
            run.add(FORWARD, 0)
        run.add(INPUT, 0).add(WEIGHT, 0).add(FORWARD, 1).add(INPUT, 1).add(WEIGHT, 1)
    for _ in range(rank):
        run.add(INPUT, 0).add(INPUT, 1)
    for _ in range(ranks - rank):
        run.add(INPUT, 0).add(WEIGHT, 0)
    for half in (1, 0):
        while run.done[WEIGHT, half] < run.done[INPUT, half]:
            run.add(WEIGHT, half)
    return run.ops


class _Counter:
    """Ops of one rank, each of the next micro-batch of its kind and half."""

    def __init__(self, stages: tuple[int, int]) -> None:
        self.stages, self.ops = stages, list[Op]()
        self.done = {(kind, half): 0 for kind in (FORWARD, INPUT, WEIGHT) for half in (0, 1)}

    def add(self, kind: str, half: int) -> _Counter:
        self.ops.append(Op(kind, self.done[kind, half], self.stages[half]))
        self.done[kind, half] += 1
        return self


def closed_form(ranks: Num, microbatches: Num, vpp: Num, t: Durations) -> Num:
    """Makespan with a barrier; durations are of one virtual stage. [s]"""
    idle = maximum(t.forward, t.forward + t.backward - t.weight)
    return 2.0 * microbatches * (t.forward + t.whole) + (ranks - 1.0) * idle + (5.0 * ranks - 7.0) * t.hop
