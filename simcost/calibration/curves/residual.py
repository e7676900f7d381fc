"""The smooth part of a curve: what the analytic form misses, as a sparse Gaussian process on log dimensions.

At most 160 centres, chosen farthest-first; Matern 5/2 with one length a dimension; weights by ridge regression, lengths
and noise by marginal likelihood. It tends to zero away from the centres, and is held outside their box. Most likely to be
wrong: steps between two tile regimes. Source: Rasmussen and Williams 2006, chapters 5 and 8 (subset of regressors).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from simcost.calibration.curves.weights import NARROW, SHARPER, column_sums, weighted
from simcost.calibration.distinct import distinct
from simcost.calibration.ladders import risen
from simcost.num import Array, Index, Singles

CENTRES = 160
_SEARCH_ROWS = 200
_CHUNK = 512  # points at a time: the kernel block stays in the processor's cache
_TYPICAL = 2.5  # prior length: a factor of ten in a dimension
_TYPICAL_SD = 0.4  # of the log, between devices (GEMM: 0.2 to 0.7)
_FACTORS = (2.0, 1.3)
_GROSS = (
    2.0  # a row further off than this many times the 90 % error is a blunder (an interrupt, a cold cache): held down
)
_REWEIGHT = 3
_PULL = 10.0  # what all ladders together weigh, in rows of the table
_LEVELLINGS = 12
_FEW_SUMS = 8  # from which on numpy adds in partial sums
_LOOSE = 0.4  # of the ridge: ladders hold the surface too


@dataclass(frozen=True)  # without slots: what every call needs of it is made once
class Residual:
    """`lengths` [d]; centres [c, d], already divided by the lengths; columns [c, 2]: weights of the mean and of the
    local error; `reach`: distance to the nearest centre that measured rows have (95 %); `fixed` [d]: where all rows stand in
    the dimensions that never varied (length infinite): a query elsewhere is as far off as that is."""

    lengths: Array
    centres: Array
    mean: Array
    error: Array
    reach: float
    fixed: Array

    def evaluate(self, features: Array) -> tuple[Array, Array, Array]:
        """features [n, d] -> (mean of log residual [n], faded in holes, local error [n], distance beyond reach [n]).

        Outside the box of its rows the residual of the nearest point of the box is held: a device that reaches nine tenths of
        its link at 500 MB does so at 5 GB. In holes inside the box it fades. Every row is summed by itself, so that one point
        and a million give the same bits; single precision, in blocks that stay in the processor's cache: a million points wait
        for this loop and little else."""
        used, unused, lengths, low, high = self._box
        aside = np.zeros(len(features))
        for j in unused:
            aside = aside + np.maximum(np.abs(features[:, j] - self.fixed[j]) - 1e-6, 0.0) / _TYPICAL
        asked = features[:, used] / lengths
        box = np.minimum(np.maximum(asked, low), high)
        outside = aside + np.sqrt(_summed(np.square(asked - box)))
        # Many points share a face of the box, or differ in what this surface does not read.
        kinds = distinct(list(box.T)) if len(used) and len(box) > _CHUNK else None
        if kinds is None or kinds.one is None:
            mean, error, far = self._near(box)
        else:
            mean, error, far = (np.asarray(kinds.back(values)) for values in self._near(box[kinds.one]))
        return mean * np.exp(-far), error, far + outside

    @cached_property
    def _box(self) -> tuple[Index, Index, Array, Array, Array]:
        """Which lengths are finite, and which not; of the finite ones the lengths, and the ends of the box of the centres."""
        finite = np.isfinite(self.lengths)
        used, centres = np.flatnonzero(finite), self.centres[:, finite]
        return used, np.flatnonzero(~finite), self.lengths[used], centres.min(axis=0), centres.max(axis=0)

    @cached_property
    def _singles(self) -> tuple[Singles, Singles, Singles]:
        """(centres [used d, c, 1], weights of the mean [c, 1], of the local error [c, 1]) in single precision."""
        centres = self.centres[:, self._box[0]].T.astype(np.float32, "C")[:, :, None]
        return centres, self.mean.astype(np.float32)[:, None], self.error.astype(np.float32)[:, None]

    def _near(self, box: Array) -> tuple[Array, Array, Array]:
        """The same of points inside the box [n, used d], not yet faded."""
        scaled = np.ascontiguousarray(box.T, np.float32)
        return self._near_few(scaled) if len(box) <= NARROW else self._near_many(scaled)

    def _near_few(self, scaled: Singles) -> tuple[Array, Array, Array]:
        """Of few points [used d, n], at once: the centres of a point lie side by side in memory."""
        centres, weights, local = self._singles
        apart = centres.transpose(0, 2, 1) - scaled[:, :, None]
        both = np.empty((2, *apart.shape[1:]), np.float32).swapaxes(1, 2)
        d = both[0]
        np.multiply(apart, apart, out=apart).sum(axis=0, out=d.T)
        far = np.maximum(np.sqrt(d.min(axis=0)) - self.reach, 0.0)
        mean, error, far = np.array((*weighted(both, weights, local), far), np.float64)
        return mean, error, far

    def _near_many(self, scaled: Singles) -> tuple[Array, Array, Array]:
        """Of many points [used d, n], block after block: centres stand in rows and points in columns, so that passes are long; a dimension in
        which all points are equal costs one pass, and none before the first in which they differ."""
        n = scaled.shape[1]
        mean, error, far = np.empty(n), np.empty(n), np.empty(n)
        centres, weights, local = self._singles
        constant = [bool((values == values[:1]).all()) for values in scaled]
        lead = next((j for j, same in enumerate(constant) if not same), len(constant))
        ahead = np.zeros((len(weights), 1), np.float32)
        for values, column in zip(scaled[:lead], centres[:lead], strict=True):
            ahead = ahead + np.square(values[:1] - column)
        room = np.empty(2 * len(weights) * min(n, _CHUNK), np.float32)
        for start in range(0, n, _CHUNK):
            rows = slice(start, min(start + _CHUNK, n))
            shape = 2, len(weights), rows.stop - start
            both = room[: math.prod(shape)].reshape(shape)
            d, k = both
            if lead < len(constant):
                np.subtract(scaled[lead][rows], centres[lead], out=d)
                np.add(np.multiply(d, d, out=d), ahead, out=d)
            else:
                d[...] = ahead
            for values, column, same in zip(scaled[lead + 1 :], centres[lead + 1 :], constant[lead + 1 :], strict=True):
                apart = values[:1] - column if same else np.subtract(values[rows], column, out=k)
                np.add(d, np.multiply(apart, apart, out=apart), out=d)
            far[rows] = np.maximum(np.sqrt(d.min(axis=0)) - self.reach, 0.0)
            mean[rows], error[rows] = weighted(both, weights, local)
        return mean, error, far


def levelled(
    found: Residual, features: Array, target: Array, ratio: float, ladders: Sequence[tuple[Array, Array, int]]
) -> Residual:
    """The same surface, its weights moved as little as the rows allow so that form and surface do not fall along ladders. Of each
    ladder: log of the form [k]; features [k, d], ladder after ladder; rungs of one."""
    centres = found.centres
    kernel = _matern(_distances(features / found.lengths, centres))
    size = np.abs(target - kernel @ found.mean)
    limit = max(_GROSS * float(np.quantile(size, 0.9)), 1e-12)
    trusted = kernel.T * (limit / np.maximum(size, limit))
    left = trusted @ kernel + _LOOSE * ratio * _matern(_distances(centres, centres)) + 1e-9 * np.eye(len(centres))
    along = [(base, _held(found, points), rungs) for base, points, rungs in ladders]
    pull = [_PULL * len(target) / len(base) for base, _, _ in along]
    for weight, (_, seen, _) in zip(pull, along, strict=True):
        left += weight * seen.T @ seen
    solve, weights, own = np.linalg.inv(left), found.mean, trusted @ target
    for _ in range(_LEVELLINGS):
        wanted = own
        for weight, (base, seen, rungs) in zip(pull, along, strict=True):
            now = base + seen @ weights
            wanted = wanted + weight * seen.T @ (risen(now.reshape(-1, rungs)).ravel() - base)
        weights = solve @ wanted
    return replace(found, mean=weights)


def _held(found: Residual, features: Array) -> Array:
    """[k, c]: what each centre says at points, as `evaluate` hears it."""
    scaled = np.clip(features / found.lengths, found.centres.min(axis=0), found.centres.max(axis=0))
    distance = _distances(scaled, found.centres)
    return np.asarray(_matern(distance) * np.exp(-np.maximum(distance.min(axis=1) - found.reach, 0.0))[:, None])


def _summed(columns: Array) -> Array:
    """Row sums, column after column: one row and a million add up in the same order."""
    total = np.zeros(len(columns))
    for column in columns.T:
        total = total + column
    return total


def _distances(a: Array, b: Array) -> Array:
    squared, apart = np.zeros((2, len(a), len(b)))
    for j in range(a.shape[1]):
        if a[:, j].any() or b[:, j].any():  # not a dimension of infinite length
            squared += _squares(a[:, j], b[:, j], apart)
    return np.sqrt(squared, out=squared)


def _squares(a: Array, b: Array, out: Array | None = None) -> Array:
    apart = np.subtract.outer(a, b, out=out)
    return np.asarray(np.square(apart, out=apart))


def _matern(distance: Array) -> Array:
    """(1 + r (1 + r/3)) exp(-r) at r = distance · √5, in two buffers."""
    r = distance * np.sqrt(5.0)
    found = r / 3.0
    found += 1.0
    found *= r
    found += 1.0
    found *= np.exp(np.negative(r, out=r), out=r)
    return np.asarray(found)


class _Kernels:
    """Kernels [n, n] of the same rows at one set of lengths after another: what a length leaves as it was is kept."""

    def __init__(self, features: Array) -> None:
        self._features = features
        self._squares: dict[tuple[int, float], Array] = {}
        self._last: tuple[bytes, Array] = b"", features

    def at(self, lengths: Array) -> Array:
        """The kernel at lengths [d]; nobody may write into it."""
        which = lengths.tobytes()
        if which != self._last[0]:
            squared = np.zeros((len(self._features), len(self._features)))
            for j in np.flatnonzero(np.isfinite(lengths)):
                squared += self._of(int(j), float(lengths[j]))
            self._last = which, _matern(np.sqrt(squared, out=squared))
        return self._last[1]

    def _of(self, j: int, length: float) -> Array:
        if (j, length) not in self._squares:
            scaled = self._features[:, j] / length
            self._squares[j, length] = _squares(scaled, scaled)
        return self._squares[j, length]


def farthest(points: Array, count: int) -> Index:
    """Indices of `count` points, each the farthest from those before it; the first lies nearest the middle."""
    columns = np.ascontiguousarray(points.T)
    room: Any = np.empty_like(columns)
    one = np.empty(len(points))

    def apart(point: Array) -> Array:
        np.square(np.subtract(columns, point[:, None], out=room), out=room)
        # Few dimensions are added one after the other by both.
        return (
            np.add.reduce(room, axis=0, out=one) if len(room) < _FEW_SUMS else np.asarray(column_sums(room), np.float64)
        )

    chosen = [int(apart(points.mean(axis=0)).argmin())]
    left = apart(points[chosen[0]]).copy()
    for _ in range(min(count, len(points)) - 1):
        chosen.append(int(left.argmax()))
        np.minimum(left, apart(points[chosen[-1]]), out=left)
    return np.asarray(chosen, dtype=np.intp)


def _loo(kernel: Array, gram: Array, target: Array, ridge: float) -> tuple[Array, Array]:
    """(weights, leave-one-out errors) of the sparse regression, reweighted (Huber 1964): one row in a thousand that took
    a hundred times its neighbours' time must not bend them."""
    trust = np.ones(len(target))
    for last in range(_REWEIGHT):
        trusted = kernel.T * trust
        solved = np.linalg.solve(trusted @ kernel + ridge * gram + 1e-9 * np.eye(len(gram)), trusted)
        weights = solved @ target
        leverage = np.einsum("ij,ji->i", kernel, solved)
        errors = (target - kernel @ weights) / np.maximum(1.0 - leverage, 0.05)
        size = np.abs(errors)
        limit = _GROSS * float(np.quantile(size, 0.9))
        if size.max() <= limit or last == _REWEIGHT - 1:
            break
        trust = limit / np.maximum(size, limit)
    return weights, errors


def _evidence(kernels: _Kernels, target: Array, lengths: Array, ratio: float, typical: Array, sd: float) -> float:
    """Log marginal likelihood (signal variance profiled out) plus the prior on lengths. -inf when not computable."""
    # One factorisation of the matrix bordered by the target gives both its determinant and the whitened target.
    n = len(target)
    bordered = np.empty((n + 1, n + 1))
    bordered[:n, :n] = kernels.at(lengths)
    np.einsum("ii->i", bordered)[:n] += ratio
    bordered[n, :n] = bordered[:n, n] = target
    bordered[n, n] = 1.0 + 2.0 * float(target @ target) / ratio
    try:
        low = np.linalg.cholesky(bordered)
    except np.linalg.LinAlgError:
        return -np.inf
    white = low[n, :n]
    fit = -0.5 * n * np.log(float(white @ white) / n + 1e-12) - float(np.log(np.diag(low)[:n]).sum())
    used = np.isfinite(lengths)
    return float(fit - 0.5 * np.square(np.log(lengths[used] / typical[used]) / sd).sum())


def lengths_of(features: Array, target: Array, typical: tuple[float, ...] | None = None) -> tuple[Array, float]:
    """(length a dimension, noise over signal) for features [n, d] and target [n] = log(measured / form). `typical`: lengths
    that other devices showed for this family; few rows then lean on them."""
    centre, sd = (np.full(features.shape[1], _TYPICAL), 1.0) if typical is None else (np.asarray(typical), _TYPICAL_SD)
    spread = np.maximum(features.std(axis=0), 1e-6)
    varies = spread > 1e-5
    some = farthest(np.where(varies, features / spread, 0.0), _SEARCH_ROWS)
    limit = 3.0 * float(np.median(np.abs(target[some]))) + 1e-3  # outliers must not set the lengths
    x, y = _Kernels(features[some]), np.clip(target[some], -limit, limit)
    lengths, ratio = np.where(varies, centre, np.inf), 0.1
    known: dict[tuple[bytes, float], float] = {}  # steps come back to where they were

    def evidence(lengths: Array, ratio: float) -> float:
        key = lengths.tobytes(), ratio
        if key not in known:
            known[key] = _evidence(x, y, lengths, ratio, centre, sd)
        return known[key]

    best = evidence(lengths, ratio)
    for factor in _FACTORS:
        improved = True
        while improved:
            improved = False
            for j in [*np.flatnonzero(varies), -1]:
                for step in (factor, 1.0 / factor):
                    other, other_ratio = lengths.copy(), ratio
                    if j < 0:
                        other_ratio = float(np.clip(ratio * step * step, 3e-3, 10.0))
                    else:
                        other[j] = np.clip(lengths[j] * step, 0.3, 50.0)
                    now = evidence(other, other_ratio)
                    if now > best + 0.1:
                        best, lengths, ratio, improved = now, other, other_ratio, True
                        break
    return lengths, ratio


def fit(features: Array, target: Array, lengths: Array, ratio: float) -> tuple[Residual, Array]:
    """The surface through target [n] = log(measured / form) at features [n, d], and its leave-one-out errors [n]. `ratio`: noise
    over signal."""
    scaled = features / lengths
    centres = scaled[farthest(scaled, CENTRES)]
    distance = _distances(scaled, centres)
    kernel = _matern(distance)
    weights, errors = _loo(kernel, _matern(_distances(centres, centres)), target, ratio)
    # Errors differ over shorter distances than the surface itself.
    sharp = kernel ** (2**SHARPER)
    near = sharp.sum(axis=0)
    size = np.abs(errors)
    size = np.minimum(size, _GROSS * float(np.quantile(size, 0.9)))
    local = (sharp * size[:, None]).sum(axis=0) / np.maximum(near, 1e-12)
    others = np.where(distance < 1e-9, np.inf, distance).min(axis=1)  # a centre is no neighbour of itself
    reach = float(np.quantile(others, 0.95))
    return Residual(lengths, centres, weights, local, reach, features.mean(axis=0)), errors
