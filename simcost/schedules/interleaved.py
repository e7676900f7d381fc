"""Interleaved 1F1B: every rank holds `vpp` virtual stages, `pp` apart, and takes micro-batches in groups of `pp`. Source: Megatron-LM (arXiv 2104.04473), `pipeline_parallel/schedules.py`."""

from __future__ import annotations

from simcost.num import Num
from simcost.schedules._order import BACKWARD, FORWARD, Durations, Op, Orders, Placement, Rule, at_least, multiple

NAME, SOURCE = "interleaved", "arXiv 2104.04473"
SPLITS, PAIRS, PER_RANK = False, False, None
EXACT = "exact without hops; with hops up to a tenth of a forward it is high by up to 1.3 %"


def rules(ranks: int, microbatches: int, vpp: int) -> list[Rule]:
    """Groups of `pp` micro-batches are whole."""
    return [multiple("--microbatches", microbatches, ranks, f"pp = {ranks}"), at_least("--vpp", vpp, 2)]


def placement(ranks: int, microbatches: int, vpp: int) -> Placement:
    """Virtual stages go round the ranks."""
    return Placement(ranks * vpp, lambda stage, _: stage % ranks)


def orders(ranks: int, microbatches: int, vpp: int) -> Orders:
    """Warm-up of 2(pp - 1 - rank) + (vpp - 1)·pp forwards and one more, then a backward and a forward in turn."""
    total = microbatches * vpp
    found = []
    for rank in range(ranks):
        forwards = [_nth(k, rank, ranks, vpp, FORWARD) for k in range(total)]
        backwards = [_nth(k, rank, ranks, vpp, BACKWARD) for k in range(total)]
        ahead = min(2 * (ranks - 1 - rank) + (vpp - 1) * ranks + 1, total)
        ops = forwards[:ahead]
        for k, op in enumerate(backwards):
            ops.append(op)
            ops += forwards[ahead + k : ahead + k + 1]
        found.append(ops)
    return found


def _nth(k: int, rank: int, ranks: int, vpp: int, kind: str) -> Op:
    """The k-th forward, or backward, of a rank: `pp` micro-batches through one virtual stage, then through the next."""
    group, at = divmod(k, ranks * vpp)
    chunk, microbatch = divmod(at, ranks)
    chunk = chunk if kind == FORWARD else vpp - 1 - chunk
    return Op(kind, group * ranks + microbatch, chunk * ranks + rank)


def closed_form(ranks: Num, microbatches: Num, vpp: Num, t: Durations) -> Num:
    """Makespan with a barrier; durations are of one virtual stage. [s]"""
    return (microbatches * vpp + ranks - 1.0) * (t.forward + t.whole) + 2.0 * (ranks * vpp - 1.0) * t.hop
