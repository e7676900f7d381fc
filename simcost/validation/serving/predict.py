"""Measured operating points, answered by simcost: points of one configuration share a table of step times.

Most likely to be wrong: how many drafts are taken, one number for each draft length whatever the model (EMITTED).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import astuple, replace
from typing import Any

import numpy as np

from simcost.errors import SimcostError
from simcost.frozen import frozen
from simcost.hardware import engines
from simcost.hardware.engine_file import SERVING, setting_names
from simcost.model.spec import ModelSpec
from simcost.num import Array
from simcost.query import make, model_of, settings_of, with_arrays
from simcost.scenarios.serve import pools
from simcost.scenarios.serve.answer import Answer, Traffic, answer, metrics
from simcost.scenarios.serve.pools import Fleet
from simcost.scenarios.serve.question import policy_of, terms_of
from simcost.scenarios.serve.replica import Bounds, Replica, Steps, build, steps_of, with_drafts
from simcost.serving.policy import Policy
from simcost.validation.serving.point import Pool, Prediction, ServingPoint
from simcost.workload import Workload

# Tokens of a step with so many drafts of an MTP module. Of one and of three: DeepSeek-R1 and V3 of the silicon sample against rows without drafts, so that drafted rows
# do not judge them. Of two: vLLM pull request 41044, DeepSeek-V4 with num_speculative_tokens = 2 on random prompts of
# 1,024 tokens at concurrency 1, 4 and 8, acceptance by
# position 0.769 + 0.381, 0.757 + 0.355, 0.786 + 0.358: 2.15, 2.11, 2.14. The 24 rows that it answers are of R1 and
# say that it is too many for them (docs/validation/serving.md);
# they do not set it.
EMITTED = {1: 1.84, 2: 2.14, 3: 2.46}


@frozen
class FrontEnd:
    """What a request, and each token of its prompt, takes of the process before the scheduler's queue, and what a request waits besides. [s]"""

    request_s: float
    token_s: float
    delay_s: float


NO_SERVER = FrontEnd(0.0, 0.0, 0.0)


def offline(p: ServingPoint) -> bool:
    """Whether all requests are there at once, with no server in front that takes them in turn."""
    return p.concurrency == np.inf and not p.rate


def predict(points: Sequence[ServingPoint], front: FrontEnd | None = None) -> list[Prediction]:
    """The mean field's answers, one a point, with a reason where there is none. `front`: in place of the one of the engines' profiles."""
    return by_group(points, lambda group: _group(group, front))


def by_group(
    points: Sequence[ServingPoint], answer: Callable[[list[ServingPoint]], Sequence[Prediction]]
) -> list[Prediction]:
    """What `answer` says of the points of each configuration, in the order of all."""
    found: list[Prediction] = [Prediction()] * len(points)
    groups = grouped(points)
    for own in groups:
        _announce([points[i] for i in own])
    for own in groups:
        for i, one in zip(own, answer([points[i] for i in own]), strict=True):
            found[i] = one
    return found


def grouped(points: Sequence[ServingPoint]) -> list[list[int]]:
    """Places of points that share a configuration; those of one model, device, engine and plan stand together."""
    groups: dict[str, list[int]] = {}
    for i, p in enumerate(points):
        groups.setdefault(_key(p), []).append(i)
    return [groups[key] for key in sorted(groups)]


def _key(p: ServingPoint) -> str:
    model = p.model if isinstance(p.model, str) else json.dumps(p.model, sort_keys=True)
    return json.dumps(
        [
            model,
            p.hw,
            p.engine,
            p.version,
            dict(p.sets),
            _flags(p),
            p.speculative,
            _pool(p.prefill),
            _pool(p.decode),
            p.rate > 0.0,
            offline(p),
        ],
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
        if not points[i].users >= 1.0:
            return Prediction(reason="its concurrency is not stated")
        if not fits[i]:
            return Prediction(reason="does not fit: the pool of the cache holds no request")
        names = ("ttft_s", "tpot_s", "tpot_low_s", "tpot_high_s", "output_tokens_per_s", "ttft_low_s", "ttft_high_s")
        ttft, tpot, low, high, rate, *first = (float(found[name][i]) for name in names)
        return Prediction(ttft, tpot, low, high, rate, first[0], first[1])

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
    front = NO_SERVER if offline(points[0]) else front
    p, want = points[0], _want(points, pool)
    key = want.key(p)
    found = _known.get(key) or _built(p, want)
    if len(_known) < _MOST:
        _known[key] = found
    if front is None:
        return found
    times = {
        f"host_{name}": value for name, value in zip(("request_s", "token_s", "delay_s"), astuple(front), strict=True)
    }
    return replace(found, policy=replace(found.policy, **times))


def _flags(p: ServingPoint) -> dict[str, Any]:
    """Settings that a server was launched with, by the engine's own names."""
    if p.engine not in engines.names():
        return {}
    names = {**setting_names(p.engine), **setting_names(p.engine, SERVING)}
    known = {
        "tokens": p.launch.tokens, "sequences": p.launch.sequences, "share": p.launch.share, "receive_interval": p.launch.receive,
    }  # fmt: skip
    return {
        f"engine.{names[key]}": value if key == "share" else int(value) for key, value in known.items() if value > 0.0
    }


def _announce(points: Sequence[ServingPoint]) -> None:
    """Says how much of a table the points of one configuration ask. Settings of the engine are of its memory and its
    scheduler: no step's time hangs on
    them, so that one table answers all of a plan. Points that cannot be asked say their reason when they are."""
    p = points[0]
    for pool in (None,) if p.prefill is None else (p.prefill, p.decode):
        want = _want(points, pool)
        if want.key(p) not in _known:
            with suppress(SimcostError):
                _, _, bounds = _asked(p, want)
                name = want.steps(p)
                _widest[name] = _both(_widest.get(name, bounds), bounds)


def _both(one: Bounds, other: Bounds) -> Bounds:
    return Bounds(*map(max, astuple(one), astuple(other)))


_known: dict[str, Replica] = {}  # several answers are asked of the same points
_widest: dict[str, Bounds] = {}  # what is asked of tables
_tables: dict[str, tuple[Bounds, Steps]] = {}  # and what those that are priced cover
_models: dict[str, ModelSpec] = {}  # a quantisation that is stated takes longer to read than a table to price
_MOST = 2_000


@frozen
class _Want:
    """What points of one configuration ask at most: tokens of a request and of a prompt, users of an instance."""

    stated: Mapping[str, Any]
    longest: float
    prompt: float
    users: float

    def steps(self, p: ServingPoint) -> str:
        """What tells whose step times are asked."""
        plan = {
            path: value
            for path, value in self.stated.items()
            if not path.startswith("engine.") or path == "engine.version"
        }
        return json.dumps([p.model, p.hw, plan, p.speculative], sort_keys=True, default=str)

    def key(self, p: ServingPoint) -> str:
        """What tells whose replica is asked."""
        asked = [p.model, p.hw, self.stated, p.speculative, self.longest, self.prompt, self.users]
        return json.dumps(asked, sort_keys=True, default=str)


def _want(points: Sequence[ServingPoint], pool: Pool | None) -> _Want:
    p = points[0]
    sets, instances = (p.sets, 1.0) if pool is None else (pool.sets, pool.instances)
    stated = {**dict(sets), "engine": p.engine, **({"engine.version": p.version} if p.version else {}), **_flags(p)}
    longest, prompt, users = (
        max(each) for each in zip(*((q.isl + q.osl, q.isl, q.users) for q in points), strict=True)
    )
    return _Want(stated, longest, prompt, users / instances)


def _asked(p: ServingPoint, want: _Want) -> tuple[Workload, Policy, Bounds]:
    query = make(p.model, p.hw, True, {"context": int(np.ceil(want.longest)), "batch": 1}, want.stated, {}, None)
    named = json.dumps([p.model, query.overrides.model], sort_keys=True, default=str)
    if named not in _models:
        _models[named] = model_of(query)
    w = with_arrays(query, {}, _models[named])
    policy = policy_of(terms_of(w, settings_of(query.overrides), p.speculative > 0))
    mine = max(float(np.ceil(want.users / float(np.asarray(w.plan.replicas * w.plan.copies)))), 1.0)
    most = Bounds(min(policy.sequences, mine), want.longest, min(policy.tokens, want.prompt * mine), want.prompt)
    return w, policy, most


def _built(p: ServingPoint, want: _Want) -> Replica:
    w, policy, most = _asked(p, want)
    if p.speculative:
        w = with_drafts(w)
    name = want.steps(p)

    def steps(w: Workload, bounds: Bounds, drafts: int) -> Steps:
        wide = _both(_widest.get(name, bounds), bounds)
        if name not in _tables or _both(_tables[name][0], bounds) != _tables[name][0]:
            _tables[name] = wide, steps_of(w, wide, drafts)
        return _tables[name][1]

    return build(w, policy, most, p.speculative, steps)


def traffic(points: Sequence[ServingPoint]) -> Traffic:
    """The loads of points of one configuration. [points]"""
    isl, osl = (np.asarray([getattr(p, name) for p in points]) for name in ("isl", "osl"))
    spread = np.asarray([_relative_variance(p.shortest) for p in points])
    emitted = EMITTED[points[0].speculative] if points[0].speculative else 1.0
    users = None if points[0].rate else np.asarray([p.users for p in points])
    rate = np.asarray([p.rate for p in points]) if points[0].rate else None
    hit: Array = np.asarray([p.prefix_hit for p in points])
    return Traffic(isl, osl, isl * isl * (1.0 + spread), osl * osl * (1.0 + spread), users, rate, hit, emitted)


def _relative_variance(shortest: float) -> float:
    """Variance over the squared mean of lengths that are uniform from `shortest` of the longest to it."""
    return ((1.0 - shortest) / (1.0 + shortest)) ** 2 / 3.0
