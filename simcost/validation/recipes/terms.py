"""A row's step with other terms of its framework's host, without asking anew: how often each term counts is known.

Steps of the engine and kernels of the trainer are as many whatever the host takes for one, so that time is linear in the
terms, but for the longer of two pools that run at once. Most likely to be wrong: nothing here is a model; see
`scenarios/rl/step.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from simcost.cost.cost import Cost
from simcost.frozen import frozen
from simcost.learning import phases
from simcost.learning.phases import ALL, CPU, ROLLOUT, TRAINER, Phase
from simcost.learning.stack import Framework
from simcost.scenarios.rl.question import Asked
from simcost.scenarios.rl.step import Step, fitted_s, missed, run
from simcost.scenarios.rl.words import OFF, PARTIAL

DECODE, KERNEL = "host_decode_s", "host_kernel_s"


@frozen
class Bare:
    """A step without the terms. `phases`: of one step, in order; `counts`: by phase which term counts how often; `at_once`: whether both pools run beside each other."""

    phases: tuple[Phase, ...]
    counts: Mapping[str, tuple[str, float]]
    at_once: bool


def bare(q: Asked) -> Bare:
    """Raises SpecError and Infeasible as `run`."""
    host = replace(q.framework, host_decode_s=0.0, host_kernel_s=0.0, step_spread=0.0)
    one = replace(q, framework=host)
    step = run(one)
    share = 1.0 / step.rounds
    made = tuple(replace(each.phase, cost=each.phase.cost * share) for each in step.timeline.placed)
    return Bare(made, _counts(one, step, share), q.mode not in (OFF, PARTIAL))


def _counts(q: Asked, step: Step, share: float) -> dict[str, tuple[str, float]]:
    both, trainer = step.sides, step.sides.trainer
    forward = trainer.forward_launches * share
    updates = float(q.updates * q.rounds)
    found = {
        phases.OLD: (KERNEL, forward),
        phases.REFERENCE: (KERNEL, forward),
        phases.UPDATE: (KERNEL, trainer.launches * updates * share),
    }
    if both.rollout is not None:
        found[phases.GENERATE] = (DECODE, both.rollout.steps * share)
    return found


def priced(one: Bare, host: Framework) -> tuple[Cost, dict[str, Cost]]:
    """(cost of a step with a framework's terms, cost by phase)."""
    terms = {DECODE: host.host_decode_s, KERNEL: host.host_kernel_s}
    made = []
    for phase in one.phases:
        term, count = one.counts.get(phase.name, (DECODE, 0.0))
        cost = phase.cost + fitted_s(terms[term] * count)
        made.append(missed(replace(phase, cost=cost), host.step_spread))
    costs: dict[str, Cost] = {}
    for phase in made:
        costs[phase.name] = costs[phase.name] + phase.cost if phase.name in costs else phase.cost
    if not one.at_once:
        return phases.total(made), costs
    sides = [[phase for phase in made if phase.pool in pools] for pools in ((ROLLOUT, CPU), (TRAINER,), (ALL,))]
    return phases.beside(*sides).cost, costs
