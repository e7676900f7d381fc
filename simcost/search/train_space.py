"""Every way to train a design on a number of devices: splits, and for each what else a plan may be.

Tensor parallelism stays within a node unless it is stated. Most likely to be wrong: what a stack can run; here every
even split counts, and every schedule with every recomputation.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from simcost import lower
from simcost.cost.tiers import link_checks
from simcost.errors import SimcostError, SpecError, nearest
from simcost.frozen import frozen
from simcost.num import Array, Index, divisors
from simcost.scenarios.train.levers import selective
from simcost.schedules._order import few as small
from simcost.schedules._order import searched
from simcost.search.splits import few
from simcost.sharding import copies
from simcost.training.closed_form.grid import COLUMNS, Asked, Grid
from simcost.training.job import known_schedules

SPLIT = ("tp", "cp", "ep", "pp")
MICRO_BATCHES = (1, 2, 4)
VPP = (1, 2, 3, 4, 5, 6, 8)
ZERO = (1, 3)
POINTS = 2_000_000  # plans that are priced at once, at most


@frozen
class Space:
    """`splits` [splits, 4]: tp, cp, ep, pp; `why` [splits]: the rule that one breaks, "" where it breaks none; `grid`:
    all plans of those; `split` [plans]: which one each is of."""

    asked: Asked
    splits: Array
    why: list[str]
    grid: Grid
    split: Index


def space(asked: Asked, stated: Mapping[str, Any], cp: bool) -> Space:
    """Every plan that breaks no rule. `stated`: columns that have one value. Raises SpecError for values that leave no
    split, and for too many."""
    table = _splits(asked, stated, cp)
    why = _broken(asked, table)
    good = np.array([not reason for reason in why])
    options = _Options.of(asked, stated)
    plans, split = _plans(asked, table, np.flatnonzero(good), options)
    for i in set(np.flatnonzero(good).tolist()) - set(split.tolist()):
        why[i] = _refusal(asked, table[i], options)
    return Space(asked, table, why, plans, split)


def _splits(asked: Asked, stated: Mapping[str, Any], cp: bool) -> Array:
    gpus = int(asked.gpus)
    scaleup = asked.device.scaleup
    node = gpus if scaleup is None or scaleup.domain is None else int(np.max(np.asarray(scaleup.domain)))
    experts = lower.has_experts(asked.model)
    every = divisors(gpus)

    def sizes(name: str, usual: list[int]) -> list[int]:
        return [int(stated[name])] if name in stated else usual

    whole = (
        (t, c, e, p)
        for t in sizes("tp", [n for n in every if n <= node])
        for c in sizes("cp", every if cp else [1])
        for e in sizes("ep", every if experts else [1])
        if max(t * c, e) % (t * c) == 0 and max(t * c, e) % e == 0 and gpus % max(t * c, e) == 0
        for p in sizes("pp", every)
        if gpus % (max(t * c, e) * p) == 0
    )
    found = few(whole, f"--gpus {gpus}", "state one: --set plan.ep=8")
    if not found:
        raise SpecError(f"--gpus {gpus}: no plan with the values of --set uses all of them")
    return np.array(found, np.float64)


def _broken(asked: Asked, table: Array) -> list[str]:
    """The first rule that each split breaks, "" for none."""
    tp, cp, ep, pp = table.T
    stage = np.maximum(tp * cp, ep)
    plan = replace(
        asked.fixed,
        tp=tp,
        cp=cp,
        ep=ep,
        pp=pp,
        dp=asked.gpus / (stage * pp),
        gpus=None,
        overlap="none",
        sequence_parallel="off",
    )
    if asked.fixed.shards_sequence:  # a rule of blocks on rows that tensor-parallel ranks share
        plan = replace(plan, sequence_parallel="on")
    rules = [
        *lower.checks(asked.model, plan),
        *copies.checks(plan, asked.recipe.group),
        *link_checks(asked.device, asked.gpus),
    ]
    why = np.full(len(table), "", object)
    for rule in rules:
        fails = ~np.broadcast_to(np.asarray(rule.ok, bool), len(table)) & (why == "")
        why[fails] = rule.reason
    return [str(reason) for reason in why]


@frozen
class _Options:
    """What a plan may be beside its split. `pipelines`: (schedule, vpp) in a pipeline."""

    pipelines: tuple[tuple[str, int], ...]
    micro_batches: tuple[int, ...]
    recomputes: tuple[str, ...]
    zero: tuple[int, ...]

    @staticmethod
    def of(asked: Asked, stated: Mapping[str, Any]) -> _Options:
        usual = tuple(
            name for name, module in known_schedules().items() if not searched(module)
        )  # an order that is known before times are
        names = (stated["schedule"],) if stated.get("schedule") else usual
        vpp = (int(stated["vpp"]),) if "vpp" in stated else VPP
        pipelines = tuple((name, v) for name in names for v in vpp if _runs(name, v))
        if not pipelines:
            raise SpecError(f"plan.vpp={vpp[0]} does not apply to plan.schedule={names[0]}")

        def one(key: str, others: tuple[Any, ...]) -> tuple[Any, ...]:
            return (stated[key],) if key in stated else others

        return _Options(
            pipelines, one("micro_batch", MICRO_BATCHES), one("recompute", recomputes(asked)), one("zero_stage", ZERO)
        )


def _runs(name: str, vpp: int) -> bool:
    """Whether a schedule takes so many virtual stages per rank: those that fix it take 1, the others more."""
    module = known_schedules().get(name)
    if module is None:
        known = known_schedules()
        raise SpecError(f"plan.schedule={name} is not one of {', '.join(known)}{nearest(name, known)}")
    return vpp == 1 if module.PER_RANK is not None else vpp > 1


def recomputes(asked: Asked) -> tuple[str, ...]:
    """None, what costs little to make again, and all."""
    alone = replace(asked, gpus=1.0, recipe=replace(asked.recipe, global_batch=None, group=None))
    ones = dict.fromkeys((*SPLIT, "vpp", "micro_batch", "zero_stage"), 1)
    return "none", selective(alone.job({**ones, "schedule": "1f1b", "recompute": "none"}))[-1], "full"


def _plans(asked: Asked, table: Array, good: Index, options: _Options) -> tuple[Grid, Index]:
    """(all plans, the split of each)."""
    schedules = tuple(dict.fromkeys(["1f1b", *(name for name, _ in options.pipelines)]))
    alone = [("1f1b", 1)]  # a single stage has nothing to order
    batch = float(asked.recipe.global_batch or 0)
    rows: list[tuple[float, ...]] = []
    for i in good:
        tp, cp, ep, pp = table[i]
        for micro in options.micro_batches:
            m = batch * tp * cp * pp / (micro * asked.gpus)
            if m != int(m) or m < 1:
                continue
            rows += [
                (i, tp, cp, ep, pp, vpp, schedules.index(name), micro)
                for name, vpp in (options.pipelines if pp > 1 else alone)
                if _holds(name, int(pp), int(m), vpp, len(asked.model.order))
            ]
    many = list(itertools.product(range(len(options.recomputes)), options.zero))
    if len(rows) * len(many) > POINTS:
        raise SpecError(
            f"--gpus {asked.gpus:.0f}: {len(rows) * len(many):,} plans; at most {POINTS:,} "
            f"(state a setting: --set plan.schedule=1f1b)"
        )
    base = np.array(rows, np.float64).reshape(len(rows), 8)
    whole = np.concatenate(
        [np.repeat(base, len(many), axis=0), np.tile(np.array(many, np.float64), (len(rows), 1))], axis=1
    )
    return Grid(dict(zip(COLUMNS, whole.T[1:], strict=True)), schedules, options.recomputes), whole[:, 0].astype(int)


@cache
def _holds(name: str, pp: int, micro: int, vpp: int, layers: int) -> bool:
    module = known_schedules()[name]
    parts = int(module.PER_RANK or vpp)
    rules = (*module.rules(pp, micro, parts), small(pp, micro, parts))
    return module.placement(pp, 2 * pp, parts).stages <= layers and all(rule.holds for rule in rules)


def _refusal(asked: Asked, sizes: Array, options: _Options) -> str:
    """Why no plan of a split that breaks no rule runs: what the first one that was tried is refused for."""
    name, vpp = options.pipelines[0] if sizes[3] > 1 else ("1f1b", 1)
    row = dict(zip(SPLIT, sizes, strict=True)) | {
        "vpp": vpp,
        "schedule": name,
        "micro_batch": options.micro_batches[0],
        "recompute": options.recomputes[0],
        "zero_stage": options.zero[0],
    }
    try:
        asked.job(row)
    except SimcostError as refused:
        return str(refused).removeprefix("plan: ")
    return "no schedule allows so many stages and micro-batches"
