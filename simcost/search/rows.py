"""Ranked plans as rows: what each is, how far it lies behind the best and how surely, its numbers, and whose answer it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from simcost import lower, metrics
from simcost.cost.cost import PRICE, Cost
from simcost.cost.price import is_money, sigma, with_range
from simcost.estimate import ties
from simcost.num import Array, Bools, Index
from simcost.provenance import VERSION
from simcost.query import engine_of
from simcost.result import Row, number
from simcost.search import splits
from simcost.search.points import Points, together
from simcost.search.searched import Searched
from simcost.search.splits import SIZES

CHOSEN = {
    "overlap": "none",
    "sequence_parallel": "off",
}  # what the search chooses besides a split, and what goes without saying


def points_of(found: Sequence[Searched]) -> Points:
    """The best points of all plans of all devices, in the order of the devices."""
    return together([each.points for each in found], np.concatenate)


def ranked(found: Sequence[Searched], points: Points) -> list[Row]:
    """All plans, best first; those that cannot run last. `points`: `points_of`."""
    runs = np.isfinite(points.worth)
    order = np.lexsort((-points.worth, ~runs))
    wish = found[0].ask.wish.metric
    prices = {each.device: each.ask.query.paid(each.ask.device) for each in found}
    cost = _with_prices(found, points.cost) if is_money(wish) else points.cost
    places = _places(wish, points, order[: int(runs.sum())], cost)
    names = _names(found[0].ask.wish.metric, found[0].ask.wish.limits, points)
    plans = plans_of(found)
    reasons = [reason for each in found for reason in each.reasons()]
    ends = [end for each in found for end in [_end(each)] * len(each.table)]
    rows = []
    for place, i in enumerate(order):
        chosen = {name: plans[i][name] for name in CHOSEN if name in plans[i]}
        row: Row = {
            **{name: value for name, value in plans[i].items() if name not in chosen},
            "feasible": bool(runs[i]),
        }
        if runs[i]:
            row |= {"batch": int(points.batch[i]), **chosen}
            values = {name: number(points.values[name][i]) for name in names}
            row |= {names[0]: values[names[0]], **{name: column[place] for name, column in places.items()}, **values}
        else:
            row["reason"] = reasons[i]
        rows.append(with_range(row, prices[row["hw"]]) | ends[i])
    return rows


def _with_prices(found: Sequence[Searched], cost: Cost) -> Cost:
    """The cost of all points, with the price of its device as one more source of error of each. [points]"""
    names = [each.device for each in found for _ in range(len(each.table))]
    for each in found:
        price = each.ask.query.paid(each.ask.device)
        mine = np.where(np.array(names) == each.device, sigma(price), 0.0)
        cost = cost.unsure(f"{each.device}: {PRICE}", mine) if mine.any() else cost
    return cost


def refused(device: str, reason: str, like: Searched) -> Row:
    """A device of which no plan can be asked."""
    return {"hw": device, "feasible": False, "reason": reason, **_end(like)}


def best_of_each(rows: Sequence[Row], key: str) -> list[Row]:
    """The best plan of every device, or of every number of them, in a line; where none runs, the reason of its first row."""
    found: dict[Any, Row] = {}
    for row in rows:
        found.setdefault(row.get(key), row)
    first = ("hw", "gpus")
    return [
        {
            **{name: row[name] for name in first if name in row}, **({"plan": words(row) or "1 GPU"} if "gpus" in row else {}),
            **{name: value for name, value in row.items() if name not in (*first, *SIZES, *CHOSEN)},
        }
        for row in found.values()
    ]  # fmt: skip


def words(row: Row) -> str:
    """A plan in words: its sizes above 1, and what it was given besides."""
    sizes = [f"{name}={row[name]}" for name in SIZES if row.get(name, 1) != 1]
    given = [f"{name}={row[name]}" for name, plain in CHOSEN.items() if row.get(name, plain) != plain]
    return ", ".join([*sizes, *given])


def plans_of(found: Sequence[Searched]) -> list[Row]:
    """What each plan of all devices is: its sizes, and what it was found with. Slices of experts that are not there go without saying."""
    plans: list[Row] = []
    for each in found:
        hidden = () if lower.has_experts(each.w.model) else ("etp",)
        mine = [
            {"hw": each.device, "gpus": int(count), **{n: int(size) for n, size in zip(SIZES, sizes, strict=True) if n not in hidden}}
            for count, sizes in zip(splits.devices(each.table), each.table, strict=True)
        ]  # fmt: skip
        if each.found is not None:
            for i, which in zip(np.flatnonzero(each.good), each.found.variant, strict=True):
                mine[i] |= each.found.variants[which].fields()
        plans += mine
    return plans


def _end(found: Searched) -> Row:
    """Whose answer a row is, so that files can be put together."""
    query = found.ask.query
    length = (
        {"context": query.overrides.phase.get("context")} if query.decode else {"isl": query.overrides.phase.get("isl")}
    )
    return {
        "model": found.w.model.name, "engine": engine_of(query.overrides), "phase": "decode" if query.decode else "prefill", **length,
        "simcost": VERSION,
    }  # fmt: skip


def _names(metric: str, limits: dict[str, float], points: Points) -> list[str]:
    """Columns of numbers, the ranked one first."""
    return list(dict.fromkeys((metric, *limits, *(name for name in metrics.of_plans() if name in points.values))))


def _places(metric: str, points: Points, order: Index, unsure: Cost) -> dict[str, list[Any]]:
    """Columns that say how sure a place is, of the plans that run, best first. `unsure`: by which places are judged."""
    if not len(order):
        return {}
    values, cost = points.values[metric][order], points.cost.each(lambda value: np.asarray(value)[order])
    found: dict[str, list[Any]] = {}
    ends = None if metric.endswith("_s") else ties.bounds(cost, metric, values)
    if ends is not None:  # of times they are metrics of their own
        found |= {
            f"{metric}_{end}": _numbers(value)
            for end, value in zip(("low", "high"), map(np.asarray, ends), strict=True)
        }
    with np.errstate(all="ignore"):
        behind = values / values[0] - 1.0
    judged = unsure.each(lambda value: np.broadcast_to(np.asarray(value), points.worth.shape)[order])
    tied: Bools = ties.with_first(judged, metric, values)
    return found | {
        "versus_best": _numbers(behind),
        "probability_behind": [None, *_numbers(ties.probability(judged, metric, values))[1:]],
        "best_or_tied": tied.tolist(),
    }


def _numbers(values: Array) -> list[float | int | None]:
    return [number(value) for value in values]
