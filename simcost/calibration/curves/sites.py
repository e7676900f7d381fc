"""What a smooth surface cannot follow: layers measured at several token counts, interpolated along the tokens.

A site is one layer (the first columns of a family's `site`); the last column runs along it. Between its rows the leftover
of the surface is interpolated, beyond its ends it is held. A site with fewer than four token counts is none.
Layers that are alike but for the number of sequences (`ACROSS` of a family) are neighbours: between them the leftover is interpolated too, and
fades over a factor of four where the next one is further off, so that one more sequence neither meets nor leaves it at once.
How wrong that is differs along a site (steps between protocols or tiles), and neighbours know it: the errors of the rows
around, each left out, follow a row's own with a rank correlation of 0.3 to 0.7.
"""

from __future__ import annotations

import numpy as np

from simcost.frozen import frozen
from simcost.num import Array, Bools, Index, Mask, Num, absolute, every, maximum, minimum, plain, where

LEAST = 4
_GROSS = float(
    np.log(2.0)
)  # a row twice off both its neighbours and the surface is a blunder, not a step between tiles
_FLOOR = 1.0  # times the median of all: no stretch is trusted for two lucky rows
_WILD = 2.0  # times the 90 % error: what a blunder counts for its neighbours
_APART = 64.0  # wider than the log range of any running feature: sites never mix
_SAME = 1e-7
# Of the log of the number across: over a factor of four, twice the step of tables. On layers that no fit saw (20 tables of attention, H200) decode
# misses by 4.9 % in the middle, 5.1 without, and prefill by 3.4 % either way.
_FADES = 2.0 * float(np.log(2.0))
_MIXTURE = np.sqrt(np.array([2.0, 3.0, 5.0, 7.0, 11.0, 13.0, 17.0, 19.0]))


@frozen
class Sites:
    """groups [g] ascending: layers alike but for the number across; keys [s] ascending (group·APART + log across), low/high [s] ends of the
    running feature; knots [r] (site·APART + running), left [r], near, on [r]: local error on the stretch that ends at a knot, and of another
    row at its token count (routed otherwise)."""

    groups: Array
    keys: Array
    low: Array
    high: Array
    knots: Array
    left: Array
    near: Array
    on: Array

    def evaluate(self, sites: Array, across: int | None = None) -> tuple[Num, Num, Mask, Num, Mask]:
        """sites [n, s] -> (correction [n], local error [n], at a known site [n], distance beyond its ends [n], on a measured
        row [n]); of one site [s] a number each."""
        at = plain(sites[..., -1])
        nothing = 0.0 * at
        if not len(self.keys):
            return nothing, nothing, nothing > 0.0, nothing, nothing > 0.0
        alone = sites.ndim == 2 and len(sites) > 1 and bool((sites[:, :-1] == sites[:1, :-1]).all())
        group, step = _place(sites[:1] if alone else sites, across)  # one layer: its place is looked up once
        home = np.minimum(self.groups.searchsorted(group - _SAME), len(self.groups) - 1)
        alike = abs(self.groups[home] - group) < _SAME
        key = home * _APART + step
        above = self.keys.searchsorted(key - _SAME)
        index = np.minimum(above, len(self.keys) - 1)
        known = alike & (abs(self.keys[index] - key) < _SAME)
        inside = minimum(maximum(at, plain(self.low[index])), plain(self.high[index]))
        beyond = absolute(at - inside)
        along = index * _APART + inside
        correction = where(known, plain(np.interp(along, self.knots, self.left)), 0.0)
        if across is not None and not every(known):
            correction = where(known, correction, self._between(key, at, above, home, alike))
        known = np.broadcast_to(known, np.shape(at)) if alone else known
        knot = np.minimum(self.knots.searchsorted(along - _SAME), len(self.knots) - 1)
        exact = known & (beyond == 0) & (abs(self.knots[knot] - along) < _SAME)
        return correction, where(exact, plain(self.on[knot]), plain(self.near[knot])), known, beyond, exact

    def _between(self, key: Array, at: Num, above: Index, home: Index, alike: Bools) -> Num:
        """[n]: what the two layers on either side leave over, each the less the further off it is."""
        sides = np.clip(np.stack([above - 1, above]), 0, len(self.keys) - 1)
        apart = np.abs(self.keys[sides] - key)
        there = (
            np.stack([above > 0, above < len(self.keys)])
            & alike
            & (np.floor((self.keys[sides] + 1.0) / _APART) == home)
        )
        reach = np.minimum(np.where(there.all(axis=0), apart.sum(axis=0), np.inf), _FADES)
        left = np.interp(sides * _APART + np.clip(at, self.low[sides], self.high[sides]), self.knots, self.left)
        return plain((np.where(there, np.maximum(1.0 - apart / reach, 0.0), 0.0) * left).sum(axis=0))


def _place(sites: Array, across: int | None) -> tuple[Array, Array]:
    """(one number a group of layers alike but for the number across [n], the log of that number [n])."""
    if across is None:
        return site_key(sites), np.zeros(sites.shape[:-1])
    alike = sites.copy()
    alike[..., across] = 0.0
    return site_key(alike), np.log(sites[..., across])


def site_key(sites: Array) -> Array:
    """One number per layer: an irrational mixture of logs of what makes it."""
    total = np.zeros(sites.shape[:-1])
    for j in range(sites.shape[-1] - 1):
        total = total + np.log1p(sites[..., j]) * _MIXTURE[j]
    return total


@frozen
class _Site:
    """rows of a layer; along [k]: where it was measured; which [rows]: at which of those; values [k]: what is left there;
    kept: which of the k are no blunders."""

    key: float
    rows: Index
    along: Array
    which: Index
    values: Array
    kept: Index

    def mean(self, of_rows: Array) -> Array:
        """[k]: rows of the same tokens as one."""
        return np.asarray(np.bincount(self.which, of_rows[self.rows]) / np.bincount(self.which))

    def neighbours(self) -> tuple[Index, Array]:
        """The kept ones before and behind each: (index [2, k], distance [2, k], infinite where there is none)."""
        each = np.arange(len(self.along))
        before, behind = np.searchsorted(self.kept, each) - 1, np.searchsorted(self.kept, each, "right")
        where = np.stack([before, behind])
        index = self.kept[np.clip(where, 0, len(self.kept) - 1)]
        there = (where >= 0) & (where < len(self.kept))
        return index, np.where(there, np.abs(self.along[index] - self.along), np.inf)

    def walk(self) -> Array:
        """[k]: how far a random walk that is known at the neighbours strays from what they say: makes errors comparable
        where rows lie unevenly, and at the ends."""
        return np.asarray(1.0 / np.sqrt((1.0 / self.neighbours()[1]).sum(axis=0)))

    def stretch(self) -> Array:
        """The same half-way to each kept knot from the one before it."""
        along = self.along[self.kept]
        step = np.diff(along, prepend=2.0 * along[0] - along[1])
        return np.asarray(0.5 * np.sqrt(step))


def fit(sites: Array, left: Array, alone: Array, across: int | None = None) -> tuple[Sites, Array, Array]:
    """left [n]: what the surface leaves over; alone [n]: the same by a surface that never saw the row; `across`: see `family.Family`.

    Returns the sites, each row's error when it and all of the same tokens are left out, and the error that its neighbours' would have led to
    expect (nan: at no site)."""
    group, step = _place(sites, across)
    _, first, home = np.unique(np.round(group, 6), return_index=True, return_inverse=True)
    errors = np.full(len(left), np.nan)
    keys = home * _APART + step
    rounded = np.round(keys, 6)
    layers = (np.flatnonzero(rounded == key) for key in np.unique(rounded))
    found = [s for rows in layers if (s := _site(float(keys[rows[0]]), rows, sites[rows, -1], left, alone, errors))]
    if not found:
        empty = np.zeros(0)
        return Sites(empty, empty, empty, empty, empty, empty, empty, empty), errors, errors
    found.sort(key=lambda site: site.key)
    near, on, expected = _local(found, errors)
    ends = np.array([(site.key, *site.along[site.kept[[0, -1]]]) for site in found])
    knots = [i * _APART + site.along[site.kept] for i, site in enumerate(found)]
    values = [site.values[site.kept] for site in found]
    keys, low, high = ends.T
    return (
        Sites(group[first], keys, low, high, np.concatenate(knots), np.concatenate(values), near, on),
        errors,
        expected,
    )


def _local(found: list[_Site], errors: Array) -> tuple[Array, Array, Array]:
    """(mean error to expect before each knot, at each knot, and at each row, itself not counted), from the rows around."""
    size = np.abs(errors)
    for site in found:
        size[site.rows] /= site.walk()[site.which]
    ordinary = size[np.isfinite(size)]
    size = np.minimum(size, _WILD * float(np.quantile(ordinary, 0.9)))
    floor = _FLOOR * float(np.median(ordinary))
    near, on, expected = [], [], np.full(len(errors), np.nan)
    for site in found:
        spread, (beside, distance) = site.mean(size), site.neighbours()
        around = np.where(np.isfinite(distance), spread[beside], np.nan)
        expected[site.rows] = (site.walk() * (floor + np.nanmean(around, axis=0)))[site.which]
        there = np.concatenate([spread[site.kept[:1]], spread[site.kept], spread[site.kept[-1:]]])
        near.append(site.stretch() * (floor + (there[:-2] + there[1:-1]) / 2.0))
        on.append(site.walk()[site.kept] * (floor + (there[:-2] + there[1:-1] + there[2:]) / 3.0))
    return np.concatenate(near), np.concatenate(on), expected


def _site(key: float, rows: Index, running: Array, left: Array, alone: Array, errors: Array) -> _Site | None:
    """The rows of one layer as a site, their errors written into `errors`; None with too few token counts."""
    along, which = np.unique(running, return_inverse=True)
    if len(along) < LEAST:
        return None
    values = np.bincount(which, left[rows]) / np.bincount(which)
    for i in range(len(along)):
        others = np.arange(len(along)) != i
        errors[rows[which == i]] = alone[rows[which == i]] - np.interp(along[i], along[others], values[others])
    wrong = which[(np.abs(errors[rows]) > _GROSS) & (np.abs(alone[rows]) > _GROSS)]
    kept = np.setdiff1d(np.arange(len(along)), wrong)
    return _Site(key, rows, along, which, values, kept if len(kept) >= LEAST else np.arange(len(along)))
