"""Fleets of one device whose instances all prefill and decode: of every plan the fewest instances that carry a rate,
or what an instance takes.

How sure the order is: the step's error times how much more load a plan takes when its steps are shorter, by trial.
Most likely to be wrong: that elasticity where
a limit is nearly out of reach.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from simcost.cost.cost import Cost
from simcost.estimate import step as steps
from simcost.estimate.step import SPREAD
from simcost.frozen import frozen
from simcost.num import Array, Bools, Index, Num
from simcost.plan import Phase
from simcost.result import Row
from simcost.scenarios.serve.answer import Answer, answer, brought, metrics
from simcost.scenarios.serve.replica import Replica
from simcost.search.serve_load import Found, Limits, largest, per_second
from simcost.search.serve_space import Space, taken, timed
from simcost.serving.loop import open_loop
from simcost.serving.point import KV_CACHE, LIMITS, LOAD, PREFILL, Load, OperatingPoint, Room
from simcost.serving.step_times import StepTimes
from simcost.units import show

AGGREGATED, DISAGGREGATED = "aggregated", "disaggregated"
BUDGET, POOL = "prefill: the token budget", "prefill pool"  # what prompts fill
SLOWER = 1.1  # steps that take so much longer, to see how much less load a plan takes then
_LESS = np.linspace(1.0, 0.3, 15)
_MORE = np.array([-1.0, 0.0, 1.0, 2.0])  # instances beside the number that a division says


@frozen
class Fleets:
    """Fleets of one device and mode that keep the limits, [fleets]. sizes: what their instances are; devices: GPUs of
    all; takes: requests a second that they take at most within
    the limits; values: metrics; binds: what keeps them from more; cost: whose error their order has; reasons: of
    plans without a fleet, with their sizes;
    most: the largest rate that all of --gpus take, with the plan that takes it."""

    label: str
    mode: str
    sizes: list[Row]
    devices: Array
    takes: Array
    values: dict[str, Array]
    binds: list[str]
    cost: Cost
    reasons: list[tuple[Row, str]]
    most: tuple[float, str]


@frozen
class Wanted:
    """limits: of mean times; rate: requests per second, None for as many as can be; gpus: that there are, None for as
    many as it takes; usd: price of a GPU hour."""

    limits: Limits
    rate: float | None
    gpus: int | None
    usd: float | None


@frozen
class Slowed:
    """Step times that are longer by a factor."""

    times: StepTimes
    by: float

    def __call__(self, batch: Num, context: Num, tokens: Num, past: Num) -> Num:
        """As `StepTimes`. [s]"""
        return self.by * self.times(batch, context, tokens, past)


@frozen
class Line:
    """All plans of a device under load. `at`: points at requests a second of one instance of each, [plans, loads];
    slower: the same of longer steps; capacity:
    requests a second of an instance at most, [plans]; found: their largest loads."""

    space: Space
    replicas: Replica
    load: Load
    room: Room
    at: Callable[[Array], OperatingPoint]
    slower: Callable[[Array], OperatingPoint]
    capacity: Array
    found: Found

    def of(self, plans: Index) -> Callable[[Array], OperatingPoint]:
        """Points of some of the plans. [plans, loads]"""
        r = timed(self.replicas, plans)
        load = replace(self.load, lag_s=taken(self.load.lag_s, plans), link_s=taken(self.load.link_s, plans))
        room = Room(taken(self.room.kv, plans), taken(self.room.sequences, plans))
        return lambda rate: open_loop(r, r.policy, load, rate / self.space.alike[plans, None], room)


def line(space: Space, limits: Limits) -> Line:
    """The loads of all plans that can serve."""
    r, q = space.replicas, space.asked
    assert r is not None
    with np.errstate(all="ignore"):
        load, room = brought(r, q.traffic)
        count = space.alike[:, None]

        def at(rate: Array) -> OperatingPoint:
            return open_loop(r, r.policy, load, rate / count, room)

        def slower(rate: Array) -> OperatingPoint:
            return open_loop(Slowed(r, SLOWER), r.policy, load, rate / count, room)

        capacity = column(at(np.full((len(count), 1), 1e-9)).capacity_per_s, len(count)) * count[:, 0]
        return Line(space, r, load, room, at, slower, capacity, largest(at, capacity, limits))


def column(value: Num, count: int) -> Array:
    """[count, 1], or one number, as [count]."""
    return np.array(np.broadcast_to(np.asarray(value, np.float64), (count, 1))[:, 0])


def aggregated(of: Line, wanted: Wanted) -> Fleets:
    """The fleets of all plans."""
    space, most, each = of.space, of.found.most, of.space.devices
    there = np.full(len(each), np.inf) if wanted.gpus is None else np.floor(wanted.gpus / each)
    copies = _copies(of, wanted, there)
    few = np.flatnonzero((most > 0.0) & (copies > there))
    reasons = [
        (space.sizes(int(space.good[i])), _too_few(of, wanted, int(i), float(there[i])))
        for i in few[np.argsort(-(there[few] * most[few]), kind="stable")]
    ]
    reasons += [
        (space.sizes(int(space.good[i])), _late(of, wanted.limits, int(i))) for i in np.flatnonzero(most <= 0.0)
    ]
    reasons += space.refused()
    rows = np.flatnonzero((most > 0.0) & (copies <= there))
    full = np.where(np.isfinite(there), there, 1.0) * most
    best = int(np.argmax(full)) if len(full) else 0
    capacity = (float(full[best]), words(space.sizes(int(space.good[best])))) if len(full) else (0.0, "")
    if not len(rows):
        return Fleets(space.label, AGGREGATED, [], np.zeros(0), np.zeros(0), {}, [], Cost(), reasons, capacity)
    many = copies[rows]
    takes = many * most[rows]
    rate = takes if wanted.rate is None else np.full(len(rows), wanted.rate)
    r = space.of(rows, many[:, None])
    with np.errstate(all="ignore"):
        found = answer(r, replace(space.asked.traffic, rate=rate[:, None]))
        cost = step_cost(r, found, found.point)
    values = numbers(found, wanted.usd, found.point.running, len(rows))
    by = stretch(of.slower, most, wanted.limits)[rows]
    sizes = [{"instances": int(n), **space.sizes(int(space.good[i]))} for i, n in zip(rows, many, strict=True)]
    bound = [binds(of.found.beyond, int(i), wanted.limits, BUDGET) for i in rows]
    return Fleets(
        space.label,
        AGGREGATED,
        sizes,
        many * each[rows],
        takes,
        values,
        bound,
        stretched(cost, by).on(space.label),
        reasons,
        capacity,
    )


def numbers(found: Answer, usd: float | None, batch: Num, count: int) -> dict[str, Array]:
    """Metrics of fleets by name, with what they cost. `batch`: sequences of a replica that decodes; usd: price of a
    GPU hour. [fleets]"""
    known = {name: column(value, count) for name, value in metrics(found, usd).items()}
    known["batch_per_replica"] = column(batch, count)
    if usd is not None:
        known["fleet_usd_per_hour"] = usd * known["gpus"]
        known["usd_per_thousand_requests"] = 1000.0 * known["fleet_usd_per_hour"] / (3600.0 * known["requests_per_s"])
    return known


def _copies(of: Line, wanted: Wanted, there: Array) -> Array:
    """Instances of every plan. [plans]"""
    most = of.found.most
    if wanted.rate is None:
        return np.where(np.isfinite(there), np.maximum(there, 1.0), 1.0)
    with np.errstate(all="ignore"):
        near = np.ceil(wanted.rate / np.where(most > 0.0, most, np.nan))
        tried = np.maximum(np.nan_to_num(near, nan=1.0)[:, None] + _MORE, 1.0)
        keeps = wanted.limits.keep(of.at(wanted.rate / tried))
    first = np.where(keeps.any(axis=1), keeps.argmax(axis=1), len(_MORE) - 1)
    return np.asarray(np.where(most > 0.0, tried[np.arange(len(tried)), first], np.inf), np.float64)


def stretch(slower: Callable[[Array], OperatingPoint], most: Array, limits: Limits) -> Array:
    """How much less load a plan takes for longer steps: the elasticity. [plans]"""
    with np.errstate(all="ignore"):
        keeps: Bools = limits.keep(slower(np.maximum(most, 1e-12)[:, None] * _LESS))
    left = np.where(keeps.any(axis=1), _LESS[keeps.argmax(axis=1)], _LESS[-1])
    return np.asarray(np.log(1.0 / left) / np.log(SLOWER), np.float64)


def stretched(cost: Cost, by: Array) -> Cost:
    """A cost [fleets] with its errors times an elasticity, at least 1: money and GPUs follow the steps."""
    return replace(cost, spread={source: value * np.maximum(by, 1.0) for source, value in cost.spread.items()})


def step_cost(r: Replica, found: Answer, p: OperatingPoint) -> Cost:
    """The time between tokens as a cost, for its errors: decode, prompts and host by their shares. [fleets]"""
    w, plan = r.workload, r.workload.plan
    count = plan.replicas * plan.copies
    batch = np.maximum(np.round(p.running), 1.0) * count
    decode = priced(
        r, Phase(batch, 1.0, found.load.context, microbatches=plan.pp, routing=w.phase.routing, decode=True)
    )
    prompt = priced(r, Phase(count, np.minimum(p.chunk, r.chunk), found.load.hit, routing=w.phase.routing))
    host = Cost(overhead_s=p.host_s, spread={"step overhead assumed": SPREAD * p.host_s})
    whole = decode * (p.decode_s / decode.seconds) + prompt * (p.prefill_s / prompt.seconds) + host
    return whole.each(lambda value: column(value, len(np.asarray(plan.tp))))


def priced(r: Replica, phase: Phase) -> Cost:
    w = r.workload
    return steps.run(replace(w, phase=phase, view=replace(w.view, phase=phase)), checked=True).cost


def words(sizes: Row) -> str:
    """ "3 x tp=4, ep=8"."""
    named = [f"{name}={sizes[name]}" for name in ("tp", "cp", "dp_attention", "pp", "ep") if sizes.get(name, 1) != 1]
    plan = ", ".join(named) or "1 GPU"
    return f"{sizes['instances']:,} x {plan}" if "instances" in sizes else plan


def binds(beyond: OperatingPoint, i: int, limits: Limits, prefill: str) -> str:
    """What keeps an instance from more load: a limit, or what is full. `prefill`: what is where prompts set the
    pace."""

    def of(name: str) -> float:
        value = np.asarray(getattr(beyond, name), np.float64)
        return float(np.broadcast_to(value, (max(len(np.atleast_1d(value)), i + 1), 1))[i, 0])

    if of("tpot_s") > limits.tpot_s:
        return "TPOT"
    if np.isfinite(of("ttft_s")) and of("ttft_s") > limits.ttft_s:
        return "TTFT"
    full = int(of("limit"))
    return {LOAD: "capacity", KV_CACHE: "KV cache", PREFILL: prefill}.get(full, LIMITS[full])


def _too_few(of: Line, wanted: Wanted, i: int, there: float) -> str:
    """Why the GPUs that there are do not do."""
    if there < 1.0:
        return f"an instance has {of.space.devices[i]:,.0f} GPUs"
    takes = per_second(there * float(of.found.most[i]))
    return f"{wanted.gpus:,} GPUs take {takes} requests/s, {per_second(wanted.rate or 0.0)} arrive"


def _late(of: Line, limits: Limits, i: int) -> str:
    """Which limits a plan breaks even without load."""
    least, count = of.found.least, len(of.found.most)
    both = (("TTFT", least.ttft_s, limits.ttft_s), ("TPOT", least.tpot_s, limits.tpot_s))
    late = [
        f"{name} {show(float(column(value, count)[i]), 'seconds')}"
        for name, value, limit in both
        if column(value, count)[i] > limit
    ]
    return f"{' and '.join(late)} without load" if late else "no load meets the limits"
