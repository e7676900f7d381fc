"""The nearest numbers that a kernel really runs: whole counts, rows that start where kernels want them, loads that add up.

What is measured is what the row says, so a wish is rounded before it is built. Most likely to be wrong: a width that is no
multiple of 16 bytes is rounded up here, where a library would pad it in place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache

from simcost.measure.points.kernel_class import kernel_classes
from simcost.measure.points.point import Kind

Numbers = Mapping[str, float]
_NARROW = {"fp8": 16, "fp8_block": 128, "nvfp4": 64, "mxfp4": 64, "int4": 128}
WIDEST_ROW = 4096  # a stream kernel's row, where the op does not say how wide it is


def whole(value: float, step: int = 1) -> int:
    """The nearest positive multiple of step."""
    return max(round(value / step), 1) * step


def step_of(kind: Kind) -> int:
    """Multiples in which widths come, by the narrowest format of a kind."""
    return max(_NARROW.get(name, 8) for _, name in kind.labels)


def realised(kind: Kind, numbers: Numbers) -> tuple[float, ...] | None:
    """Numbers in the family's order; None where no kernel of ours runs such a point."""
    found = kernel_classes()[kind.family].rounded(kind, numbers)
    return None if found is None else tuple(float(v) for v in found)


@lru_cache(maxsize=256)
def loaded(copies: int, touched: int, held: int, load: float, most: int) -> tuple[int, ...]:
    """Rows of each touched expert, busiest first: it has `load` times the mean of all `held` experts, as queries say it
    (`routing.load.busiest_expert`), as far as whole rows and at most `most` an expert allow; the others fall like a power
    law. The load that comes out, put in again, gives the same rows."""
    mean = -(-copies // touched)
    busiest = min(max(round(load * copies / held), mean), most, copies - touched + 1)
    others, rest = touched - 1, copies - busiest
    if others == 0:
        return (copies,)
    exponent = _exponent(busiest / copies, touched)
    shares = [(i + 2.0) ** -exponent for i in range(others)]
    exact = [1.0 + (rest - others) * share / sum(shares) for share in shares]
    counts = [min(int(value), busiest) for value in exact]
    left = rest - sum(counts)
    while left > 0:
        for i in range(others):
            if left > 0 and counts[i] < busiest:
                counts[i] += 1
                left -= 1
    return (busiest, *counts)


def _exponent(share: float, touched: int) -> float:
    """The power law over `touched` experts whose first has this share of all."""
    low, high = 0.0, 8.0
    for _ in range(40):
        middle = (low + high) / 2.0
        first = 1.0 / sum((i + 1.0) ** -middle for i in range(touched))
        low, high = (middle, high) if first < share else (low, middle)
    return low


def row_width(elements: int) -> int:
    """Width of a row of a stream kernel: the widest power of two up to WIDEST_ROW that divides the elements."""
    return math.gcd(elements, WIDEST_ROW)
