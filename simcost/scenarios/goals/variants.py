"""A question with other values of its numbers, many at once: what can stand in arrays is priced in one sweep of points, one value changed a
point; what decides the structure, and what arrays cannot hold, is priced alone. A point that cannot be run keeps its reason.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from simcost import grammar, metrics, settings
from simcost.cost.cost import NOISE, Cost, joined
from simcost.errors import SimcostError
from simcost.estimate import answer, feasible, ties
from simcost.estimate import step as steps
from simcost.frozen import frozen
from simcost.num import Array, Bools, Num
from simcost.program import leaves
from simcost.query import Query, reasons, with_arrays, workload
from simcost.scenarios.goals.numbers import Number
from simcost.workload import Workload

Variant = Mapping[str, float]  # path -> another value [SI]


@frozen
class Answers:
    """A metric of several variants, all [n]. `metric`: nan where a point cannot be run, with its reason in `why`; `cost`: whose error the metric
    has; `differ`: by source of error the share of it that is of kernels which take another time than the question's own; `fits`: whether
    memory suffices."""

    metric: Array
    cost: Cost
    differ: Mapping[str, Array]
    fits: Bools
    good: Bools
    why: tuple[str, ...]


class Question:
    """A question, its numbers, and the metric that is asked for. `differ`: whether answers say of what kernels their errors are."""

    def __init__(self, query: Query, numbers: Mapping[str, Number], metric: str, differ: bool = False) -> None:
        price_path = "hw.price.usd_per_hour"
        if (
            query.usd_per_hour is not None and price_path in numbers
        ):  # a number like any other, so that it can be varied
            price = {price_path: f"{query.usd_per_hour!r} USD/h"}
            query = replace(query, overrides=query.overrides.merged(price), usd_per_hour=None)
        self.query, self.numbers, self.metric = query, numbers, metric
        self.base = workload(query)
        self.now = math.nan  # the metric of the question itself; nan where it cannot be run
        self._known: dict[str, list[float]] = {}  # seconds of the question's own kernels by their name in a layer
        if not feasible.broken(self.base, advise=False):
            step, values = self._run(self.base)
            self.now = float(np.asarray(values[metric]))
            for path, _, cost, _ in leaves(step.priced) if differ and metrics.error(metric) else ():
                self._known.setdefault(path[-1], []).append(float(cost.seconds))

    def at(self, variant: Variant) -> Query:
        """The question with other values, as --set would state them."""
        stated = {path: self.numbers[path].stated(value) for path, value in variant.items()}
        return replace(self.query, overrides=self.query.overrides.merged(stated))

    def refused(self, variant: Variant) -> str:
        """Why a variant cannot be run; "" where it can."""
        try:
            return feasible.broken(workload(self.at(variant)), advise=False)
        except SimcostError as error:
            return str(error)

    def answers(self, variants: Sequence[Variant]) -> Answers:
        """The metric of every variant."""
        found = _Points(len(variants))
        for index in self._groups(variants):
            self._group(found, [variants[i] for i in index], index)
        return found.whole()

    def _groups(self, variants: Sequence[Variant]) -> list[list[int]]:
        """Which variants may stand in one array: those of one structure, and of numbers that go together."""
        groups: dict[Any, list[int]] = {}
        for i, variant in enumerate(variants):
            fixed = tuple((path, value) for path, value in variant.items() if self.structural(path))
            alone = tuple(path for path in variant if self.numbers[path].alone)
            groups.setdefault((fixed, alone), []).append(i)
        return list(groups.values())

    def structural(self, path: str) -> bool:
        """Whether a number decides the structure, so that each value is priced alone."""
        root, key = grammar.split(path)
        if root == "plan":
            return key not in settings.COUNTS
        return root == "model" and (key in self.base.model.scalar_keys or not self.numbers[path].whole)

    def _group(self, found: _Points, variants: list[Variant], index: list[int]) -> None:
        """Prices a group at once; where some value makes no model, or cannot stand in an array, in parts, down to single points."""
        if len(variants) == 1:
            try:
                self._price(found, workload(self.at(variants[0])), index)
            except SimcostError as error:
                found.why[index[0]] = str(error)
            return
        apart = any(self.structural(path) or self.numbers[path].alone for path in variants[0])
        try:
            if apart:
                self._price(found, self._arrays(variants), index)
            else:  # with the question itself as the last point
                self._price(found, self._arrays([*variants, {}]), [*index, found.spare])
        except SimcostError:
            for part in _parts(variants):
                self._group(found, [variants[i] for i in part], [index[i] for i in part])

    def _arrays(self, variants: Sequence[Variant]) -> Workload:
        fixed = {path: value for path, value in variants[0].items() if self.structural(path)}
        tables: dict[str, dict[str, Any]] = {}
        for path in dict.fromkeys(path for variant in variants for path in variant if path not in fixed):
            root, key = grammar.split(path)
            now = self.numbers[path].value
            tables.setdefault(root, {})[key] = np.array([variant.get(path, now) for variant in variants], np.float64)
        return with_arrays(self.at(fixed), tables, None if fixed else self.base.model)

    def _run(self, w: Workload) -> tuple[steps.Step, dict[str, Num]]:
        with np.errstate(all="ignore"):
            step = steps.run(w, checked=True)
            reach = self.metric == "max_context"
            return step, answer.metrics(step, self.query.decode, self.query.price(w.device), reach)

    def _price(self, found: _Points, w: Workload, index: list[int]) -> None:
        good, why = reasons(w, (len(index),))
        if not good.any():
            found.refuse(index, why)
            return
        step, values = self._run(w)
        metric = np.broadcast_to(np.asarray(values[self.metric], np.float64), (len(index),))
        if index[-1] == found.spare and abs(metric[-1] - self.now) > NOISE * abs(self.now):
            raise SimcostError("a number that arrays cannot hold")  # it changed what other points are
        if len(index) > 1 and np.isnan(metric[good]).any():
            raise SimcostError("a value that arrays cannot hold")  # such as no shared experts beside some
        cost = ties.behind(step, self.query.decode, self.metric)
        found.put(index, good, why, metric, cost, self._differ(step), step.kept.memory.short)

    def _differ(self, step: steps.Step) -> dict[str, Num]:
        """The share of each source's error that is of kernels which the question itself does not run, or runs in another time."""
        mine: dict[str, Num] = {}
        whole: dict[str, Num] = {}
        for path, _, cost, weight in leaves(step.priced) if self._known else ():
            same = _among(cost.seconds, self._known.get(path[-1], []))
            for source, value in cost.spread.items():
                part = np.asarray(value * weight)
                whole[source] = whole.get(source, 0.0) + part
                mine[source] = mine.get(source, 0.0) + np.where(same, 0.0, part)
        return {source: mine[source] / np.maximum(whole[source], 1e-30) for source in whole}


def _among(values: Num, known: list[float]) -> Bools:
    """Which values are one of the known ones, up to what floats leave over."""
    apart = np.abs(np.asarray(values)[..., None] - np.asarray(known))
    return np.asarray((apart <= NOISE * np.asarray(known)).any(axis=-1))


def _parts(variants: list[Variant]) -> list[list[int]]:
    """A group in two: half of its numbers each; of one number each value alone."""
    paths = list(dict.fromkeys(path for variant in variants for path in variant))
    if len(paths) == 1:
        return [[i] for i in range(len(variants))]
    first = set(paths[: len(paths) // 2])
    mine = [i for i, variant in enumerate(variants) if first.intersection(variant)]
    return [part for part in (mine, sorted({*range(len(variants))} - {*mine})) if part]


class _Points:
    """Answers as they come in; the one behind them all is `spare`."""

    def __init__(self, size: int) -> None:
        self.spare = size
        self.metric = np.full(size + 1, np.nan)
        self.fits, self.good = np.zeros(size + 1, bool), np.zeros(size + 1, bool)
        self.why = [""] * (size + 1)
        self._costs: list[Cost] = []
        self._differ: dict[str, Any] = {}

    def refuse(self, index: list[int], why: Any) -> None:
        """Points that no rule allows."""
        for i, reason in zip(index, why, strict=True):
            self.why[i] = str(reason)

    def put(
        self, index: list[int], good: Bools, why: Any, metric: Num, cost: Cost, differ: Mapping[str, Num], short: Num
    ) -> None:
        """A group of points in their places."""
        self.refuse(index, why)
        self.good[index] = good
        self.metric[index] = np.where(good, np.asarray(metric, np.float64), np.nan)
        self.fits[index] = good & (np.asarray(short) <= 0.0)
        size = len(self.metric)

        def placed(value: Num) -> Num:
            whole = np.zeros(size)
            whole[index] = value
            return whole

        self._costs.append(cost.each(placed))
        for source, share in differ.items():
            self._differ[source] = self._differ.get(source, 0.0) + placed(share)

    def whole(self) -> Answers:
        """All of them."""
        n = self.spare
        zeros = Cost(np.zeros(n))
        cost = (
            joined(self._costs, lambda parts: np.sum(np.broadcast_arrays(*parts), axis=0)[:n]) if self._costs else zeros
        )
        differ = {source: share[:n] for source, share in self._differ.items()}
        return Answers(self.metric[:n], cost, differ, self.fits[:n], self.good[:n], tuple(self.why[:n]))
