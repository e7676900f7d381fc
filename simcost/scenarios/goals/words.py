"""An answer of solve in words: the solution with its range, what binds, how far memory goes, or the best that can be had."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from simcost.metrics import error
from simcost.scenarios.goals import ground as grounds
from simcost.scenarios.goals.aim import Goal
from simcost.scenarios.goals.ground import Found, Ground
from simcost.scenarios.goals.numbers import Number
from simcost.scenarios.goals.search import Turn
from simcost.scenarios.goals.variants import Answers


def reached(ground: Ground, alone: Found, turn: Turn, value: float, values: Mapping[str, Any]) -> str:
    """The solution, its side and the metric there, and how it stands now. `alone`: of the goal without memory; where it turns more than once, no
    side of the solution is sure to hold."""
    each, goal = ground.number, ground.goal
    side = "=" if len(alone.turns) > 1 else "at most" if turn.below else "at least"
    reached = goal.show(float(values[goal.metric]))
    now = ground.answers.metric[int(np.argmin(np.abs(ground.values - each.value)))]
    before = f"now {each.show(each.value)}" + (f" with {goal.show(float(now))}" if math.isfinite(now) else "")
    return f"{goal} holds with {each.path} {side} {each.show(value)}: {goal.name} {reached} there ({before})"


def interval(ground: Ground, low: float | None, high: float | None) -> str:
    """The values at both ends of the metric's 90 % interval."""
    show = ground.number.show
    if low is None and high is None:
        return ""
    if low is None or high is None:
        known = low if high is None else high
        assert known is not None
        return f"; 90 %: {'from' if high is None else 'up to'} {show(known)}, no {'upper' if high is None else 'lower'} end"
    return f"; 90 %: between {show(low)} and {show(high)}"


def bound(ground: Ground, alone: Found) -> str:
    """That memory ends the range, and what the goal alone would allow."""
    if alone.turn is None:
        return "; memory is the limit, without it the goal would hold at every value"
    side = "up to" if alone.turn.below else "from"
    return f"; memory is the limit, without it the goal would hold {side} {ground.number.show(alone.turn.holds)}"


def room(ground: Ground) -> str:
    """How far memory suffices, where that ends somewhere."""
    if len(ground.room) != 1:
        return ""
    (turn,) = ground.room
    return f"; memory suffices {'up to' if turn.below else 'from'} {ground.number.show(turn.holds)}"


def limit(ground: Ground, best: int) -> str:
    """The best value in words: whether it is the end of what is allowed."""
    each, value, usable = ground.number, float(ground.values[best]), grounds.usable(ground)
    if best not in (usable[0], usable[-1]):
        return f"at best, at {each.show(value)},"
    if each.whole:
        most = best == usable[-1]
        beyond = ground.answers.good[best + 1 :] if most else ground.answers.good[:best]
        return f"even at {each.show(value)}, the {'most' if most else 'least'} that {'fits' if beyond.any() else 'can be run'},"
    times = value / each.value
    return (
        f"even at {each.show(value)} ({times:,.0f} times what it is)" if times > 10.0 else f"even at {each.show(value)}"
    )


def around(goal: Goal, answers: Answers, index: int) -> str:
    """The 90 % interval of the metric at one value."""
    if not error(goal.metric):
        return ""
    ends = sorted(float(grounds.end(goal, answers, worse)[index]) for worse in (False, True))
    return f" (90 %: {goal.show(ends[0])} to {goal.show(ends[1])})"


def unsure(ground: Ground, index: int) -> list[str]:
    """A note where the goal lies within what is not known of the best value."""
    goal, each = ground.goal, ground.number
    if not error(goal.metric) or not grounds.met(goal, grounds.end(goal, ground.answers, False)[index]):
        return []
    roofline = " (--set hw.measurements=none uses the roofline)" if each.path.startswith("hw.") else ""
    return [f"the goal lies within the 90 % interval there, so it is not ruled out{roofline}"]


def hidden(ground: Ground) -> str:
    """Where the goal is met only by what does not fit."""
    if not ground.fitting or not ground.meets(ground.answers).any():
        return ""
    alone = grounds.solution(ground, ground.meets)
    if alone.turn is None:
        return "; memory is the limit: what meets the goal does not fit"
    side = "up to" if alone.turn.below else "from"
    return f"; memory is the limit: the goal holds {side} {ground.number.show(alone.turn.holds)}, which does not fit"


def notes(ground: Ground, found: Found, value: float, metric: Any) -> list[str]:
    """How to ask the same by hand, further turns, a jump."""
    each, goal = ground.number, ground.goal
    said = [f"the same by hand: {command(each, value)}"]
    if len(found.turns) > 1:
        said.append(
            f"{goal.name} is not monotone in {each.path}: the goal turns at {len(found.turns)} values, all listed"
        )
    if not each.whole and abs(float(metric) / goal.target - 1.0) > 1e-6:
        said.append(f"{goal.name} jumps past the goal there: no value of {each.path} gives it exactly")
    return said


def command(each: Number, value: float) -> str:
    """The option that sets a number, quoted for a shell."""
    stated = each.stated(value)
    return f"--set {each.path}='{stated}'" if " " in str(stated) else f"--set {each.path}={stated}"
