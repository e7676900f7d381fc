"""The rollout of a question: a batch to the end of its longest answer, or rounds of an engine that never runs dry.

Most likely to be wrong: see `learning/rollout.py`, `learning/rounds.py`. Source: docs/theory/rl-step.md.
"""

from __future__ import annotations

import math

from simcost.errors import SpecError
from simcost.learning import rollout, rounds, turns
from simcost.learning.rollout import Batch, Engine, Rollout
from simcost.scenarios.rl.question import Asked
from simcost.scenarios.rl.words import FULL, MOST_ANSWERS, PARTIAL


def drawn(q: Asked, seed: int, answers: int) -> Batch:
    """What is generated of so many answers, by a seed."""
    prompts = math.ceil(answers / q.samples)
    if q.tools is None:
        return rollout.drawn(q.isl, q.osl, prompts, q.samples, seed, q.alike)
    return turns.drawn(q.isl, q.osl, q.tools, prompts, q.samples, seed, q.alike)


def trained_on(q: Asked) -> int:
    """Answers that are trained on between two rollouts, or rounds of one."""
    return q.step_answers * q.rounds


def in_flight(q: Asked) -> int:
    """Answers that the engine holds at a time."""
    many = q.answers * (q.staleness + 1) if q.mode == FULL and q.answers == q.step_answers else q.answers
    return _written(q, many)


def _written(q: Asked, many: int) -> int:
    """Answers that are written so that `many` are kept. Raises SpecError where they are too many to be simulated."""
    found = many / q.kept
    if found > MOST_ANSWERS:
        raise SpecError(
            f"--kept {q.kept:g}: {found:,.6g} answers are written for {many:,} that are kept; at most {MOST_ANSWERS:,}"
            if q.kept < 1.0
            else f"{found:,.0f} answers in flight: at most {MOST_ANSWERS:,}"
        )
    return math.ceil(found)


def generated(q: Asked, engine: Engine) -> Rollout:
    """Raises SpecError for an answer that the pool cannot hold."""
    if q.mode in (PARTIAL, FULL):
        ends = _written(q, q.step_answers)
        tools = q.tools or turns.NO_TOOLS
        flying = in_flight(q)
        return rounds.steady(engine, q.isl, q.osl, q.samples, ends, flying, q.seed, q.mode == FULL, tools, q.alike)
    answers = _written(q, trained_on(q))
    return rollout.burst(engine, lambda seed: drawn(q, seed, answers), q.seed)
