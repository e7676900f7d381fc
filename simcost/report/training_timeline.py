"""The timeline of a training step: every pass of every pipeline rank, then what runs once a step."""

from __future__ import annotations

from collections.abc import Sequence

from simcost.report.timeline import Bar, Chart
from simcost.training.step import TrainStep


def charts(step: TrainStep) -> Sequence[Chart]:
    """One chart: bars of passes, of exposed sums and gathers, and of the optimizer."""
    bars = []
    for rank, op, start, end, _, _ in step.timeline.runs:
        bars.append(Bar(rank, op.kind, op.microbatch, op.stage, start, end, 0 if op.beside is None else 1))
        if op.beside is not None:
            bars.append(Bar(rank, "BW", *op.beside, start, end, 2))
    at = step.timeline.end_s
    for kind, cost in (("G", step.exposed_gradients), ("O", step.update), ("A", step.exposed_weights)):
        seconds = float(cost.seconds)
        bars += [Bar(rank, kind, 0, 0, at, at + seconds) for rank in range(step.timeline.ranks) if seconds > 0.0]
        at += seconds
    title = f"{step.job.model.name}, {step.job.schedule.NAME}: step {step.seconds:.4g} s, {step.bubble:.1%} idle"
    return (Chart(step.job.model.name, title, bars, step.timeline.ranks),)
