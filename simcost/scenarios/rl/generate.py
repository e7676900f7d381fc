"""The rollout of a question: one batch to the end of its longest answer, or rounds of an engine that never runs dry.

Most likely to be wrong: see `rl/rollout.py`. Source: docs/theory/rl-step.md.
"""

from __future__ import annotations

import math

from simcost.learning import rollout
from simcost.learning.rollout import Rollout
from simcost.scenarios.rl.engine import Served
from simcost.scenarios.rl.question import Asked


def generated(q: Asked, served: Served, engine: rollout.Engine) -> Rollout:
    """Raises SpecError for an answer that the pool cannot hold."""
    prompts = math.ceil(q.answers / q.samples / q.kept)
    return rollout.burst(engine, q.isl, q.osl, prompts, q.samples, q.seed)
