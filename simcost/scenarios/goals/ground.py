"""What is known of a goal along one number: the values that were evaluated, the solution among them, and its range.

Values whose memory does not suffice are no solution while any value fits. Most likely to be wrong: a device far from those that were measured,
whose kernels' times are carried along the roofline.
"""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from simcost.cost.cost import NOISE, interval
from simcost.errors import SpecError
from simcost.frozen import frozen
from simcost.metrics import error, find
from simcost.num import Array, Bools, Index
from simcost.scenarios.goals import idle, search
from simcost.scenarios.goals.aim import Goal
from simcost.scenarios.goals.numbers import Number
from simcost.scenarios.goals.search import Holds, Turn
from simcost.scenarios.goals.variants import Answers, Question

_FINER = 2  # rounds of values beside the best one, where a goal is met nowhere


@frozen
class Ground:
    """What was evaluated: a number's values, ascending, and their answers; `fitting`: whether memory suffices for any of them; `room`: where it
    begins or ends to suffice."""

    question: Question
    number: Number
    goal: Goal
    values: Array
    answers: Answers
    fitting: bool
    room: tuple[Turn, ...] = ()

    def ask(self, values: Array) -> Answers:
        """Answers of other values."""
        return self.question.answers([{self.number.path: value} for value in values.tolist()])

    def turns(self, holds: Holds) -> list[Turn]:
        """Where something begins or ends to hold."""
        return search.turns(self.number, self.values, self.answers, self.ask, holds)

    def meets(self, answers: Answers) -> Bools:
        """Where the goal is met, whether memory suffices or not."""
        return met(self.goal, answers.metric)

    def both(self, answers: Answers) -> Bools:
        """Where the goal is met and, if that can be at all, memory suffices."""
        return self.meets(answers) & (answers.fits if self.fitting else True)


@frozen
class Found:
    """`turn`: the solution, None where there is none; `turns`: all of them; `every`: all values meet the goal."""

    turn: Turn | None
    turns: list[Turn]
    every: bool


def met(goal: Goal, values: Any) -> Bools:
    """Where values of a metric reach a goal."""
    with np.errstate(invalid="ignore"):
        return np.asarray(values <= goal.target if goal.most else values >= goal.target, bool)


def make(question: Question, number_: Number, goal: Goal) -> Ground:
    """The grid over a number's allowed range, with answers. Raises SpecError where nothing can be run, or nothing moves the metric."""
    values = search.grid(number_, question.structural(number_.path))
    answers = question.answers([{number_.path: value} for value in values.tolist()])
    if not answers.good.any():
        nearest = int(np.argmin(np.abs(values - number_.value)))
        raise SpecError(f"no value of {number_.path} can be run: {answers.why[nearest]}")
    _check_influence(question, number_, goal, values, answers)
    return _with_room(Ground(question, number_, goal, values, answers, bool(answers.fits.any())))


def _check_influence(question: Question, number_: Number, goal: Goal, values: Array, answers: Answers) -> None:
    """Raises SpecError where the metric is the same at all values that can be run, or only one can."""
    ran, seen = values[answers.good], answers.metric[answers.good]
    if np.any(np.abs(seen - seen[0]) > NOISE * np.abs(seen[0])):
        return
    low, high = (number_.show(float(end)) for end in ran[[0, -1]])
    if len(ran) == 1:
        refused = next((why for why in answers.why if why), "")
        raise SpecError(f"no value of {number_.path} but {low} can be run: {refused}")
    said = idle.why(question.base, number_.path)
    because = f": it {said}" if said.startswith("acts") else f": {said}" if said else ""
    raise SpecError(
        f"{goal.name} does not depend on {number_.path} here: it is {goal.show(float(seen[0]))} at every value from {low} to {high}{because}"
    )


def _with_room(ground: Ground) -> Ground:
    """With the values at which memory just suffices among those that were evaluated: a metric may be best there."""
    room = ground.turns(lambda answers: answers.fits)
    ends = [turn.holds for turn in room if turn.holds not in ground.values]
    if not ends:
        return replace(ground, room=tuple(room))
    values = np.union1d(ground.values, ends)
    return replace(ground, values=values, answers=ground.ask(values), room=tuple(room))


def finer(ground: Ground) -> Ground:
    """With more values beside the best one, where the metric may be better still."""
    for _ in range(_FINER):
        at = best(ground)
        beside = ground.values[max(at - 1, 0) : at + 2]
        more = [search.between(ground.number, float(a), float(b)) for a, b in pairwise(beside)]
        values = np.union1d(ground.values, np.concatenate([ground.values[:0], *more]))
        if len(values) == len(ground.values):
            return ground
        ground = replace(ground, values=values, answers=ground.ask(values))
    return ground


def solution(ground: Ground, holds: Holds) -> Found:
    """The solution: where small values meet the goal the largest that does, where large ones do the smallest, else the one next to the value
    that the question has."""
    here = holds(ground.answers)[ground.answers.good]
    turns = ground.turns(holds)
    if not turns:
        return Found(None, [], bool(here.all()))
    if here[0] and not here[-1]:
        return Found(max(turns, key=lambda turn: turn.holds), turns, False)
    if here[-1] and not here[0]:
        return Found(min(turns, key=lambda turn: turn.holds), turns, False)
    now = max(ground.number.value, 1e-30)
    return Found(min(turns, key=lambda turn: abs(math.log(max(turn.holds, 1e-30) / now))), turns, False)


def ends(ground: Ground, turn: Turn) -> tuple[float | None, float | None]:
    """The values at which the ends of the metric's 90 % interval reach the goal, the lower first: of each end the turn next to the solution and to
    the same side (far from what was measured the interval widens, and an end may turn again). None where an end has none."""
    if not error(ground.goal.metric):
        return None, None
    ends: list[float | None] = []
    for worse in (False, True):

        def holds(answers: Answers, worse: bool = worse) -> Bools:
            return met(ground.goal, end(ground.goal, answers, worse))

        alike = [each.holds for each in ground.turns(holds) if each.below == turn.below]
        ends.append(min(alike, key=lambda value: abs(value - turn.holds)) if alike else None)
    easy, hard = ends
    return (hard, easy) if turn.below else (easy, hard)


def end(goal: Goal, answers: Answers, worse: bool) -> Array:
    """The end of the metric's 90 % interval that makes the goal harder, or easier."""
    slower = worse == goal.most  # whether it is the end of a longer step, of a metric that grows with the time
    rises = getattr(find(goal.metric), "better", "") == "less"
    with np.errstate(all="ignore"):
        low, high = (np.asarray(each / answers.cost.seconds) for each in interval(answers.cost))
        return np.asarray(
            answers.metric * (high if slower else low) if rises else answers.metric / (low if slower else high)
        )


def usable(ground: Ground) -> Index:
    """Where it can be run and, if that can be at all, memory suffices."""
    found = ground.answers.good & np.isfinite(ground.answers.metric)
    return np.flatnonzero(found & ground.answers.fits if ground.fitting else found)


def best(ground: Ground) -> int:
    """The value that comes nearest to the goal; of a plateau its far end."""
    places = usable(ground)
    metric = ground.answers.metric[places] * (1.0 if ground.goal.most else -1.0)
    alike = places[metric <= metric.min() + NOISE * abs(metric.min())]
    return int(alike[-1] if alike[-1] == places[-1] else alike[0])
