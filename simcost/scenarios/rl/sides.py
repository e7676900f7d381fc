"""Both sides of a step, priced: the engine with its rollout, the trainer with its passes, and what they share of
memory.

Most likely to be wrong: what a sleeping side keeps on its GPUs. Source: docs/theory/rl-step.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from simcost.errors import Infeasible
from simcost.frozen import frozen
from simcost.learning import algorithm, memory
from simcost.learning.rollout import Rollout
from simcost.num import Z90, Ints
from simcost.scenarios.rl import plans, shortage
from simcost.scenarios.rl.engine import Served, served
from simcost.scenarios.rl.generate import drawn, generated, in_flight, trained_on
from simcost.scenarios.rl.known import Known, key, once
from simcost.scenarios.rl.passes import Trained, room_of, trained
from simcost.scenarios.rl.plans import Plan
from simcost.scenarios.rl.question import Asked


@frozen
class Sides:
    """`engine`, `rollout`: None where nothing is generated; `level`: what leaves the GPUs between phases; `plans`: of
    each side as it runs, and `found`: which of them nobody stated; `longest`: tokens of the longest sequence that may
    come; `short`: what of memory is missing, "" where nothing is."""

    engine: Served | None
    rollout: Rollout | None
    trainer: Trained
    trainer_memory: memory.Trainer
    level: str
    plans: Mapping[str, Mapping[str, Any]]
    found: tuple[str, ...]
    longest: int
    lengths: Ints
    short: str = ""


def sides(q: Asked, known: Known) -> Sides:
    """Raises SpecError and Infeasible for what cannot run, or does not fit, with the term that is short."""
    lengths = once(known, ("lengths", *_lengths_key(q)), lambda: drawn(q, q.seed, trained_on(q)).lengths)
    longest = _longest(q, int(np.max(lengths)))
    room_of(q, lengths, longest)  # refused here, not by every plan of a search
    engine, serve = None, None
    if algorithm.load(q.algorithm).GENERATES:
        serve, engine = _engine(q, longest, known)
    asleep = engine.held.asleep(_stated(q)) if engine is not None and q.colocated else 0.0
    train, trainer, short = _trainer(q, lengths, longest, asleep, known)
    held = with_critic(q, trainer.held)
    found = tuple(side for side in ("rollout", "train") if getattr(q, side) is None and (side == "train" or engine))
    if engine is None or serve is None:
        return Sides(None, None, trainer, held, memory.NONE, {"train": train}, found, longest, lengths, short)
    level = _level(q, held, engine)
    resident = held.resident(level) if q.colocated else 0.0
    rolled = (
        "rollout",
        *_lengths_key(q),
        *key(q, "mode", "staleness", "serving", "drafts", "acceptance", "kept", "replay", "framework"),
    )
    made = once(known, (*rolled, str(serve), q.engine_gpus, resident), lambda: generated(q, engine.engine(resident, q)))
    plans_ = {"rollout": serve, "train": train}
    return Sides(engine, made, trainer, held, level, plans_, found, longest, lengths, short)


def _lengths_key(q: Asked) -> tuple[str, ...]:
    return key(
        q, "model", "hw", "both", "isl", "osl", "prompts", "samples", "answers", "mode", "tools", "alike", "seed"
    )


def _engine(q: Asked, longest: int, known: Known) -> tuple[Plan, Served]:
    """The engine as stated, or the smallest."""
    if q.rollout is not None:
        return dict(q.rollout), served(q, q.rollout, q.engine_gpus, longest)

    of = ("engine", q.engine_gpus, longest, *key(q, "model", "hw", "both", "serving", "replay"))
    return once(known, of, lambda: plans.smallest_engine(q, q.engine_gpus, longest, "rollout"))


def _trainer(q: Asked, lengths: Ints, longest: int, asleep: float, known: Known) -> tuple[Plan, Trained, str]:
    """The trainer as stated, or the smallest; and what it lacks, as far as memory's own interval may hide. Raises
    Infeasible
    where it lacks more, with what would fit."""
    of = ("trainer", q.trainer_gpus, longest, *_lengths_key(q), *key(q, "training", "stack", "minibatches", "packing"))

    def priced(asked: Asked, plan: Mapping[str, Any]) -> Trained:
        mine = (*of, *key(asked, "micro_batch", "micro_tokens"), str(dict(plan)))
        return once(known, mine, lambda: trained(asked, plan, q.trainer_gpus, lengths, longest))

    def fits(one: Trained) -> bool:
        return with_critic(q, one.held).used + asleep <= float(one.job.device.capacity)

    if q.train is None:
        mine = (*of, *key(q, "micro_batch", "micro_tokens", "algorithm"), asleep)
        plan, one = once(known, mine, lambda: plans.trainer(q, q.trainer_gpus, lambda plan: priced(q, plan), fits))
        return plan, one, ""
    one = priced(q, q.train)
    if not fits(one):
        held = with_critic(q, one.held)
        text = shortage.said(q, one, held, asleep, priced, fits)
        if held.used + asleep - float(one.job.device.capacity) > Z90 * one.peak.spread:
            raise Infeasible(text)
        return dict(q.train), one, f"{text} (within the 90 % interval of memory)"
    return dict(q.train), one, ""


def _longest(q: Asked, most_drawn: int) -> int:
    """Tokens of the longest sequence that may come: by the ends of the distributions, or the longest that was drawn."""
    turns = 1 if q.tools is None else q.tools.turns
    most = q.isl.longest + turns * q.osl.longest + (0.0 if q.tools is None else (turns - 1) * q.tools.tokens.longest)
    return int(most) if most < 2.0 * most_drawn else most_drawn


def with_critic(q: Asked, held: memory.Trainer) -> memory.Trainer:
    """A critic of the policy's size doubles what stays from step to step."""
    if not algorithm.load(q.algorithm).CRITIC:
        return held
    return memory.Trainer(2.0 * held.parameters, 2.0 * held.gradients, 2.0 * held.optimizer, held.passing, held.runtime)


def _stated(q: Asked) -> str:
    """The level that a question states, else the first that a search may come to."""
    return memory.ENGINE if q.offload == memory.AUTO else q.offload


def _level(q: Asked, held: memory.Trainer, engine: Served) -> str:
    """What leaves the GPUs, as stated or as little as leaves room for all answers at once."""
    if not q.colocated:
        return memory.NONE
    if q.offload != memory.AUTO:
        return q.offload
    each = min(float(engine.replica.policy.sequences), math.ceil(in_flight(q) / engine.replicas))
    wanted = each * engine.context * engine.token_bytes
    return memory.level_for(held, engine.held, float(engine.workload.device.capacity), wanted)
