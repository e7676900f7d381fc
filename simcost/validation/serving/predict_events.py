"""Measured operating points, answered request by request: a benchmark starts all its users at once, and ends.

Most likely to be wrong: how many requests a benchmark sent, where nobody states it (WAVES a user), and in which order prompts of one moment are taken. Source: docs/theory/serving-events.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from simcost.errors import SimcostError
from simcost.scenarios.serve.answer import answer, load_of, metrics
from simcost.scenarios.serve.replica import Replica
from simcost.serving import events
from simcost.serving.arrivals import Closed
from simcost.serving.lengths import Lengths, constant, uniform
from simcost.validation.serving.point import Prediction, ServingPoint
from simcost.validation.serving.predict import EMITTED, grouped, predict, replica, traffic

WAVES = 10.0  # requests of a user in all: InferenceX sends ten times its concurrency
SEED = 1


def predict_events(points: Sequence[ServingPoint]) -> list[Prediction]:
    """The event path's answers, one a point; of pools the mean field's. Intervals are as wide as the mean field's."""
    found: list[Prediction] = [Prediction()] * len(points)
    for places in grouped(points):
        mine = [points[i] for i in places]
        for place, one in zip(places, _group(mine), strict=True):
            found[place] = one
    return found


def _group(points: list[ServingPoint]) -> Sequence[Prediction]:
    if points[0].prefill is not None:
        return predict(points)
    try:
        r = replica(points)
        a = answer(r, traffic(points))
    except SimcostError as error:
        return [Prediction(reason=str(error))] * len(points)
    fits = np.broadcast_to(a.fits, (len(points),))
    shape = metrics(a, None)
    high = np.broadcast_to(np.asarray(shape["tpot_high_s"]) / np.asarray(shape["tpot_s"]), (len(points),))
    return list(_each(points, r, fits.tolist(), high.tolist()))


def _each(
    points: Sequence[ServingPoint], r: Replica, fits: Sequence[bool], high: Sequence[float]
) -> Iterator[Prediction]:
    for p, fit, wide in zip(points, fits, high, strict=True):
        if not p.concurrency >= 1.0:
            yield Prediction(reason="its concurrency is not stated")
        elif not fit:
            yield Prediction(reason="does not fit: the pool of the cache holds no request")
        else:
            yield _run(p, r, wide)


def _run(p: ServingPoint, r: Replica, wide: float) -> Prediction:
    """One run of a benchmark on one replica, which serves its share of the users."""
    plan = r.workload.plan
    replicas = float(np.asarray(plan.replicas * plan.copies))
    users = max(round(p.concurrency / replicas), 1)
    requests = max(round((p.requests or WAVES * p.concurrency) / replicas), users)
    emitted = EMITTED[p.speculative] if p.speculative else 1.0
    # A step with drafts makes several tokens: the run counts steps.
    steps = 1.0 + (p.osl - 1.0) / emitted
    _, held = load_of(traffic([p]), r.policy.admission)
    pool = max(float(np.ravel(r.room(np.ceil(held)).kv)[0]) * float(np.ravel(held)[0]), p.isl + steps + 1.0)
    prepared = r.policy.overlap * float(
        np.asarray(r(max(min(users, r.policy.sequences), 1.0), p.isl + p.osl / 2.0, 0.0, 0.0))
    )
    policy = replace(r.policy, host_request_s=r.policy.host_request_s + prepared)
    try:
        trace = events.simulate(
            r,
            policy,
            Closed(users),
            _lengths(p.isl, p.shortest),
            _lengths(steps, p.shortest),
            requests,
            pool * 1.001,
            SEED,
            prefix_hit=p.prefix_hit,
        )
    except SimcostError as error:
        return Prediction(reason=str(error))
    more = trace.osl > 1
    made = (trace.osl[more] - 1) * emitted
    tpot = float(np.mean((trace.last_token[more] - trace.printed[more]) / made))
    span = float(np.max(trace.last_token))
    out = float(np.sum(1.0 + (trace.osl - 1) * emitted)) / span * min(replicas, p.concurrency)
    return Prediction(float(np.mean(trace.printed - trace.arrival)), tpot, tpot / wide, tpot * wide, out)


def _lengths(mean: float, shortest: float) -> Lengths:
    """Lengths of that mean, uniform from a share of the longest to it."""
    if shortest >= 1.0:
        return constant(max(round(mean), 1))
    longest = 2.0 * mean / (1.0 + shortest)
    return uniform(max(round(shortest * longest), 1), max(round(longest), 1))
