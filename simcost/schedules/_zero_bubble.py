"""The order of the two hand-made zero-bubble schedules: 1F1B with more forwards ahead, and weight gradients that wait."""

from __future__ import annotations

from simcost.schedules._order import FORWARD, INPUT, WEIGHT, Op


def rank_order(rank: int, ahead: int, waits: int, microbatches: int) -> list[Op]:
    """`ahead` forwards; then the input gradient of each micro-batch, the weight gradient of the one `waits` before it, and the next forward."""
    ahead = min(ahead, microbatches)
    found = [Op(FORWARD, m, rank) for m in range(ahead)]
    for m in range(microbatches):
        found.append(Op(INPUT, m, rank))
        if m >= waits:
            found.append(Op(WEIGHT, m - waits, rank))
        if ahead + m < microbatches:
            found.append(Op(FORWARD, ahead + m, rank))
    return found + [Op(WEIGHT, m, rank) for m in range(max(microbatches - waits, 0), microbatches)]
