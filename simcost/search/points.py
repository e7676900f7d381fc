"""(plan, batch) points of one device, priced as arrays: what fits, what it is worth, what is shown of it, and whose error it has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from simcost import metrics
from simcost.cost.cost import Cost, joined
from simcost.estimate import answer, ties
from simcost.estimate import step as steps
from simcost.frozen import frozen
from simcost.hardware.profile import Device
from simcost.model.spec import ModelSpec
from simcost.num import Array, Bools, Index, Num
from simcost.plan import Plan
from simcost.query import Query, engine_of, phase_of, settings_of
from simcost.search import objective
from simcost.search.objective import Wish
from simcost.search.splits import SIZES
from simcost.search.variants import Variant
from simcost.workload import Workload, build

# Points at a time: larger parts leave the processor's cache. Parts side by side are no faster: threads of short operations wait for each
# other.
_PART = 32768
POOLS = ("kv_pool_tokens", "max_concurrency", "max_batch")  # what the pools of the cache admit


@frozen
class Points:
    """All [plans, batches], or [plans] at one batch each. `worth`: more is better, -inf outside memory and limits. `cost`: whose error the
    metric has that ranks."""

    batch: Array
    fits: Bools
    worth: Array
    values: dict[str, Array]
    cost: Cost

    def each(self, act: Callable[[Any], Any]) -> Points:
        """Points with `act` applied to every array of them."""
        values = {name: act(value) for name, value in self.values.items()}
        return Points(act(self.batch), act(self.fits), act(self.worth), values, self.cost.each(act))

    def at(self, column: Index) -> Points:
        """One batch of every plan. [plans]"""
        rows = np.arange(len(column))
        return self.each(lambda value: value[rows, column])

    def where(self, mine: Bools, other: Points) -> Points:
        """These points where `mine` holds, the other ones elsewhere."""
        return together((self, other), lambda both: np.where(mine, *both))

    def over(self, rows: Index, other: Points) -> Points:
        """These points with the other ones in their `rows`."""

        def put(both: list[Any]) -> Any:
            mine, theirs = both
            found = np.array(np.broadcast_to(mine, self.batch.shape))
            found[rows] = theirs
            return found

        return together((self, other), put)


def together(several: Sequence[Points], join: Callable[[list[Any]], Any]) -> Points:
    """Several as one: `join` applied to each array of them; 0 for a source of error that one lacks, NaN for a value."""
    shapes = [each.batch.shape for each in several]

    def whole(values: list[Any]) -> Any:
        return join([np.broadcast_to(value, shape) for value, shape in zip(values, shapes, strict=True)])

    names = dict.fromkeys(name for each in several for name in each.values)
    return Points(
        whole([each.batch for each in several]), whole([each.fits for each in several]), whole([each.worth for each in several]),
        {name: whole([each.values.get(name, np.nan) for each in several]) for name in names},
        joined([each.cost for each in several], whole),
    )  # fmt: skip


@frozen
class Ask:
    """What is asked of one device: `fixed` holds what all plans share; `wish` what is wanted of them."""

    query: Query
    model: ModelSpec
    device: Device
    fixed: Plan
    wish: Wish

    def built(self, table: Array, variant: Variant, batch: Array) -> Workload:
        """Plans [plans, 1] at batches, [1, batches] or [plans, batches]."""
        sizes: dict[str, Any] = {name: table[:, j, None] for j, name in enumerate(SIZES)}
        plan = replace(self.fixed, **variant.fields(), **sizes)
        return self.of(plan, batch)

    def of(self, plan: Plan, batch: Any) -> Workload:
        """The workload of a plan, or of many."""
        overrides = self.query.overrides
        phase = phase_of(self.query, plan, {**overrides.phase, "batch": batch})
        return build(self.model, self.device, plan, phase, engine_of(overrides), settings_of(overrides))

    def priced(self, table: Array, variant: Variant, batch: Array, admitted: Array | None = None) -> Points:
        """All plans of a table, none of which breaks a rule, at batches [1, batches] or [plans, batches]: part by part. admitted: `max_batch` of
        each where it is known already, since it takes long and no batch changes it. [plans]"""
        # In the order of the table: plans of the same stages, which run the same kernels, share a part and are asked for once.
        parts = np.array_split(np.arange(len(table)), max(-(-len(table) * batch.shape[1] // _PART), 1))
        shared = len(batch) == 1 < len(table)
        found = [
            self._part(
                self.built(table[part], variant, batch if shared else batch[part]), len(part),
                None if admitted is None else admitted[part],
            )
            for part in parts
        ]  # fmt: skip
        return found[0] if len(found) == 1 else together(found, np.concatenate)

    def _part(self, w: Workload, plans: int, admitted: Array | None) -> Points:
        query, wish = self.query, self.wish
        batch = np.asarray(w.phase.batch)
        shape = (plans, batch.shape[1])

        def full(value: Num) -> Array:
            return np.broadcast_to(np.asarray(value, np.float64), shape)

        pools = admitted is None or wish.metric in POOLS
        with np.errstate(all="ignore"):
            step = steps.run(w)
            found = answer.metrics(step, query.decode, query.price(w.device), reach=False, pools=pools)
        if not pools and admitted is not None:
            found["max_batch"] = admitted[:, None]
        objective.check(wish.metric, sorted(found), "decode" if query.decode else "prefill")
        kept = {wish.metric, *wish.limits, *metrics.of_plans(), "memory_short_bytes_per_gpu"} & found.keys()
        values = {name: full(found[name]) for name in kept}
        fits = np.broadcast_to(np.asarray(step.kept.memory.short) <= 0, shape)
        allowed = fits
        for name, most in wish.limits.items():
            allowed = allowed & (values[name] <= most)
        worth = objective.worth(wish.metric, values[wish.metric])
        worth = np.where(allowed & np.isfinite(worth), worth, -np.inf)
        cost = ties.behind(step, query.decode, wish.metric).each(full)
        return Points(full(batch), fits, worth, values, cost)
