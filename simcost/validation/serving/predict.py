"""Measured operating points, answered by simcost: points of one configuration share a table of step times.

Most likely to be wrong: how many drafts are taken, one number for each draft length whatever the model (EMITTED).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from simcost.errors import SimcostError
from simcost.num import Array
from simcost.query import make, settings_of, workload
from simcost.scenarios.serve import pools
from simcost.scenarios.serve.answer import Answer, Traffic, answer, metrics
from simcost.scenarios.serve.pools import Fleet
from simcost.scenarios.serve.question import policy_of, terms_of
from simcost.scenarios.serve.replica import Bounds, Replica, build
from simcost.validation.serving.point import Pool, Prediction, ServingPoint

# Tokens of a step with so many drafts of an MTP module, measured on DeepSeek-R1 and V3 served by three engines (docs/validation/serving.md).
EMITTED = {1: 1.84, 2: 2.2, 3: 2.46}


def predict(points: Sequence[ServingPoint]) -> list[Prediction]:
    """The mean field's answers, one a point, with a reason where there is none."""
    found: list[Prediction | None] = [None] * len(points)
    for places in grouped(points):
        for place, one in zip(places, _group([points[i] for i in places]), strict=True):
            found[place] = one
    return [one for one in found if one is not None]


def grouped(points: Sequence[ServingPoint]) -> list[list[int]]:
    """Places of points that share a configuration."""
    groups: dict[str, list[int]] = {}
    for i, p in enumerate(points):
        groups.setdefault(_key(p), []).append(i)
    return list(groups.values())


def _key(p: ServingPoint) -> str:
    model = p.model if isinstance(p.model, str) else json.dumps(p.model, sort_keys=True)
    return json.dumps(
        [model, p.hw, p.engine, p.version, dict(p.sets), p.speculative, _pool(p.prefill), _pool(p.decode)],
        sort_keys=True,
        default=str,
    )


def _pool(pool: Pool | None) -> Any:
    return None if pool is None else [pool.instances, dict(pool.sets)]


def _group(points: list[ServingPoint]) -> list[Prediction]:
    try:
        a = answered(points)
    except SimcostError as error:
        return [Prediction(reason=str(error))] * len(points)
    found = {name: np.broadcast_to(np.asarray(v, np.float64), (len(points),)) for name, v in metrics(a, None).items()}
    fits = np.broadcast_to(a.fits, (len(points),))

    def at(i: int) -> Prediction:
        if not points[i].concurrency >= 1.0:
            return Prediction(reason="its concurrency is not stated")
        if not fits[i]:
            return Prediction(reason="does not fit: the pool of the cache holds no request")
        names = ("ttft_s", "tpot_s", "tpot_low_s", "tpot_high_s", "output_tokens_per_s")
        ttft, tpot, low, high, rate = (float(found[name][i]) for name in names)
        return Prediction(ttft, tpot, low, high, rate)

    return [at(i) for i in range(len(points))]


def answered(points: Sequence[ServingPoint]) -> Answer:
    """The mean field's answer to points of one configuration. Raises SpecError and Infeasible."""
    first = points[0]
    if first.prefill is None or first.decode is None:
        return answer(replica(points), traffic(points))
    prefill, decode = (replica(points, pool.sets, pool.instances) for pool in (first.prefill, first.decode))
    return pools.answer(Fleet(prefill, decode, first.prefill.instances, first.decode.instances), traffic(points))


def replica(points: Sequence[ServingPoint], sets: Mapping[str, Any] | None = None, instances: float = 1.0) -> Replica:
    """The replica that points of one configuration ask, of one of two pools where `sets` are its. Raises SpecError and Infeasible."""
    p = points[0]
    stated = {**dict(p.sets if sets is None else sets), "engine": p.engine}
    if p.version:
        stated["engine.version"] = p.version
    longest = max(each.isl + each.osl for each in points)
    query = make(p.model, p.hw, True, {"context": int(np.ceil(longest)), "batch": 1}, stated, {}, None)
    w = workload(query)
    policy = policy_of(terms_of(w, settings_of(query.overrides), p.speculative > 0))
    users = max(each.concurrency for each in points) / (instances * float(np.asarray(w.plan.replicas * w.plan.copies)))
    prompt = max(each.isl for each in points)
    most = Bounds(
        min(policy.sequences, max(np.ceil(users), 1.0)),
        longest,
        min(policy.tokens, prompt * max(np.ceil(users), 1.0)),
        prompt,
    )
    return build(w, policy, most, None, p.speculative)


def traffic(points: Sequence[ServingPoint]) -> Traffic:
    """The loads of points of one configuration. [points]"""
    isl, osl = (np.asarray([getattr(p, name) for p in points]) for name in ("isl", "osl"))
    spread = np.asarray([_relative_variance(p.shortest) for p in points])
    emitted = EMITTED[points[0].speculative] if points[0].speculative else 1.0
    users = np.asarray([p.concurrency for p in points])
    hit: Array = np.asarray([p.prefix_hit for p in points])
    return Traffic(isl, osl, isl * isl * (1.0 + spread), osl * osl * (1.0 + spread), users, None, hit, emitted)


def _relative_variance(shortest: float) -> float:
    """Variance over the squared mean of lengths that are uniform from `shortest` of the longest to it."""
    return ((1.0 - shortest) / (1.0 + shortest)) ** 2 / 3.0
