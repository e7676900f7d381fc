"""The Gantt picture of a step of reinforcement learning: a row a pool of GPUs, a colour a phase."""

from __future__ import annotations

from collections.abc import Sequence

from simcost.learning import phases
from simcost.report.bars import Bar, Chart
from simcost.scenarios.rl.step import Step

# Okabe and Ito, Color Universal Design (2008), and two of Tol's.
KINDS = {
    phases.GENERATE: ("#56B4E9", "rollout"), phases.REWARD: ("#CC79A7", "reward"), phases.HOST: ("#999999", "host"), phases.OFFLOAD: ("#F0E442", "states to the host and back"),
    phases.OLD: ("#009E73", "old log-probs"), phases.REFERENCE: ("#44AA99", "reference"), phases.CRITIC: ("#882255", "critic"),
    phases.ADVANTAGE: ("#000000", "advantage"), phases.UPDATE: ("#E69F00", "update"), phases.SYNC: ("#0072B2", "weight sync"), phases.REPLAY: ("#AA4499", "routing masks"),
}  # fmt: skip


def charts(step: Step) -> Sequence[Chart]:
    """One chart: a row a pool; what all GPUs do stands in the row of each."""
    pools = [phases.ALL] if step.asked.colocated else [phases.ROLLOUT, phases.TRAINER]
    if any(one.phase.pool == phases.CPU for one in step.timeline.placed):
        pools.append(phases.CPU)
    bars = [
        Bar(row, one.phase.name, -1, 0, one.start, one.end)
        for one in step.timeline.placed
        for row, pool in enumerate(pools)
        if one.phase.pool == pool or (one.phase.pool == phases.ALL and pool != phases.CPU)
    ]
    said = "a rollout and its steps" if step.rounds > 1 else "a step"
    name = str(step.sides.trainer.job.model.name)
    title = f"{name}, {step.asked.gpus:,} {step.asked.hw}: {said}, {step.timeline.seconds:.4g} s"
    return [Chart(name, title, bars, len(pools), kinds=KINDS, rows=tuple(pools))]
