"""A map of designs: the product of axes with what each design is and costs, and those that no other beats in two metrics (Pareto front).

Most likely to be wrong: neighbours on the front whose times differ by less than their intervals. Source: arithmetic of the sweep.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from simcost import metrics
from simcost.errors import SpecError, nearest
from simcost.model import count
from simcost.num import Array, Bools
from simcost.query import Query
from simcost.result import Columns, Result
from simcost.scenarios import sweep
from simcost.scenarios.goals import aim, map_ties
from simcost.workload import Workload

NO_AXES = "sweep needs axes: --vary model.num_attention_heads=64,96,128, or --vary model.kv_lora_rank=256..1024:64"
SIGNS = {"less": 1.0, "more": -1.0}  # by which the better side is the smaller number
SIDES = tuple(SIGNS)


def counts(w: Workload, _: object = None) -> dict[str, Any]:
    """What a design is: parameters, active ones, bytes of weights and of the cache of a token."""
    found, kv = count.parameters(w.model), count.kv_elements(w.model)
    return {
        "params_total": found["params_total"],
        "params_language": found["params_language"],
        "params_active_all": found["params_active_all"],
        "weight_bytes": count.weight_bytes(w.model, storage=w.view.storage),
        "kv_bytes_per_token": w.view.kv.tensor_bytes(kv["kv_elements_per_token"]),
    }


def result(query: Query, pareto: Sequence[str] | None = None) -> Result:
    """Every point of the axes with its metrics and counts, and whether it stands on the front. `pareto`: two metrics, each a name or "name:more" and "name:less";
    default the time of the step against as many parameters as possible, those of language
    models where a tower cannot be counted. Raises SpecError for a question without axes, and for metrics that are none or
    have no better side."""
    if not query.axes:
        raise SpecError(NO_AXES)
    few = math.prod(map(len, query.axes.values())) <= map_ties.MOST
    found = sweep.result(query, map_ties.with_errors(query, counts) if few else counts)
    priced = found.tables["sweep"]
    assert isinstance(priced, Columns)
    rows = map_ties.without_errors(priced)
    size = "params_total" if np.isfinite(_column(rows, "params_total")).all() else "params_language"
    wanted = wanted_of(pareto or default(query.decode, size), [*rows.values], query.decode)
    usable = np.asarray(rows.feasible, bool) & np.asarray(rows.values["fits"], bool)
    values = {name: _column(rows, name) for name, _ in wanted}
    first, second = (SIGNS[side] * values[name] for name, side in wanted)
    on_front = front(first, second, usable)
    marks: dict[str, Any] = {"pareto": on_front}
    counted = {**found.metrics, "points_on_front": int(on_front.sum())}
    if few:
        aims = [map_ties.aim(name, SIGNS[side], values[name], priced, query.decode) for name, side in wanted]
        marks |= map_ties.columns(aims, on_front, usable)
        counted["points_tied_with_front"] = int((marks["pareto_or_tied"] & ~on_front).sum())
    columns = Columns(rows.labels, rows.feasible, rows.reasons, {**rows.values, **marks})
    return replace(
        found, command="sweep", inputs=inputs_of(found.inputs, found.command, wanted), metrics=counted, tables={"sweep": columns},
    )  # fmt: skip


def default(decode: bool, size: str) -> tuple[str, str]:
    """The metrics of a front that nobody states: the time of the step, and a count of parameters."""
    return aim.headline(decode), f"{size}:more"


def inputs_of(asked: dict[str, Any], command: str, wanted: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """What was asked of a map of designs."""
    return {**asked, "phase": command, "pareto": [f"{name}:{side}" for name, side in wanted]}


def front(first: Array, second: Array, usable: Bools) -> Bools:
    """Which points no usable other is at least as good as in both, and better in one; less is better. [points]"""
    found = np.zeros(len(usable), bool)
    index = np.flatnonzero(usable & np.isfinite(first) & np.isfinite(second))
    order = index[np.lexsort((second[index], first[index]))]
    if not len(order):
        return found
    x, y = first[order], second[order]
    before = np.concatenate(([np.inf], np.minimum.accumulate(y)[:-1]))
    # Points that are equal in both stand and fall together: they follow each other, and the first of them decides.
    new = np.concatenate(([True], (x[1:] != x[:-1]) | (y[1:] != y[:-1])))
    found[order] = (y < before)[np.flatnonzero(new)[np.cumsum(new) - 1]]
    return found


def _column(rows: Columns, name: str) -> Array:
    return np.broadcast_to(np.asarray(rows.values[name], np.float64), (len(rows),))


def wanted_of(stated: Sequence[str], names: Sequence[str], decode: bool) -> list[tuple[str, str]]:
    """(whole name, "less" or "more") of both metrics; `names`: of all columns. Raises SpecError for what is none of them, and for a metric
    without a better side."""
    if len(stated) != 2:
        raise SpecError(f"--pareto takes two metrics, as in tpot,params_total:more, not {len(stated)}")
    found = []
    for text in stated:
        name, _, side = (part.strip() for part in str(text).partition(":"))
        known = [each for each in names if each != "fits"]
        whole = name if name in known else aim.spelled(name, dict.fromkeys(known, 0.0), decode, "--pareto")
        metric = metrics.find(whole)
        side = side or ("less" if whole in metrics.least() else "" if metric is None else metric.better)
        if side not in SIDES:
            raise SpecError(
                f"--pareto {text}: state which side is better, {name}:less or {name}:more{nearest(side, SIDES)}"
            )
        found.append((whole, side))
    if found[0][0] == found[1][0]:
        raise SpecError(f"--pareto names {found[0][0]} twice")
    return found
