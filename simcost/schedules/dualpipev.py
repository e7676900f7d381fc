"""DualPipeV: DualPipe cut in half, with one direction: two virtual stages per rank, down the ranks and up again. Source: deepseek-ai/DualPipe `dualpipev.py`."""

from __future__ import annotations

from simcost.num import Num
from simcost.schedules._dualpipe import rank_order
from simcost.schedules._order import Durations, Orders, Rule, at_least, folded

NAME, SOURCE = "dualpipev", "deepseek-ai/DualPipe dualpipev.py"
SPLITS, PAIRS, PER_RANK = True, True, 2
EXACT = "exact without hops at equal durations; within 5 % where gradients take 0.7 to 1.3 of a forward, low by up to 10 % where passes differ by a factor of four"
placement = folded


def rules(ranks: int, microbatches: int, vpp: int) -> list[Rule]:
    """Micro-batches fill the pipeline."""
    return [at_least("--microbatches", microbatches, 2 * ranks)]


def orders(ranks: int, microbatches: int, vpp: int) -> Orders:
    """As DualPipe's on one half of its ranks."""
    found = []
    for rank in range(ranks):
        halves = [(m, rank) for m in range(microbatches)], [(m, 2 * ranks - 1 - rank) for m in range(microbatches)]
        found.append(rank_order(rank, ranks, microbatches - 2 * ranks + rank + 1, halves))
    return found


def closed_form(ranks: Num, microbatches: Num, vpp: Num, t: Durations) -> Num:
    """Makespan with a barrier; durations are of one virtual stage. [s]"""
    apart = t.forward + t.whole - t.pair
    idle = (ranks - 1.0) * (t.pair + t.whole - 3.0 * t.weight)
    hops = 2.0 * (ranks - 1.0) * microbatches / ranks + 2.0 * (ranks - 2.0)
    return 2.0 * microbatches * t.pair + (2.0 * ranks + 1.0) * apart + idle + hops * t.hop
