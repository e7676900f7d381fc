"""Both sides of a step, priced: the engine with its rollout, the trainer with its passes, and what they share of memory.

Most likely to be wrong: what a sleeping side keeps on its GPUs. Source: docs/theory/rl-step.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from simcost.errors import Infeasible
from simcost.frozen import frozen
from simcost.learning import algorithm, memory, rollout
from simcost.learning.rollout import Rollout
from simcost.scenarios.rl import plans
from simcost.scenarios.rl.engine import Served, served
from simcost.scenarios.rl.generate import generated
from simcost.scenarios.rl.passes import Trained, trained
from simcost.scenarios.rl.question import Asked
from simcost.units import show


@frozen
class Sides:
    """`engine`, `rollout`: None where nothing is generated; `level`: what leaves the GPUs between phases; `plans`: of
    each side as it runs, and `found`: which of them nobody stated; `longest`: tokens of the longest sequence that may
    come."""

    engine: Served | None
    rollout: Rollout | None
    trainer: Trained
    trainer_memory: memory.Trainer
    level: str
    plans: Mapping[str, Mapping[str, Any]]
    found: tuple[str, ...]
    longest: int
    lengths: np.ndarray


def sides(q: Asked) -> Sides:
    """Raises SpecError and Infeasible for what cannot run, or does not fit, with the term that is short."""
    drawn = rollout.drawn(q.isl, q.osl, max(q.answers // q.samples, 1), q.samples, q.seed)
    lengths = drawn.lengths + _tool_tokens(q)
    longest = _longest(q, int(np.max(lengths)))
    found = []
    if q.train is None:
        found.append("train")
        train, trainer = plans.smallest(
            plans.trainers(q, q.trainer_gpus), lambda plan: trained(q, plan, q.trainer_gpus, lengths, longest), plans.trainer_fits, "trainer",
        )  # fmt: skip
    else:
        train, trainer = dict(q.train), trained(q, q.train, q.trainer_gpus, lengths, longest)
    held = _with_critic(q, trainer.held)
    if not algorithm.load(q.algorithm).GENERATES:
        _checked(held.used, float(trainer.job.device.capacity), "trainer")
        return Sides(None, None, trainer, held, memory.NONE, {"train": train}, tuple(found), longest, lengths)
    answers = in_flight(q)
    if q.rollout is None:
        found.append("rollout")
        serve, engine = plans.smallest(
            plans.engines(q, q.engine_gpus), lambda plan: served(q, plan, q.engine_gpus, longest, answers), plans.engine_fits, "rollout",
        )  # fmt: skip
    else:
        serve, engine = dict(q.rollout), served(q, q.rollout, q.engine_gpus, longest, answers)
    level = _level(q, held, engine, answers)
    resident = held.resident(level) if q.colocated else 0.0
    made = generated(q, engine, engine.engine(resident, q))
    _checked(
        held.used + (engine.held.asleep(level) if q.colocated else 0.0), float(trainer.job.device.capacity), "trainer"
    )
    return Sides(
        engine, made, trainer, held, level, {"rollout": serve, "train": train}, tuple(found), longest, lengths
    )  # fmt: skip


def in_flight(q: Asked) -> int:
    """Answers that the engine holds at a time."""
    many = q.answers * (q.staleness + 1) if q.mode == "full" and q.answers == q.step_answers else q.answers
    return math.ceil(many / q.kept)


def _tool_tokens(q: Asked) -> int:
    """Tokens that tools add to a trajectory beyond its own answers, the mean."""
    return 0 if q.tools is None else round((q.tools.turns - 1) * (q.tools.tokens.mean + q.osl.mean))


def _longest(q: Asked, drawn: int) -> int:
    """Tokens of the longest sequence that may come: by the ends of the distributions, or the longest that was drawn."""
    turns = 1 if q.tools is None else q.tools.turns
    most = q.isl.longest + turns * q.osl.longest + (0.0 if q.tools is None else (turns - 1) * q.tools.tokens.longest)
    return int(most) if most < 2.0 * drawn else drawn


def _with_critic(q: Asked, held: memory.Trainer) -> memory.Trainer:
    """A critic of the policy's size doubles what stays from step to step."""
    if not algorithm.load(q.algorithm).CRITIC:
        return held
    return memory.Trainer(2.0 * held.parameters, 2.0 * held.gradients, 2.0 * held.optimizer, held.passing, held.runtime)


def _level(q: Asked, held: memory.Trainer, engine: Served, answers: int) -> str:
    """What leaves the GPUs, as stated or as little as leaves room for all answers at once."""
    if not q.colocated:
        return memory.NONE
    if q.offload != memory.AUTO:
        return q.offload
    each = min(float(engine.replica.policy.sequences), math.ceil(answers / engine.replicas))
    wanted = each * engine.context * engine.token_bytes
    return memory.level_for(held, engine.held, float(engine.workload.device.capacity), wanted)


def _checked(used: float, capacity: float, side: str) -> None:
    """Raises Infeasible where a side does not fit."""
    if used > capacity:
        raise Infeasible(
            f"{side}: {show(used - capacity, 'memory')} short a GPU ({show(used, 'memory')} of {show(capacity, 'memory')}): "
            "more ranks for a copy (--train pp, ep, tp), recompute=full, or --offload engine"
        )
