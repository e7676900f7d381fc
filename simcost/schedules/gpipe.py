"""GPipe: all forwards, then all backwards. Source: arXiv 1811.06965."""

from __future__ import annotations

from simcost.num import Num
from simcost.schedules._order import BACKWARD, FORWARD, Durations, Op, Orders, no_rules, straight

NAME, SOURCE = "gpipe", "arXiv 1811.06965"
SPLITS, PAIRS, PER_RANK = False, False, 1
EXACT = "exact"
rules, placement = no_rules, straight


def orders(ranks: int, microbatches: int, vpp: int) -> Orders:
    """The same on every rank but for its stage."""
    kinds = (FORWARD, BACKWARD)
    return [[Op(kind, m, rank) for kind in kinds for m in range(microbatches)] for rank in range(ranks)]


def closed_form(ranks: Num, microbatches: Num, vpp: Num, t: Durations) -> Num:
    """Makespan with a barrier. [s]"""
    return (microbatches + ranks - 1.0) * (t.forward + t.whole) + 2.0 * (ranks - 1.0) * t.hop
