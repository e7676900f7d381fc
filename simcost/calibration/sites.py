"""What a smooth surface cannot follow: layers measured at several token counts, interpolated along the tokens.

A site is one layer (the first columns of a family's `site`); the last column runs along it. Between its rows the leftover
of the surface is interpolated, beyond its ends it is held and fades. A site with fewer than four token counts is none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simcost.num import Array, Bools

LEAST = 4
_GROSS = float(
    np.log(2.0)
)  # a row twice off both its neighbours and the surface is a blunder, not a step between tiles
_APART = 64.0  # wider than the log range of any running feature: sites never mix
_SAME = 1e-7
_MIXTURE = np.sqrt(np.array([2.0, 3.0, 5.0, 7.0, 11.0, 13.0, 17.0, 19.0]))


@dataclass(frozen=True, slots=True)
class Sites:
    """keys [s] ascending, low/high [s] ends of the running feature; knots [r] (site·APART + running), left [r]."""

    keys: Array
    low: Array
    high: Array
    knots: Array
    left: Array

    def evaluate(self, sites: Array) -> tuple[Array, Bools, Array, Bools]:
        """sites [n, s] -> (correction [n], at a known site [n], distance beyond its ends [n], on a measured row [n])."""
        n = len(sites)
        if not len(self.keys):
            return np.zeros(n), np.zeros(n, bool), np.zeros(n), np.zeros(n, bool)
        key, at = site_key(sites), sites[:, -1]
        index = np.minimum(np.searchsorted(self.keys, key - _SAME), len(self.keys) - 1)
        known = np.abs(self.keys[index] - key) < _SAME
        inside = np.clip(at, self.low[index], self.high[index])
        beyond = np.abs(at - inside)
        where = index * _APART + inside
        correction = np.interp(where, self.knots, self.left) * np.exp(-beyond)
        knot = np.minimum(np.searchsorted(self.knots, where - _SAME), len(self.knots) - 1)
        exact = known & (beyond == 0) & (np.abs(self.knots[knot] - where) < _SAME)
        return np.where(known, correction, 0.0), known, beyond, exact


def site_key(sites: Array) -> Array:
    """One number a layer: an irrational mixture of logs of what makes it."""
    total = np.zeros(len(sites))
    for j in range(sites.shape[1] - 1):
        total = total + np.log1p(sites[:, j]) * _MIXTURE[j]
    return total


def fit(sites: Array, left: Array, alone: Array) -> tuple[Sites, Array]:
    """left [n]: what the surface leaves over; alone [n]: the same by a surface that never saw the row.

    Returns the sites and each row's error when it is left out of both (nan: at no site)."""
    errors = np.full(len(left), np.nan)
    keys, running = site_key(sites), sites[:, -1]
    found: list[tuple[float, Array, Array]] = []
    rounded = np.round(keys, 6)
    for key in np.unique(rounded):
        rows = np.flatnonzero(rounded == key)
        along, which = np.unique(running[rows], return_inverse=True)
        if len(along) < LEAST:
            continue
        values = np.bincount(which, left[rows]) / np.bincount(which)
        for row, i in zip(rows, which, strict=True):
            beside = rows[(which == i) & (rows != row)]  # the same tokens, routed otherwise
            others = np.arange(len(along)) != i
            known = left[beside].mean() if len(beside) else np.interp(along[i], along[others], values[others])
            errors[row] = alone[row] - known
        good = ~np.isin(np.arange(len(along)), which[(np.abs(errors[rows]) > _GROSS) & (np.abs(alone[rows]) > _GROSS)])
        if good.sum() >= LEAST:
            along, values = along[good], values[good]
        found.append((float(keys[rows[0]]), along, values))
    if not found:
        empty = np.zeros(0)
        return Sites(empty, empty, empty, empty, empty), errors
    found.sort(key=lambda site: site[0])
    return Sites(
        np.array([site[0] for site in found]),
        np.array([site[1][0] for site in found]),
        np.array([site[1][-1] for site in found]),
        np.concatenate([i * _APART + site[1] for i, site in enumerate(found)]),
        np.concatenate([site[2] for site in found]),
    ), errors
