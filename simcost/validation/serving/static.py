"""Loads that no scheduler shapes: a static batch, one user, and one step of a pool that holds a batch.

A static batch passes one prefill of all its prompts, and each of its sequences then takes a decode step for every
further token; the steps are priced at their mean context. Most likely to be wrong: stacks whose host binds a step
(without CUDA graphs), and prompts that an engine passes in chunks. Points of one configuration are priced together.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from simcost.cost.cost import Cost, interval
from simcost.errors import SimcostError
from simcost.estimate import feasible
from simcost.estimate import step as steps
from simcost.frozen import frozen
from simcost.num import Array
from simcost.plan import Phase
from simcost.query import Query, make, workload
from simcost.validation.serving.figures import Range
from simcost.validation.serving.point import Prediction, ServingPoint
from simcost.workload import Workload

LOADS = ("batch", "decode", "prefill")


@frozen
class Static:
    """Times to the first token, and per token after it [s]; output and input tokens per second over all devices [1/s].
    Each with its interval, None where the load has no such figure; `reason`: why there are none."""

    ttft: Range | None = None
    tpot: Range | None = None
    output: Range | None = None
    input: Range | None = None
    reason: str = ""


def answers(asked: Sequence[tuple[str, ServingPoint]]) -> list[Static]:
    """Of (load, point) each, in their order. `concurrency` of a point is the sequences of the batch, over all devices.
    A point that cannot be priced has a reason."""
    found: dict[int, Static] = {}
    for together in _configurations(asked).values():
        load, points = asked[together[0]][0], [asked[i][1] for i in together]
        found.update(zip(together, _priced(load, points), strict=True))
    return [found[i] for i in range(len(asked))]


def one_user(points: Sequence[ServingPoint]) -> list[Prediction]:
    """Closed loops of one user, who never waits: a batch of one, over and over. Other loads have a reason."""
    plain = [i for i, point in enumerate(points) if _alone(point)]
    known = dict(zip(plain, answers([("batch", points[i]) for i in plain]), strict=True))
    return [_prediction(known[i]) if i in known else Prediction(reason=_WAITS) for i in range(len(points))]


_WAITS = "only loads of one user are answered here"
_PLAIN = "static batches have neither drafts nor a prefix cache"


def _alone(point: ServingPoint) -> bool:
    pools = point.prefill is not None or point.decode is not None
    return point.concurrency == 1.0 and not pools and not point.speculative and point.prefix_hit == 0.0


def _prediction(one: Static) -> Prediction:
    if one.ttft is None or one.output is None:
        return Prediction(reason=one.reason)
    tpot = one.tpot or (float("nan"),) * 3
    return Prediction(one.ttft[0], *tpot, one.output[0])


def _configurations(asked: Sequence[tuple[str, ServingPoint]]) -> dict[str, list[int]]:
    """Places of points that ask for one workload, by what they ask for."""
    found: dict[str, list[int]] = {}
    for i, (load, p) in enumerate(asked):
        asks = [load, p.model, p.hw, p.engine, p.version, dict(p.sets), p.speculative, p.prefix_hit]
        same = json.dumps(asks, sort_keys=True)
        found.setdefault(same, []).append(i)
    return found


def _priced(load: str, points: Sequence[ServingPoint]) -> list[Static]:
    first = points[0]
    if first.speculative or first.prefix_hit:
        return [Static(reason=_PLAIN)] * len(points)
    batch, isl, osl = (np.array([getattr(p, name) for p in points]) for name in ("concurrency", "isl", "osl"))
    try:
        w = workload(question(first, load != "prefill"))
        feasible.require(w)
        return _of_load(load, w, batch, isl, osl)
    except SimcostError as fault:
        return [Static(reason=str(fault))] * len(points)


def question(point: ServingPoint, decode: bool) -> Query:
    """One step of a point, as `simcost decode` or `prefill` asks it."""
    version = {"engine.version": point.version} if point.version else {}
    phase: Mapping[str, Any] = {"context": 2} if decode else {"isl": 1}
    sets = {**point.sets, **version, "engine": point.engine}
    return make(point.model, point.hw, decode, {"batch": 1, **phase}, sets, {}, None)


def _of_load(load: str, w: Workload, batch: Array, isl: Array, osl: Array) -> list[Static]:
    if load == "prefill":
        prompt = _cost(w, Phase(batch, isl, 0.0, routing=w.phase.routing))
        first = _ranges(prompt)
        return [Static(ttft=t, input=_rate(b * n, t)) for t, b, n in zip(first, batch, isl, strict=True)]
    if load == "decode":
        token = _decode(w, batch, isl + np.where(osl > 1.0, osl / 2.0, 0.0))
        return [Static(tpot=t, output=_rate(b, t)) for t, b in zip(_ranges(token), batch, strict=True)]
    prompt = _cost(w, Phase(batch, isl, 0.0, routing=w.phase.routing))
    token = _decode(w, batch, isl + osl / 2.0)
    each, first = _ranges(token), _ranges(prompt)
    whole = _ranges(prompt + token * (osl - 1.0))
    return [
        Static(ttft=f, tpot=t if n > 1.0 else None, output=_rate(b * n, all_))
        for f, t, all_, b, n in zip(first, each, whole, batch, osl, strict=True)
    ]


def _decode(w: Workload, batch: Array, context: Array) -> Cost:
    """A decode step of a batch whose new tokens attend to `context` tokens, themselves included."""
    phase = Phase(batch, 1.0, context - 1.0, microbatches=w.plan.pp, routing=w.phase.routing, decode=True)
    return _cost(w, phase)


def _cost(w: Workload, phase: Phase) -> Cost:
    return steps.run(replace(w, phase=phase, view=replace(w.view, phase=phase)), checked=True).cost


def _ranges(cost: Cost) -> list[Range]:
    low, high = interval(cost)
    return [(float(mid), float(least), float(most)) for mid, least, most in np.broadcast(cost.seconds, low, high)]


def _rate(tokens: float, seconds: Range) -> Range:
    estimate, low, high = seconds
    return tokens / estimate, tokens / high, tokens / low
