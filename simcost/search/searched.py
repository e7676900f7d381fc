"""All splits of one device, each at its best point or with the reason why it has none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from simcost import grammar, lower
from simcost.cost.cost import Cost
from simcost.errors import SpecError
from simcost.frozen import frozen
from simcost.hardware import load as hardware
from simcost.hardware.profile import Device
from simcost.num import Array, Bools
from simcost.query import Query, model_of, reasons
from simcost.search import objective, splits, variants
from simcost.search.best import Found, Search
from simcost.search.objective import Wish
from simcost.search.points import Ask, Points
from simcost.search.splits import SIZES
from simcost.units import show
from simcost.workload import Workload


@frozen
class Searched:
    """`device`: its name among others; `table` [plans, sizes]; `good`, `why` [plans]: which break no rule, and the rule; `found`: of those, None where all break one;
    `w`: all plans, for what a reader should know of them; `tried`: batches from which the search began; `largest`: batch of all."""

    ask: Ask
    device: str
    table: Array
    good: Bools
    why: Any
    found: Found | None
    w: Workload
    tried: Array
    largest: float

    @property
    def points(self) -> Points:
        """The best point of every plan; worth -inf for those that have none. Errors of its own carry the device's name."""
        shape = len(self.table)
        none = Points(np.zeros(shape), np.zeros(shape, bool), np.full(shape, -np.inf), {}, Cost())
        found = none if self.found is None else none.over(np.flatnonzero(self.good), self.found.points)
        return replace(found, cost=found.cost.on(self.device))

    def reasons(self) -> list[str]:
        """Why no batch of a plan will do; of every plan, whether it runs or not."""
        said = [str(why) for why in self.why]
        if self.found is not None:
            for i, reason in zip(np.flatnonzero(self.good), self._unmet(self.found), strict=True):
                said[i] = reason
        return said

    def _unmet(self, found: Found) -> list[str]:
        wish, points, said = self.ask.wish, found.points, []
        for i, fits in enumerate(points.fits):
            unknown = [name for name in (wish.metric, *wish.limits) if not np.isfinite(points.values[name][i])]
            late = [name for name in wish.limits if found.late[name][i]]
            if not fits:
                said.append(f"short by {show(float(found.least_short[i]), 'memory')} per GPU at every batch")
            elif unknown:  # no limit is to blame for what is no number
                said.append(f"{unknown[0]} has no finite value at any batch that fits")
            elif late:
                said.append(
                    f"{late[0].removesuffix('_s')} above {show(wish.limits[late[0]], 'seconds')} at every batch"
                )
            else:
                said.append("no batch within all limits")
        return said


def searched(query: Query, name: str, gpus: Sequence[int], wish: Wish) -> Searched:
    """Every way to use so many devices, or one of several numbers of them. `name`: of the device, among others."""
    model, device = model_of(query), hardware.load(query.hw, query.overrides.hw)
    _check_price(query, device, wish)
    table = splits.table(query, gpus, lower.has_experts(model), wish.cp)
    fixed = grammar.plan_of({k: v for k, v in query.overrides.plan.items() if k not in (*SIZES, "gpus")})
    ask = Ask(query, model, device, fixed, wish)
    ones: dict[str, Any] = dict.fromkeys(SIZES, 1.0)
    alone = ask.of(replace(fixed, **ones), 1)
    most = {float(count): objective.most(alone, count) for count in gpus}
    largest = np.array([np.inf if wish.batches else most[count] for count in splits.devices(table)])
    tried = np.sort(np.asarray(wish.batches or objective.batches(max(most.values())), np.float64))
    options = variants.open_to(query)
    w = ask.built(table, options[0], tried[None, :])
    good, why = (each[:, 0] for each in reasons(w, (len(table), 1)))  # no rule reads the batch
    found = None
    if good.any():  # a plan that breaks a rule is not priced
        found = Search(ask, table[good], options, tried, wish.batches is None, largest[good]).found()
    return Searched(ask, name, table, good, why, found, w, tried, float(largest.max()))


def _check_price(query: Query, device: Device, wish: Wish) -> None:
    if wish.metric.startswith("usd_") and query.price(device) is None:
        raise SpecError(f"--metric {wish.metric}: {device.name} has no price with a source: state one with --price")
