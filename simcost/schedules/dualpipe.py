"""DualPipe: micro-batches enter at both ends; a rank holds two stages, one a direction, and runs a forward of one beside a backward of the other. Sources: DeepSeek-V3 (arXiv 2412.19437 §3.2.1), deepseek-ai/DualPipe."""

from __future__ import annotations

from simcost.num import Num
from simcost.schedules._dualpipe import rank_order
from simcost.schedules._order import Durations, Orders, Placement, Rule, at_least, multiple

NAME, SOURCE = "dualpipe", "arXiv 2412.19437"
SPLITS, PAIRS, PER_RANK = True, True, 1
EXACT = "exact without hops at equal durations; within 5 % where gradients take 0.7 to 1.3 of a forward, low by up to 10 % where passes differ by a factor of four"


def rules(ranks: int, microbatches: int, vpp: int) -> list[Rule]:
    """Both directions have as many micro-batches, and each fills the pipeline."""
    return [multiple("--pp", ranks, 2, "2"), multiple("--microbatches", microbatches, 2, "2"), at_least("--microbatches", microbatches, 2 * ranks)]  # fmt: skip


def placement(ranks: int, microbatches: int, vpp: int) -> Placement:
    """Stage s stands on rank s for the first half of the micro-batches, on rank pp - 1 - s for the others."""
    return Placement(ranks, lambda stage, m: stage if m < microbatches // 2 else ranks - 1 - stage)


def orders(ranks: int, microbatches: int, vpp: int) -> Orders:
    """Ranks at equal distance from the ends mirror each other."""
    found = []
    for rank in range(ranks):
        place = min(rank, ranks - 1 - rank)
        near, far = (range(half * microbatches // 2, (half + 1) * microbatches // 2) for half in ((0, 1) if rank == place else (1, 0)))  # fmt: skip
        halves = [(m, place) for m in near], [(m, ranks - 1 - place) for m in far]
        found.append(rank_order(place, ranks // 2, microbatches // 2 - ranks + place + 1, halves))
    return found


def closed_form(ranks: Num, microbatches: Num, vpp: Num, t: Durations) -> Num:
    """Makespan with a barrier. [s]"""
    apart = t.forward + t.whole - t.pair
    idle = (ranks / 2.0 - 1.0) * (t.pair + t.whole - 3.0 * t.weight)
    hops = microbatches * (ranks - 1.0) / ranks + 1.5 * (ranks - 2.0)
    return microbatches * t.pair + (ranks + 1.0) * apart + idle + hops * t.hop
