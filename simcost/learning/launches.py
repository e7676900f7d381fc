"""How many kernels a host launches one after the other in a training step, and in forward passes alone: those of what the
last pass waited for.

Kernels are those that simcost prices, of which a framework in eager mode launches several for many. Most likely to be
wrong: mixtures of experts, whose permutations are many small kernels. Source: docs/theory/rl-step.md.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from simcost.makespan import PAIR
from simcost.passes.eager import EAGER
from simcost.program import Call, Choice, Program, Serial
from simcost.schedules._order import BACKWARD
from simcost.schedules._order import FORWARD as F
from simcost.schedules._order import INPUT as B
from simcost.schedules._order import WEIGHT as W
from simcost.training.chunks import BOTH, FORWARD, INPUT, WEIGHT, Chunk, Part
from simcost.training.job import Job
from simcost.training.step import TrainStep, stages_of_ranks

_PASSES = {F: FORWARD, B: INPUT, W: WEIGHT, BACKWARD: BOTH}
Launches = dict[str, float]  # kernels of a micro-batch by pass


def of_chunk(job: Job, one: Chunk, parts: Mapping[str, Part]) -> Launches:
    """Kernels of a virtual stage, whole layers that run again counted."""
    found = dict.fromkeys((FORWARD, INPUT, WEIGHT, BOTH), 0.0)
    layers = sum(one.stage.layers)
    again = job.how.recompute.layers(float(layers))
    for key, count in one.stage.held:
        p = parts[key].programs
        for name, program in ((FORWARD, p.forward), (INPUT, p.input), (WEIGHT, p.weight), (BOTH, p.both)):
            found[name] += float(count) * _kernels(program)
        if parts[key].layer and count and again:
            rerun = again * float(count) / layers * _kernels(p.forward)
            found[INPUT], found[BOTH] = found[INPUT] + rerun, found[BOTH] + rerun
    return found


def of_step(update: TrainStep) -> float:
    """Kernels on the path that sets the time of a step's micro-batches."""
    of = [of_chunk(update.job, one, update.parts) for one in update.chunks]
    counts, _ = update.timeline.critical_path()
    total = 0.0
    for (kind, stage, behind), times in counts.items():
        both = of[stage][FORWARD] + of[behind][BOTH] if kind == PAIR else of[stage][_PASSES[kind]]
        total += times * both
    return total


def of_forward(update: TrainStep, micro_batches: int) -> float:
    """Kernels on the path of so many forward passes alone, as `step.forward` runs them."""
    of = {id(one): of_chunk(update.job, one, update.parts)[FORWARD] for one in update.chunks}
    ranks = [sum(of[id(one)] for one in rank.chunks) for rank in stages_of_ranks(update.job, update.chunks)]
    return sum(of[id(one)] for one in update.chunks) + max(ranks) * max(micro_batches - 1, 0)


def _kernels(program: Program | None, times: float = 1.0) -> float:
    """Kernels of a pass, the operators of one elementwise kernel as one, as terms of frameworks count them."""
    if program is None:
        return 0.0
    if isinstance(program, Call):
        return times * float(np.max(np.asarray(program.repeat)))
    if isinstance(program, Choice):
        return _kernels(program.options[-1][1], times)
    if isinstance(program, Serial):
        times = times * float(np.max(np.asarray(program.repeat)))
        if program.kernel == EAGER:
            return times
    return sum(_kernels(part, times) for part in program.parts)
