"""How large the next block is: as many points as take about a second on one worker, by what the last blocks took.

Most likely to be wrong: neighbours of very unlike cost, such as a small model after a large one; the next block follows. Source: arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence

from simcost.bulk import plan
from simcost.bulk.parts import Part
from simcost.bulk.plan import Plan, Rectangle

AIM_S = 1.0  # of a block: a hundred times what it costs to hand one out
_FIRST, _MOST = 2_048, 262_144  # points of the first block, and of any
_GROWTH = 4.0  # of one block to the next
_RECTANGLES = 64  # of a block


class Dealer:
    """Deals out the points of a plan that no part holds; `most`: points that are priced at once."""

    def __init__(self, whole: Plan, done: Sequence[tuple[int, int]], most: int, aim_s: float = AIM_S) -> None:
        self._plan, self._most, self._aim_s = whole, most, aim_s
        self._points = float(_FIRST)
        self._gaps = _gaps(done, whole.size)

    def deal(self) -> list[Rectangle]:
        """The next block; empty at the end."""
        found: list[Rectangle] = []
        total = 0
        while self._gaps and len(found) < _RECTANGLES and total <= 0.75 * self._points:
            start, stop = self._gaps[0]
            i, at = divmod(start, self._plan.inner)
            room = min(max(int(self._points) - total, 1), self._most)
            end = min(stop - i * self._plan.inner, self._plan.inner)
            _, count = next(plan.cuts(self._plan.shape, at, end, room))
            found.append((i, at, at + count))
            total += count
            self._gaps[0] = (start + count, stop)
            if start + count >= stop:
                self._gaps.pop(0)
            if self._gaps and self._gaps[0][0] != start + count:
                break  # a part is one run of rows
        return found

    def told(self, part: Part) -> None:
        """What a block took, from which the size of the next one follows."""
        points = part.stop - part.start
        wanted = points * self._aim_s / max(part.seconds, 1e-6)
        self._points = min(max(wanted, self._points / _GROWTH, 1.0), self._points * _GROWTH, float(_MOST))


def _gaps(done: Sequence[tuple[int, int]], size: int) -> list[tuple[int, int]]:
    """The runs of rows that no part holds."""
    found, at = [], 0
    for start, stop in sorted(done):
        if start > at:
            found.append((at, start))
        at = max(at, stop)
    return [*found, *([(at, size)] if at < size else [])]
