"""solve: the value of one number at which a metric reaches a goal, with the step there; or what keeps it from there.

Source: docs/theory/sensitivity.md.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from simcost import grammar
from simcost.cost.price import with_range
from simcost.errors import SpecError
from simcost.estimate import answer
from simcost.estimate import step as steps
from simcost.hf import canonical
from simcost.metrics import error
from simcost.provenance import Note
from simcost.query import Query, model_of, settled, workload
from simcost.result import Result, Row, number
from simcost.scenarios import inputs, notes
from simcost.scenarios.answers import terms
from simcost.scenarios.goals import aim, numbers, stays, words
from simcost.scenarios.goals import ground as grounds
from simcost.scenarios.goals.ground import Found, Ground
from simcost.scenarios.goals.search import Turn
from simcost.scenarios.goals.variants import Question

_NUDGES = (0.0, 1e-12, 1e-10, 1e-8)  # of a value: an array's answer and a single one differ by less


def result(query: Query, path: str, text: str) -> Result:
    """The value of the number `path` that reaches the goal `text`. Raises SpecError for a question with axes, a number that is set already or on
    which the metric does not depend, and as `numbers.one` and `aim.goal`."""
    if query.axes:
        raise SpecError("--solve takes one operating point: use --set instead of --vary")
    root, key = grammar.split(path)
    twice = root != "phase" and canonical(key) in map(canonical, getattr(query.overrides, root))
    if twice or (path == "hw.price.usd_per_hour" and query.usd_per_hour is not None):
        raise SpecError(f"'{path}' is both set and solved for")
    found = _solved(settled(query), path, text)
    asked = inputs.inputs(query, None)
    said = {**found.inputs, "solve": {**asked, "phase": inputs.command(query), "path": path, "goal": text}}
    chosen = inputs.dimensions(model_of(query))
    if not chosen:
        return replace(found, inputs=said)
    said |= {"model": asked["model"], "set": {**asked["set"], **found.inputs["set"]}}
    return replace(found, inputs=said, dimensions=chosen)


def _solved(query: Query, path: str, text: str) -> Result:
    w = workload(query)
    number_ = numbers.one(query, w, path)
    with np.errstate(all="ignore"):
        known = answer.metrics(steps.run(w, checked=True), query.decode, query.price(w.device))
    goal = aim.goal(text, known, query.decode)
    question = Question(query, {number_.path: number_}, goal.metric)
    ground = grounds.make(question, number_, goal)
    found = grounds.solution(ground, ground.both)
    if found.turn is None:
        ground = grounds.finer(ground)
        found = grounds.solution(ground, ground.both)
    return _reached(ground, found) if found.turn is not None else _unreached(ground, found)


def _reached(ground: Ground, found: Found) -> Result:
    assert found.turn is not None
    turn, value, query = found.turn, *_verified(ground, found.turn)
    step = steps.checked(workload(query))
    device = step.workload.device
    known = with_range(answer.metrics(step, query.decode, query.price(device)), query.paid(device))
    values = {k: number(v) for k, v in known.items()}
    alone = grounds.solution(ground, ground.meets)
    memory = ground.fitting and alone.turn != turn
    low, high = (None, None) if memory or len(alone.turns) > 1 else grounds.ends(ground, turn)
    fits = float(np.asarray(step.kept.memory.short)) <= 0.0
    told = words.reached(ground, alone, turn, value, values) + words.interval(ground, low, high)
    told += words.bound(ground, alone) if memory else words.room(ground)
    told += "" if fits else "; DOES NOT FIT in memory at any value"
    metric = values[ground.goal.metric]
    head = {
        "solved": ground.number.show(value), "solved_value": number(value), "solved_value_low": low, "solved_value_high": high,
        "reached": True, "goal_value": ground.goal.target, "binds": "memory" if memory else "goal",
    }  # fmt: skip
    return Result(
        inputs.command(query), _asked(ground, query, step.workload), {**head, **values, "fits": fits, **answer.forms_named(step)},
        _turns(ground, alone), (*words.notes(ground, alone, value, metric), *notes.warnings(query, step.workload)),
        notes.references(step.workload, step), told, fits, terms=terms.of(step),
    )  # fmt: skip


def _verified(ground: Ground, turn: Turn) -> tuple[float, Query]:
    """The solution and its question, asked anew as --set would: it meets the goal."""
    side = -1.0 if turn.below else 1.0
    for nudge in _NUDGES:
        value = turn.holds if ground.number.whole else turn.holds * (1.0 + side * nudge)
        query = ground.question.at({ground.number.path: value})
        with np.errstate(all="ignore"):
            step = steps.run(workload(query), checked=True)
            found = answer.metrics(step, query.decode, query.price(step.workload.device))[ground.goal.metric]
        if grounds.met(ground.goal, found):
            return value, query
    raise SpecError(
        f"{ground.goal}: no value of {ground.number.path} next to {ground.number.show(turn.holds)} keeps it"
    )


def _turns(ground: Ground, found: Found) -> dict[str, list[Row]]:
    if len(found.turns) < 2:
        return {}
    answers = ground.ask(np.array([turn.holds for turn in found.turns]))
    return {
        "turns of the goal": [
            {
                "turn": ground.number.show(turn.holds), "turn_value": turn.holds, "side": "below" if turn.below else "above",
                "metric_there": ground.goal.show(float(metric)), "metric_value": float(metric),
            }
            for turn, metric in zip(found.turns, answers.metric, strict=True)
        ]
    }  # fmt: skip


def _asked(ground: Ground, query: Query, w: Any) -> dict[str, Any]:
    return {**inputs.inputs(query, w), "solved_for": ground.number.path, "goal": str(ground.goal)}


def _unreached(ground: Ground, found: Found) -> Result:
    """All values meet the goal, and the step is as asked; or none does: the step at the best of them, and what stays there."""
    each, goal, answers = ground.number, ground.goal, ground.answers
    best = grounds.best(ground)
    now = int(np.argmin(np.abs(ground.values - each.value)))
    shown = now if found.every and answers.good[now] else best
    query = ground.question.at({each.path: float(ground.values[shown])})
    with np.errstate(all="ignore"):  # the end of a range is far from any device
        step = steps.run(workload(query), checked=True)
        metrics = answer.metrics(step, query.decode, query.price(step.workload.device))
    values = {k: number(v) for k, v in metrics.items()}
    head: dict[str, Any] = {
        "solved": None, "solved_value": None, "solved_value_low": None, "solved_value_high": None, "reached": found.every,
        "goal_value": goal.target,
    }  # fmt: skip
    fits = float(np.asarray(step.kept.memory.short)) <= 0.0
    low, high = (each.show(float(end)) for end in ground.values[answers.good][[0, -1]])
    least = goal.show(float(answers.metric[best]))
    rows: list[Row] = []
    said = notes.warnings(query, step.workload)
    if found.every:
        told = f"{goal} holds at every value of {each.path} from {low} to {high}: at best {goal.name} is {least}, at {each.show(float(ground.values[best]))}"
    else:
        rows = stays.rows(step) if error(goal.metric) else []
        told = f"{goal} holds at no value of {each.path}: {words.limit(ground, best)} {goal.name} is {least}{words.around(goal, answers, best)}{stays.told(step, rows)}"
        told += words.hidden(ground)
        said = (*map(Note, words.unsure(ground, best)), *said)
    return Result(
        inputs.command(query), _asked(ground, query, step.workload), {**head, **values, "fits": fits},
        {"what stays": rows} if rows else {}, said, notes.references(step.workload, step), told,
        found.every and fits, terms=terms.of(step),
    )  # fmt: skip
