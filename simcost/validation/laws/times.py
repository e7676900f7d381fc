"""Times that a law compares, and what is said where one is broken.

A law says that one time is not longer than another. It is broken where the ratio lies beyond its own 90 % interval: errors that both
times share cancel, those of curves that only one of them rests on do not. Most likely to be wrong: which errors two curves share.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from simcost.cost.cost import COMMON, Cost
from simcost.frozen import frozen
from simcost.num import Z90, Array, Bools, Index
from simcost.result import Row

READING = 0.01  # of a time: no clock reads better over a run, and less is not said to be a fall


@frozen
class Times:
    """seconds and light [grid] of one cost over a whole grid; `spread`: sigma [s] by source."""

    seconds: Array
    light: Array
    spread: Mapping[str, Array]

    def take(self, index: tuple[slice | Index, ...]) -> Times:
        """The times at an index of the grid."""
        return Times(self.seconds[index], self.light[index], {key: value[index] for key, value in self.spread.items()})

    @property
    def sigma(self) -> Array:
        """Sigma of the log of the seconds. [grid]"""
        total = np.zeros(self.seconds.shape)
        for value in self.spread.values():
            total = total + np.square(value)
        return np.asarray(np.sqrt(total) / self.seconds)


def times(cost: Cost, shape: tuple[int, ...]) -> Times:
    """A cost on every point of its grid."""

    def full(value: object) -> Array:
        return np.broadcast_to(np.asarray(value, np.float64), shape)

    return Times(full(cost.seconds), full(cost.light_s), {key: full(value) for key, value in cost.spread.items()})


def excess(less: Times, more: Times, own: tuple[str, ...] = ()) -> Array:
    """By how much log(less / more) exceeds its 90 % interval; above 0 the law "less <= more" is broken. `own`: families whose curves
    the two do not share; ("*",): all but what no table knows and the engine's own time."""
    total = np.zeros(less.seconds.shape)
    for source in {*less.spread, *more.spread}:
        a = less.spread.get(source, np.zeros(1)) / less.seconds
        b = more.spread.get(source, np.zeros(1)) / more.seconds
        apart = source not in COMMON and ("*" in own or source.split(" ")[0] in own)
        total = total + (a * a + b * b if apart else np.square(a - b))
    return np.asarray(np.log(less.seconds / more.seconds) - Z90 * np.sqrt(total))


@frozen
class Broken:
    """A law that does not hold. `what`: which kind of kernel, or which question; `points`: how many were compared, `broken` of them
    beyond the interval; of the worst: `at`: its shape in words, `less` and `more` [s]: the time that may not be longer and the one that it
    may not exceed, each with its interval; `beyond`: factor by which the ratio exceeds its interval; `why`: the written reason of a known
    exception."""

    law: str
    device: str
    engine: str
    what: str
    points: int
    broken: int
    at: str
    less: tuple[float, float, float]
    more: tuple[float, float, float]
    beyond: float
    why: str = ""

    @property
    def row(self) -> Row:
        """The breach as a line of a table, intervals in columns of their own."""
        found: Row = {
            name: getattr(self, name) for name in ("law", "device", "engine", "what", "points", "broken", "at")
        }
        for name in ("less", "more"):
            found |= dict(zip((f"{name}_s", f"{name}_low_s", f"{name}_high_s"), getattr(self, name), strict=True))
        return found | {"beyond": self.beyond, "why": self.why}


@frozen
class Asked:
    """Who is asked: a device by name, and whose kernels."""

    device: str
    engine: str


def broken(
    law: str,
    who: Asked,
    what: str,
    at: Mapping[str, Array],
    less: Times,
    more: Times,
    where: Bools,
    own: tuple[str, ...] = (),
) -> list[Broken]:
    """What breaks "less <= more" on the points of `where`: nothing, or one line that names the worst. `at`: numbers of every point."""
    points = int(where.sum())
    if not points:
        return []
    over = np.where(where, excess(less, more, own), -np.inf)
    over = np.where(np.isnan(over), np.inf, over)
    count = int((over > READING).sum())
    if not count:
        return []
    worst = tuple(int(i) for i in np.unravel_index(int(np.argmax(over)), over.shape))
    words = " ".join(f"{name}={np.broadcast_to(value, over.shape)[worst]:g}" for name, value in at.items())
    return [
        Broken(law, who.device, who.engine, what, points, count, words, _interval(less, worst), _interval(more, worst),
               float(np.exp(over[worst])))
    ]  # fmt: skip


def _interval(of: Times, at: tuple[int, ...]) -> tuple[float, float, float]:
    seconds, wide = float(of.seconds[at]), float(np.exp(Z90 * of.sigma[at]))
    return seconds, max(seconds / wide, min(float(of.light[at]), seconds)), seconds * wide
