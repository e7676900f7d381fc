"""The best fleet of one device whose prefill and decode run on pools of their own, and the front of such fleets.

The plans that prefill most prompts per GPU within the time to the first token, and those that decode most tokens per GPU
within the time between tokens, are joined in whole
numbers of instances. Most likely to be wrong: that the best few of either pool hold the best pair. Source: DistServe
(Zhong et al. 2024, arXiv 2401.09670).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from simcost.cost.cost import Cost
from simcost.frozen import frozen
from simcost.num import Array, Index, Num
from simcost.plan import Phase
from simcost.result import Row
from simcost.scenarios.serve.pools import Fleet, answer, joined, replicas
from simcost.search.serve_fleets import (
    DISAGGREGATED,
    POOL,
    SLOWER,
    Fleets,
    Line,
    Slowed,
    Wanted,
    binds,
    column,
    numbers,
    priced,
    stretch,
    stretched,
)
from simcost.search.serve_load import Limits, largest
from simcost.search.serve_space import taken, timed
from simcost.serving.disaggregated import Pool, Pools, fixed_s, open_loop
from simcost.serving.loop import root
from simcost.serving.point import Load, OperatingPoint, Room

INSTANCES = 16  # of both pools at most, where neither a rate nor --gpus says how many
BEST = 4  # plans of either pool that are joined
_BUSY = 1.0 - np.geomspace(0.98, 0.02, 60)  # parts of the time that prefill replicas work
_FULL = 0.98  # of the sequences that a decode replica may hold
_LEVELS = np.geomspace(0.002, _FULL, 40)
_TRIED = 12  # numbers of prefill instances at a time
_RATIOS = 4  # of instances of a pair that are tried without a rate


@frozen
class Sides:
    """What an instance of every plan does of one phase within its limit. prefills, decodes: requests per second, 0
    where it keeps none; prompts: of a prefill instance that is busy all the
    time. levels [plans, levels]: requests a second of a decode instance, and `tpot_s` there. pools, load: of one
    instance of every plan in both roles."""

    prefills: Array
    prompts: Array
    decodes: Array
    levels: Array
    tpot_s: Array
    pools: Pools
    load: Load


def sides(of: Line, limits: Limits) -> Sides:
    """Both phases of all plans. Raises SpecError for devices without a network."""
    count = len(of.space.devices)
    p, load = joined(Fleet(of.replicas, of.replicas, 1.0, 1.0), of.space.asked.traffic)
    servers = of.space.alike[:, None]
    prompts = column(servers / p.turn(load), count)
    first = sum(p.first(load, _BUSY * prompts[:, None])) + fixed_s(p, load)
    busy = np.where(first <= limits.ttft_s, _BUSY, 0.0).max(axis=1)
    most = np.broadcast_to(np.minimum(p.room.kv, p.room.sequences), (count, 1))
    steps = np.maximum((load.osl - 1.0) / load.emitted, 1e-9)

    def step(running: Num) -> Num:
        return p.decode.times(running, load.context, 0.0, 0.0) + p.decode.policy.host_step_s

    def done(running: Num) -> Array:
        return np.asarray(running / (steps * step(running)) * servers, np.float64)

    within = root(lambda n: step(n) / load.emitted - limits.tpot_s, _FULL * most)
    kept = column(step(within) / load.emitted, count) <= limits.tpot_s * (1.0 + 1e-9)
    levels = most * _LEVELS
    return Sides(
        busy * prompts,
        prompts,
        np.where(kept, done(within)[:, 0], 0.0),
        done(levels),
        np.asarray(step(levels) / load.emitted, np.float64),
        p,
        load,
    )


def disaggregated(of: Line, wanted: Wanted, both: Sides) -> Fleets:
    """The best fleet of two pools, or why there is none."""
    each = of.space.devices
    prefill, decode = (_best(done, each, wanted.rate) for done in (both.prefills, both.decodes))
    if not (len(prefill) and len(decode)):
        late = "prefills in time for the limit on TTFT" if not len(prefill) else "decodes within the limit on TPOT"
        return without(of, f"pools: no plan {late}")
    pairs = np.array([(i, j) for i in prefill for j in decode])
    tried = (
        _for_rate(both, pairs, wanted.rate) if wanted.rate is not None else _in_ratio(both, each, pairs, wanted.gpus)
    )
    tried = _loaded(of, wanted, both, tried) if wanted.rate is None else _refined(of, wanted, both, tried)
    if not len(tried.rate):
        return without(of, "pools: no pair of the best plans meets the limits")
    gpus = tried.prefills * each[tried.first] + tried.decodes * each[tried.second]
    if wanted.rate is not None:
        best = int(np.lexsort((tried.prefills + tried.decodes, gpus))[0])
    else:
        best = int(np.argmax(tried.rate / (gpus if wanted.gpus is None else 1.0)))
    if wanted.gpus is not None and gpus[best] > wanted.gpus:
        fleet = disaggregated(of, replace(wanted, rate=None), both)  # what there is takes
        most = (float(fleet.takes[0]), words_of(fleet.sizes[0])) if fleet.sizes else (0.0, "")
        why = f"pools: {gpus[best]:,.0f} GPUs at least are needed for the rate, but there are {wanted.gpus:,}"
        return replace(without(of, why), most=most)
    return _fleet(of, wanted, both, tried.of(np.array([best])), gpus[best : best + 1])


def without(of: Line, why: str) -> Fleets:
    """No fleet of pools, with the reason where there is one."""
    reasons: list[tuple[Row, str]] = [({}, why)] if why else []
    return Fleets(of.space.label, DISAGGREGATED, [], np.zeros(0), np.zeros(0), {}, [], Cost(), reasons, (0.0, ""))


@frozen
class Tried:
    """Pairs of plans, how many instances of either, and requests per second. [fleets]"""

    first: Index
    second: Index
    prefills: Array
    decodes: Array
    rate: Array

    def of(self, rows: Index) -> Tried:
        """Some of them."""
        return Tried(self.first[rows], self.second[rows], self.prefills[rows], self.decodes[rows], self.rate[rows])

    def fleet(self, of: Line) -> Fleet:
        """As a fleet. [fleets, 1]"""
        return Fleet(of.space.of(self.first), of.space.of(self.second), self.prefills[:, None], self.decodes[:, None])

    def at(self, of: Line, both: Sides, slower: float = 1.0) -> Callable[[Array], OperatingPoint]:
        """Points at requests per second, of steps that take so many times as long. [fleets, loads]"""
        assert of.space.replicas is not None
        made = []
        for plans, instances in ((self.first, self.prefills), (self.second, self.decodes)):
            r = timed(of.space.replicas, plans)
            made.append(Pool(Slowed(r, slower), r.policy, (of.space.alike[plans] * instances)[:, None]))
        all_ = both.pools
        sent = np.maximum(taken(all_.transfer_s, self.first), taken(all_.transfer_s, self.second))
        p = Pools(
            made[0], made[1], sent, Room(taken(all_.room.kv, self.second), taken(all_.room.sequences, self.second))
        )
        load = replace(both.load, lag_s=taken(both.load.lag_s, self.first), link_s=taken(both.load.link_s, self.first))
        return lambda rate: open_loop(p, load, rate)


def _best(done: Array, each: Array, rate: float | None) -> Index:
    """The few plans that take fewest GPUs for a rate, in whole instances; of equal ones, and without a rate, those
    that do most for a GPU. done: requests a second of an
    instance, 0 where it has none to give."""
    able = np.flatnonzero(done > 0.0)
    need = 0.0 * able if rate is None else np.ceil(rate / done[able]) * each[able]
    return np.asarray(able[np.lexsort((-done[able] / each[able], need))[:BEST]])


def _grid(pairs: Array, rate: float, prefills: Array, decodes: Array) -> Tried:
    """Every number of prefill instances [pairs, a] with every number of decode instances [pairs, b]."""
    a, b = prefills.shape[1], decodes.shape[1]
    first, second = (np.repeat(pairs[:, side], a * b).astype(np.intp) for side in (0, 1))
    return Tried(
        first,
        second,
        np.repeat(prefills, b, axis=1).ravel(),
        np.tile(decodes, (1, a)).ravel(),
        np.full(len(first), rate),
    )


def _counts(low: Array, high: Array) -> Array:
    return np.ceil(low[:, None] + (high - low)[:, None] * np.arange(_TRIED) / (_TRIED - 1.0))


def _for_rate(both: Sides, pairs: Array, rate: float) -> Tried:
    """As many decode instances as carry a rate, or one more, and from as many prefill instances as never rest to as
    many as wait for no other instance."""
    least, most = np.maximum(np.ceil(rate / both.prompts[pairs[:, 0]]), 1.0), np.ceil(rate / both.prefills[pairs[:, 0]])
    decodes = np.maximum(np.ceil(rate / both.decodes[pairs[:, 1]]), 1.0)
    return _grid(pairs, rate, _counts(least, most + 1.0), decodes[:, None] + np.array([0.0, 1.0]))


def _refined(of: Line, wanted: Wanted, both: Sides, tried: Tried) -> Tried:
    """Those that keep the limits, with the fewest prefill instances that do."""
    good = tried.of(_kept(of, wanted, both, tried))
    if not len(good.rate):
        return good
    pairs = np.column_stack([good.first, good.second, good.decodes])
    ones, back = np.unique(pairs, axis=0, return_inverse=True)
    fewest = np.full(len(ones), np.inf)
    np.minimum.at(fewest, np.ravel(back), good.prefills)
    step = np.maximum(
        np.ceil((np.ceil(good.rate[0] / both.prefills[ones[:, 0].astype(int)]) + 1.0) / (_TRIED - 1.0)), 1.0
    )
    less = np.maximum(fewest[:, None] - step[:, None] * np.arange(_TRIED) / _TRIED, 1.0)
    again = _grid(ones[:, :2].astype(int), float(good.rate[0]), np.ceil(less), ones[:, 2:])
    return again.of(_kept(of, wanted, both, again))


def _kept(of: Line, wanted: Wanted, both: Sides, tried: Tried) -> Index:
    with np.errstate(all="ignore"):
        return np.flatnonzero(wanted.limits.keep(tried.at(of, both)(tried.rate[:, None]))[:, 0])


def _in_ratio(both: Sides, each: Array, pairs: Array, gpus: int | None) -> Tried:
    """The whole numbers of instances of every pair that waste least."""
    prefills, decodes = (grid.ravel() for grid in np.meshgrid(np.arange(1.0, INSTANCES), np.arange(1.0, INSTANCES)))
    few = prefills + decodes <= INSTANCES
    prefills, decodes = prefills[few], decodes[few]
    size = prefills * each[pairs[:, :1]] + decodes * each[pairs[:, 1:]]
    copies = np.ones(size.shape) if gpus is None else np.floor(gpus / size)  # of the ratio, in what there is
    done = copies * np.minimum(prefills * both.prefills[pairs[:, :1]], decodes * both.decodes[pairs[:, 1:]])
    worth = done / (size if gpus is None else 1.0)
    order = np.argsort(-worth, axis=1, kind="stable")[:, :_RATIOS]
    rows, taken = np.arange(len(pairs))[:, None], order
    times = copies[rows, taken]
    found = Tried(
        np.repeat(pairs[:, 0], order.shape[1]).astype(np.intp),
        np.repeat(pairs[:, 1], order.shape[1]).astype(np.intp),
        (prefills[taken] * times).ravel(),
        (decodes[taken] * times).ravel(),
        done[rows, taken].ravel(),
    )
    return found.of(np.flatnonzero(found.rate > 0.0))


def _loaded(of: Line, wanted: Wanted, both: Sides, tried: Tried) -> Tried:
    """Fleets at the largest rate that they take."""
    if not len(tried.rate):
        return tried
    with np.errstate(all="ignore"):
        at = tried.at(of, both)
        capacity = column(at(tried.rate[:, None] * 1e-6).capacity_per_s, len(tried.rate))
        most = largest(at, capacity, wanted.limits).most
    found = replace(tried, rate=most)
    return found.of(np.flatnonzero(most > 0.0))


def _fleet(of: Line, wanted: Wanted, both: Sides, one: Tried, gpus: Array) -> Fleets:
    """One fleet with its numbers."""
    space = of.space
    f = one.fleet(of)
    with np.errstate(all="ignore"):
        found = answer(f, replace(space.asked.traffic, rate=one.rate[:, None]))
        at = one.at(of, both)
        capacity = column(at(one.rate[:, None] * 1e-6).capacity_per_s, 1)
        most = largest(at, capacity, wanted.limits)
        by = stretch(one.at(of, both, SLOWER), most.most, wanted.limits)
        cost = _cost(f, found.point, found.load.context, found.load.hit)
    values = numbers(found, wanted.usd, found.point.running / (replicas(f.decode) * f.decodes), 1)
    return Fleets(
        space.label,
        DISAGGREGATED,
        [sizes_of(of, one, 0)],
        gpus,
        most.most,
        values,
        [binds(most.beyond, 0, wanted.limits, POOL)],
        stretched(cost, by).on(space.label),
        [],
        (0.0, ""),
    )


def sizes_of(of: Line, tried: Tried, i: int) -> Row:
    """Both pools as serve's --prefill-pool and --decode-pool take them."""
    found: Row = {}
    for name, plans, counts in (("prefill", tried.first, tried.prefills), ("decode", tried.second, tried.decodes)):
        sizes = of.space.sizes(int(of.space.good[plans[i]]))
        stated = ",".join(
            f"{key}={sizes[key]}" for key in ("tp", "cp", "dp_attention", "pp", "ep") if sizes.get(key, 1) != 1
        )
        found[f"{name}_pool"] = f"{int(counts[i])}:{stated or 'tp=1'}"
    return found


def words_of(sizes: Row) -> str:
    """ "2 prefill x tp=2 + 1 decode x tp=8"."""
    parts = (sizes[f"{name}_pool"].partition(":") for name in ("prefill", "decode"))
    said = (
        f"{int(count):,} {name} x {plan.replace(',', ', ')}"
        for name, (count, _, plan) in zip(("prefill", "decode"), parts, strict=True)
    )
    return " + ".join(said)


def _cost(f: Fleet, p: OperatingPoint, context: Num, hit: Num) -> Cost:
    """Steps of both pools by the GPUs that they take, for their errors. [1]"""
    share = f.prefill.workload.plan.devices * f.prefills / f.devices
    one, other = f.prefill.workload, f.decode.workload
    routing, replicas = other.phase.routing, other.plan.replicas * other.plan.copies
    batch = np.maximum(np.round(p.running / f.decodes), replicas)
    decode = priced(f.decode, Phase(batch, 1.0, context, microbatches=other.plan.pp, routing=routing, decode=True))
    chunk = np.minimum(p.chunk, f.prefill.chunk)
    prompt = priced(f.prefill, Phase(one.plan.replicas * one.plan.copies, chunk, hit, routing=routing))
    whole = decode * ((1.0 - share) / decode.seconds) + prompt * (share / prompt.seconds)
    return whole.each(lambda value: column(value, 1))
