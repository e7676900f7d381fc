"""plans: every way to use N devices for a design, of one device or of several, ranked by what the user wants most.

A plan is one row, at its best batch and overlap that fit (`best.py`); one that cannot run, or fits at no batch, is a row with its reason.
Most likely to be wrong: what a real engine supports; here any even split counts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from simcost.cost.price import is_money
from simcost.errors import SpecError
from simcost.frozen import frozen
from simcost.hardware import load as hardware
from simcost.num import divisors
from simcost.pool import Piece, mapped
from simcost.query import Query, model_of, settled
from simcost.result import Result, Row
from simcost.scenarios import fitting, inputs, notes, price_notes
from simcost.search import objective, rows
from simcost.search.objective import Wish
from simcost.search.points import Points
from simcost.search.searched import Searched, searched
from simcost.units import show


@frozen
class Cluster:
    """A device by its profile, and the numbers of them to use."""

    hw: str
    gpus: tuple[int, ...]


def result(query: Query, clusters: Sequence[Cluster], wish: Wish) -> Result:
    """One row a plan, best first. Raises SpecError where no device can be asked; where one of several cannot, that is a row."""
    asked, design = query, _one_design(query, clusters)
    chosen, design = inputs.dimensions(model_of(design)), settled(design)
    query = replace(query, model=design.model, overrides=replace(query.overrides, model=design.overrides.model))
    found: list[Searched] = []
    refused: dict[str, SpecError] = {}
    labels = _labels(query, clusters)
    pieces = [
        Piece((replace(query, hw=cluster.hw), label, cluster.gpus, wish), label, float(sum(cluster.gpus)))
        for cluster, label in zip(clusters, labels, strict=True)
    ]
    for label, each in zip(labels, mapped(_piece, pieces), strict=True):
        if isinstance(each, SpecError):
            refused[label] = each
        else:
            found.append(each)
    if not found:
        raise next(iter(refused.values()))
    points = rows.points_of(found)
    table = rows.ranked(found, points) + [rows.refused(label, str(error), found[0]) for label, error in refused.items()]
    best = _best(table, clusters)
    runs = int(np.isfinite(points.worth).sum())
    tied = sum(row.get("best_or_tied", False) for row in table) - 1
    counted = {
        "plans": len(points.worth), "plans_feasible": runs, "plans_tied": max(tied, 0),
        "points": sum(each.found.priced for each in found if each.found is not None),
    }  # fmt: skip
    warnings = [note for note in (_larger(found, table[0]),) if note]
    warnings += [note for each in found for note in notes.warnings(each.ask.query, each.w)]
    references = dict.fromkeys(line for each in found for line in notes.references(each.w))
    return Result(
        "plans", _asked(asked, clusters, found, wish), counted, {**best, "plans": table}, tuple(dict.fromkeys(warnings)), tuple(references),
        _verdict(found, points, table, runs, tied, wish), runs > 0, chosen,
    )  # fmt: skip


def _piece(query: Query, label: str, gpus: tuple[int, ...], wish: Wish) -> Searched | SpecError:
    """One device, or why it cannot be asked."""
    try:
        return searched(query, label, gpus, wish)
    except SpecError as error:
        return error


def _one_design(query: Query, clusters: Sequence[Cluster]) -> Query:
    """The question by which swaps are worked out, once for all plans: every tp of the search within a scale-up domain cuts a width that `iso` solves for."""
    if not query.overrides.model or query.overrides.plan.get("tp") is not None:
        return query
    tried: set[int] = set()
    for cluster in clusters:
        link = hardware.load(cluster.hw, query.overrides.hw).scaleup
        near = max(cluster.gpus) if link is None or link.domain is None else float(np.max(np.asarray(link.domain)))
        tried |= {ranks for count in cluster.gpus for ranks in divisors(count) if ranks <= near}
    return replace(query, overrides=query.overrides.merged({"plan.tp": math.lcm(*tried)}))


def _labels(query: Query, clusters: Sequence[Cluster]) -> list[str]:
    """One unique name a device: its own, where two share it what was typed. Raises SpecError for a device that is not known."""
    names = [hardware.load(cluster.hw, query.overrides.hw).name for cluster in clusters]
    return [cluster.hw if names.count(name) > 1 else name for name, cluster in zip(names, clusters, strict=True)]


def _best(table: list[Row], clusters: Sequence[Cluster]) -> dict[str, list[Row]]:
    """A first small table where several devices, or several numbers of one, are asked for."""
    if len(clusters) > 1:
        return {"best per device": rows.best_of_each(table, "hw")}
    return {"best per number of GPUs": rows.best_of_each(table, "gpus")} if len(clusters[0].gpus) > 1 else {}


def _asked(query: Query, clusters: Sequence[Cluster], found: Sequence[Searched], wish: Wish) -> dict[str, Any]:
    """What was asked: one device and number as themselves, several as lists."""
    counts = list(dict.fromkeys(count for cluster in clusters for count in cluster.gpus))
    names = [cluster.hw for cluster in clusters]
    asked = {
        **inputs.inputs(query, None), "phase": inputs.command(query), "cp": wish.cp, "hw": names[0] if len(names) == 1 else names, "gpus": counts[0] if len(counts) == 1 else counts,
        "metric": wish.metric, "limits": wish.limits, "batches": list(wish.batches or max((each.tried.tolist() for each in found), key=len)),
        "between_batches": wish.batches is None,
    }  # fmt: skip
    asked.pop("batch", None)
    return asked


def _larger(found: Sequence[Searched], best: Row) -> str:
    """A note where more than the largest batch that was tried would fit; else ""."""
    largest = {each.device: each.tried[-1] if np.isinf(each.largest) else each.largest for each in found}
    return objective.larger(best, float(largest.get(best["hw"], np.inf)))


def _verdict(found: Sequence[Searched], points: Points, table: list[Row], runs: int, tied: int, wish: Wish) -> str:
    sentence = f"{runs:,} of {len(points.worth):,} plans can run{objective.within(wish.limits)}"
    if not runs:
        return sentence + (_fastest(found, points) or _fewest(found[0]))
    others = f"; {tied:,} {'is' if tied == 1 else 'are'} tied with the best" if tied > 0 else ""
    best = f"{_named(table[0], table[0]['batch'], table)}: {_reached(table[0], wish.metric)}"
    return f"{sentence}; best: {best}{_by_kind(found, table, wish) if is_money(wish.metric) else ''}{others}"


def _by_kind(found: Sequence[Searched], table: Sequence[Row], wish: Wish) -> str:
    """Where the best is priced by another kind of price than other devices: that it is, and the best of those that compare."""
    able = [row for row in table if row["feasible"]]
    prices = {each.device: each.ask.query.paid(each.ask.device) for each in found}
    kind, at = price_notes.first_of_another_kind([row["hw"] for row in able], prices)
    if not kind or at is None:
        return ""
    named = f"{_named(able[at], able[at]['batch'], table)}: {_reached(able[at], wish.metric)}"
    return f", priced by another kind of price ({kind}); best on demand: {named}"


def _reached(row: Row, metric: str) -> str:
    """What a plan is worth, with its interval."""
    stem, unit = metric.removesuffix("_s"), "_s" * metric.endswith("_s")
    return objective.reached(metric, row[metric], row.get(f"{stem}_low{unit}"), row.get(f"{stem}_high{unit}"))


def _fastest(found: Sequence[Searched], points: Points) -> str:
    """What the fastest of the plans that fit reaches, where limits leave none; "" where none fits."""
    if not points.fits.any():
        return ""
    name = "tpot_s" if found[0].ask.query.decode else "ttft_s"
    i = int(np.argmin(np.where(points.fits, points.values[name], np.inf)))
    plans = rows.plans_of(found)
    reached = show(float(points.values[name][i]), "seconds")
    return f": the fastest that fits reaches {name.removesuffix('_s').upper()} {reached} ({_named(plans[i], points.batch[i], plans)})"


def _fewest(each: Searched) -> str:
    """With how many GPUs the smallest batch that was tried would fit."""
    least = float(each.tried.min())
    query = replace(each.ask.query, overrides=each.ask.query.overrides.merged({"batch": least}))
    return f"; at batch {least:,.0f} {fitting.smallest(query, each.w)}"


def _named(plan: Row, batch: float, among: Sequence[Row]) -> str:
    """ "4 x h20, tp=2, pp=2, batch 128"; without the devices where they are the same in all plans."""
    several = len({(row["hw"], row.get("gpus")) for row in among}) > 1
    devices = [f"{plan['gpus']:,} x {plan['hw']}"] if several else []
    sizes = [words] if (words := rows.words(plan)) else []
    return ", ".join([*devices, *sizes, f"batch {batch:,.0f}"])
