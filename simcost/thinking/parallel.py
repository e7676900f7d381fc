"""Several answers to one query at a time: how many tokens they have together, and how long the longest of them is.

`best:N`, `majority:N`: N answers from one prompt. `tree:N:M:D`: N parts at a time on each of D levels, of which the best
N/M go on, each M times (beam search against a verifier, arXiv 2408.03314 §5.2); a level starts when the longest part of
the one before is there. Every answer is a draw of its own and a level a D-th of one. Most likely to be wrong: that draws
are apart. Answers to one prompt are alike in length, so that the longest is shorter than here, and the sum spreads more.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from simcost.errors import SpecError, nearest
from simcost.frozen import frozen
from simcost.num import Array
from simcost.thinking.budget import Cut

SINGLE, BEST, MAJORITY, TREE = "single", "best", "majority", "tree"
_FORMS = {BEST: ("N",), MAJORITY: ("N",), TREE: ("N", "M", "LEVELS")}
MOST = 1024  # answers at a time
STRATA = 1024  # equal parts of a distribution, each of which its middle stands for
_CELLS, _FEWEST = 4096, 64  # of the grid on which sums are added up: in all, and of one addend
_AT_ONCE = 1 << 20  # numbers of grids that are transformed together: what a cache holds
WRITE = "write best:8, majority:16 or tree:16:4:8 (parts at a time, branches per kept part, levels)"


@frozen
class Parallel:
    """`width`: answers, or parts, at a time; `branches` of each part that is kept; `levels` one after the other."""

    kind: str = SINGLE
    width: int = 1
    branches: int = 1
    levels: int = 1

    @property
    def said(self) -> str:
        """As it is written."""
        more = f":{self.branches}:{self.levels}" if self.kind == TREE else ""
        return SINGLE if self.kind == SINGLE else f"{self.kind}:{self.width}{more}"


ONE = Parallel()


def parse(text: str) -> Parallel:
    """Raises SpecError for what is no way to answer in parallel."""
    kind, *parts = (part.strip() for part in str(text).split(":"))
    if kind == SINGLE and not parts:
        return ONE
    if kind not in _FORMS:
        raise SpecError(f"--parallel {text}: {WRITE}{nearest(kind, _FORMS)}")
    if len(parts) != len(_FORMS[kind]) or not all(part.isdecimal() and int(part) >= 1 for part in parts):
        raise SpecError(f"--parallel {text}: write {kind}:{':'.join(_FORMS[kind])} with whole numbers of at least 1")
    width, branches, levels = (*(int(part) for part in parts), 1, 1)[:3]
    if width > MOST or levels > MOST:
        raise SpecError(f"--parallel {text}: at most {MOST:,} at a time, and {MOST:,} levels")
    if width % branches:
        raise SpecError(
            f"--parallel {text}: {width} parts at a time are not a whole number of {branches} branches each"
        )
    return Parallel(kind, width, branches, levels)


@frozen
class Spread:
    """Mean, median and P95 of each of several budgets. [budgets]"""

    mean: Array
    p50: Array
    p95: Array


_SHARES = np.array([0.5, 0.95])


def made(answers: list[Cut], how: Parallel) -> Spread:
    """Tokens that all answers to a query have together, at each budget."""
    mean = how.width * np.array([each.mean for each in answers])
    count = how.width * how.levels
    p50, p95 = _of_sum(answers, 1, count, float(how.levels)) if count > 1 else _plain(answers, 1)
    return Spread(mean, p50, p95)


def longest(answers: list[Cut], how: Parallel) -> Spread:
    """Tokens that are made one after the other: of the longest answer, or of the longest part of every level."""
    mean = np.array([each.mean for each in answers])
    if how.width > 1:
        mean = np.mean(_points(answers, how.width), axis=1)
    p50, p95 = (
        _of_sum(answers, how.width, how.levels, float(how.levels)) if how.levels > 1 else _plain(answers, how.width)
    )
    return Spread(mean, p50, p95)


def _plain(answers: list[Cut], of: int) -> tuple[Array, Array]:
    """Median and P95 of the longest of so many answers: a share u of them is no longer where u^(1/of) of answers are."""
    found = np.array([each.quantile(_SHARES ** (1.0 / of)) for each in answers])
    return found[:, 0], found[:, 1]


def _points(answers: list[Cut], of: int) -> Array:
    """The longest of so many answers, at the middle of every stratum. [budgets, strata]"""
    shares = ((np.arange(STRATA) + 0.5) / STRATA) ** (1.0 / of)
    whole = {
        id(each.whole): each.whole.quantile(shares) for each in {id(each.whole): each for each in answers}.values()
    }
    return np.array([each.shortened(whole[id(each.whole)]) for each in answers])


def _of_sum(answers: list[Cut], of: int, count: int, over: float) -> tuple[Array, Array]:
    """Median and P95 of the sum of `count` draws of the longest of `of` answers, over `over`."""
    found = sum_quantiles(_points(answers, of), count, _SHARES) / over
    return found[:, 0], found[:, 1]


def sum_quantiles(points: Array, count: int, shares: Array) -> Array:
    """Quantiles of the sum of `count` independent draws, for each row of equally likely `points` [rows, points]; powers
    of the transform of each row's distribution, on a grid that keeps its mean. [rows, shares]"""
    cells = max(_CELLS // count, _FEWEST)
    size = 1 << int(np.ceil(np.log2(count * (cells - 1) + 1)))
    rows = max(_AT_ONCE // size, 1)
    parts = [_quantiles(points[at : at + rows], count, shares, cells, size) for at in range(0, len(points), rows)]
    return np.concatenate(parts)


def _quantiles(points: Array, count: int, shares: Array, cells: int, size: int) -> Array:
    rows = len(points)
    low = np.min(points, axis=1, keepdims=True)
    step = np.maximum((np.max(points, axis=1, keepdims=True) - low) / (cells - 1), 1e-9)
    place = (points - low) / step
    below = np.minimum(np.floor(place), cells - 2)
    part = place - below
    at = (below + cells * np.arange(rows)[:, None]).astype(np.int64)
    own, above = (np.bincount(at.ravel() + j, each.ravel(), rows * cells) for j, each in enumerate((1.0 - part, part)))
    grid = np.zeros((rows, size))
    grid[:, :cells] = (own + above).reshape(rows, cells) / points.shape[1]
    total = np.cumsum(np.fft.irfft(_power(np.fft.rfft(grid, axis=1), count), size, axis=1), axis=1)
    within = shares * (1.0 - 1e-9)
    cell = np.array([np.searchsorted(np.maximum.accumulate(row), within) for row in total])
    return np.asarray(count * low + cell * step)


def _power(values: Any, count: int) -> Any:
    """A whole power by squaring, in place: a general one of complex numbers takes logarithms."""
    found = None
    while count:
        if count % 2:
            found = values.copy() if found is None else np.multiply(found, values, out=found)
        count //= 2
        if count:
            np.multiply(values, values, out=values)
    return found
