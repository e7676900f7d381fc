"""Measured operating points, answered request by request: a benchmark starts all its users at once, and ends.

Most likely to be wrong: how many requests a benchmark sent, where nobody states it (`simulated.WAVES` a user), and in which order prompts of one moment are taken. Source: docs/theory/serving-events.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from simcost.errors import SimcostError
from simcost.scenarios.serve import simulated
from simcost.scenarios.serve.answer import answer, metrics
from simcost.scenarios.serve.replica import Replica
from simcost.serving.lengths import Lengths, constant, uniform
from simcost.validation.serving.point import Prediction, ServingPoint
from simcost.validation.serving.predict import EMITTED, FrontEnd, by_group, predict, replica, traffic

SEED = 1


def predict_events(points: Sequence[ServingPoint], front: FrontEnd | None = None) -> list[Prediction]:
    """The event path's answers, one a point; of pools the mean field's. Intervals are as wide as the mean field's. `front`: as `predict.predict`."""
    return by_group(points, lambda group: _group(group, front))


def _group(points: list[ServingPoint], front: FrontEnd | None) -> Sequence[Prediction]:
    if points[0].prefill is not None:
        return predict(points, front)
    try:
        r = replica(points, front)
        a = answer(r, traffic(points))
    except SimcostError as error:
        return [Prediction(reason=str(error))] * len(points)
    fits = np.broadcast_to(a.fits, (len(points),))
    shape = metrics(a, None)
    tpot, ttft = (
        np.broadcast_to(np.asarray(shape[f"{name}_high_s"]) / np.asarray(shape[f"{name}_s"]), (len(points),)).tolist()
        for name in ("tpot", "ttft")
    )
    return list(_each(points, r, fits.tolist(), list(zip(tpot, ttft, strict=True))))


def _each(
    points: Sequence[ServingPoint], r: Replica, fits: Sequence[bool], high: Sequence[tuple[float, float]]
) -> Iterator[Prediction]:
    for p, fit, wide in zip(points, fits, high, strict=True):
        if not p.users >= 1.0:
            yield Prediction(reason="its concurrency is not stated")
        elif not fit:
            yield Prediction(reason="does not fit: the pool of the cache holds no request")
        else:
            yield _run(p, r, wide)


def _run(p: ServingPoint, r: Replica, wide: tuple[float, float]) -> Prediction:
    """One run of a benchmark on one replica, which serves its share of the users. wide: the upper ends of the
    intervals of TPOT and of TTFT, in parts of them."""
    emitted = EMITTED[p.speculative] if p.speculative else 1.0
    requests = round(p.requests) or None
    try:
        trace = simulated.run(
            r,
            _lengths(p.isl, p.shortest),
            _lengths(p.osl, p.shortest),
            None if p.rate else p.users,
            p.rate or None,
            requests,
            SEED,
            p.prefix_hit,
            emitted,
        )
    except SimcostError as error:
        return Prediction(reason=str(error))
    more = trace.osl > 1
    tpot = float(np.mean((trace.last_token[more] - trace.printed[more]) / ((trace.osl[more] - 1) * emitted)))
    made = float(np.sum(1.0 + (trace.osl - 1) * emitted)) / float(np.max(trace.last_token))
    busy = min(float(np.asarray(r.workload.plan.replicas * r.workload.plan.copies)), p.users)
    ttft, (each, first) = float(np.mean(trace.printed - trace.arrival)), wide
    return Prediction(ttft, tpot, tpot / each, tpot * each, made * busy, ttft / first, ttft * first)


def _lengths(mean: float, shortest: float) -> Lengths:
    """Lengths of that mean, uniform from a share of the longest to it."""
    if shortest >= 1.0:
        return constant(max(round(mean), 1))
    longest = 2.0 * mean / (1.0 + shortest)
    return uniform(max(round(shortest * longest), 1), max(round(longest), 1))
