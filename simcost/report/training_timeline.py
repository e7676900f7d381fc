"""The timeline of a training step: every pass of every pipeline rank with what of it is exposed communication, waits for hops, what runs once a step, and memory over time."""

from __future__ import annotations

from collections.abc import Sequence

from simcost.report.bars import GATHERS, GRADIENTS, OPTIMIZER, Bar, Chart, Levels
from simcost.scenarios.train.exposed import Key, hop_waits, key, pass_cost
from simcost.training import memory
from simcost.training.split import PIPELINE, WIRES
from simcost.training.step import TrainStep, post_validates
from simcost.units import show

_NO_MICROBATCH = -1  # of a hop on its way


def charts(step: TrainStep) -> Sequence[Chart]:
    """One chart: bars of passes, of hops that ranks wait for, of exposed sums and gathers and of the optimizer, and the memory of every rank."""
    ranks = memory.of_ranks(step)
    worst = memory.worst(ranks)
    job = step.job
    low, high = step.interval
    title = (
        f"{job.model.name}, {job.schedule.NAME}: step {show(step.seconds, 'seconds')} ({show(low, 'seconds')} to {show(high, 'seconds')}), "
        f"{step.bubble:.1%} bubble; rank {worst.rank} needs {show(worst.used, 'memory')} of {show(worst.capacity, 'memory')}"
    )
    levels = [_levels(step, one) for one in ranks]
    holds = ["; ".join(step.chunks[stage].stage.name for stage in one.stages) for one in ranks]
    bars = [*_passes(step), *_hops(step), *_once(step)]
    return (Chart(job.model.name, title, bars, step.timeline.ranks, levels, holds, worst.capacity),)


def _passes(step: TrainStep) -> list[Bar]:
    exposed: dict[Key, tuple[tuple[str, float], ...]] = {}
    bars = []
    for rank, op, start, end, _, _ in step.timeline.runs:
        of = key(op)
        if of not in exposed:
            kinds = pass_cost(step, of).by_kind
            exposed[of] = tuple((name, float(kinds[name])) for name in WIRES if float(kinds.get(name, 0.0)) > 0.0)
        half = 0 if op.beside is None else 1
        bars.append(Bar(rank, op.kind, op.microbatch, op.stage, start, end, half, exposed[of]))
        if op.beside is not None:
            bars.append(Bar(rank, "BW", *op.beside, start, end, 2, exposed[of]))
    return bars


def _hops(step: TrainStep) -> list[Bar]:
    return [
        Bar(rank, PIPELINE, _NO_MICROBATCH, 0, start, end)
        for rank in range(step.timeline.ranks)
        for start, end in hop_waits(step, rank)
    ]


def _once(step: TrainStep) -> list[Bar]:
    """What outlasts the passes, one after the other: behind the last rank's passes, or each rank's own where no barrier ends the step. Gathers of weights stand at the end, where they meet the next step's first pass."""
    after = (GRADIENTS, step.exposed_gradients), (OPTIMIZER, step.update), (GATHERS, step.exposed_weights)
    bars = []
    for rank in range(step.timeline.ranks):
        at = max(run.end for run in step.timeline.of_rank(rank)) if post_validates(step.job) else step.timeline.end_s
        for kind, cost in after:
            if (seconds := float(cost.seconds)) > 0.0:
                bars.append(Bar(rank, kind, 0, 0, at, at + seconds))
            at += seconds
    return bars


def _levels(step: TrainStep, one: memory.Memory) -> Levels:
    """Memory of a rank; at its peak what the answer says."""
    state = float(one.state.total)
    by_time = dict(memory.curve(step.timeline, one.rank, step.chunks))  # of one time the last level holds
    return Levels(state, one.used - state - one.activations, tuple(by_time.items()))
