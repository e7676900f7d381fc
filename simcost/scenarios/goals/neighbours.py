"""The valid values on both sides of a number: about a step away for what is continuous or counted finely, the next one that runs for the rest.

Every count is tried as --set would state it, by the rules of the model, the plan and the device. Most likely to be wrong: a side that is given
up after `_TRIED` values.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from simcost.frozen import frozen
from simcost.scenarios.goals.numbers import CONTINUOUS, FACTORS, Number
from simcost.scenarios.goals.variants import Question

_TRIED = 40
_LARGEST_FACTOR = 16


@frozen
class Around:
    """The values that a number is compared at; None where a side has none, `why` then says so."""

    less: float | None
    more: float | None
    why: str = ""


def around(question: Question, number: Number, step: float) -> Around:
    """Both neighbours of a number; `step`: how far away, as a share of the number."""
    sides = [_side(question, number, step, up) for up in (False, True)]
    (less, no_less), (more, no_more) = sides
    why = "" if less is not None and more is not None else "; ".join(said for said in (no_less, no_more) if said)
    return Around(less, more, why)


def _side(question: Question, number: Number, step: float, up: bool) -> tuple[float | None, str]:
    first = ""
    for value in islice(candidates(number, step, up), _TRIED):
        if number.grid == CONTINUOUS:
            return value, ""
        said = question.refused({number.path: value})
        if not said:
            return value, ""
        first = first or f"{number.show(value)}: {said}"
    return None, f"none {'above' if up else 'below'}: {first or _end(number, up)}"


def _end(number: Number, up: bool) -> str:
    return f"{number.show(number.value)} is the {'most' if up else 'least'}"


def candidates(number: Number, step: float, up: bool) -> Iterator[float]:
    """Values on one side, the best first."""
    if number.grid == CONTINUOUS:
        value = number.value * (1.0 + step if up else 1.0 - step)
        if number.least <= value <= number.most:
            yield value
    elif number.grid == FACTORS:
        yield from _multiples(number, up)
    else:
        yield from _steps(number, step, up)


def _multiples(number: Number, up: bool) -> Iterator[float]:
    for factor in range(2, _LARGEST_FACTOR + 1):
        if up and number.value * factor <= number.most:
            yield number.value * factor
        elif not up and number.value % factor == 0 and number.value >= factor * number.least:
            yield number.value / factor


def _steps(number: Number, step: float, up: bool) -> Iterator[float]:
    """Whole steps, those first that end nearest to the wanted value."""
    wanted = max(round(step * number.value / number.grain), 1)
    sign = 1.0 if up else -1.0
    for away in range(2 * _TRIED):
        for n in {wanted + away, wanted - away} if away else {wanted}:
            value = number.value + sign * n * number.grain
            if n >= 1 and max(number.least, number.grain) <= value <= number.most:  # from 0 there is no ratio
                yield value
