"""1F1B: a rank runs as many forwards as there are ranks behind it, then a forward and a backward in turn. Sources: PipeDream-Flush (arXiv 2006.09503), Megatron-LM (arXiv 2104.04473)."""

from __future__ import annotations

from simcost.num import Num
from simcost.schedules._order import BACKWARD, FORWARD, Durations, Op, Orders, no_rules, straight

NAME, SOURCE = "1f1b", "arXiv 2104.04473"
SPLITS, PAIRS, PER_RANK = False, False, 1
EXACT = "exact without hops, and with them where pp divides the micro-batches"
rules, placement = no_rules, straight


def orders(ranks: int, microbatches: int, vpp: int) -> Orders:
    """Warm-up, steady state, and the backwards that are left."""
    return [_rank(rank, min(ranks - rank, microbatches), microbatches) for rank in range(ranks)]


def _rank(rank: int, ahead: int, microbatches: int) -> list[Op]:
    found = [Op(FORWARD, m, rank) for m in range(ahead)]
    for m in range(microbatches):
        found.append(Op(BACKWARD, m, rank))
        if ahead + m < microbatches:
            found.append(Op(FORWARD, ahead + m, rank))
    return found


def closed_form(ranks: Num, microbatches: Num, vpp: Num, t: Durations) -> Num:
    """Makespan with a barrier: a round trip of hops is exposed every `ranks` micro-batches. [s]"""
    hops = (ranks > 1.0) * (2.0 * (ranks - 1.0) * microbatches / ranks + 2.0 * (ranks - 2.0))
    return (microbatches + ranks - 1.0) * (t.forward + t.whole) + hops * t.hop
