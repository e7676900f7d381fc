"""Every way to split one serving instance of a device: replicas of all plans that can serve, one after the other, and
why the others cannot.

An instance has as many devices as --gpus can be cut into, or up to two nodes (a rack: up to all of it). Experts are
spread whole over all ranks of a stage, or cut
over all of them, as engines do. Most likely to be wrong: what a real engine supports; here any even split counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from simcost import grammar, lower, settings
from simcost.errors import SpecError
from simcost.frozen import frozen
from simcost.hardware import load as hardware
from simcost.hardware.profile import Device
from simcost.model.spec import ModelSpec
from simcost.num import Array, Index, Num, divisors
from simcost.plan import Plan
from simcost.query import engine_of, model_of, phase_of, reasons, settings_of
from simcost.result import Row
from simcost.scenarios.serve.answer import load_of
from simcost.scenarios.serve.question import Asked, policy_of, terms_of
from simcost.scenarios.serve.replica import Bounds, Replica, of_table, stacked
from simcost.search.splits import SIZES, few, splits
from simcost.units import show
from simcost.workload import Workload, build

NODES = 16  # GPUs of an instance at most where --gpus is left out and no rack joins more


@frozen
class Space:
    """Plans of one device. `label`: its name among others; `table` [plans, sizes] of one instance each, dp = 1; `why`
    [plans]: what keeps a plan from serving, ""
    for those that can; `good`: these; `replicas`: of these, [good, 1], None where there are none."""

    asked: Asked
    label: str
    device: Device
    model: ModelSpec
    fixed: Plan
    table: Array
    why: list[str]
    good: Index
    replicas: Replica | None

    @property
    def devices(self) -> Array:
        """GPUs of an instance of every plan that can serve. [good]"""
        return np.asarray(self.table[self.good, :5].prod(axis=1), np.float64)

    @property
    def alike(self) -> Array:
        """Attention replicas of an instance of every plan that can serve. [good]"""
        return np.asarray(self.table[self.good, SIZES.index("dp_attention")], np.float64)

    def sizes(self, plan: int) -> Row:
        """What an instance of a plan of the table is, by numbers. Slices of experts go without saying where there are
        none."""
        hidden = ("dp", "etp") if not np.any(self.table[:, SIZES.index("ep")] > 1.0) else ("dp",)
        return {name: int(size) for name, size in zip(SIZES, self.table[plan], strict=True) if name not in hidden}

    def refused(self) -> list[tuple[Row, str]]:
        """Plans that cannot serve, with the reason."""
        return [(self.sizes(i), why) for i, why in enumerate(self.why) if why]

    def of(self, rows: Index, copies: Num = 1.0) -> Replica:
        """The replicas of some of the plans that can serve, of a fleet of so many instances each. [rows, 1]"""
        assert self.replicas is not None
        w = built(self.asked, self.model, self.device, self.fixed, self.table[self.good[rows]], copies)
        policy = policy_of(terms_of(w, settings_of(self.asked.query.overrides), False))
        return of_table(w, policy, self.replicas.table.of(np.asarray(rows)[:, None]))


def taken(value: Num, rows: Index) -> Num:
    """What some of several plans have of a number of all, [rows, 1]; one that all share as it is."""
    several = np.ndim(value) == 2 and len(np.asarray(value)) > 1
    return np.asarray(value)[rows] if several else value


def timed(r: Replica, rows: Index) -> Replica:
    """Some of the plans of a stack, for their step times and policies alone: the workload stays that of all."""
    p = r.policy
    policy = replace(
        p,
        tokens=taken(p.tokens, rows),
        sequences=taken(p.sequences, rows),
        host_step_s=taken(p.host_step_s, rows),
        overlap=taken(p.overlap, rows),
    )
    return replace(r, policy=policy, chunk=taken(r.chunk, rows), table=r.table.of(np.asarray(rows)[:, None]))


def space(q: Asked, label: str, gpus: Sequence[int] | None, cp: bool) -> Space:
    """All plans of a device. Raises SpecError for a device or settings of which no plan can be asked."""
    model, device = model_of(q.query), hardware.load(q.query.hw, q.query.overrides.hw)
    fixed = grammar.plan_of({k: v for k, v in q.query.overrides.plan.items() if k not in (*SIZES, "gpus")})
    table = _table(q, device, gpus, lower.has_experts(model), cp)
    w = built(q, model, device, fixed, table)
    runs, said = (each[:, 0] for each in reasons(w, (len(table), 1)))
    why, good, room = [str(reason) for reason in said], np.flatnonzero(runs), np.zeros(0)
    if len(good):
        room, short = _room(q, built(q, model, device, fixed, table[good]))
        tokens = f"{q.isl.mean + q.osl.mean:,.0f}"
        for i in np.flatnonzero(room < 1.0):
            why[good[i]] = f"short by {show(float(short[i]), 'memory')} per GPU for one request of {tokens} tokens"
        good, room = good[room >= 1.0], room[room >= 1.0]
    replicas = _replicas(q, built(q, model, device, fixed, table[good]), float(room.max())) if len(good) else None
    return Space(q, label, device, model, fixed, table, why, good, replicas)


def built(q: Asked, model: ModelSpec, device: Device, fixed: Plan, table: Array, copies: Num = 1.0) -> Workload:
    """The workload of plans [plans, sizes], of a fleet of so many instances each. [plans, 1]"""
    sizes: dict[str, Any] = {name: table[:, j, None] for j, name in enumerate(SIZES)} | {"dp": copies}
    plan = replace(fixed, **sizes)
    overrides = q.query.overrides
    phase = phase_of(q.query, plan, {**overrides.phase, "batch": plan.replicas * copies})
    return build(model, device, plan, phase, engine_of(overrides), settings_of(overrides))


def _replicas(q: Asked, w: Workload, room: float) -> Replica:
    """`room`: sequences of the replica that holds most."""
    terms = terms_of(w, settings_of(q.query.overrides), False)
    if len(np.unique(np.asarray(terms.reserved_output) == 1.0)) > 1:
        raise SpecError(
            "requests are admitted for their whole length by some plans and for their prompt by others: "
            "ask for them separately (--set plan.dp_attention=1)"
        )
    policy = policy_of(terms)
    load, _ = load_of(q.traffic, policy.admission)
    context, isl = float(load.context), float(load.isl)
    most = min(float(np.max(policy.sequences)), room)
    tokens = float(np.min(policy.tokens))
    chunks = min(isl, max(tokens - most, 1.0)), min(float(np.max(policy.tokens)), 64.0 * q.isl.mean)
    with np.errstate(all="ignore"):
        return stacked(w, policy, Bounds(most, context, chunks[1], q.isl.mean, context, chunks[0]))


def _room(q: Asked, w: Workload) -> tuple[Array, Array]:
    """(sequences that a replica holds, what a GPU lacks for one of full length [B])."""
    terms = terms_of(w, settings_of(q.query.overrides), False)
    policy = policy_of(terms)
    bare = Replica(w, policy, policy.tokens, None)  # type: ignore[arg-type]  # its memory alone is asked
    _, held = load_of(q.traffic, policy.admission)
    whole = np.asarray(bare.kept(np.ceil(q.isl.mean + q.osl.mean)).memory.short, np.float64)
    shape = (len(np.asarray(w.plan.tp)), 1)
    kv = np.broadcast_to(np.asarray(bare.room(np.ceil(held)).kv), shape)[:, 0]
    return np.asarray(kv, np.float64), np.maximum(np.broadcast_to(whole, shape)[:, 0], 0.0)


def _table(q: Asked, device: Device, gpus: Sequence[int] | None, experts: bool, cp: bool) -> Array:
    """Splits of every size of an instance that have what --set states. Raises SpecError for none, and for too many."""
    stated = {
        name: settings.count(f"plan.{name}", q.query.overrides.plan[name])
        for name in SIZES
        if q.query.overrides.plan.get(name) is not None
    }
    if "dp" in stated:
        raise SpecError("plan.dp is the number of instances, which plans --phase serve computes: leave it out")
    any_ep, where = "ep" in stated or "etp" in stated, f"--gpus {','.join(map(str, gpus))}" if gpus else device.name
    every = (
        split
        for count in sizes(device, gpus, _pinned(stated))
        for split in splits(count, experts, cp or stated.get("cp", 1.0) > 1.0)
    )

    def keeps(split: tuple[int, ...]) -> bool:
        alone = split[4] == 1 and (any_ep or split[5] == 1 or split[6] == 1)
        return alone and all(split[SIZES.index(name)] == value for name, value in stated.items())

    found = few(every, where, "state one: --set plan.tp=8", keeps)
    if not found:
        raise SpecError(f"{where}: no instance has the sizes set with --set")
    return np.asarray(found, np.float64)


def _pinned(stated: dict[str, float]) -> int:
    """Devices that stated sizes take at least."""
    return int(np.prod([stated.get(name, 1.0) for name in ("tp", "cp", "dp_attention", "pp")]))


def sizes(device: Device, gpus: Sequence[int] | None, pinned: int = 1) -> list[int]:
    """Devices of an instance: what divides one of `gpus`; else powers of two up to two nodes, of a rack up to all of
    it, and multiples of what is `pinned`."""
    if gpus:
        return sorted({size for count in gpus for size in divisors(count)})
    link = device.scaleup
    domain = 1 if link is None else 8 if link.domain is None else int(np.max(np.asarray(link.domain)))
    rack = link is not None and bool(np.all(np.asarray(link.rack)))
    most = domain if rack else 1 if link is None and device.scaleout is None else min(2 * domain, NODES)
    found = {2**n for n in range(int(np.log2(max(most, 1))) + 1)} | ({domain} if rack else set())
    found |= {pinned * size for size in found if pinned * size <= most} | {pinned}
    return sorted(found)
