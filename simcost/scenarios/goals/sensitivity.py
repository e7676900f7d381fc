"""sensitivity: by how many per cent a metric changes for one per cent of each number that it depends on.

d ln(metric) / d ln(x) between two values of x around the question's own: a central difference of continuous numbers, an arc between the valid
neighbours of counts. Both halves are given too: where they differ there is a kink, as at the ridge of a roofline, at a tile or at a node's edge.
Most likely to be wrong: the halves of numbers that curves through measured rows follow, whose own roughness a small step enlarges
(`--range 20%` looks past it). Source: docs/theory/sensitivity.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from simcost import grammar
from simcost.cost.calibrated import OTHER_RATES
from simcost.cost.cost import NOISE, Cost, basis, ratio_deviation
from simcost.errors import SpecError, nearest
from simcost.estimate import answer, ties
from simcost.estimate import step as steps
from simcost.frozen import frozen
from simcost.metrics import error
from simcost.num import Z90
from simcost.provenance import Kind, Note
from simcost.query import Query, model_of, settled, workload
from simcost.result import Result, Row, number
from simcost.scenarios import fitting, inputs, notes
from simcost.scenarios.goals import aim, idle, numbers
from simcost.scenarios.goals.neighbours import Around, around
from simcost.scenarios.goals.numbers import Number
from simcost.scenarios.goals.variants import Question, Variant

STEP = 0.05  # of a number: kernels' curves are rough below it, and few kinks lie within it
LEAST_STEP, MOST_STEP = 0.001, 0.9
ROOTS = ("hw", "plan", "phase", "model")
_SAME = 1e-6  # halves that differ by less are one slope
_NAMED = 4  # numbers of the verdict
_FOLLOWED = ("peak.", "links.", "memory.bandwidth")  # numbers of a device that curves are carried along


@frozen
class _Point:
    """What a question answers at one value of a number."""

    value: float
    metric: float
    cost: Cost
    differ: Mapping[str, float]
    fits: bool


def result(query: Query, metric: str | None = None, step: float = STEP, only: str | None = None) -> Result:
    """The numbers of a question ranked by elasticity; `metric`: by its short or whole name, default the time of the step; `step`: half of the
    range, as a share; `only`: one of ROOTS. Raises SpecError for a question with axes, a metric that is none, or a bad step."""
    if query.axes:
        raise SpecError("sensitivity takes one operating point: use --set instead of --vary")
    if not LEAST_STEP <= step <= MOST_STEP:
        raise SpecError(f"--range = {step:g} must be from {LEAST_STEP:.1%} to {MOST_STEP:.0%} of a number")
    if only is not None and only not in ROOTS:
        raise SpecError(f"--only must be one of {', '.join(ROOTS)}, not {only!r}{nearest(only, ROOTS)}")
    asked, query = query, settled(query)
    w = workload(query)
    now = steps.checked(w)
    found = answer.metrics(now, query.decode, query.price(w.device))
    name = aim.headline(query.decode) if metric is None else aim.spelled(metric, found, query.decode, "--metric")
    here = _Point(math.nan, float(np.asarray(found[name])), ties.behind(now, query.decode, name), {}, True)
    if not (math.isfinite(here.metric) and here.metric != 0.0):
        raise SpecError(f"--metric {name}: it is {aim.shown(name, here.metric)} here, so it has no elasticity")
    memory, fits = fitting.verdict(now.kept)
    every = [each for each in numbers.every(query, w) if only in (None, _root(each))]
    question = Question(query, numbers.by_path(every), name, differ=True)
    moving, still = _rows(question, every, here, step)
    return Result(
        "sensitivity", {**inputs.inputs(asked, w), "phase": inputs.command(query), "elasticity_of": name, "range": step, "only": only},
        {name: number(here.metric), "numbers_varied": len(every), "numbers_that_act": len(moving)},
        {"sensitivity": moving, **({"without effect": still} if still else {})},
        (_legend(name, step, moving), *notes.warnings(query, w)), notes.references(w, now),
        _verdict(name, here.metric, moving) + ("" if fits else f"; {memory}"), fits, inputs.dimensions(model_of(asked)),
    )  # fmt: skip


def _root(number_: Number) -> str:
    return grammar.split(number_.path)[0]


def _rows(question: Question, every: list[Number], here: _Point, step: float) -> tuple[list[Row], list[Row]]:
    """(numbers that move the metric, strongest first; those that do not, with the reason)."""
    sides = {each.path: around(question, each, step) if each.value > 0.0 else _unset(each) for each in every}
    wanted: list[Variant] = [
        {path: value} for path, side in sides.items() for value in (side.less, side.more) if value is not None
    ]
    points = _points(question, wanted)
    moving: list[Row] = []
    still: list[Row] = []
    for each in every:
        side = sides[each.path]
        pair = [None if value is None else points.get((each.path, value)) for value in (side.less, side.more)]
        row = _row(question, each, here, *pair)
        (still if row is None else moving).append(_quiet(question, each, side) if row is None else row)
    return sorted(moving, key=lambda row: -abs(row["elasticity"])), still


def _unset(each: Number) -> Around:
    return Around(None, None, f"{each.show(each.value)}: a number that is 0 has no elasticity")


def _points(question: Question, wanted: list[Variant]) -> dict[tuple[str, float], _Point]:
    """Every value that can be run, with its answer."""
    answers = question.answers(wanted)
    found = {}
    for i, variant in enumerate(wanted):
        (path, value), *_ = variant.items()
        if answers.good[i] and math.isfinite(answers.metric[i]):

            def here(each: Any, i: int = i) -> float:
                return float(np.asarray(each)[i])

            differ = {source: here(share) for source, share in answers.differ.items()}
            metric, fits = float(answers.metric[i]), bool(answers.fits[i])
            found[path, value] = _Point(value, metric, answers.cost.each(here), differ, fits)
    return found


def _row(question: Question, each: Number, here: _Point, less: _Point | None, more: _Point | None) -> Row | None:
    """A row of the table; None where nothing moves."""
    here = _Point(each.value, here.metric, here.cost, {}, True)
    below, above = (None if point is None else _slope(here, point) for point in (less, more))
    ends = less or here, more or here
    if ends[0] is ends[1] or not any(slope is not None and abs(slope) > NOISE for slope in (below, above)):
        return None
    slope = _slope(*ends)
    half = _half_width(question, each, here, *ends)
    parted = below is not None and above is not None and abs(below - above) > _SAME
    metric = question.metric
    return {
        "number": each.path, "elasticity": slope, "interval": f"{slope - half:+.2f} to {slope + half:+.2f}", "tied": bool(abs(slope) <= half),
        "tried": " to ".join(each.show(end.value) for end in ends), "metric_at_both": _gives(each, metric, ends),
        "elasticity_below": below if parted or above is None else None, "elasticity_above": above if parted or below is None else None,
        "rests_on": _basis(metric, ends[1]), "now": each.show(each.value), "value": each.value,
        "elasticity_low": slope - half, "elasticity_high": slope + half,
        "less_value": ends[0].value, "more_value": ends[1].value, "metric_with_less": ends[0].metric, "metric_with_more": ends[1].metric,
    }  # fmt: skip


def _gives(each: Number, metric: str, ends: tuple[_Point, _Point]) -> str:
    """The metric at both ends, and at which of them memory does not suffice."""
    short = [each.show(end.value) for end in ends if not end.fits]
    said = " to ".join(aim.shown(metric, end.metric) for end in ends)
    return f"{said}; does not fit: {', '.join(short)}" if short else said


def _basis(metric: str, point: _Point) -> str:
    return basis(point.cost) if error(metric) else "exact"


def _slope(a: _Point, b: _Point) -> float:
    return math.log(b.metric / a.metric) / math.log(b.value / a.value)


def _half_width(question: Question, each: Number, here: _Point, less: _Point, more: _Point) -> float:
    """Half of the 90 % interval of the elasticity: of what is not known of the ratio of both ends. Numbers of the device leave the kernels as
    they are, and so their errors; of what their curves are carried by, the carrying is uncertain, at both ends the opposite way."""
    if not error(question.metric):
        return 0.0
    device = _root(each) == "hw"
    deviation = float(np.asarray(ratio_deviation(more.cost, less.cost, {} if device else _differ(less, more))))
    if device and each.path.removeprefix("hw.").startswith(_FOLLOWED):
        carried = sum(_moved(here, end) * abs(math.log(end.value / here.value)) for end in (less, more))
        deviation = math.hypot(deviation, OTHER_RATES * carried)
    return Z90 * deviation / math.log(more.value / less.value)


def _differ(less: _Point, more: _Point) -> dict[str, float]:
    """By source, how much of its error at one end times that at the other is of kernels whose shapes the number changes. An end that is the
    question itself differs by as much as the other does from it."""
    ends = [end.differ for end in (less, more) if end.differ] * 2 or [{}, {}]
    return {source: ends[0].get(source, 0.0) * ends[1].get(source, 0.0) for source in {*ends[0], *ends[1]}}


def _moved(here: _Point, end: _Point) -> float:
    """The share of a time that rows answered before, and that is now carried to another rate."""
    return max(float(end.cost.transferred_s - here.cost.transferred_s), 0.0) / float(end.cost.seconds)


def _quiet(question: Question, each: Number, side: Around) -> Row:
    return {
        "number": each.path,
        "now": each.show(each.value),
        "why": _reason(question, each, side),
        "value": each.value,
    }


def _reason(question: Question, each: Number, side: Around) -> str:
    """Why a number does not move the metric."""
    if side.less is None and side.more is None:
        return side.why
    if said := idle.why(question.base, each.path):
        return said
    tried = " and ".join(each.show(value) for value in (side.less, side.more) if value is not None)
    return f"{aim.short(question.metric)} is the same at {tried}"


def _legend(metric: str, step: float, rows: list[Row]) -> Note:
    """What the columns say: the same for every question."""
    text = (
        f"elasticity: per cent of {aim.short(metric)} for one per cent more of the number, between the two values tried "
        f"({100.0 * step:.3g} % of the number to either side, --range; of counts the valid value nearest to that; of sizes of a plan half and twice)"
    )
    if any(row["elasticity_below"] is not None for row in rows):
        text += "; below and above: the same on either side alone, where they differ"
    if any(row["tied"] for row in rows):
        text += "; tied: the two values differ by less than the 90 % interval of their ratio"
    return Note(text, Kind.SCOPE)


def _verdict(metric: str, value: float, rows: list[Row]) -> str:
    said = f"{aim.short(metric)} {aim.shown(metric, value)}"
    if not rows:
        return f"{said}: none of these numbers changes it"
    named = ", ".join(f"{row['number']} {row['elasticity']:+.2f}" for row in rows[:_NAMED])
    return f"{said}; per cent for one per cent more of: {named}"


def share(text: str) -> float:
    """A step from "10%" or "0.1". Raises SpecError for anything else."""
    try:
        found = float(text.strip().removesuffix("%").strip()) * (0.01 if text.strip().endswith("%") else 1.0)
    except ValueError:
        found = math.nan
    if not LEAST_STEP <= found <= MOST_STEP:
        raise SpecError(f"--range {text}: must be from {LEAST_STEP:.1%} to {MOST_STEP:.0%} of a number, such as 10%")
    return found
