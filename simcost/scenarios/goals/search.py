"""Where a goal begins and ends to hold along one number: a grid over its allowed range, then every pair of neighbours of which one holds and the
other does not is narrowed, many values at once, to neighbouring floats or whole numbers.

Nothing is assumed of the metric between points of the grid: a goal that holds only between two of them is seen where they lie beside the best
one (`ground.finer`). Every value that is returned was evaluated, and holds.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from simcost.frozen import frozen
from simcost.num import Array, Bools
from simcost.scenarios.goals.numbers import CONTINUOUS, FACTORS, Number
from simcost.scenarios.goals.variants import Answers

Ask = Callable[[Array], Answers]
Holds = Callable[[Answers], Bools]
_PER_DECADE = 16
_DENSE = 64  # whole values up to here are all on the grid
_FEW = 24  # points of the grid of a number that decides the structure, each of which is a model of its own
_EACH = 31  # values a narrowing
_ROUNDS = 12
_CLOSE = 1e-13  # of a value: two floats that are one


@frozen
class Turn:
    """A place at which a goal turns. `holds`: the last value at which it holds; `fails`: the next one, at which it does not."""

    holds: float
    fails: float

    @property
    def below(self) -> bool:
        """Whether the goal holds below."""
        return self.holds < self.fails


def grid(number: Number, structural: bool) -> Array:
    """Values over the whole allowed range, the number's own among them, ascending."""
    least, most = max(number.least, 1.0) if number.alone else number.least, number.most
    if number.grid == CONTINUOUS:
        points = _spread(least, most)
    else:
        unit = number.grain
        start = max(least, 1.0 if unit == 1.0 else unit)
        points = np.unique(np.round(_spread(start, most) / unit) * unit)
        dense = np.arange(start, min(most, _DENSE * unit) + 0.5, unit)
        if number.grid == FACTORS:
            dense = np.arange(start, min(most, 256.0) + 0.5)
        points = _thinned(points) if structural else np.concatenate([points, dense])
        if least == 0.0:
            points = np.concatenate([[0.0], points])
    whole = np.unique(np.concatenate([points, [number.value]] if least <= number.value <= most else [points]))
    return whole[(whole >= least) & (whole <= most)]


def _spread(least: float, most: float) -> Array:
    count = max(int(_PER_DECADE * math.log10(most / least)), 2)
    return np.asarray(np.geomspace(least, most, count + 1))


def _thinned(points: Array) -> Array:
    return np.asarray(points[np.unique(np.linspace(0, len(points) - 1, _FEW).astype(int))])


def turns(number: Number, values: Array, answers: Answers, ask: Ask, holds: Holds) -> list[Turn]:
    """Every place along the grid at which a goal turns, narrowed. values [n] with their answers; points that cannot be run are passed over."""
    kept = np.flatnonzero(answers.good)
    here = holds(answers)[kept]
    found = []
    for j in np.flatnonzero(here[1:] != here[:-1]):
        a, b = float(values[kept[j]]), float(values[kept[j + 1]])
        found.append(_narrowed(number, Turn(a, b) if here[j] else Turn(b, a), ask, holds))
    return found


def _narrowed(number: Number, turn: Turn, ask: Ask, holds: Holds) -> Turn:
    for _ in range(_ROUNDS):
        inside = between(number, turn.holds, turn.fails)
        if not len(inside):
            return turn
        answers = ask(inside)
        inside, here = inside[answers.good], holds(answers)[answers.good]
        if not len(inside):  # nothing between them can be run
            return turn
        if not turn.below:
            inside, here = inside[::-1], here[::-1]
        row = [turn.holds, *inside.tolist(), turn.fails]
        first = int(np.argmin(np.append(here, False)))  # the first that does not hold, seen from the side that does
        turn = Turn(row[first], row[first + 1])
    return turn


def between(number: Number, one: float, other: float) -> Array:
    """Values strictly between two, ascending: all whole ones of a few, else spread evenly."""
    low, high = sorted((one, other))
    if number.grid == CONTINUOUS:
        if high / low - 1.0 <= _CLOSE:
            return np.zeros(0)
        points = np.geomspace(low, high, _EACH + 2)[1:-1]
    else:
        unit = number.grain
        count = round((high - low) / unit) - 1
        if count <= 2 * _EACH:
            points = low + unit * np.arange(1.0, count + 1.0)
        else:
            points = np.unique(np.round(np.linspace(low, high, _EACH + 2)[1:-1] / unit) * unit)
    return np.asarray(points[(points > low) & (points < high)])
