"""Measured operating points, answered by simcost: points of one configuration share a table of step times.

Most likely to be wrong: how many drafts are taken, one number for each draft length whatever the model (EMITTED).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from simcost.errors import SimcostError
from simcost.frozen import frozen
from simcost.hardware import engines
from simcost.hardware.engine_file import setting_names
from simcost.model.spec import ModelSpec
from simcost.num import Array
from simcost.query import make, model_of, settings_of, with_arrays
from simcost.scenarios.serve import pools
from simcost.scenarios.serve.answer import Answer, Traffic, answer, metrics
from simcost.scenarios.serve.pools import Fleet
from simcost.scenarios.serve.question import policy_of, terms_of
from simcost.scenarios.serve.replica import Bounds, Replica, build
from simcost.validation.serving.point import Pool, Prediction, ServingPoint

# Tokens of a step with so many drafts of an MTP module, measured on DeepSeek-R1 and V3 served by three engines (docs/validation/serving.md).
EMITTED = {1: 1.84, 2: 2.2, 3: 2.46}


@frozen
class FrontEnd:
    """What a request, and each token of its prompt, takes before the scheduler's queue. [s]"""

    request_s: float
    token_s: float


def predict(points: Sequence[ServingPoint], front: FrontEnd | None = None) -> list[Prediction]:
    """The mean field's answers, one a point, with a reason where there is none. `front`: in place of the one of the engines' profiles."""
    found: list[Prediction] = [Prediction()] * len(points)
    for places in grouped(points):
        for place, one in zip(places, _group([points[i] for i in places], front), strict=True):
            found[place] = one
    return found


def grouped(points: Sequence[ServingPoint]) -> list[list[int]]:
    """Places of points that share a configuration."""
    groups: dict[str, list[int]] = {}
    for i, p in enumerate(points):
        groups.setdefault(_key(p), []).append(i)
    return list(groups.values())


def _key(p: ServingPoint) -> str:
    model = p.model if isinstance(p.model, str) else json.dumps(p.model, sort_keys=True)
    return json.dumps(
        [model, p.hw, p.engine, p.version, dict(p.sets), _flags(p), p.speculative, _pool(p.prefill), _pool(p.decode)],
        sort_keys=True,
        default=str,
    )


def _pool(pool: Pool | None) -> Any:
    return None if pool is None else [pool.instances, dict(pool.sets)]


def _group(points: list[ServingPoint], front: FrontEnd | None) -> list[Prediction]:
    try:
        a = answered(points, front)
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


def answered(points: Sequence[ServingPoint], front: FrontEnd | None = None) -> Answer:
    """The mean field's answer to points of one configuration. Raises SpecError and Infeasible."""
    first = points[0]
    if first.prefill is None or first.decode is None:
        return answer(replica(points, front), traffic(points))
    prefill, decode = (replica(points, front, pool) for pool in (first.prefill, first.decode))
    return pools.answer(Fleet(prefill, decode, first.prefill.instances, first.decode.instances), traffic(points))


def replica(points: Sequence[ServingPoint], front: FrontEnd | None = None, pool: Pool | None = None) -> Replica:
    """The replica that points of one configuration ask, or of one of their two pools. Raises SpecError and Infeasible."""
    p = points[0]
    sets, instances = (p.sets, 1.0) if pool is None else (pool.sets, pool.instances)
    stated = {**dict(sets), "engine": p.engine, **({"engine.version": p.version} if p.version else {}), **_flags(p)}
    longest, prompt, users = (
        max(each) for each in zip(*((q.isl + q.osl, q.isl, q.concurrency) for q in points), strict=True)
    )
    key = json.dumps([_key(p), stated, longest, prompt, users, instances], sort_keys=True, default=str)
    found = _known.get(key) or _built(p, stated, longest, prompt, users / instances)
    if len(_known) < _MOST:
        _known[key] = found
    if front is None:
        return found
    return replace(found, policy=replace(found.policy, host_request_s=front.request_s, host_token_s=front.token_s))


def _flags(p: ServingPoint) -> dict[str, Any]:
    """Settings that a server was launched with, by the engine's own names."""
    if p.engine not in engines.names():
        return {}
    names = setting_names(p.engine)
    known = {"tokens": p.launch.tokens, "sequences": p.launch.sequences, "share": p.launch.share}
    return {
        f"engine.{names[key]}": value if key == "share" else int(value) for key, value in known.items() if value > 0.0
    }


_known: dict[str, Replica] = {}  # several answers are asked of the same points
_models: dict[str, ModelSpec] = {}  # a quantisation that is stated takes longer to read than a table to price
_MOST = 2_000


def _built(p: ServingPoint, stated: Mapping[str, Any], longest: float, prompt: float, users: float) -> Replica:
    query = make(p.model, p.hw, True, {"context": int(np.ceil(longest)), "batch": 1}, stated, {}, None)
    named = json.dumps([p.model, query.overrides.model], sort_keys=True, default=str)
    if named not in _models:
        _models[named] = model_of(query)
    w = with_arrays(query, {}, _models[named])
    policy = policy_of(terms_of(w, settings_of(query.overrides), p.speculative > 0))
    mine = max(float(np.ceil(users / float(np.asarray(w.plan.replicas * w.plan.copies)))), 1.0)
    most = Bounds(min(policy.sequences, mine), longest, min(policy.tokens, prompt * mine), prompt)
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
