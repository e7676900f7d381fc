"""Every published step predicted twice: cold, with nothing fitted, and with the coefficients of its stack.

Coefficients belong to rows that are fitted together on one device (`Row.source.fit`): those of `split` make them, and
no row judges coefficients that it made. Where each row is left out in turn, and is off by no less with coefficients than
without, they are 1. Rows apart (drift, repeats, fine-tuning) are predicted with them too, and make none. Most likely to
be wrong: terms that a predictor does not sum to the step, along which the fit would turn the wrong way.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, replace
from typing import cast

import numpy as np

from simcost.errors import SimcostError, say, watched
from simcost.frozen import frozen
from simcost.training.question import Prediction, Predictor, Question
from simcost.training.stack import COEFFICIENTS, half_width
from simcost.validation.score import error
from simcost.validation.training import fit
from simcost.validation.training.rows import Row
from simcost.validation.training.split import LEFT_OUT, Split, fingerprint, split

FITTED, JUDGED, APART = "fitted", "judged", "apart"
COUNTING = ("judged", "reported")  # groups that are fitted and judged
_PLAN = (
    "hw",
    "gpus",
    "precision",
    "seq",
    "micro_batch",
    "tp",
    "pp",
    "vpp",
    "cp",
    "ep",
    "etp",
    "zero",
    "recompute",
    "sequence_parallel",
    "schedule",
)
TURNS, STEADY = 6, 0.002  # rounds of fitting the terms again where they stand, and factors that no longer move


@frozen
class Scored:
    """A row with what simcost says of it. part: FITTED rows made the coefficients that `fitted` was predicted with,
    JUDGED did not; None where nothing is fitted, or where the row is refused for `reason`."""

    row: Row
    part: str
    cold: Prediction | None
    fitted: Prediction | None = None
    reason: str = ""


@frozen
class Fit:
    """Coefficients of rows on a device. split: how they were parted; n: rows that made them; error: median |relative
    error| of rows that did not; half_width: of the log of a 90 % interval; rows: hash of the rows that did."""

    name: str
    hw: str
    stack: str
    split: Split
    factors: Mapping[str, float] = field(default_factory=dict)
    n: int = 0
    error: float | None = None
    half_width: float | None = None
    rows: str = ""


def shipped() -> Predictor:
    """simcost's own prediction; imported when it is asked, since it loads the counting of a step."""
    return cast(Predictor, importlib.import_module("simcost.scenarios.train").predict)


def scored(rows: Sequence[Row], predict: Predictor) -> tuple[list[Scored], list[Fit]]:
    """(each row in its order, the fits)."""
    predict = _once(predict)
    cold = {row.id: _cold(row, predict) for row in watched(rows, "published steps")}
    fits: list[Fit] = []
    made = {one.row.id: one for one in cold.values()}
    for (name, hw), each in together([row for row in rows if cold[row.id].cold is not None]).items():
        say(f"fitting {name} on {hw}: {len(each)} rows", f"{name} on {hw}")
        found, judged = _fitted(name, hw, each, {row.id: cold[row.id] for row in each}, predict)
        fits.append(found)
        made |= {one.row.id: one for one in judged}
        if found.factors:
            apart = [
                row
                for row in rows
                if (row.source.fit, row.question.hw) == (name, hw) and row.id not in {one.row.id for one in judged}
            ]
            made |= {
                row.id: _with(made[row.id], predict, found.factors, APART)
                for row in apart
                if cold[row.id].cold is not None
            }
    for row in rows:  # coefficients that ship, of other sources, for rows that make none
        if not row.source.fit and made[row.id].cold is not None:
            made[row.id] = _with(made[row.id], predict, None, made[row.id].part)
    return [made[row.id] for row in rows], fits


def _once(predict: Predictor) -> Predictor:
    """The predictor, which is asked each question once with the same factors; a factor of 1 is none."""
    known: dict[tuple[int, tuple[tuple[str, float], ...] | None], Prediction] = {}

    def ask(asked: Question, factors: Mapping[str, float] | None) -> Prediction:
        stated = (
            None if factors is None else tuple(sorted((name, each) for name, each in factors.items() if each != 1.0))
        )
        key = (id(asked), stated)
        if key not in known:
            known[key] = predict(asked, factors)
        return known[key]

    return ask


def together(rows: Sequence[Row]) -> dict[tuple[str, str], list[Row]]:
    """Rows with a time that are fitted together, by name and device."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row.source.fit and row.group in COUNTING and row.step_s is not None:
            found.setdefault((row.source.fit, row.question.hw), []).append(row)
    return found


def _cold(row: Row, predict: Predictor) -> Scored:
    try:
        return Scored(row, JUDGED if row.group in COUNTING else APART, predict(row.question, {}))
    except SimcostError as fault:
        return Scored(row, APART, None, None, str(fault))


def _with(one: Scored, predict: Predictor, factors: Mapping[str, float] | None, part: str) -> Scored:
    try:
        return replace(one, part=part, fitted=predict(one.row.question, factors))
    except SimcostError as fault:
        return replace(one, part=part, reason=str(fault))


def _fitted(
    name: str, hw: str, rows: Sequence[Row], cold: Mapping[str, Scored], predict: Predictor
) -> tuple[Fit, list[Scored]]:
    parted = split([row.id for row in rows])
    making = [row for row in rows if row.id in set(parted.fitted)]
    terms = [_terms(cold[row.id]) for row in making]
    names = fit.widest(terms, tuple(COEFFICIENTS), parted.most) if all(terms) else tuple(COEFFICIENTS)[: parted.most]
    found = Fit(name, hw, rows[0].question.stack, parted)
    if len(making) <= len(names) or not names:
        return found, [cold[row.id] for row in rows]
    factors = factors_of(making, predict, names)
    scores = []
    for row in rows:
        own = _without(making, row, predict, factors, names) if parted.kind == LEFT_OUT else factors
        scores.append(_with(cold[row.id], predict, own, JUDGED if row.id in set(parted.judged) else FITTED))
    if parted.kind == LEFT_OUT and _typical(scores, _fitted_of) >= _typical(scores, _cold_of):
        # Rows left out are off by less without coefficients: they are 1.
        factors = {names[0]: 1.0}
        scores = [_with(cold[row.id], predict, factors, JUDGED) for row in rows]
    learnt = 0 if parted.kind == LEFT_OUT else len(names)
    scores = _bounded(scores, parted.kind == LEFT_OUT, learnt)
    errors = [
        abs(error(one.fitted.step_s, one.row.step_s))
        for one in scores
        if one.part == JUDGED and one.fitted and one.row.step_s
    ]
    ids, times = [row.id for row in making], [row.step_s or 0.0 for row in making]
    return replace(
        found,
        factors=factors,
        n=len(making),
        error=float(np.median(errors)) if errors else None,
        half_width=half_width([_log(one) for one in _made(scores, parted.kind == LEFT_OUT)], learnt),
        rows=fingerprint(ids, times),
    ), scores


def _fitted_of(one: Scored) -> Prediction | None:
    """With coefficients."""
    return one.fitted


def _cold_of(one: Scored) -> Prediction | None:
    return one.cold


def _typical(scores: Sequence[Scored], which: Callable[[Scored], Prediction | None]) -> float:
    """Median |log error|."""
    return float(
        np.median([abs(math.log(said.step_s / (one.row.step_s or 1.0))) for one in scores if (said := which(one))])
    )


def _log(one: Scored) -> float:
    assert one.fitted is not None
    return abs(math.log(one.fitted.step_s / (one.row.step_s or 1.0)))


def _made(scores: Sequence[Scored], left_out: bool) -> list[Scored]:
    """Those whose errors say how wide an interval must be: rows that made the coefficients, or all where each was left out in turn."""
    return [one for one in scores if one.fitted and one.row.step_s and (left_out or one.part == FITTED)]


def _bounded(scores: Sequence[Scored], left_out: bool, learnt: int) -> list[Scored]:
    """Predictions with the interval that the errors of other rows give."""
    made, found = _made(scores, left_out), []
    for one in scores:
        errors = [_log(other) for other in made if other is not one]
        if one.fitted is None or len(errors) < 2:
            found.append(one)
            continue
        half, step = half_width(errors, learnt), one.fitted.step_s
        found.append(replace(one, fitted=replace(one.fitted, low=step / math.exp(half), high=step * math.exp(half))))
    return found


def factors_of(rows: Sequence[Row], predict: Predictor, names: Sequence[str]) -> dict[str, float]:
    """Factors by name for rows with a time. Terms are fitted where they stand and taken again, until the factors do
    not move."""
    factors = np.ones(len(names))
    for _ in range(TURNS):
        steps = _steps(rows, predict, dict(zip(names, map(float, factors), strict=True)), names)
        moved = fit.fitted([row.step_s or 0.0 for row in rows], steps, len(names), factors)
        still = bool(np.max(np.abs(moved - factors)) < STEADY)
        factors = moved
        if still:
            break
    return dict(zip(names, map(float, factors), strict=True))


def _without(
    rows: Sequence[Row], left: Row, predict: Predictor, factors: Mapping[str, float], names: Sequence[str]
) -> dict[str, float]:
    """Factors of all rows but one: from where those of all stand, on the terms as they are there."""
    others = [row for row in rows if row.id != left.id]
    start = np.array([factors[name] for name in names])
    found = fit.fitted(
        [row.step_s or 0.0 for row in others], _steps(others, predict, factors, names), len(names), start
    )
    return dict(zip(names, map(float, found), strict=True))


def _steps(rows: Sequence[Row], predict: Predictor, factors: Mapping[str, float], names: Sequence[str]) -> fit.Steps:
    """Steps as sums of their terms at some factors; by slopes where a predictor has no terms."""
    found = [predict(row.question, factors) for row in rows]
    if not all(one.terms for one in found):
        return fit.numeric(rows, lambda row, these: predict(row.question, these).step_s, names)

    def plain(one: Prediction) -> Mapping[str, float]:
        own = {name: value / factors.get(name, 1.0) for name, value in one.terms.items()}
        return {**own, "": one.step_s - sum(one.terms.values())}  # what no class holds

    return fit.additive(found, plain, names)


def _terms(one: Scored) -> Mapping[str, float]:
    return one.cold.terms if one.cold else {}


def _measured(one: Scored) -> float:
    """The predicted memory of the worst rank as the row's source measures it. [B]"""
    assert one.cold is not None
    return one.cold.memory.get(one.row.source.memory, one.cold.memory_bytes)


def memory_errors(scores: Sequence[Scored]) -> list[tuple[Scored, float]]:
    """Relative errors of memory, once for each plan: rows that differ only in the batch print the same. Of the worst
    stage, and of the least where a source prints it (`memory_min`) and the prediction has stages. A fit does not
    touch them."""
    found: dict[object, tuple[Scored, float]] = {}
    for one in scores:
        if one.row.memory_bytes is None or one.cold is None or one.row.group not in COUNTING:
            continue
        plan = (one.row.model, *(getattr(one.row.question, name) for name in _PLAN))
        found.setdefault((plan, one.row.memory_bytes), (one, error(_measured(one), one.row.memory_bytes)))
        least, stages = one.row.parts.get("memory_min"), one.cold.memory_by_stage
        if least is not None and one.row.question.pp > 1 and stages:
            found.setdefault((plan, least), (one, error(min(stages), least)))
    return list(found.values())
