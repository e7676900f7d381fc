"""A reward model: one prefill pass of every answer with its prompt, on the GPUs that answered.

Most likely to be wrong: a reward model that has GPUs of its own, and scores while answers still run. Source:
docs/theory/rl-step.md.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from simcost.cost.cost import Cost
from simcost.num import Ints
from simcost.scenarios.rl import plans
from simcost.scenarios.rl.question import Asked


def scored(q: Asked, lengths: Ints, longest: int) -> Cost:
    """All answers, dealt over copies of the smallest plan that fits; its weights come and go with the engine's. Raises
    Infeasible where none fits."""
    assert q.reward_model is not None
    judge = replace(q, model=q.reward_model, drafts=0, replay=False)  # drafts and masks are the policy's
    _, one = plans.smallest_engine(judge, q.engine_gpus, longest, "reward model")
    seen = float(np.sum(lengths.astype(np.float64) ** 2)) / float(np.sum(lengths))  # the length that a token sees
    passes = float(np.sum(lengths)) / seen / one.replicas
    each = float(one.replica(0.0, 1.0, seen, 0.0))
    tokens = min(seen, float(np.asarray(one.replica.chunk)))
    sigma = float(one.replica.table.deviation(1.0, 1.0, tokens, 0.0)[1])
    return Cost(compute_s=passes * each, spread={"engine kernels": sigma * passes * each})
