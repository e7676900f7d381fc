"""The engine of a rollout: replicas of a serving plan, their step times, and the pool that is left beside what a
trainer keeps on the same GPUs.

Most likely to be wrong: an engine's settings, which frameworks choose for throughput. Source: docs/theory/serving.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import numpy as np

from simcost import grammar
from simcost.errors import Infeasible
from simcost.frozen import frozen
from simcost.hardware.engine_serving import ServingTerms
from simcost.learning import memory as phases_memory
from simcost.learning import rollout
from simcost.query import Query, make, settings_of, workload
from simcost.scenarios.rl.known import Known, key
from simcost.scenarios.rl.question import Asked
from simcost.scenarios.rl.replay_table import routed
from simcost.scenarios.serve.question import policy_of, terms_of
from simcost.scenarios.serve.replica import Bounds, Replica, Steps, build, steps_of, with_drafts
from simcost.serving.speculative import emitted
from simcost.serving.step_times import Stretched
from simcost.units import show
from simcost.workload import Workload


@frozen
class Served:
    """A priced engine. `context`: tokens that a running answer has seen on average; `token_bytes`: of the fullest
    rank's
    cache for each of them [B]; `held`: memory of the fullest rank."""

    query: Query
    replica: Replica
    terms: ServingTerms
    replicas: int
    held: phases_memory.Engine
    context: float
    token_bytes: float

    @property
    def workload(self) -> Workload:
        """What the plan runs."""
        return self.replica.workload

    @property
    def gpus(self) -> int:
        """That the copies of the plan use."""
        return int(float(np.asarray(self.workload.plan.devices)))

    def pool(self, resident: float) -> float:
        """KV tokens of a replica beside so many bytes of a trainer."""
        return max(self.held.left(resident), 0.0) / self.token_bytes

    def engine(self, resident: float, q: Asked) -> rollout.Engine:
        """As rollouts take it. Raises Infeasible where no pool is left."""
        pool = self.pool(resident)
        if pool < self.context:
            short = self.context * self.token_bytes - self.held.left(resident)
            raise Infeasible(f"rollout: no memory is left for the cache: {show(short, 'memory')} per GPU are missing")
        policy = self.replica.policy
        policy = replace(policy, host_step_s=policy.host_step_s + q.framework.host_decode_s)
        made = float(emitted(q.drafts, q.acceptance))
        if made == 1.0:
            return rollout.Engine(self.replica, policy, pool, self.replicas)
        # Answers are counted in steps: each brings several tokens to the context, and takes room for as many.
        steps = q.isl.mean + (self.context - q.isl.mean) / made
        times = Stretched(self.replica, q.isl.mean, made)
        return rollout.Engine(times, policy, pool * steps / self.context, self.replicas, made)

    def sigma(self, running: float) -> float:
        """One standard deviation of the log of a decode step at so many sequences of a replica."""
        return float(self.replica.table.deviation(running, self.context, 1.0, 0.0)[0])


def query_of(q: Asked, plan: Mapping[str, Any], gpus: int) -> Query:
    """The decode question of the engine."""
    context = int(np.ceil(q.isl.mean + q.osl.mean))
    sets = {**q.both, **q.serving, **plan, "plan.gpus": gpus}
    return make(q.model, q.hw, True, {"context": context, "batch": 1}, sets, {}, q.usd_per_hour)


_STEPS: Known = {}  # step times of engines: questions of one program are about few
_KEPT = 32
_UNTIMED = cast(Steps, (None, None))  # of engines that are asked for their memory alone


def mean_context(q: Asked) -> float:
    """Tokens that a running answer has seen on average: one that is looked at is longer than the mean, and half
    done; of an
    agent also half of the turns and tools before."""
    context = q.isl.mean + q.osl.second_moment / (2.0 * q.osl.mean)
    return context if q.tools is None else context + (q.tools.turns - 1) / 2.0 * (q.osl.mean + q.tools.tokens.mean)


def served(q: Asked, plan: Mapping[str, Any], gpus: int, most: float, timed: bool = True) -> Served:
    """The engine on so many GPUs. `most`: tokens of the longest answer with its prompt; `timed`: False for its memory
    alone, without step times, which take nearly all of the work. Raises SpecError and Infeasible for what cannot be."""
    query = query_of(q, plan, gpus)
    w = workload(query)
    terms = terms_of(w, settings_of(query.overrides), q.drafts > 0)
    policy = policy_of(terms)
    replicas = int(float(np.asarray(w.plan.replicas * w.plan.copies)))
    bounds = Bounds(
        float(policy.sequences), 2.0 ** np.ceil(np.log2(most)), float(policy.tokens), 2.0 ** np.ceil(np.log2(most))
    )
    of = (*key(q, "model", "hw", "both", "serving", "drafts"), str(dict(plan)), bounds.context)

    def steps(w: Workload, bounds: Bounds, drafts: int) -> Steps:
        if not timed:
            return _UNTIMED
        if of not in _STEPS:
            if len(_STEPS) >= _KEPT:
                _STEPS.clear()
            _STEPS[of] = steps_of(w, bounds, drafts)
        found: Steps = _STEPS[of]
        return found

    try:
        found = build(with_drafts(w) if q.drafts else w, policy, bounds, q.drafts, steps)
    except Infeasible as refused:
        raise Infeasible(f"rollout: {str(refused).removeprefix('plan: ')}") from None
    context = mean_context(q)
    kept = found.kept(float(np.ceil(context)))
    m = kept.memory
    stays = float(m.non_torch + m.graphs)
    held = phases_memory.Engine(float(m.weights), float(m.activations), stays, float(m.reserve), float(m.pool))
    size = float(np.asarray(kept.held.sequence(kept.workload, np.ceil(context)))) / float(np.ceil(context))
    if q.replay:
        size += routed(w.model).token_bytes
    return Served(query, found, terms, replicas, held, context, size)


def plan_words(sets: Mapping[str, Any]) -> str:
    """Sizes and formats as an option takes them."""
    return ",".join(f"{grammar.full(path).removeprefix('plan.')}={value}" for path, value in sets.items()) or "tp=1"
