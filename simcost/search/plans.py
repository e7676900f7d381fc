"""plans: every way to use N devices for a design, ranked by what the user wants most.

All (plan, batch) points are evaluated at once as arrays. A plan is one row, at its best batch that fits; one that cannot run, or
fits at no batch, is a row with its reason. Most likely to be wrong: what a real engine supports; here any even split counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from simcost import grammar, lower, metrics, settings
from simcost.cost.cost import Cost, joined
from simcost.errors import SpecError
from simcost.estimate import answer, ties
from simcost.estimate import step as steps
from simcost.frozen import frozen
from simcost.hardware import load as hardware
from simcost.hardware.profile import Device
from simcost.model.spec import ModelSpec
from simcost.num import Array, Bools, Index, Num
from simcost.plan import Plan
from simcost.query import Query, engine_of, model_of, phase_of, reasons, settings_of
from simcost.result import Result, Row, number
from simcost.scenarios import fitting, inputs, notes
from simcost.search import objective
from simcost.search.objective import Wish
from simcost.units import show
from simcost.workload import Workload, build

SIZES = ("tp", "cp", "dp_attention", "pp", "dp", "ep", "etp")
MOST = 20_000  # plans
# Points at a time: larger parts leave the processor's cache. Parts side by side are no faster: threads of short operations wait for each
# other.
_PART = 32768


def splits(devices: int, experts: bool, cp: bool) -> Iterator[tuple[int, ...]]:
    """(tp, cp, dp_attention, pp, dp, ep, etp) that use all of `devices`; without experts ep and dp_attention are 1."""
    for tp in _divisors(devices):
        for c in _divisors(devices // tp) if cp else [1]:
            for replicas in _divisors(devices // (tp * c)) if experts else [1]:
                stage = tp * c * replicas
                for pp in _divisors(devices // stage):
                    for ep in _divisors(stage) if experts else [1]:
                        yield tp, c, replicas, pp, devices // (stage * pp), ep, stage // ep


def _divisors(n: int) -> list[int]:
    return [d for d in range(1, n + 1) if n % d == 0]


def result(query: Query, gpus: int, wish: Wish) -> Result:
    """One row a plan, best first."""
    model, device = model_of(query), hardware.load(query.hw, query.overrides.hw)
    table = np.array(list(splits(gpus, lower.has_experts(model), wish.cp)), np.float64)
    if len(table) > MOST:
        raise SpecError(
            f"--gpus {gpus}: {len(table):,} ways to split them; at most {MOST:,} (leave out --cp, or ask for fewer)"
        )
    fixed = grammar.plan_of({k: v for k, v in query.overrides.plan.items() if k not in SIZES})
    table = table[_asked(query, table)]
    if not len(table):
        raise SpecError(f"--gpus {gpus}: no plan with what --set asks for uses all of them")
    if wish.batches is None:
        wish = replace(wish, batches=_batches(query, model, device, fixed, gpus))
    every = _tried(wish)
    whole = _built(query, model, device, fixed, table, every)
    good, why = (found[:, 0] for found in reasons(whole, (len(table), 1)))  # no rule reads the batch
    runs = np.flatnonzero(good)  # a plan that breaks a rule is not priced
    points = _Points(np.zeros((len(table), len(every)), bool), {}, Cost())
    if len(runs):
        points = _priced(query, model, device, fixed, table, runs, wish)
    return _answer(query, whole, table, wish, good, why, points)


def _batches(query: Query, model: ModelSpec, device: Device, fixed: Plan, gpus: int) -> tuple[float, ...]:
    one: dict[str, Any] = dict.fromkeys(SIZES, 1.0)
    plan = replace(fixed, gpus=None, **one)
    phase = phase_of(query, plan, {**query.overrides.phase, "batch": 1})
    alone = build(model, device, plan, phase, engine_of(query.overrides), settings_of(query.overrides))
    return objective.batches(alone, gpus)


def _tried(wish: Wish) -> Array:
    return np.asarray(wish.batches, np.float64)


@frozen
class _Points:
    """Plans at every batch: all [plans, batches]; zeros for plans that break a rule. `cost`: whose error the metric has that ranks."""

    fits: Bools
    values: dict[str, Array]
    cost: Cost


def _priced(
    query: Query, model: ModelSpec, device: Device, fixed: Plan, table: Array, runs: Index, wish: Wish
) -> _Points:
    """The plans `runs` of the table, part by part."""
    every = _tried(wish)
    # In the order of the table: plans of the same stages, which run the same kernels, share a part and are asked for once.
    parts = np.array_split(runs, -(-len(runs) * len(every) // _PART))
    found = [_part(query, _built(query, model, device, fixed, table[part], every), wish.metric) for part in parts]
    kept = {wish.metric, *wish.limits, *metrics.of_plans(), "memory_short_bytes_per_gpu"} & found[0].values.keys()

    def whole(values: list[Num]) -> Array:
        all_ = np.zeros((len(table), len(every)))
        for part, value in zip(parts, values, strict=True):
            all_[part] = value
        return all_

    values = {name: whole([points.values[name] for points in found]) for name in kept}
    fits = whole([1.0 * points.fits for points in found]) > 0.0
    return _Points(fits, values, joined([points.cost for points in found], whole))


def _built(query: Query, model: ModelSpec, device: Device, fixed: Plan, table: Array, batches: Array) -> Workload:
    """Plans [plans, 1] at batches [1, batches]."""
    sizes: dict[str, Any] = {name: table[:, j, None] for j, name in enumerate(SIZES)}
    plan = replace(fixed, **sizes)
    phase = phase_of(query, plan, {**query.overrides.phase, "batch": batches[None, :]})
    return build(model, device, plan, phase, engine_of(query.overrides), settings_of(query.overrides))


def _part(query: Query, w: Workload, metric: str) -> _Points:
    shape = np.broadcast_shapes(np.shape(w.plan.tp), np.shape(w.phase.batch))
    with np.errstate(all="ignore"):
        step = steps.run(w)
        found = answer.metrics(step, query.decode, query.price(w.device), reach=False)
    objective.check(metric, sorted(found), "decode" if query.decode else "prefill")
    values = {name: np.broadcast_to(np.asarray(value, np.float64), shape) for name, value in found.items()}
    fits = np.broadcast_to(np.asarray(step.kept.memory.short) <= 0, shape)
    return _Points(fits, values, ties.behind(step, query.decode, metric))


def _asked(query: Query, table: Array) -> Bools:
    """Plans whose sizes are those that --set states."""
    keep = np.ones(len(table), bool)
    for j, name in enumerate(SIZES):
        stated = query.overrides.plan.get(name)
        if stated is not None:
            keep &= table[:, j] == settings.count(f"plan.{name}", stated)
    return keep


def _answer(query: Query, w: Workload, table: Array, wish: Wish, good: Bools, why: Any, points: _Points) -> Result:
    found, fits = points.values, points.fits
    tried = _tried(wish)
    worth = objective.worth(wish.metric, found.get(wish.metric, np.zeros(fits.shape)))
    allowed = good[:, None] & fits
    for name, most in wish.limits.items():
        allowed = allowed & (found[name] <= most)
    worth = np.where(allowed, worth, -np.inf)
    best = worth.argmax(axis=1)
    at = (np.arange(len(table)), best)
    runs = np.isfinite(worth[at])
    order = np.lexsort((-worth[at], ~runs))
    tied = np.zeros(len(table), bool)
    ranked = order[: int(runs.sum())]
    if len(ranked):
        at_best = ranked, best[ranked]
        cost = points.cost.each(lambda value: np.asarray(value)[at_best])
        tied[ranked] = ties.with_first(cost, wish.metric, found[wish.metric][at_best])
    hidden = () if lower.has_experts(w.model) else ("etp",)  # slices of experts that are not there
    rows = [
        {
            name: value
            for name, value in _row(int(i), table[i], int(best[i]), wish, bool(runs[i]), bool(tied[i]),
                                    _reason(i, wish, good, why, fits, found), found).items()
            if name not in hidden
        }
        for i in order
    ]  # fmt: skip
    sentence = f"{int(runs.sum()):,} of {len(table):,} plans can run{objective.within(wish.limits)}"
    if not runs.any():
        sentence += _fastest(query, table, tried, good[:, None] & fits, found, hidden) or _fewest(query, w, tried)
    others = int(tied.sum()) - 1
    if others > 0:
        sentence += f"; {others:,} {'is' if others == 1 else 'are'} tied with the best"
    asked = {
        **inputs.inputs(query, None), "phase": inputs.command(query), "gpus": int(table[0, :5].prod()), "metric": wish.metric, "limits": wish.limits,
        "batches": tried.tolist(), "cp": wish.cp,
    }  # fmt: skip
    asked.pop("batch", None)
    counted = {
        "plans": len(table), "plans_feasible": int(runs.sum()), "plans_tied": max(others, 0), "points": worth.size,
    }  # fmt: skip
    said = tuple(note for note in (objective.larger(rows[0], tuple(tried)),) if note)
    return Result(
        "plans", asked, counted, {"plans": rows}, (*said, *notes.warnings(query, w)), notes.references(w), sentence,
        bool(runs.any()), inputs.dimensions(w.model),
    )  # fmt: skip


def _fastest(
    query: Query, table: Array, tried: Array, fits: Bools, found: dict[str, Array], hidden: tuple[str, ...]
) -> str:
    """What the fastest of the plans that fit reaches, where limits leave none; "" where none fits."""
    if not fits.any():
        return ""
    name = "tpot_s" if query.decode else "ttft_s"
    i, j = np.unravel_index(np.argmin(np.where(fits, found[name], np.inf)), fits.shape)
    sizes = [f"{size}={n:.0f}" for size, n in zip(SIZES, table[i], strict=True) if n != 1 and size not in hidden]
    asked = ", ".join([*sizes, f"batch {tried[j]:,.0f}"])
    return f": the fastest that fits reaches {name.removesuffix('_s')} {show(float(found[name][i, j]), 'seconds')} ({asked})"


def _fewest(query: Query, w: Workload, tried: Array) -> str:
    """With how many GPUs the smallest batch that was tried would fit."""
    least = replace(query, overrides=query.overrides.merged({"batch": float(tried.min())}))
    return f"; at batch {tried.min():,.0f} {fitting.smallest(least, w)}"


def _reason(i: int, wish: Wish, good: Bools, why: Any, fits: Bools, found: dict[str, Any]) -> str:
    """Why no batch of this plan will do."""
    if not good[i]:
        return str(why[i])
    if not fits[i].any():
        short = float(np.min(found["memory_short_bytes_per_gpu"][i]))
        return f"short by {show(short, 'memory')} a GPU at every batch"
    unknown = [name for name in (wish.metric, *wish.limits) if not np.isfinite(found[name][i][fits[i]]).any()]
    if unknown:  # no limit is to blame for what is no number
        return f"{unknown[0]} has no finite value at any batch that fits"
    late = [name for name, most in wish.limits.items() if not (fits[i] & (found[name][i] <= most)).any()]
    return (
        f"{late[0]} above {show(wish.limits[late[0]], 'seconds')} at every batch"
        if late
        else "no batch within all limits"
    )


def _row(
    i: int, sizes: Array, best: int, wish: Wish, runs: bool, tied: bool, reason: str, found: dict[str, Any]
) -> Row:
    row: Row = {name: int(value) for name, value in zip(SIZES, sizes, strict=True)}
    row["feasible"] = runs
    if not runs:
        return row | {"reason": reason}
    row["batch"] = int(_tried(wish)[best])
    row["best_or_tied"] = tied
    shown = (name for name in metrics.of_plans() if name in found)
    columns = dict.fromkeys((wish.metric, *wish.limits, *shown))
    return row | {name: number(found[name][i, best]) for name in columns}
