"""ZB-H1: as many micro-batches in flight as 1F1B on its first rank, on all ranks; weight gradients fill what would be idle. Source: arXiv 2401.10241."""

from __future__ import annotations

from simcost.num import Num, maximum
from simcost.schedules._order import Durations, Orders, no_rules, straight
from simcost.schedules._zero_bubble import rank_order

NAME, SOURCE = "zb-h1", "arXiv 2401.10241"
SPLITS, PAIRS, PER_RANK = True, False, 1
EXACT = "exact without hops from 3·pp micro-batches on; with hops up to a tenth of a forward it is high by up to 1.3 %"
rules, placement = no_rules, straight


def orders(ranks: int, microbatches: int, vpp: int) -> Orders:
    """A rank's weight gradients wait as many micro-batches as there are ranks before it."""
    return [rank_order(rank, ranks - rank, rank, microbatches) for rank in range(ranks)]


def closed_form(ranks: Num, microbatches: Num, vpp: Num, t: Durations) -> Num:
    """Makespan with a barrier. [s]"""
    idle = maximum(maximum(t.forward + t.backward - t.weight, t.forward), t.backward)
    return microbatches * (t.forward + t.whole) + (ranks - 1.0) * (idle + 4.0 * t.hop)
