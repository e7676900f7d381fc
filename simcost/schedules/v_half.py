"""V-Half: two virtual stages per rank as ZB-V, in a pattern that keeps half of what 1F1B keeps on its first rank. Source: arXiv 2405.15362 (the pattern's offsets); the warm-up and the end are packed here.

Every micro-batch repeats one pattern of four passes a rank six slots later; the two slots that stay free take weight gradients. Most likely to be wrong: implementations pack the ends of a step otherwise.
"""

from __future__ import annotations

from functools import cache

from simcost.num import Num, maximum, where
from simcost.schedules._order import FORWARD, INPUT, WEIGHT, Durations, Op, Orders, folded, no_rules

NAME, SOURCE = "v-half", "arXiv 2405.15362"
SPLITS, PAIRS, PER_RANK = True, False, 2
EXACT = "exact without hops at equal durations; within 5 % where gradients take 0.7 to 1.3 of a forward; where passes differ by a factor of four bubbles repeat, and it is low by up to 20 %"
_PERIOD = 6  # slots between two micro-batches: four passes and two weight gradients
rules, placement = no_rules, folded


@cache
def orders(ranks: int, microbatches: int, vpp: int) -> Orders:
    """The ops of each rank by their slots."""
    grid = _Grid(ranks, microbatches)
    grid.pack(microbatches)
    return [[op for _, op in sorted((slot, op) for slot, op in rank.items())] for rank in grid.taken]


def _offsets(rank: int, ranks: int) -> tuple[int, int, int, int]:
    """Slots of the first micro-batch: forward through both stages, then back through both."""
    gap = 3 if ranks % 2 == 0 else 0
    return 2 * rank, 3 * ranks - rank - 2, 3 * ranks + gap + 2 * rank - 1, 6 * ranks + gap - rank - 2


class _Grid:
    """Slots of equal length on every rank: `taken` slot -> op, and back; `held`: chunks that wait for their weight gradient, by slot."""

    def __init__(self, ranks: int, microbatches: int) -> None:
        self.ranks = ranks
        self.taken: list[dict[int, Op]] = []
        self.slot: dict[Op, int] = {}
        self.held: list[list[int]] = []
        for rank in range(ranks):
            self._fill(rank, microbatches)
        self.most = [max(held) for held in self.held]

    def _fill(self, rank: int, microbatches: int) -> None:
        stages = (rank, 2 * self.ranks - 1 - rank)
        passes = ((FORWARD, stages[0]), (FORWARD, stages[1]), (INPUT, stages[1]), (INPUT, stages[0]))
        taken = {
            first + _PERIOD * m: Op(kind, m, stage)
            for (kind, stage), first in zip(passes, _offsets(rank, self.ranks), strict=True)
            for m in range(microbatches)
        }
        waiting: list[Op] = []
        slot = 0
        last = max(taken)
        while slot <= last or waiting:
            op = taken.get(slot)
            if op is None and waiting:
                taken[slot] = waiting.pop(0)
            elif op is not None and op.kind == INPUT:
                waiting.append(Op(WEIGHT, op.microbatch, op.stage))
            slot += 1
        self.taken.append(taken)
        self.slot |= {op: at for at, op in taken.items()}
        held, count = [0] * slot, 0
        for at in range(slot):
            op = taken.get(at)
            count += 0 if op is None or op.kind == INPUT else 1 if op.kind == FORWARD else -1
            held[at] = count
        self.held.append(held)

    def pack(self, microbatches: int) -> None:
        """Moves ops of the warm-up and of the end, in order of time, to the earliest free slot behind what they need, while a rank keeps no more than the pattern does. Between them the pattern stands: moved
        ops would wait for each other at unequal durations."""
        steady = range(self.slot[Op(INPUT, 0, 0)], self.slot[Op(FORWARD, microbatches - 1, 0)])
        for op, slot in sorted(self.slot.items(), key=lambda each: each[1]):
            if slot in steady:
                continue
            rank = op.stage if op.stage < self.ranks else 2 * self.ranks - 1 - op.stage
            first = max((self.slot[each] + 1 for each in self._needs(op) if each in self.slot), default=0)
            for free in range(first, slot):
                if free not in self.taken[rank] and self._moves(rank, op, free, slot):
                    break

    def _needs(self, op: Op) -> tuple[Op, ...]:
        kind, microbatch, stage, _ = op
        before = Op(kind, microbatch - 1, stage)
        if kind == FORWARD:
            return before, Op(FORWARD, microbatch, stage - 1)
        if kind == INPUT:
            return before, Op(FORWARD, microbatch, stage), Op(INPUT, microbatch, stage + 1)
        return before, Op(INPUT, microbatch, stage)

    def _moves(self, rank: int, op: Op, to: int, slot: int) -> bool:
        more = {FORWARD: 1, INPUT: 0, WEIGHT: -1}[op.kind]
        held = self.held[rank]
        if more > 0 and max(held[to:slot]) >= self.most[rank]:
            return False
        for at in range(to, slot):
            held[at] += more
        del self.taken[rank][slot]
        self.taken[rank][to] = op
        self.slot[op] = to
        return True


def closed_form(ranks: Num, microbatches: Num, vpp: Num, t: Durations) -> Num:
    """Makespan with a barrier; durations are of one virtual stage. The idle slots of the pattern's warm-up and end, each as long as the longest of the passes on its chains. [s]"""
    even = where(ranks % 2.0 == 0.0, 3.5 * ranks - 5.0, 3.5 * (ranks - 1.0))
    slot = maximum(maximum(t.forward, t.backward), (t.forward + t.whole) / 3.0)
    return 2.0 * microbatches * (t.forward + t.whole) + (ranks > 1.0) * (even * slot + 4.0 * (ranks - 1.0) * t.hop)
