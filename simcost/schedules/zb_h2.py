"""ZB-H2: twice as many micro-batches in flight, and no bubble at equal durations if no barrier ends the step. Source: arXiv 2401.10241."""

from __future__ import annotations

from simcost.num import Num, maximum
from simcost.schedules._order import Durations, Orders, no_rules, straight
from simcost.schedules._zero_bubble import rank_order

NAME, SOURCE = "zb-h2", "arXiv 2401.10241"
SPLITS, PAIRS, PER_RANK = True, False, 1
EXACT = "exact without hops from 3·pp micro-batches on; with hops up to a tenth of a forward it is high by up to 1.3 %"
rules, placement = no_rules, straight


def orders(ranks: int, microbatches: int, vpp: int) -> Orders:
    """2(pp - rank) - 1 forwards ahead; weight gradients wait twice as many micro-batches as there are ranks before."""
    return [rank_order(rank, 2 * (ranks - rank) - 1, 2 * rank, microbatches) for rank in range(ranks)]


def closed_form(ranks: Num, microbatches: Num, vpp: Num, t: Durations) -> Num:
    """Makespan with a barrier. [s]"""
    idle = maximum(maximum(t.forward, t.forward + t.backward - 2.0 * t.weight), t.backward - t.forward)
    return microbatches * (t.forward + t.whole) + (ranks - 1.0) * (idle + 2.0 * t.hop)
