"""Off-grid points: scrambled Sobol numbers in log space, each kernel class in its own range (`measure/kernels`).

At least half of all points must lie off the grid: curves fitted on powers of two alone are off by a third at real lengths.
Ranges are those of inference and training steps on one device. Most likely to be wrong: what a model outside these ranges
does; its rows stand alone there. Source: Sobol numbers from torch.quasirandom (Owen scrambling).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from typing import TypeVar

from simcost.measure.machine.torch import need_torch
from simcost.measure.points.kernel_class import kernel_classes
from simcost.measure.points.point import Kind, Point
from simcost.measure.points.rounding import realised

T = TypeVar("T")
_DIMENSIONS = 8
SKEWS = (1.0, 2.0, 4.0, 8.0)  # the busiest expert over the mean of those touched: balanced, and three skews


def log_between(u: float, low: float, high: float) -> float:
    """The number a share u of the way from low to high, even in the logarithm."""
    return float(low * (high / low) ** u)


def one_of(u: float, options: Sequence[T]) -> T:
    """The option at the share u of the list, for u in [0, 1]; all have the same chance."""
    return options[min(int(u * len(options)), len(options) - 1)]


def space(kind: Kind, large: bool, seed: int) -> Iterator[Point]:
    """Endless off-grid points of a kind, the same for the same seed. `large`: ranges of a datacentre device, else of a CPU.
    Raises SimcostError without torch."""
    torch = need_torch()
    own = zlib.crc32(str(kind).encode())  # every kind has its own sequence
    engine = torch.quasirandom.SobolEngine(_DIMENSIONS, scramble=True, seed=(seed + own) % 2**31)
    draw = kernel_classes()[kind.family].draw
    while True:
        for unit in engine.draw(64).tolist():
            numbers = realised(kind, draw(kind, unit, large))
            if numbers is not None:
                yield Point(kind, numbers)
