"""Points of a sweep that are alike, asked once: most plans of a list run the same kernels on the same shapes.

Kinds are told apart by a 64-bit hash of their numbers: two of a million meet once in 40 million sweeps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from simcost.frozen import frozen
from simcost.num import Array, Index, Keys, Num, plain

_MANY = 512  # points from which looking for equal ones pays
_WORTH = 0.85  # share of the points up to which asking for each kind once pays: a curve takes ten times as long for a point as the search


@frozen
class Distinct:
    """The points of a grid of a `shape` by kind. `one`: where the first that was kept of every kind stands in the grid; `which` [points]:
    which kind each is; both None where every point is asked."""

    shape: tuple[int, ...]
    one: tuple[Index, ...] | None = None
    which: Index | None = None

    def each(self, value: Num) -> Num:
        """The values [kinds] of a number that broadcasts to the grid, one for each kind of points; of a grid without dimensions the number."""
        if not self.shape:
            return plain(value)
        spread = np.asarray(value, np.float64)
        if spread.shape != self.shape:
            spread = np.broadcast_to(spread, self.shape)
        return spread.ravel() if self.one is None else np.asarray(spread[self.one])

    def holds(self, columns: Sequence[Array]) -> bool:
        """Whether points of a kind are equal in all columns, one of which has the shape of the grid."""
        if (
            self.one is None
            or self.which is None
            or np.broadcast_shapes(*(column.shape for column in columns)) != self.shape
        ):
            return False
        return all(
            np.array_equal(self.back(self.each(column)), np.broadcast_to(column, self.shape)) for column in columns
        )

    def back(self, values: Num) -> Num:
        """Values [kinds] on every point of the grid."""
        if not self.shape:
            return plain(values)
        kinds = np.asarray(values)
        return (kinds if self.which is None else kinds[self.which]).reshape(self.shape)


def distinct(columns: Sequence[Num], many: int = _MANY) -> Distinct:
    """The kinds of the points that `columns`, which broadcast, describe. Every point is a kind of its own where a search does not
    pay: below `many` points, and where nearly all differ."""
    shapes = {column.shape for column in columns if isinstance(column, np.ndarray)}
    if shapes <= _ONE_NUMBER:
        return _ALONE
    shape = np.broadcast_shapes(*shapes)
    n = math.prod(shape)
    if n < many:
        return Distinct(shape)
    # What is one for all tells nothing apart; what varies along one axis is hashed along that one alone, as long as it can be.
    varied = sorted((column for column in columns if np.size(column) > 1), key=np.size)
    keys = np.broadcast_to(hashed(varied), shape).ravel()
    ordered = np.sort(keys)  # takes half as long as to find where each kind stands
    first = np.concatenate([[True], ordered[1:] != ordered[:-1]])
    if np.count_nonzero(first) >= _WORTH * n:
        return Distinct(shape)
    order = np.argsort(keys)
    which = np.empty(n, np.intp)
    which[order] = np.cumsum(first) - 1
    return Distinct(shape, np.unravel_index(order[first], shape), which)  # whichever: those of a kind are equal


_ONE_NUMBER, _ALONE = {()}, Distinct(())


def hashed(columns: Sequence[Num]) -> Keys:
    """One 64-bit number for every distinct row of columns, which broadcast."""
    key = np.zeros(1, np.uint64)
    for column in columns:
        bits = (np.asarray(column, np.float64) + 0.0).view(np.uint64)  # -0 and 0 are one
        key = (key ^ bits) * np.uint64(0x9E3779B97F4A7C15)
        key ^= key >> np.uint64(29)
    return key  # compared, never computed with
