"""Searches over whole numbers: widths are multiples of something, and building a design for each of thousands would take long."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from simcost.errors import SpecError

_SAMPLES = 33  # numbers looked at before bisection


def multiples(widths: tuple[float, float], multiple: float) -> tuple[int, int]:
    """The first and the last whole number of multiples between two widths. Raises SpecError where there is none."""
    first, last = int(np.ceil(widths[0] / multiple)), int(np.floor(widths[1] / multiple))
    if first < 1 or last < first:
        raise SpecError(f"no multiple of {multiple:g} lies between the widths {widths[0]:g} and {widths[1]:g}")
    return first, last


def samples(first: int, last: int) -> list[int]:
    """Whole numbers from first to last, at even ratios."""
    return sorted({round(float(each)) for each in np.geomspace(first, last, _SAMPLES)})


def where_it_holds(holds: Callable[[int], bool], picked: list[int]) -> list[int]:
    """Of ascending numbers those at which something holds, with the outermost between them and their neighbours: it holds on one stretch."""
    inside = [each for each in picked if holds(each)]
    if not inside:
        return []
    before = [each for each in picked if each < inside[0]]
    after = [each for each in picked if each > inside[-1]]
    first = last_of(holds, inside[0], before[-1]) if before else inside[0]
    last = last_of(holds, inside[-1], after[0]) if after else inside[-1]
    return sorted({first, *inside, last})


def last_of(holds: Callable[[int], bool], inside: int, outside: int) -> int:
    """The whole number nearest to `outside` at which something holds, which holds at `inside` and changes once on the way."""
    while abs(outside - inside) > 1:
        middle = (inside + outside) // 2
        if holds(middle):
            inside = middle
        else:
            outside = middle
    return inside


def lowest(value: Callable[[int], float], picked: list[int]) -> int:
    """The whole number of the least value between the first and the last of ascending numbers, for a value that falls and then rises."""
    best = min(range(len(picked)), key=lambda index: value(picked[index]))
    low, high = picked[max(best - 1, 0)], picked[min(best + 1, len(picked) - 1)]
    while high - low > 2:
        left = (low + high) // 2
        low, high = (low, left + 1) if value(left) <= value(left + 1) else (left, high)
    return min(range(low, high + 1), key=value)
