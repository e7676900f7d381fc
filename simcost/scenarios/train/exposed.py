"""What of a training step is communication that nothing hides: of each pass, of waits between passes, and once a step.

Where in a pass its exchanges lie is not known: they are a part of it. Most likely to be wrong: a wait for a hop counts as the hop as far as that lasts, whatever else is late. Source: docs/theory/training-step.md.
"""

from __future__ import annotations

from simcost.makespan import PAIR, Run
from simcost.schedules._order import BACKWARD, FORWARD, INPUT, WEIGHT, Op
from simcost.training.chunks import BOTH, pair
from simcost.training.chunks import FORWARD as OF_FORWARD
from simcost.training.chunks import INPUT as OF_INPUT
from simcost.training.chunks import WEIGHT as OF_WEIGHT
from simcost.training.split import Split
from simcost.training.step import TrainStep

_PASSES = {FORWARD: OF_FORWARD, INPUT: OF_INPUT, WEIGHT: OF_WEIGHT, BACKWARD: BOTH}
# (kind, stage, stage of the backward beside it or -1), as `Timeline.critical_path` counts passes
Key = tuple[str, int, int]


def key(op: Op) -> Key:
    """What passes of one cost have in common."""
    return (op.kind, op.stage, -1) if op.beside is None else (PAIR, op.stage, op.beside[1])


def pass_cost(step: TrainStep, of: Key) -> Split:
    """A pass with its kinds of work, and the hop that occupies its rank where hops block."""
    kind, stage, behind = of
    if kind == PAIR:
        return pair(step.chunks[stage], step.chunks[behind], float(step.job.device.multiprocessors))
    cost = step.chunks[stage].costs[_PASSES[kind]]
    return cost + step.hop if blocks(step) and kind in (FORWARD, BACKWARD) else cost


def blocks(step: TrainStep) -> bool:
    """Whether hops occupy the rank that sends."""
    return not (step.job.stack.flags["p2p_overlap"] or step.job.schedule.SPLITS)


def hop_waits(step: TrainStep, rank: int) -> list[tuple[float, float]]:
    """(start, end) of what a rank waits for hops on their way, where hops occupy no rank. [s]"""
    if blocks(step):
        return []
    found, free = [], 0.0
    for run in step.timeline.of_rank(rank):
        hop = _hop(step, run)
        if hop > 0.0 and run.start > free:
            found.append((max(free, run.start - hop), run.start))
        free = run.end
    return found


def _hop(step: TrainStep, run: Run) -> float:
    return float(step.hop.seconds) if run.hop else 0.0
