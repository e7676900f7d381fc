"""ZB-1p: the order is searched for the durations of the step; a rank keeps at most as many micro-batches as there are ranks, the memory of 1F1B's first rank. Source: arXiv 2401.10241."""

from __future__ import annotations

from simcost.schedules import _searched, zb_h1
from simcost.schedules._order import Lengths, Orders, no_rules, straight

NAME, SOURCE = "zb-1p", "arXiv 2401.10241"
SPLITS, PAIRS, PER_RANK, SEARCHED = True, False, 1, True
EXACT = "exact without hops at equal durations from 3·pp micro-batches on; low by up to 3.5 % elsewhere"
rules, placement, closed_form = no_rules, straight, zb_h1.closed_form


def orders(ranks: int, microbatches: int, vpp: int, lengths: Lengths) -> Orders:
    """The best order that the search finds."""
    return _searched.orders(ranks, microbatches, lengths, ranks)
